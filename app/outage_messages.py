"""The outage lane's messages: what those of its input topics tell, and what incidents become on those of its output."""

import uuid
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import numpy as np
import polars as pl

from app.messages import from_messages, to_messages
from app.outage_source import NOTES_TOPIC, PING_RESULTS_TOPIC
from app.workers import EVENTS_TOPIC, HEARD_TOPIC, OUTAGES_TOPIC
from outage.circumstances import PINGS, PingAnswer
from outage.messages.cim_json import render_cim_json
from outage.notes import NOTES
from outage.notices import WARNINGS
from outage.params import DetectParams
from outage.pings import PING_REQUESTS
from outage.stream_record import Memory
from outage.stream_state import Evidence
from schemas.errors import ContractError
from schemas.frames import EVENTS, HEARD, UTC_US, Frame

PING_REQUESTS_TOPIC: Final = "ami.ping-requests.v1"
NOTICES_TOPIC: Final = "ami.outage-notices.v1"
PING_EXPIRES_S: Final = 300

PING_RESULTS: Final = Frame(
    "PING_RESULTS",
    pl.Schema(
        {
            "request_id": pl.String(), "meter_id": pl.String(), "result": pl.String(), "answered_at": UTC_US,
            "authenticated": pl.Boolean(),
        }
    ),
    frozenset({"authenticated"}),
    frozenset({"authenticated"}),
)  # fmt: skip
ANSWERS: Final = {
    "powered": PingAnswer.ON,
    "no_power": PingAnswer.OFF,
    "no_answer": PingAnswer.UNKNOWN,
    "unreachable": PingAnswer.COMMUNICATION_FAILURE,
}


class Said(NamedTuple):
    """What a batch gives to say."""

    outages: pl.DataFrame
    """OUTAGES."""
    requests: pl.DataFrame
    """`PING_REQUESTS`."""
    warnings: pl.DataFrame
    """WARNINGS."""


def evidence_of(messages: pl.DataFrame, params: DetectParams) -> Evidence:
    """What a batch of messages tells.

    Args:
        messages: `topic`, `timestamp_ms`, `value`, as `app.outage_source` polls them; ticks are none.
        params: How far ahead a clock is believed.

    Raises:
        ContractError: A value is not rows of its topic.
    """
    heard, asked = _of_topic(messages, HEARD_TOPIC), _of_topic(messages, PING_RESULTS_TOPIC)
    reads = _believed(from_messages(heard["value"].to_list(), HEARD), "read_at", heard, params)
    pings = _believed(ping_results(asked["value"].to_list()), "answered_at", asked, params)
    return Evidence(
        from_messages(_of_topic(messages, EVENTS_TOPIC)["value"].to_list(), EVENTS),
        reads,
        pings.select("meter_id", "answered_at", pl.col("answer").cast(PINGS["answer"])),
        from_messages(_of_topic(messages, NOTES_TOPIC)["value"].to_list(), NOTES),
    )


def _believed(rows: pl.DataFrame, instant: str, messages: pl.DataFrame, params: DetectParams) -> pl.DataFrame:
    """The rows whose instant is no further ahead of their message than the clock of an event is believed.

    One of the future would carry all incidents into the past.
    """
    lines = [value.rstrip(b"\n").count(b"\n") + 1 if value.strip() else 0 for value in messages["value"]]
    told_us = np.repeat(messages["timestamp_ms"].to_numpy() * 1000, lines)
    if len(told_us) != rows.height:
        raise ContractError(f"{instant}: a message holds lines that are no rows")
    ahead = rows[instant].to_physical().to_numpy() - told_us
    return rows.filter(pl.Series(ahead <= params.early_s * 1_000_000, dtype=pl.Boolean))


def ping_results(values: Iterable[bytes]) -> pl.DataFrame:
    """PING_RESULTS with `answer`, the result in the words of `PingAnswer`.

    Raises:
        ContractError: A value is not rows of the topic, or its result is none of those that there are.
    """
    results = from_messages(values, PING_RESULTS)
    if not results["result"].is_in(list(ANSWERS)).all():
        raise ContractError("PING_RESULTS.result: none of those that there are")
    return results.with_columns(answer=pl.col("result").replace_strict(ANSWERS, return_dtype=pl.String))


def _of_topic(messages: pl.DataFrame, topic: str) -> pl.DataFrame:
    return messages.filter((pl.col("topic") == topic) & pl.col("value").is_not_null())


def messages_of(said: Said) -> Iterator[tuple[str, pl.DataFrame]]:
    """Topics and their messages (`key`, `value`)."""
    if said.outages.height:
        steps = {"key": said.outages["incident_id"], "value": list(render_cim_json(said.outages))}
        yield OUTAGES_TOPIC, pl.DataFrame(steps, schema_overrides={"value": pl.Binary})
    if said.requests.height:
        asked = _ping_messages(said.requests)
        yield PING_REQUESTS_TOPIC, to_messages(asked, asked["meter_id"])
    if said.warnings.height:
        yield NOTICES_TOPIC, to_messages(said.warnings, said.warnings["node_id"])


def said_again(memory: Memory) -> Said:
    """What the last record was to say. The node that a check was for is not remembered, nor needed."""
    requests = memory.asked.select(
        "meter_id",
        node_kind=pl.lit(None, PING_REQUESTS["node_kind"]),
        node_id=pl.lit(None, pl.String),
        reason=pl.lit("undecided", PING_REQUESTS["reason"]),
        asked_at="asked_at",
    )
    return Said(memory.outages, requests, WARNINGS.empty())


def _ping_messages(requests: pl.DataFrame) -> pl.DataFrame:
    names = [
        str(uuid.uuid5(uuid.NAMESPACE_OID, f"{meter}/{at}"))
        for meter, at in requests.select("meter_id", pl.col("asked_at").to_physical()).rows()
    ]
    return requests.select(
        "meter_id",
        request_id=pl.Series(names, dtype=pl.String),
        reason=pl.when(pl.col("reason") == "nested").then(pl.lit("restoration")).otherwise(pl.lit("incident")),
        incident_id=pl.lit(None, pl.String),
        requested_at="asked_at",
        expires_at=pl.col("asked_at") + pl.duration(seconds=PING_EXPIRES_S),
        requested_by=pl.lit("outage"),
    )
