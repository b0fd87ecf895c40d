"""Billing cycles as a file says them, and which of their periods are done."""

from pathlib import Path

import msgspec
import polars as pl

from app.files import read_text
from billing_export.plan import Cycle
from schemas.errors import ContractError


class Cycles(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A CYCLES.toml: `[[cycle]]` with `name`, `first_day`, `alignment_days`, `window_days`."""

    cycle: tuple[Cycle, ...]


def billed_cycles(batches: pl.DataFrame) -> frozenset[str]:
    """Periods of cycles whose batch is on its way or further: a step past `written`."""
    done = batches.filter(~pl.col("state").is_in(["planned", "written"]))["cycle"].drop_nulls()
    return frozenset(done.to_list())


def load_cycles(file: Path) -> tuple[Cycle, ...]:
    """The cycles of a CYCLES.toml.

    Raises:
        ContractError: Not such a file; names it.
    """
    try:
        return msgspec.toml.decode(read_text(file), type=Cycles).cycle
    except msgspec.MsgspecError as error:
        raise ContractError(f"{file}: {error}") from error
