"""Streams of NEM12: which NMI, suffix and meter serial an interval is reported under."""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from billing_export.lines import findings
from billing_export.located import I64, locate, metered, minute, newest, parts_in, streams_in, take
from billing_export.pieces import ExportInputs
from billing_export.spans import FINDINGS, DeterminantParams, billing_spans
from schemas.codes import Channel, Quality
from schemas.frames import CHANNEL, UTC_US

LETTER: Final = {
    Channel.ENERGY_DELIVERED: "E",
    Channel.ENERGY_RECEIVED: "B",
    Channel.REACTIVE_DELIVERED: "Q",
    Channel.REACTIVE_RECEIVED: "K",
}
"""First letter of the suffix. E is out of the grid into the premises: the market counts from its own side."""
UOM: Final = {"E": "KWH", "B": "KWH", "Q": "KVARH", "K": "KVARH"}
LENGTHS_S: Final = (300, 900, 1800)
NMI_LENGTH: Final = 10
SERIAL_LENGTH: Final = 12

_NEM_MIN: Final = 600
"""NEM time is UTC+10."""
_MEMBER = ["account_id", "service_point_id", "meter_id", "channel"]


class Streams(NamedTuple):
    """Intervals with the stream that each is reported in."""

    rows: pl.DataFrame
    """FINALS columns and `stream`, `member`, `minute`; sorted by stream and minute, one row of each."""
    streams: pl.DataFrame
    """`stream` (row number), `nmi`, `suffix`, `interval_s`, `channel`, `configuration` (all suffixes of the NMI)."""
    members: pl.DataFrame
    """`member` (row number), `account_id`?, `service_point_id`?, `meter_id`, `channel`, `suffix`: one row per
    installation and channel."""
    findings: pl.DataFrame


def streams_of(part: ExportInputs, params: DeterminantParams) -> Streams:
    """The intervals of the period that NEM12 can carry; what it cannot is a finding.

    Findings, all held: `nmi_missing` (no NMI of 10 characters, neither in METERS nor as service point),
    `interval_length` (not 5, 15 or 30 minutes), `off_grid`, `negative` (all of a stream-day with a value below zero),
    and those of `billing_spans`. Meters that follow one another on an NMI share a suffix; meters side by side count
    up its digit.
    """
    carried = pl.Series([channel.value for channel in LETTER], dtype=CHANNEL)
    finals = newest(part.finals.filter(pl.col("channel").is_in(carried.implode())))
    streams_found = streams_in(finals)
    spans = billing_spans(metered(streams_found), part.meters, part.tariffs, params)
    located = locate(streams_found, spans.spans).with_columns(nmi=pl.coalesce("nmi", "service_point_id"))
    nameless = located.filter(pl.col("nmi").str.len_chars().fill_null(0) != NMI_LENGTH)
    members = _members(
        located.join(nameless, on=["meter_id", "channel", "lo"], how="anti", maintain_order="left"), finals
    )
    owner, picked = take(finals, members)
    rows = picked.with_columns(member=pl.Series(owner), minute=minute("interval_start"))
    rows = _whole(rows, members, parts_in(picked, members))
    sound, unsound = _sound(rows, members)
    nobody = nameless.with_columns(determinant=pl.lit(None, dtype=pl.String))
    said = [spans.findings, findings(nobody, "nmi_missing", pl.col("hi") - pl.col("lo"), held=True), unsound]
    ordered, streams = _ordered(sound, members)
    return Streams(
        ordered,
        streams,
        members.select("member", *_MEMBER, "suffix"),
        pl.concat([one.cast(FINDINGS) for one in said]),
    )


def _whole(rows: pl.DataFrame, members: pl.DataFrame, parts: npt.NDArray[np.bool_]) -> pl.DataFrame:
    """The same rows; what an exchange left of an interval to each meter stands for the interval.

    Where both meters share a stream it is one value: the sum of the parts, under the later meter, estimated if one is.
    """
    if not parts.any():
        return rows
    named = members.select("member", "nmi", "suffix", whole=pl.col("length_s").cast(pl.Int32))
    mine = rows.filter(pl.Series(parts)).join(named, on="member", how="left", maintain_order="left")
    seconds = pl.col("whole").cast(pl.Int64) * 1_000_000
    start = (pl.col("interval_start").to_physical() // seconds * seconds).cast(UTC_US)
    mine = mine.with_columns(interval_start=start, interval_s="whole").with_columns(minute=minute("interval_start"))
    poorest = pl.col("quality").cast(pl.String) == Quality.VALID.value
    key = ["nmi", "suffix", "interval_start", "interval_s"]
    value = pl.when(pl.col("value_milli").is_not_null().all()).then(pl.col("value_milli").sum())
    merged = mine.sort("member").group_by(key, maintain_order=True).agg(
        pl.all().exclude(*key, "value_milli", "quality", "method", "version", "judged_at").last(),
        pl.col("version", "judged_at").max(),
        value_milli=value,
        quality=pl.col("quality").sort_by(poorest, maintain_order=True).first(),
        method=pl.col("method").sort_by(poorest, maintain_order=True).first(),
    )  # fmt: skip
    both = pl.concat([rows.filter(~pl.Series(parts)), merged.select(rows.columns)])
    return both.sort("member", "minute")


def _members(located: pl.DataFrame, finals: pl.DataFrame) -> pl.DataFrame:
    at = finals.select(minute("interval_start")).to_series()
    letters = {channel.value: letter for channel, letter in LETTER.items()}
    dated = located.with_columns(first=at.gather(located["lo"]), last=at.gather(located["hi"] - 1))
    ordered = dated.sort("nmi", "channel", "first", "meter_id")
    letter = pl.col("channel").cast(pl.String).replace_strict(letters, default="", return_dtype=pl.String)
    digit = pl.Series(_digits(ordered), dtype=pl.Int32).cast(pl.String)
    return ordered.with_columns(suffix=letter + digit).sort("nmi", "suffix", "first").with_row_index("member")


def _digits(ordered: pl.DataFrame) -> list[int]:
    digits: list[int] = []
    ends: list[tuple[int, int]] = []
    stream: tuple[object, object] = (None, None)
    for nmi, channel, first, last, length in ordered.select("nmi", "channel", "first", "last", "length_s").rows():
        if (nmi, channel) != stream:
            stream, ends = (nmi, channel), []
        free = next((place for place, end in enumerate(ends) if _follows(end, first, length)), len(ends))
        ends[free : free + 1] = [(last, length)]
        digits.append(free + 1)
    return digits


def _follows(end: tuple[int, int], first: int, length: int) -> bool:
    """Whether a meter may take over the suffix: after the last interval, and on another day if its length differs.

    A day of a stream is one 300 of one length: midday exchanges for a meter of another length get a suffix of their
    own.
    """
    last, length_before = end
    return last < first and (length == length_before or (last + _NEM_MIN) // 1440 < (first + _NEM_MIN) // 1440)


def _sound(rows: pl.DataFrame, members: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    length = pl.col("interval_s")
    reason = (
        pl.when(~length.is_in(list(LENGTHS_S)))
        .then(pl.lit("interval_length"))
        .when((pl.col("interval_start").dt.epoch("s") % length) != 0)
        .then(pl.lit("off_grid"))
        .when(pl.col("value_milli") < 0)
        .then(pl.lit("negative"))
    )
    unsound = ~length.is_in(list(LENGTHS_S)) | (pl.col("interval_start").dt.epoch("s") % length != 0)
    if not rows.select((unsound | (pl.col("value_milli") < 0)).any()).item():
        return rows, pl.DataFrame(schema=FINDINGS)
    judged = rows.with_columns(reason=reason)
    bad = judged.filter(pl.col("reason").is_not_null())
    # One bad value spoils its day: the market takes whole days only.
    day = (pl.col("minute") + _NEM_MIN) // 1440
    spoilt = bad.select("member", day=day).unique()
    sound = judged.with_columns(day=day).join(spoilt, on=["member", "day"], how="anti", maintain_order="left")
    counted = bad.group_by("member", "reason", maintain_order=True).agg(n=pl.len())
    named = counted.join(members.select("member", *_MEMBER), on="member", how="left", maintain_order="left")
    named = named.with_columns(determinant=pl.lit(None, dtype=pl.String))
    parts = [
        findings(some, str(kind), pl.col("n"), held=True)
        for (kind,), some in named.group_by("reason", maintain_order=True)
    ]
    return sound.drop("reason", "day"), pl.concat(parts)


def _ordered(rows: pl.DataFrame, members: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    # Members stand in the order of their streams, and so do their rows, unless meters or lengths change within one.
    names = members.select("nmi", "suffix").with_columns(name=pl.struct("nmi", "suffix").rle_id())
    name: I64 = names["name"].cast(pl.Int64).to_numpy()[rows["member"].to_numpy()]
    length, at = rows["interval_s"].to_numpy().astype(np.int64), rows["minute"].to_numpy()
    steps = np.stack([np.diff(name), np.diff(length), np.diff(at)]) if rows.height > 1 else np.zeros((3, 0))
    disorder = (steps[0] == 0) & ((steps[1] != 0) | (steps[2] <= 0))
    if disorder.any():
        order = np.lexsort((at, length, name))
        rows, name, length, at = rows[order], name[order], length[order], at[order]
        # Where two installations meet in one interval the later meter's value stands.
        last = np.append((np.diff(name) != 0) | (np.diff(length) != 0) | (np.diff(at) != 0), [True])
        rows, name, length = rows.filter(pl.Series(last)), name[last], length[last]
    new = (np.diff(name, prepend=-1) != 0) | (np.diff(length, prepend=-1) != 0)
    first = np.flatnonzero(new)
    described = members[rows["member"].gather(first)].select("nmi", "suffix", "channel")
    streams = described.with_columns(interval_s=rows["interval_s"].gather(first)).with_row_index("stream")
    configuration = streams.group_by("nmi").agg(configuration=pl.col("suffix").unique().sort().str.join(""))
    streams = streams.join(configuration, on="nmi", how="left", maintain_order="left")
    return rows.with_columns(stream=pl.Series(np.cumsum(new) - 1)), streams
