"""The outputs of a run as bytes, text and frames; who puts them on a disk is no matter of the simulator."""

from typing import Final, Protocol

import polars as pl

from schemas.frames import METERS
from simulator.topology import Fleet, title_hex

_HEX_BYTES: Final = pl.Series([f"{byte:02x}" for byte in range(256)])
_INSTANT: Final = "%Y-%m-%dT%H:%M:%SZ"
_TARIFFS: Final = """\
[[tariff]]
name = "home"
timezone = "{timezone}"
demand_window_min = 60

[[tariff.period]]
name = "day"
days = ["mon-fri"]
start = "07:00"
end = "22:00"

[[tariff.period]]
name = "night"
days = ["all"]
start = "00:00"
end = "24:00"

[[tariff]]
name = "home_solar"
timezone = "{timezone}"
demand_window_min = 60

[[tariff.period]]
name = "evening"
days = ["all"]
start = "17:00"
end = "22:00"

[[tariff.period]]
name = "rest"
days = ["all"]
start = "00:00"
end = "24:00"

[[tariff]]
name = "business"
timezone = "{timezone}"
demand_window_min = 60

[[tariff.period]]
name = "open"
days = ["mon-sat"]
start = "08:00"
end = "20:00"

[[tariff.period]]
name = "closed"
days = ["all"]
start = "00:00"
end = "24:00"

[[tariff]]
name = "industry"
timezone = "{timezone}"
demand_window_min = 60

[[tariff.period]]
name = "peak"
days = ["mon-fri"]
start = "08:00"
end = "20:00"

[[tariff.period]]
name = "off_peak"
days = ["all"]
start = "00:00"
end = "24:00"
"""


class Run(Protocol):
    """What a run leaves (`fleet.Simulated`)."""

    @property
    def frames(self) -> pl.DataFrame:
        """RAW_FRAMES in order of reception."""

    @property
    def meters(self) -> pl.DataFrame:
        """METERS."""

    @property
    def keys_csv(self) -> str:
        """KEYS.csv."""

    @property
    def tariffs_toml(self) -> str:
        """TARIFFS.toml."""

    @property
    def truth_intervals(self) -> pl.DataFrame:
        """What the meters truly registered."""

    @property
    def truth_outages(self) -> pl.DataFrame:
        """The incidents as they truly were."""


def outputs(run: Run) -> dict[str, bytes | str | pl.DataFrame]:
    """File name -> content of everything that a run leaves."""
    return {
        "frames.bin": frames_bin(run.frames),
        "frames.received.parquet": frames_received(run.frames),
        "meters.csv": render_meters(run.meters),
        "keys.csv": run.keys_csv,
        "tariffs.toml": run.tariffs_toml,
        "truth_intervals.parquet": run.truth_intervals,
        "truth_outages.parquet": run.truth_outages,
    }


def frames_bin(frames: pl.DataFrame) -> bytes:
    """`frames.bin`: the WPDUs of RAW_FRAMES end to end, in their order."""
    return b"".join(frames["payload"])


def frames_received(frames: pl.DataFrame) -> pl.DataFrame:
    """`frames.received.parquet`: `topic` and `received_at`, a row per frame of `frames.bin`, same order."""
    return frames.select("topic", "received_at")


def render_meters(meters: pl.DataFrame) -> str:
    """METERS.csv: the contract's columns in its order; factors as decimal numbers, times in UTC, null as nothing.

    Sizes of inverters are left out: nobody here knows them.
    """
    factor = pl.col("multiplier")
    decimal = pl.format("{}.{}", factor // 1000, (factor % 1000).cast(pl.String).str.zfill(3))
    return (
        meters.with_columns(
            security_min=_HEX_BYTES.gather(meters["security_min"].cast(pl.UInt32)),
            channels=pl.col("channels").cast(pl.List(pl.String)).list.join(";"),
            multiplier=pl.when(factor % 1000 == 0).then((factor // 1000).cast(pl.String)).otherwise(decimal),
            installed_at=pl.col("installed_at").dt.strftime(_INSTANT),
            removed_at=pl.col("removed_at").dt.strftime(_INSTANT),
        )
        .select(name for name in METERS.schema if name not in ("profile", "inverter_w"))
        .write_csv()
    )


def render_keys(fleet: Fleet) -> str:
    """KEYS.csv: `system_title,ek,ak` in hex, of the ciphered meters."""
    rows = fleet.ciphered
    return pl.DataFrame(
        {
            "system_title": title_hex(fleet.title[rows]),
            "ek": _hex_rows(fleet.ek[rows].tobytes()),
            "ak": _hex_rows(fleet.ak[rows].tobytes()),
        },
        schema={"system_title": pl.String, "ek": pl.String, "ak": pl.String},
    ).write_csv()


def render_tariffs(timezone: str) -> str:
    """TARIFFS.toml: a tariff for each that the fleet's meters name."""
    return _TARIFFS.format(timezone=timezone)


def _hex_rows(octets: bytes) -> list[str]:
    text = octets.hex()
    return [text[at : at + 32] for at in range(0, len(text), 32)]
