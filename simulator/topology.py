"""The fleet: supply tree, service points, accounts and the meters installed there."""

from datetime import UTC, datetime, time, timedelta
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from schemas.codes import Channel
from schemas.frames import CHANNEL, METERS, UTC_US, conform
from simulator.columns import F64, I64, U8, US, Flags, chance
from simulator.grid import HOUR_S, Span
from simulator.params import SimulatorParams

LAYOUTS: Final = ("generic", "profile_cumulative", "obis_rows", "obis_pairs", "interval_milli")
GENERIC, PROFILE_CUMULATIVE, OBIS_ROWS, OBIS_PAIRS, INTERVAL_MILLI = range(5)
KINDS: Final = ("household", "household_pv", "shop", "factory")
HOUSEHOLD, HOUSEHOLD_PV, SHOP, FACTORY = range(4)
CHANNELS: Final = (
    Channel.ENERGY_DELIVERED, Channel.ENERGY_RECEIVED, Channel.REACTIVE_DELIVERED, Channel.REACTIVE_RECEIVED,
)  # fmt: skip
"""Channels of a meter, in the order of its pushes: the first two, or all."""

REGISTER_DIGITS: Final = 8
UNIT_MILLI: Final = np.array([1000, 1000, 1000, 10_000, 1], dtype=np.int64)
"""Energy of one count of the register, by layout: Wh, Wh, Wh, 10 Wh, mWh."""
NEVER_S: Final = 1 << 32
DAY_S: Final = 86_400
_FUSES_A: Final = (np.array([63]), np.array([35, 50, 63]), np.array([63, 80, 100, 125]), np.array([250, 400, 630]))
_RATIOS: Final = np.array([40, 60, 80])
_RATE_CLASS: Final = np.array(["residential", "residential", "commercial", "industrial"])
_TARIFF: Final = np.array(["home", "home_solar", "business", "industry"])


class Fleet(NamedTuple):
    """Meters by row, in the order of the supply tree: every node's meters are neighbours."""

    meters: pl.DataFrame  # METERS
    layout: I64  # index of LAYOUTS
    kind: I64  # index of KINDS
    interval_s: I64
    channels: I64  # how many of CHANNELS
    daily: Flags  # pushes once a day, else every hour
    multiplier: I64  # whole factor
    limit_w: F64  # what the service carries, primary
    transformer: I64  # ordinals of the nodes, never falling from row to row
    lateral: I64
    feeder: I64
    substation: I64
    service_point: I64
    from_s: I64  # installed, within the span
    to_s: I64  # removed, within the span
    ciphered: Flags
    title: U8  # n × 8
    ek: U8  # n × 16
    ak: U8  # n × 16
    first_count: I64  # first reading of every register, in its counts

    @property
    def size(self) -> int:
        """Number of meters."""
        return int(self.layout.size)


def of_rows(fleet: Fleet, rows: I64) -> Fleet:
    """Those meters, in that order."""
    columns = {name: getattr(fleet, name)[rows] for name in Fleet._fields if name != "meters"}
    return fleet._replace(meters=fleet.meters[rows], **columns)


def build_fleet(params: SimulatorParams, span: Span) -> Fleet:
    """The fleet of these parameters.

    `params.meters` rows; a share of service points has two meters, the second installed the moment the first is
    removed: midday of a local day of the run.
    """
    rng = chance(params.seed, "topology")
    exchanged = min(round(params.faults.exchange_meters * params.meters), params.meters // 2)
    points = params.meters - exchanged
    twice = np.zeros(points, dtype=np.int64)
    twice[rng.choice(points, exchanged, replace=False)] = 1
    service_point = np.repeat(np.arange(points), 1 + twice)
    second = np.append(False, service_point[1:] == service_point[:-1])
    layout = _drawn(rng, params.layouts, LAYOUTS, params.meters)
    kind = _drawn(rng, params.customers, KINDS, points)[service_point]
    supply = _supply(rng, params, points)
    from_s, to_s, installed_s = _installations(rng, params, span, second)
    service = _service(rng, kind, service_point)
    fleet = Fleet(
        meters=METERS.empty(),
        layout=layout,
        kind=kind,
        interval_s=_interval_s(rng, layout, span),
        channels=np.where((kind >= SHOP) & ~np.isin(layout, (OBIS_ROWS, OBIS_PAIRS)), 4, 2),
        daily=(rng.random(params.meters) < params.daily_meters) & ~np.isin(layout, (OBIS_ROWS, OBIS_PAIRS)),
        multiplier=service.multiplier,
        limit_w=(service.voltage_v * service.fuse_a).astype(np.float64)
        * np.where(service.phases == 3, np.sqrt(3.0), 1.0),
        transformer=supply[0][service_point],
        lateral=supply[1][service_point],
        feeder=supply[2][service_point],
        substation=supply[3][service_point],
        service_point=service_point,
        from_s=from_s,
        to_s=to_s,
        ciphered=rng.random(params.meters) < params.ciphered_meters,
        title=titles(params.meters),
        **_keys(params),
        first_count=np.where(second, rng.integers(0, 500, params.meters), rng.integers(10**4, 10**6, params.meters)),
    )
    accounts = np.where(rng.random(points) < 0.02, rng.integers(0, points, points), np.arange(points))[service_point]
    return fleet._replace(meters=_meters(params, fleet, service, accounts, installed_s))


def first_counters(fleet: Fleet) -> I64:
    """Invocation counter of each meter's first message: 0 with the fresh key of a new meter, else somewhere on."""
    is_new = fleet.from_s > fleet.from_s.min()
    return np.where(is_new, 0, np.arange(fleet.size) * 7919 % 100_000)


def titles(meters: int) -> U8:
    """System titles: three letters of the maker, five octets of serial number."""
    serial = np.arange(1, meters + 1, dtype=">u8").view(np.uint8).reshape(-1, 8)
    octets = serial.copy()
    octets[:, :3] = np.frombuffer(b"AMI", dtype=np.uint8)
    return octets


def title_hex(title: U8) -> list[str]:
    """Titles as lower-case hex."""
    text = title.tobytes().hex()
    return [text[at : at + 16] for at in range(0, len(text), 16)]


def channel_lists(channels: I64) -> pl.Series:
    """The first so many of `CHANNELS`, as a column of METERS."""
    return _CHANNEL_LISTS.gather(channels)


class _Service(NamedTuple):
    phases: I64
    phase: I64  # 0 A, 1 B, 2 C, 3 all
    voltage_v: I64
    fuse_a: I64
    multiplier: I64


def _drawn(rng: np.random.Generator, weights: object, names: tuple[str, ...], size: int) -> I64:
    weight = np.array([getattr(weights, name) for name in names], dtype=np.float64)
    return rng.choice(len(names), size, p=weight / weight.sum()).astype(np.int64)


def _supply(rng: np.random.Generator, params: SimulatorParams, points: int) -> tuple[I64, I64, I64, I64]:
    shape = params.topology
    mean = shape.meters_per_transformer
    sizes = rng.integers(max(mean // 2, 1), mean + mean // 2 + 1, points // max(mean // 2, 1) + 1)
    transformer = np.repeat(np.arange(sizes.size), sizes)[:points]
    lateral = transformer // shape.transformers_per_lateral
    feeder = lateral // shape.laterals_per_feeder
    return transformer, lateral, feeder, feeder // shape.feeders_per_substation


def _interval_s(rng: np.random.Generator, layout: I64, span: Span) -> I64:
    # No local day may hold part of an interval: zones off the hour get half hours or quarters instead of hours.
    longest = next(s for s in (3600, 1800, 900, 300, 60) if not (span.day_bounds_s % s).any())
    half = np.isin(layout, (GENERIC, PROFILE_CUMULATIVE)) & (rng.random(layout.size) < 0.2)
    wanted = np.where(np.isin(layout, (OBIS_ROWS, OBIS_PAIRS)), 3600, np.where(half, 1800, 900))
    return np.minimum(wanted, longest).astype(np.int64)


def _installations(rng: np.random.Generator, params: SimulatorParams, span: Span, second: Flags) -> tuple[I64, ...]:
    size = second.size
    day = rng.integers(0, params.days, size)
    zone = ZoneInfo(params.timezone)
    noons = [
        int(datetime.combine(params.start + timedelta(days=d), time(12), zone).astimezone(UTC).timestamp())
        for d in range(params.days)
    ]
    noon = np.array(noons, dtype=np.int64)[day] // HOUR_S * HOUR_S
    first = np.append(second[1:], False)
    noon[first] = noon[second]
    installed = span.start_s - rng.integers(200, 3000, size) * DAY_S
    installed_s = np.where(second, noon, installed)
    to_s = np.where(first, noon, span.end_s)
    return np.maximum(installed_s, span.start_s), to_s, installed_s


def _service(rng: np.random.Generator, kind: I64, service_point: I64) -> _Service:
    points = int(service_point[-1]) + 1
    point_kind = np.zeros(points, dtype=np.int64)
    point_kind[service_point] = kind
    three = (point_kind >= SHOP) | (rng.random(points) < 0.6)
    phase = np.where(three, 3, rng.integers(0, 3, points))
    fuse = np.where(three, rng.choice(_FUSES_A[1], points), _FUSES_A[0][0])
    fuse = np.where(point_kind == SHOP, rng.choice(_FUSES_A[2], points), fuse)
    fuse = np.where(point_kind == FACTORY, rng.choice(_FUSES_A[3], points), fuse)
    multiplier = np.where(point_kind == FACTORY, rng.choice(_RATIOS, points), 1)
    columns = (np.where(three, 3, 1), phase, np.where(three, 400, 230), fuse, multiplier)
    return _Service(*(column[service_point].astype(np.int64) for column in columns))


def _keys(params: SimulatorParams) -> dict[str, U8]:
    rng = chance(params.seed, "keys")
    octets = np.frombuffer(rng.bytes(32 * params.meters), dtype=np.uint8).reshape(-1, 32)
    return {"ek": octets[:, :16], "ak": octets[:, 16:]}


def _meters(params: SimulatorParams, fleet: Fleet, service: _Service, accounts: I64, installed_s: I64) -> pl.DataFrame:
    removed = pl.Series(np.where(fleet.to_s < fleet.to_s.max(), fleet.to_s, NEVER_S))
    layout = pl.Series(np.array(LAYOUTS)[fleet.layout])
    nodes = pl.DataFrame({"s": fleet.substation, "f": fleet.feeder, "l": fleet.lateral, "t": fleet.transformer})
    return conform(
        pl.DataFrame(
            {
                "meter_id": _numbered("AMI", 10**12 + 1 + np.arange(fleet.size), 13),
                "meter_type": layout,
                "profile": np.where(np.isin(fleet.layout, (GENERIC, INTERVAL_MILLI)), "interval", "cumulative"),
                "system_title": title_hex(fleet.title),
                "security_min": pl.Series(np.where(fleet.ciphered, 0x30, 0), dtype=pl.UInt8),
                "service_point_id": _numbered("SP", fleet.service_point + 1, 7),
                "account_id": _numbered("AC", accounts + 1, 7),
                "nmi": _numbered("NGX", fleet.service_point + 1, 7),
                "phase": np.array(["A", "B", "C", "ABC"])[service.phase],
                "rate_class": _RATE_CLASS[fleet.kind],
                "tariff": _TARIFF[fleet.kind],
                "interval_s": pl.Series(fleet.interval_s, dtype=pl.Int32),
                "channels": channel_lists(fleet.channels),
                "multiplier": fleet.multiplier * 1000,
                "register_resolution_milli": UNIT_MILLI[fleet.layout],
                "fuse_a": pl.Series(service.fuse_a, dtype=pl.Int32),
                "voltage_v": pl.Series(service.voltage_v, dtype=pl.Int32),
                "has_der": fleet.kind == HOUSEHOLD_PV,
                "installed_at": (pl.Series(installed_s) * US).cast(UTC_US),
                "removed_at": pl.select(pl.when(removed < NEVER_S).then((removed * US).cast(UTC_US))).to_series(),
            }
        )
        .hstack(nodes.select(**_NODE_NAMES))
        .with_columns(
            timezone=pl.lit(params.timezone),
            register_digits=pl.lit(REGISTER_DIGITS, dtype=pl.Int32),
            check_of=pl.lit(None, dtype=pl.String),
        ),
        METERS,
    )


def _numbered(letters: str, numbers: I64, digits: int) -> pl.Series:
    return letters + pl.Series(numbers).cast(pl.String).str.zfill(digits)


_CHANNEL_LISTS: Final = pl.Series(
    [[c.value for c in CHANNELS[:n]] for n in range(len(CHANNELS) + 1)], dtype=pl.List(CHANNEL)
)
_NODE_NAMES: Final = {
    "substation_id": pl.format("S{}", pl.col("s") + 1),
    "feeder_id": pl.format("S{}-F{}", pl.col("s") + 1, pl.col("f") + 1),
    "lateral_id": pl.format("F{}-L{}", pl.col("f") + 1, pl.col("l") + 1),
    "transformer_id": pl.format("F{}-L{}-T{}", pl.col("f") + 1, pl.col("l") + 1, pl.col("t") + 1),
}
