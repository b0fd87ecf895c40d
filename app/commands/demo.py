"""`ami demo`: the main job in one process, from ciphered frames to bills and outages, and what came of it."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from app.commands.simulate import load_params
from app.files import write_outputs
from app.options import Json
from app.road import Road, travel
from app.summary import say

_DEFAULT_OUT = Path("demo-out")


def register(ami: typer.Typer) -> None:
    """Add the verb."""

    @ami.command()
    def demo(
        meters: Annotated[int, typer.Option("--meters", metavar="N", min=1, help="Meters.")] = 2000,
        days: Annotated[int, typer.Option("--days", metavar="D", min=1, help="Local days.")] = 3,
        seed: Annotated[int, typer.Option("--seed", metavar="S", help="Same seed, same run.")] = 1,
        out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for all of it.")] = _DEFAULT_OUT,
        json: Json = False,
    ) -> None:
        """Simulate a fleet and carry it the whole road: frames, store, VEE, outages, billing files."""
        road = travel(load_params(None, meters=meters, days=days, seed=seed), out)
        write_outputs(out, {"summary.json": road.summary_text(), "day.svg": road.picture})
        if json:
            say(road.summary, as_json=True)
        else:
            _print(road, out)


def _print(road: Road, out: Path) -> None:
    console = Console()
    for title, rows in _sections(road.summary):
        table = Table(title=title, title_justify="left", show_header=False, min_width=60)
        table.add_column()
        table.add_column(justify="right")
        for name, value in rows:
            table.add_row(name, value)
        console.print(table)
    console.print(f"All of it is in {out}/ : start with summary.json and day.svg.")


def _sections(summary: dict[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    sums, finals, outages = summary["conservation"], summary["finals"], summary["outages"]
    total = max(finals["values"], 1)
    return [
        (
            "Frames",
            [
                ("meters", f"{summary['meters']:,}"),
                ("frames in", f"{sums['frames']:,}"),
                ("  gave rows", f"{sums['decoded']:,}"),
                ("  copies dropped", f"{sums['duplicates']:,}"),
                ("  rejected", f"{sums['rejected']:,}"),
                *((f"    {reason}", f"{count:,}") for reason, count in summary["rejects"].items()),
                ("values decoded", f"{summary['values']:,}"),
            ],
        ),
        (
            "Finals",
            [
                ("intervals judged", f"{finals['values']:,}"),
                *((f"  {name}", f"{count / total:.2%}") for name, count in finals["quality"].items()),
                ("energy error against the truth", f"{summary['energy_error']:.4%}"),
            ],
        ),
        (
            "Outages",
            [
                ("true incidents", f"{outages['true']:,}"),
                ("found at the right node", f"{outages['found']:,}"),
                ("reported that were none", f"{outages['wrong']:,}"),
                ("momentary interruptions, not reported", f"{outages['momentary']:,}"),
            ],
        ),
        (
            "Time",
            [
                (f"  {stage}", f"{spent['seconds']:.1f} s, {spent['per_second']:,.0f} {spent['unit']}/s")
                for stage, spent in summary["stages"].items()
            ]
            + [("files written", str(summary["files"]))],
        ),
    ]
