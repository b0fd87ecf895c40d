"""Meters judged apart from one at which `run_vee` fails: it is left out and named, all others have their finals.

A fault of the code that one meter's data bring to light would otherwise stop the judging of every meter, for the batch
that holds it comes again and again.
"""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import polars as pl

from app.telemetry import VEE_LEFT_OUT
from schemas.errors import TerminalError
from storage.store import Scope
from validation.vee import Vee

LOG = logging.getLogger("ami.vee")

LEFT_OUT_LEAST: Final = 20
LEFT_OUT_SHARE: Final = 0.5
"""So many meters of a batch, and this share of it: then the fault is ours, or of the rules, and grows by the batch."""


class Apart:
    """Judges meters of a batch together, and apart where that fails."""

    def __init__(self) -> None:
        self._judged: set[str] = set()
        self._left_out: set[str] = set()

    def judge(self, grid: Scope, run: Callable[[Scope], Vee]) -> Iterator[tuple[Scope, Vee]]:
        """The judgements of the meters of a grid: all together, or those of halves, down to single meters.

        A meter at which the run fails alone is told in a line (it, from when, until when, and why) and counted: its
        days are judged again when something of them becomes dirty, or by whoever reads the line.
        """
        waiting = [grid.meters]
        while waiting:
            part = grid._replace(meters=waiting.pop())
            try:
                judged = run(part)
            except MemoryError:
                raise
            except (Exception, pl.exceptions.PanicException) as error:  # noqa: BLE001  whatever is wrong with one meter
                half = len(part.meters) // 2
                if half:
                    waiting += [part.meters[half:], part.meters[:half]]
                else:
                    self._leave_out(part, error)
                continue
            self._judged.update(part.meters)
            yield part, judged

    def refuse(self, meters: pl.Series) -> None:
        """Judged in vain: the store refuses finals of these meters. They count as left out."""
        self._left_out.update(meters)

    def check(self) -> None:
        """Raises where so many meters were left out that the fault is not theirs.

        Raises:
            TerminalError: At least `LEFT_OUT_LEAST`, and more than `LEFT_OUT_SHARE` of the batch.
        """
        left, every = len(self._left_out), len(self._left_out | self._judged)
        if left >= LEFT_OUT_LEAST and left > LEFT_OUT_SHARE * every:
            raise TerminalError(
                f"{left} of {every} meters cannot be judged or stored: look at the lines that name them and mend the "
                "cause; the batch is done again when the worker is started again"
            )

    def _leave_out(self, part: Scope, error: BaseException) -> None:
        (meter,) = part.meters
        self._left_out.add(meter)
        VEE_LEFT_OUT.inc()
        fields = {
            "meter_id": meter,
            "first": part.start.isoformat(),
            "after": part.end.isoformat(),
            "where": _place_of(error),
        }
        LOG.error("a meter cannot be judged and is left out", extra={"fields": fields}, exc_info=error)


def _place_of(error: BaseException) -> str:
    """File and line at which it was raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
