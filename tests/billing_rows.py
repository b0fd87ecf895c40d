"""Invented meters and the builders of frames that the tests share."""

from datetime import UTC, datetime, timedelta

import polars as pl

from schemas.frames import FINALS, METERS, READS, conform

TARIFFS = """
[[tariff]]
name = "tou"
timezone = "Europe/Berlin"
demand_window_min = 30
[[tariff.period]]
name = "peak"
days = ["workday"]
start = "07:00"
end = "21:00"
[[tariff.period]]
name = "off_peak"
days = "all"
start = "00:00"
end = "24:00"
"""
JUDGED = datetime(2026, 8, 1, 2, 15, tzinfo=UTC)


def build_finals(
    start: datetime,
    values: list[int | None],
    *,
    step: int = 900,
    channel: str = "energy_delivered",
    meter: str = "M1",
    qualities: dict[int, tuple[str, str | None]] | None = None,
    **constants: object,
) -> pl.DataFrame:
    """FINALS of one stream: `qualities` maps places to (quality, method); other columns by name."""
    kinds = [("missing" if value is None else "valid", None) for value in values]
    for place, kind in (qualities or {}).items():
        kinds[place] = kind
    rows = pl.DataFrame(
        {
            "meter_id": meter,
            "service_point_id": "SP1",
            "channel": channel,
            "interval_start": [start + timedelta(seconds=step * place) for place in range(len(values))],
            "interval_s": pl.Series([step] * len(values), dtype=pl.Int32),
            "value_milli": pl.Series(values, dtype=pl.Int64),
            "quality": [kind[0] for kind in kinds],
            "method": pl.Series([kind[1] for kind in kinds], dtype=pl.String),
            "failed": pl.Series([0] * len(values), dtype=pl.UInt64),
            "unjudged": pl.Series([0] * len(values), dtype=pl.UInt64),
            "is_final_estimate": False,
            "version": pl.Series([1] * len(values), dtype=pl.Int64),
            "judged_at": JUDGED,
            "author": pl.Series([None] * len(values), dtype=pl.String),
            "run_id": "run-1",
        }
    )
    changed = {
        name: pl.lit(value).cast(FINALS.schema[name] if not isinstance(value, datetime) else pl.Datetime("us", "UTC"))
        for name, value in constants.items()
    }
    return conform(rows.with_columns(**changed), FINALS)


def build_meters(rows: list[dict[str, object]] | None = None, **columns: object) -> pl.DataFrame:
    """METERS: `M1` at `SP1` of `A1`, NMI `NEM1200001`, tariff `tou`, with the columns given; or the rows given."""
    one = {"meter_id": "M1", "service_point_id": "SP1", "account_id": "A1", "nmi": "NEM1200001", "tariff": "tou"}
    schema = {name: dtype for name, dtype in METERS.schema.items() if name != "channels"}
    every = [{**one, **row} for row in rows] if rows else [{**one, **columns}]
    return conform(pl.DataFrame(every, schema=schema), METERS)


def build_reads(
    registers: dict[datetime, int], *, meter: str = "M1", channel: str = "energy_delivered"
) -> pl.DataFrame:
    """READS of one register: what it showed at each instant."""
    count = len(registers)
    rows = pl.DataFrame(
        {
            "topic": ["t"] * count,
            "partition": pl.Series([0] * count, dtype=pl.Int32),
            "offset": pl.Series([0] * count, dtype=pl.Int64),
            "frame": pl.Series(range(count), dtype=pl.Int32),
            "received_at": pl.Series(list(registers), dtype=pl.Datetime("us", "UTC")),
            "meter_id": [meter] * count,
            "channel": [channel] * count,
            "obis": pl.Series([None] * count, dtype=pl.String),
            "read_at": pl.Series(list(registers), dtype=pl.Datetime("us", "UTC")),
            "value_milli": pl.Series(list(registers.values()), dtype=pl.Int64),
            "status": pl.Series([0] * count, dtype=pl.UInt32),
        }
    )
    return conform(rows, READS)
