"""NEM12 read into finals: history from another system, exact to the last digit of the file."""

from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import numpy as np
import polars as pl

from billing_export.findings import Finding
from billing_export.formats.nem12_codes import UNIT_MILLI
from billing_export.formats.nem12_records import Day, Records, Stream, read_records
from billing_export.formats.nem12_streams import LETTER
from schemas.codes import Channel, Method, Quality, Rule
from schemas.frames import FINALS, conform

REFUSED: Final = frozenset(
    {
        "not_text", "empty", "no_header", "not_nem12", "no_trailer", "after_trailer", "record_order",
        "record_unknown", "field_count", "interval_length_unusable", "date", "value_count", "value", "quality_flag",
        "range", "tiling", "v_without_events", "date_twice", "uom", "decimals",
        "value_size",
    }
)  # fmt: skip
"""Findings after which no value of the file is taken: the file is cut short, or a value's place, size or quality is
in doubt. Others are said and tolerated."""
NEM_OFFSET: Final = timedelta(hours=10)
_CHANNEL: Final = {letter: channel for channel, letter in LETTER.items()}
_METHOD: Final = {
    11: Method.CHECK_METER, 14: Method.LIKE_DAY, 15: Method.MEAN_LIKE_DAY, 16: Method.MANUAL, 17: Method.LINEAR,
    18: Method.FLAT, 19: Method.ZERO, 51: Method.LIKE_DAY, 54: Method.LINEAR, 55: Method.MANUAL, 57: Method.PROFILE,
    58: Method.ZERO, 63: Method.PROFILE, 65: Method.FLAT, 68: Method.ZERO,
}  # fmt: skip
_AGREED: Final = frozenset({16, 55})
_OUTAGE_REASONS: Final = frozenset({"43", "79"})
_WHOLE_DIGITS: Final = 9
"""Of a value in the file's unit, a mega unit among them: in thousandths of the base unit it fits 64 bits."""
_NEVER: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Imported(NamedTuple):
    """What a file gave."""

    finals: pl.DataFrame
    """FINALS, version 1, `service_point_id` the NMI; empty where the file is refused."""
    findings: list[Finding]
    """Everything that was not as it should be."""
    refused: bool


def import_nem12(data: bytes, run_id: str) -> Imported:
    """Finals of a NEM12 file, or a refusal that names why.

    Values become thousandths of the base unit, exactly. `meter_id` is the meter serial, else the NMI, with `/suffix`
    where one serial has several registers of a kind or the suffix is none of E, B, Q, K (channel `other`).
    `judged_at` is the update time of the day, else the creation time of the file. Qualities: A valid, N missing
    (value null), F final estimate, E forward estimate, S by method; S19 for a power outage (reason 43, 79) is
    `outage`; 16 is `edited`.

    Args:
        data: The file.
        run_id: Becomes `FINALS.run_id`.
    """
    records = read_records(data)
    found = records.findings + _doubts(records)
    refused = any(finding.reason in REFUSED for finding in found)
    finals = FINALS.empty() if refused else _finals(records, run_id)
    return Imported(finals, sorted(set(found)), refused)


def _doubts(records: Records) -> list[Finding]:
    found = []
    seen: set[tuple[str, str, object]] = set()
    for day in records.days:
        stream = records.streams[day.stream]
        if (stream.nmi, stream.suffix, day.day) in seen:
            found.append(Finding(day.line, "date_twice", f"{day.day} of {stream.suffix} is given twice"))
        seen.add((stream.nmi, stream.suffix, day.day))
        if day.quality.startswith("V") and not day.events:
            found.append(Finding(day.line, "v_without_events", "quality V without a 400"))
        covered = [place for event in day.events for place in range(event.first, event.last + 1)]
        if day.events and sorted(covered) != list(range(1, len(day.values) + 1)):
            found.append(Finding(day.line, "tiling", "the 400 records do not tile the day"))
        parts = [value.lstrip("-").partition(".") for value in day.values]
        if max((len(rest) for _, _, rest in parts), default=0) > 6:
            found.append(Finding(day.line, "decimals", "more than 6 decimals"))
        if max((len(whole) for whole, _, _ in parts), default=0) > _WHOLE_DIGITS:
            found.append(Finding(day.line, "value_size", f"more than {_WHOLE_DIGITS} digits before the point"))
    return found


def _finals(records: Records, run_id: str) -> pl.DataFrame:
    names = _meter_names(records.streams)
    counts = [len(day.values) for day in records.days]
    place = np.repeat(np.arange(len(counts)), counts)
    slot = np.concatenate([np.arange(count) for count in counts])
    streams = [records.streams[day.stream] for day in records.days]
    judged = [_judged(day, records.header) for day in records.days]
    by_day = pl.DataFrame(
        {
            "meter_id": [names[day.stream] for day in records.days],
            "service_point_id": [stream.nmi for stream in streams],
            "channel": [_channel(stream).value for stream in streams],
            "midnight": [datetime(d.day.year, d.day.month, d.day.day, tzinfo=UTC) - NEM_OFFSET for d in records.days],
            "interval_s": pl.Series([stream.length_min * 60 for stream in streams], dtype=pl.Int32),
            "factor": pl.Series([UNIT_MILLI[stream.uom.upper()] for stream in streams], dtype=pl.Int64),
            "judged_at": judged,
        },
        schema_overrides={"midnight": pl.Datetime("us", "UTC"), "judged_at": pl.Datetime("us", "UTC")},
    )
    values = pl.Series([value for day in records.days for value in day.values])
    rows = by_day[place].with_columns(
        interval_start=pl.col("midnight") + pl.duration(seconds=pl.Series(slot) * pl.col("interval_s").cast(pl.Int64)),
        value_milli=_exact(values, by_day["factor"].gather(place)),
        **_qualities(records.days),
    )
    filled = rows.with_columns(
        value_milli=pl.when(pl.col("quality") == Quality.MISSING.value).then(None).otherwise("value_milli"),
        failed=pl.lit(0, dtype=pl.UInt64),
        unjudged=pl.lit(0, dtype=pl.UInt64),
        version=pl.lit(1, dtype=pl.Int64),
        author=pl.lit(None, dtype=pl.String),
        run_id=pl.lit(run_id),
    )
    return conform(filled, FINALS).sort("meter_id", "channel", "interval_start")


def _exact(values: pl.Series, factor: pl.Series) -> pl.Series:
    written = pl.DataFrame({"text": values, "factor": factor})
    parts = pl.col("text").str.strip_prefix("-").str.split_exact(".", 1).struct
    whole = parts.field("field_0").replace("", "0").cast(pl.Int64).cast(pl.Int128)
    millionths = parts.field("field_1").fill_null("").str.pad_end(6, "0").cast(pl.Int64)
    scaled = ((whole * 1_000_000 + millionths) * pl.col("factor") // 1_000_000).cast(pl.Int64)
    signed = pl.when(pl.col("text").str.starts_with("-")).then(-scaled).otherwise(scaled)
    return written.select(signed).to_series()


def _channel(stream: Stream) -> Channel:
    energy = stream.uom.upper() in ("WH", "KWH", "MWH", "VARH", "KVARH", "MVARH")
    return _CHANNEL.get(stream.suffix[:1], Channel.OTHER) if energy else Channel.OTHER


def _meter_names(streams: list[Stream]) -> list[str]:
    suffixes: dict[tuple[str, str, Channel], set[str]] = {}
    for stream in streams:
        suffixes.setdefault((stream.nmi, stream.serial, _channel(stream)), set()).add(stream.suffix)
    names = []
    for stream in streams:
        channel = _channel(stream)
        alone = len(suffixes[stream.nmi, stream.serial, channel]) == 1 and channel is not Channel.OTHER
        name = stream.serial or stream.nmi
        names.append(name if alone else f"{name}/{stream.suffix}")
    return names


def _qualities(days: list[Day]) -> dict[str, pl.Series]:
    kinds: list[tuple[str, str | None, bool]] = []
    for day in days:
        if not day.events:
            kinds += [_quality(day.quality, day.reason, day.text)] * len(day.values)
            continue
        ordered = sorted(day.events, key=lambda event: event.first)
        for event in ordered:
            kinds += [_quality(event.quality, event.reason, event.text)] * (event.last - event.first + 1)
    return {
        "quality": pl.Series([kind[0] for kind in kinds], dtype=pl.String),
        "method": pl.Series([kind[1] for kind in kinds], dtype=pl.String),
        "is_final_estimate": pl.Series([kind[2] for kind in kinds], dtype=pl.Boolean),
    }


def _quality(field: str, reason: str, text: str) -> tuple[str, str | None, bool]:
    flag, number = field[:1], int(field[1:]) if field[1:].isdecimal() else 0
    method = _METHOD.get(number)
    final = flag == "F"
    if text.partition(" ")[0] == Quality.SUSPECT.value and text.partition(" ")[2] in ("", *Rule):
        return Quality.SUSPECT.value, None, False
    if flag == "A":
        return Quality.VALID.value, None, False
    if flag == "N":
        return Quality.MISSING.value, None, False
    if flag == "E":
        return Quality.ESTIMATED.value, Method.FORWARD.value, False
    if number in _AGREED:
        return Quality.EDITED.value, Method.MANUAL.value, final
    if method is Method.ZERO and reason in _OUTAGE_REASONS:
        return Quality.OUTAGE.value, Method.ZERO.value, final
    return Quality.ESTIMATED.value, method.value if method else None, final


def _judged(day: Day, header: list[str]) -> datetime:
    for text, pattern in ((day.updated, "%Y%m%d%H%M%S"), (header[2], "%Y%m%d%H%M")):
        try:
            return datetime.strptime(text, pattern).replace(tzinfo=UTC) - NEM_OFFSET
        except ValueError:
            continue  # the next best time of the file
    return _NEVER
