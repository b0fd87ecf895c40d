"""`ami simulate`: a fleet that pushes real frames, and the truth beside them."""

from pathlib import Path
from typing import Annotated, Any

import msgspec
import polars as pl
import typer

from app.files import read_bytes, read_text, write_outputs
from app.inputs import load_types
from app.options import Json, Out, TypesFile
from app.summary import progress, say, timed
from schemas.errors import ContractError
from schemas.frames import CHANNEL, UTC_US
from simulator import files as simulated_files
from simulator.fleet import Simulated
from simulator.fleet import simulate as run_simulation
from simulator.params import SimulatorParams, parse_params

SHAPES = pl.Schema(
    {
        "meter_id": pl.String(),
        "channel": CHANNEL,
        "interval_start": UTC_US,
        "interval_s": pl.Int32(),
        "value_milli": pl.Int64(),
    }
)


def register(ami: typer.Typer) -> None:
    """Add the verb."""

    @ami.command()
    def simulate(
        meters: Annotated[int, typer.Option("--meters", metavar="N", min=1, help="Meters, replacements included.")],
        days: Annotated[int, typer.Option("--days", metavar="D", min=1, help="Local days.")],
        seed: Annotated[int, typer.Option("--seed", metavar="S", help="Same seed, same bytes.")],
        out: Out,
        config: Annotated[Path | None, typer.Option("--config", metavar="F", help="Faults and fleet (TOML).")] = None,
        shapes: Annotated[
            Path | None,
            typer.Option("--shapes", metavar="F", help="Load curves (Parquet)."),
        ] = None,
        types: TypesFile = None,
        json: Json = False,
    ) -> None:
        """Simulate a fleet: frames, meters, keys, tariffs, and the truth to hold results against."""
        load_types(types)
        params = load_params(config, meters=meters, days=days, seed=seed)
        curves = None if shapes is None else first_shapes(load_shapes(shapes), meters, days)
        with progress(f"simulating {meters} meters for {days} days"):
            simulated, seconds = timed(lambda: run_simulation(params, curves))
        write_outputs(out, simulated_files.outputs(simulated))
        say(simulated_summary(simulated, seconds), as_json=json)


def load_params(config: Path | None, *, meters: int, days: int, seed: int) -> SimulatorParams:
    """The configuration of a file, or the defaults, for that many meters and days."""
    params = SimulatorParams()
    if config is not None:
        try:
            params = parse_params(read_text(config))
        except ContractError as error:
            raise ContractError(f"{config}: {error}") from error
    return msgspec.structs.replace(params, meters=meters, days=days, seed=seed)


def load_shapes(file: Path) -> pl.DataFrame:
    """Load curves: the interval columns of the contract."""
    try:
        curves = pl.read_parquet(read_bytes(file))
        return curves.select([pl.col(name).cast(dtype) for name, dtype in SHAPES.items()])
    except pl.exceptions.PolarsError as error:
        raise ContractError(f"{file}: needs the columns {', '.join(SHAPES)}: {str(error).splitlines()[0]}") from error


def first_shapes(curves: pl.DataFrame, meters: int, days: int) -> pl.DataFrame:
    """The curves of the first meters by name, for so many days from the first interval on; all of them where fewer."""
    names = curves["meter_id"].unique().sort().head(meters)
    chosen = curves.filter(pl.col("meter_id").is_in(names.implode()))
    return chosen.filter(pl.col("interval_start") < pl.col("interval_start").min() + pl.duration(days=days))


def simulated_summary(simulated: Simulated, seconds: float) -> dict[str, Any]:
    """How much was made."""
    return {
        "meters": simulated.meters.height,
        "frames": simulated.frames.height,
        "values": simulated.truth_intervals.height,
        "outages": simulated.truth_outages.height,
        "rows": {"in": 0, "out": simulated.frames.height},
        "seconds": seconds,
    }
