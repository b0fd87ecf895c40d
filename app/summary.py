"""What a verb says when it is done: one JSON object on standard output, or a few lines for a person."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import polars as pl
from rich.console import Console

T = TypeVar("T")


def say(summary: dict[str, Any], *, as_json: bool) -> None:
    """Print the summary: one line of JSON, or `name: value` lines, nested ones indented."""
    if as_json:
        sys.stdout.write(json.dumps(summary, default=str) + "\n")
        return
    for line in _lines(summary, ""):
        sys.stdout.write(line + "\n")


def timed(stage: Callable[[], T]) -> tuple[T, float]:
    """The stage's result and the seconds that it took."""
    start = time.perf_counter()
    done = stage()
    return done, time.perf_counter() - start


def counts(rows: pl.DataFrame, column: str) -> dict[str, int]:
    """How many rows carry each value of a column, most frequent first."""
    counted = (
        rows.group_by(pl.col(column).cast(pl.String).alias("value"))
        .len()
        .sort(["len", "value"], descending=[True, False])
    )
    return dict(zip(counted["value"].to_list(), counted["len"].to_list(), strict=True))


@contextmanager
def progress(what: str) -> Iterator[None]:
    """While the work runs, a terminal shows what it is doing; a pipe sees nothing."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    with console.status(what):
        yield


def _lines(summary: dict[str, Any], indent: str) -> Iterator[str]:
    for name, value in summary.items():
        if isinstance(value, dict):
            yield f"{indent}{name}:"
            yield from _lines(value, indent + "  ")
        else:
            yield f"{indent}{name}: {round(value, 3) if isinstance(value, float) else value}"
