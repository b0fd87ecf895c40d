"""Streams of NEM12: which NMI, suffix and meter serial an interval is reported under."""

from typing import Final, NamedTuple

import polars as pl

from billing_export.lines import findings
from billing_export.pieces import ExportInputs
from billing_export.segments import newest
from billing_export.spans import FINDINGS, DeterminantParams, billing_spans
from schemas.codes import Channel
from schemas.frames import CHANNEL

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


class Streams(NamedTuple):
    """Intervals with the stream that each is reported in."""

    rows: pl.DataFrame
    """FINALS columns and `nmi`, `suffix`, `stream` (Int64, ascending by NMI, suffix and length), `minute`; sorted by
    stream and minute, one row per stream and minute."""
    streams: pl.DataFrame
    """`stream`, `nmi`, `suffix`, `interval_s`, `account_id`?, `service_point_id`?, `channel`, `configuration`."""
    findings: pl.DataFrame


def streams_of(part: ExportInputs, params: DeterminantParams) -> Streams:
    """The intervals of the period that NEM12 can carry; what it cannot is a finding.

    Findings, all held: `interval_length` (not 5, 15 or 30 minutes), `nmi_missing` (no NMI of 10 characters, neither
    in METERS nor as service point), `off_grid`, `negative` (a stream-day with a value below zero), and those of
    `billing_spans`. Meters that follow one another on an NMI share a suffix; meters side by side count up its digit.
    """
    carried = pl.Series([channel.value for channel in LETTER], dtype=CHANNEL)
    finals = newest(part.finals.filter(pl.col("channel").is_in(carried.implode())))
    metered = finals.group_by("meter_id").agg(pl.col("service_point_id").drop_nulls().last())
    spans = billing_spans(metered, part.meters, part.tariffs, params)
    nmi = pl.coalesce("nmi", "service_point_id")
    named = spans.spans.select("meter_id", "account_id", "span_from", "span_to", "service_point_id", nmi=nmi)
    start, minute_us = pl.col("interval_start"), 60_000_000
    inside = (start >= pl.col("span_from")) & (start < pl.col("span_to"))
    rows = (
        finals.drop("service_point_id")
        .join(named, on="meter_id", how="inner", maintain_order="left")
        .filter(inside)
        .with_columns(minute=start.to_physical() // minute_us)
    )
    sound, said = _sound(rows)
    numbered = _numbered(sound)
    return Streams(numbered, _described(numbered), pl.concat([spans.findings, said]).cast(FINDINGS))


def _sound(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    length = pl.col("interval_s")
    reason = (
        pl.when(pl.col("nmi").str.len_chars().fill_null(0) != NMI_LENGTH)
        .then(pl.lit("nmi_missing"))
        .when(~length.is_in(list(LENGTHS_S)))
        .then(pl.lit("interval_length"))
        .when((pl.col("interval_start").dt.epoch("s") % length) != 0)
        .then(pl.lit("off_grid"))
        .when(pl.col("value_milli") < 0)
        .then(pl.lit("negative"))
    )
    judged = rows.with_columns(reason=reason)
    bad = judged.filter(pl.col("reason").is_not_null())
    if bad.is_empty():
        return rows, pl.DataFrame(schema=FINDINGS)
    day = (pl.col("minute") + 600) // 1440
    # One bad value spoils its day: the market takes whole days only.
    spoilt = bad.select("meter_id", "channel", day=day).unique()
    sound = judged.with_columns(day=day).join(
        spoilt, on=["meter_id", "channel", "day"], how="anti", maintain_order="left"
    )
    keys = ["account_id", "service_point_id", "meter_id", "channel", "reason"]
    grouped = (
        bad.group_by(keys, maintain_order=True).agg(n=pl.len()).with_columns(determinant=pl.lit(None, dtype=pl.String))
    )
    parts = [
        findings(rows_of, str(reason_of[0]), pl.col("n"), held=True)
        for reason_of, rows_of in grouped.group_by("reason", maintain_order=True)
    ]
    return sound.drop("reason", "day"), pl.concat(parts)


def _numbered(rows: pl.DataFrame) -> pl.DataFrame:
    letters = {channel.value: letter for channel, letter in LETTER.items()}
    letter = pl.col("channel").cast(pl.String).replace_strict(letters, default="")
    used = rows.group_by("nmi", "meter_id", "channel").agg(first=pl.col("minute").min(), last=pl.col("minute").max())
    digits = _digits(used)
    suffixed = rows.join(digits, on=["nmi", "meter_id", "channel"], how="left", maintain_order="left")
    suffixed = suffixed.with_columns(suffix=letter + pl.col("digit").cast(pl.String)).drop("digit")
    ordered = suffixed.sort("nmi", "suffix", "interval_s", "minute", maintain_order=True)
    # Where two installations meet in one interval the later meter's value stands.
    unique = ordered.unique(["nmi", "suffix", "interval_s", "minute"], keep="last", maintain_order=True)
    return unique.with_columns(stream=pl.struct("nmi", "suffix", "interval_s").rle_id().cast(pl.Int64))


def _digits(used: pl.DataFrame) -> pl.DataFrame:
    ordered = used.sort("nmi", "channel", "first", "meter_id")
    digits: list[int] = []
    ends: list[int] = []
    stream: tuple[object, object] = (None, None)
    for nmi, _meter, channel, first, last in ordered.select("nmi", "meter_id", "channel", "first", "last").rows():
        if (nmi, channel) != stream:
            stream, ends = (nmi, channel), []
        free = next((place for place, end in enumerate(ends) if end < first), len(ends))
        ends[free : free + 1] = [last]
        digits.append(free + 1)
    return ordered.select("nmi", "meter_id", "channel", digit=pl.Series(digits, dtype=pl.Int32))


def _described(rows: pl.DataFrame) -> pl.DataFrame:
    streams = rows.group_by("stream", maintain_order=True).agg(
        pl.col("nmi", "suffix", "interval_s", "account_id", "service_point_id", "channel").first()
    )
    configuration = streams.group_by("nmi").agg(configuration=pl.col("suffix").unique().sort().str.join(""))
    return streams.join(configuration, on="nmi", how="left", maintain_order="left")
