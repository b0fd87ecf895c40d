"""`ami finals`: the judged values as they stood at an instant, or as of a version; nothing is judged."""

from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import polars as pl
import typer

from app.commands.services import settings_of
from app.commands.trace import store_folder
from app.files import parse_instant, read_frame, write_in_parts
from app.options import Json, Out
from app.stores import open_store
from app.summary import progress, say
from schemas.errors import ContractError
from schemas.frames import FINALS
from storage.embedded import open_embedded
from storage.store import ReadingStore, Scope
from validation.history import history_of
from validation.versions import as_of

METERS_A_PART: Final = 500
"""Of so many a month of quarter-hours is 1.5 million rows: one part of the answer, and no more is in memory."""
_TICK: Final = timedelta(microseconds=1)


class State(NamedTuple):
    """Which state of which intervals is asked for."""

    at: datetime | None
    """As it stood then, what was judged at that very instant included; None: as it stands now."""
    version: int | None
    """Each interval at this version, or at the last before it; None: any."""
    meters: tuple[str, ...]
    """Empty: all."""
    start: datetime | None
    end: datetime | None


def register(ami: typer.Typer) -> None:
    """Add the verb."""

    @ami.command()
    def finals(
        out: Out,
        files: Annotated[
            list[Path] | None, typer.Argument(metavar="[FINALS.parquet...]", help="What successive runs left.")
        ] = None,
        store: Annotated[Path | None, typer.Option("--store", metavar="DIR", help="Or an embedded store.")] = None,
        config: Annotated[Path | None, typer.Option("--config", metavar="F", help="Or the store of ami.toml.")] = None,
        at: Annotated[str | None, typer.Option("--as-of", metavar="T", help="As it stood then; default: now.")] = None,
        version: Annotated[
            int | None, typer.Option("--version", min=1, metavar="N", help="That version, or the last before it.")
        ] = None,
        meter: Annotated[list[str] | None, typer.Option("--meter", metavar="METER", help="Default: all.")] = None,
        begin: Annotated[str | None, typer.Option("--from", metavar="T", help="UTC; needed for a store.")] = None,
        end: Annotated[str | None, typer.Option("--to", metavar="T", help="UTC, exclusive.")] = None,
        json: Json = False,
    ) -> None:
        """Finals as they stood at a time or as of a version, without what late values and persons changed since.

        From the results of `ami vee`, those of every run, or from a store, which keeps every version by itself.
        """
        asked = _asked(at, version, meter, (begin, end))
        if sum(given is not None and given != [] for given in (files, store, config)) != 1:
            raise ContractError("finals: give FINALS.parquet files, or --store DIR, or --config F: one of the three")
        seen = Seen()
        with progress("reading finals"):
            if files:
                results = {str(file): _about(read_frame(file, FINALS), asked) for file in files}
                history = history_of(results, whole=(at, version) != (None, None))
                write_in_parts(out, seen.of(iter([_state(history, asked)]), asked))
            else:
                span = _span(asked)
                opened = open_store(settings_of(config)) if store is None else open_embedded(store_folder(store))
                with closing(opened):
                    write_in_parts(out, seen.of(_stored(opened, asked, span), asked))
        say({"as_of": at, "version": version, **seen.told()}, as_json=json)


class Seen:
    """What passed on its way into the file."""

    def __init__(self) -> None:
        self._parts = [_counted(FINALS.empty())]

    def of(self, parts: Iterator[pl.DataFrame], asked: State) -> Iterator[dict[str, pl.DataFrame]]:
        """The parts, each as the next rows of `finals.parquet`.

        Raises:
            ContractError: At the end, where nothing was in them, or no interval has that many versions.
        """
        for rows in parts:
            self._parts.append(_counted(rows))
            yield {"finals.parquet": rows}
        highest = max(self._whole()["version"].to_list(), default=None)
        if highest is None:
            raise ContractError(f"finals: nothing of {_told(asked)}; ask for other meters, bounds or a later --as-of")
        if asked.version is not None and asked.version > highest:
            raise ContractError(
                f"--version {asked.version}: no interval of {_told(asked)} has more than version {highest}"
            )

    def told(self) -> dict[str, Any]:
        """Rows, by quality and by version, and when the first and the last of them were judged."""
        whole = self._whole()
        return {
            "finals": int(whole["len"].sum()),
            "quality": _sums(whole, "quality"),
            "versions": _sums(whole, "version"),
            "judged_at": {"first": whole["first"].min(), "last": whole["last"].max()},
        }

    def _whole(self) -> pl.DataFrame:
        return pl.concat(self._parts)


def _counted(rows: pl.DataFrame) -> pl.DataFrame:
    judged = pl.col("judged_at")
    return rows.group_by("quality", "version").agg(pl.len(), first=judged.min(), last=judged.max())


def _sums(counted: pl.DataFrame, name: str) -> dict[str, int]:
    rows = counted.group_by(pl.col(name).cast(pl.String)).agg(pl.col("len").sum()).sort(name)
    return {value: int(count) for value, count in rows.rows()}


def _asked(
    at: str | None, version: int | None, meters: list[str] | None, bounds: tuple[str | None, str | None]
) -> State:
    begin, end = bounds
    state = State(
        None if at is None else parse_instant(at, "--as-of"),
        version,
        tuple(sorted(set(meters or ()))),
        None if begin is None else parse_instant(begin, "--from"),
        None if end is None else parse_instant(end, "--to"),
    )
    if state.start is not None and state.end is not None and state.start >= state.end:
        raise ContractError(f"--from {begin} is not before --to {end}")
    return state


def _about(rows: pl.DataFrame, asked: State) -> pl.DataFrame:
    """The rows of the meters and intervals that are asked for."""
    begun = pl.col("interval_start")
    kept = [
        *([pl.col("meter_id").is_in(asked.meters)] if asked.meters else []),
        *([begun >= asked.start] if asked.start is not None else []),
        *([begun < asked.end] if asked.end is not None else []),
    ]
    return rows.filter(*kept)


def _state(history: pl.DataFrame, asked: State) -> pl.DataFrame:
    state = as_of(history, judged_at=asked.at, version=asked.version)
    return state.sort("meter_id", "channel", "interval_start")


def _span(asked: State) -> tuple[datetime, datetime]:
    if asked.start is None or asked.end is None:
        raise ContractError("finals: a store holds years: say which with --from and --to")
    return asked.start, asked.end


def _stored(store: ReadingStore, asked: State, span: tuple[datetime, datetime]) -> Iterator[pl.DataFrame]:
    """The state of a store's intervals, some meters at a time."""
    meters = asked.meters or tuple(store.load_judged(*span))
    before = None if asked.at is None else asked.at + _TICK
    for first in range(0, len(meters), METERS_A_PART):
        yield store.load_finals(Scope(meters[first : first + METERS_A_PART], *span), before, asked.version)


def _told(asked: State) -> str:
    others = " and others" if len(asked.meters) > 3 else ""
    who = ", ".join(asked.meters[:3]) + others if asked.meters else "any meter"
    at = None if asked.at is None else asked.at.isoformat()
    parts = (("from", asked.start), ("to", asked.end))
    told = [f"{word} {when.isoformat()}" for word, when in parts if when is not None]
    return " ".join([who, *told, *([f"judged by {at}"] if at else [])])
