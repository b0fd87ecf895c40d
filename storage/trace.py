"""How a billed value came to be: file line → ledger → final → raw value → the message's bytes. Pure."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

import polars as pl

from schemas.codes import RULE_BIT, Status
from storage.store import Evidence

_PLACE: Final = ("topic", "partition", "offset", "frame")
_LEDGER: Final = (
    "batch_id", "line_no", "determinant", "channel", "value_milli", "ratio", "uom", "sign", "period_start",
    "period_end", "quality_class", "source_revision", "determinant_revision", "supersedes",
)  # fmt: skip
_FINAL: Final = (
    "channel", "version", "value_milli", "quality", "method", "is_final_estimate", "judged_at", "author", "run_id",
)  # fmt: skip
_RAW: Final = ("channel", "obis", "interval_s", "value_milli", "received_at", *_PLACE)
_READ: Final = ("channel", "obis", "read_at", "value_milli", "received_at", *_PLACE)
_EDIT: Final = ("edit_id", "channel", "action", "value_milli", "reason", "author", "approved_by", "made_at")


def explain(evidence: Evidence, meter_id: str, interval_start: datetime) -> dict[str, Any]:
    """What is known of one interval of a meter, from the bill down to the bytes, ready for JSON.

    Args:
        evidence: As loaded by `ReadingStore.load_evidence` for that meter and interval.
        meter_id: The meter.
        interval_start: Start of the interval, UTC.

    Returns:
        `meter_id`, `interval_start` and the lists `ledger`, `finals` (every version; `current` marks the newest of its
        channel; `failed` and `unjudged` name rules), `raw` (every value as sent; `current` marks the one that counts),
        `reads` (registers at both ends), `edits`, `messages` (place, `bytes`, `payload` in hex) and `story` (sentences
        in that order). Instants are ISO 8601 in UTC; quantities are thousandths; nulls stay null. Nothing known gives
        empty lists and a story that says so.
    """
    finals = list(_finals(evidence.finals.filter(pl.col("interval_start") == interval_start)))
    raw = list(_raw(evidence.intervals.filter(pl.col("interval_start") == interval_start)))
    answer = {
        "meter_id": meter_id,
        "interval_start": _plain(interval_start),
        "ledger": list(_records(evidence.ledger, _LEDGER)),
        "finals": finals,
        "raw": raw,
        "reads": [_with_status(read, row) for read, row in _both(evidence.reads, _READ)],
        "edits": list(_records(evidence.edits, _EDIT)),
        "messages": list(_messages(evidence.messages)),
    }
    return answer | {"story": list(_story(answer))}


def _finals(rows: pl.DataFrame) -> Iterator[dict[str, Any]]:
    ordered = rows.sort("channel", "version", "judged_at")
    ordered = ordered.with_columns(_current=pl.int_range(pl.len()).over("channel") == pl.len().over("channel") - 1)
    for final, row in _both(ordered, _FINAL):
        yield final | {
            "failed": _rules(row["failed"]),
            "unjudged": _rules(row["unjudged"]),
            "current": row["_current"],
        }


def _raw(rows: pl.DataFrame) -> Iterator[dict[str, Any]]:
    ordered = rows.sort("channel", "obis", "interval_s", "received_at", *_PLACE, nulls_last=False)
    what = [pl.col("channel"), pl.col("interval_s"), pl.when(pl.col("channel") == "other").then("obis")]
    marked = ordered.with_columns(
        _current=pl.struct("received_at", *_PLACE).rank("ordinal").over(what) == pl.len().over(what)
    )
    for value, row in _both(marked, _RAW):
        yield _with_status(value, row) | {"current": row["_current"]}


def _messages(rows: pl.DataFrame) -> Iterator[dict[str, Any]]:
    for message, row in _both(rows, (*_PLACE, "received_at")):
        yield message | {"bytes": len(row["payload"]), "payload": row["payload"].hex()}


def _story(answer: dict[str, Any]) -> Iterator[str]:
    for line in answer["ledger"]:
        amount = "" if line["value_milli"] is None else f" of {line['value_milli']} milli"
        yield f"line {line['line_no']} of batch {line['batch_id']} bills {line['determinant']}{amount}"
    for final in answer["finals"]:
        how = final["method"] or "as measured"
        state = "counts" if final["current"] else "was superseded"
        failed = f", failed {', '.join(final['failed'])}" if final["failed"] else ""
        yield (
            f"{final['channel']} version {final['version']} is {final['value_milli']} milli, {final['quality']} ({how})"
            f"{failed}, judged {final['judged_at']}, and {state}"
        )
    for value in answer["raw"]:
        state = "counts" if value["current"] else "was superseded"
        yield f"{value['channel']} was sent as {value['value_milli']} in {_place(value)} and {state}"
    for read in answer["reads"]:
        yield f"{read['channel']} stood at {read['value_milli']} on {read['read_at']} in {_place(read)}"
    for message in answer["messages"]:
        yield f"{_place(message)} is kept with its {message['bytes']} bytes"
    if not answer["raw"] and not answer["reads"]:
        yield "no raw value of this interval ever arrived"
    elif not answer["messages"]:
        yield "the messages themselves are no longer kept"


def _place(row: dict[str, Any]) -> str:
    return f"{row['topic']}/{row['partition']}/{row['offset']}/{row['frame']}"


def _with_status(record: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    flags = [str(flag.name).lower() for flag in Status if row["status"] & flag]
    return record | {"status": flags}


def _rules(bits: int) -> list[str]:
    return [rule.value for rule, bit in RULE_BIT.items() if bits >> bit & 1]


def _records(rows: pl.DataFrame, columns: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    return (record for record, _ in _both(rows, columns))


def _both(rows: pl.DataFrame, columns: tuple[str, ...]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each row twice: the named columns ready for JSON, and all of it as it is. For the few rows of one interval."""
    values = [rows[name].to_list() for name in rows.columns]
    for row in zip(*values, strict=True):
        whole = dict(zip(rows.columns, row, strict=True))
        yield {name: _plain(whole[name]) for name in columns}, whole


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return value if value is None or isinstance(value, (str, int, float)) else str(value)
