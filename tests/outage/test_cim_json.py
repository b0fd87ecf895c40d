"""The JSON of `ami.outages.v1` keeps its schema and says the same every time."""

import json
from pathlib import Path

import msgspec
import polars as pl
import pytest
from outage_logs import MINUTE, T0, alive, below, log, told, tree

from outage.detect import detect_outages
from outage.messages import FEEDS, render_feeds
from outage.messages.cim_json import message_schema, parse_cim_json, render_cim_json
from outage.params import DetectParams
from schemas.errors import ContractError

METERS = tree()
SCHEMA = Path(__file__).parents[2] / "schemas" / "kafka" / "outages.v1.json"


def incidents() -> pl.DataFrame:
    dark = below(METERS, "T000")
    events = log(told(dark, "power_down", T0), told(dark, "power_up", T0 + 45 * MINUTE))
    return detect_outages(events, METERS, alive(METERS, dark, T0 + 10 * MINUTE), DetectParams(run_id="r1")).outages


def test_every_step_is_one_message_that_keeps_the_schema() -> None:
    outages = incidents()
    messages = [parse_cim_json(text) for text in render_cim_json(outages)]
    assert [(m.mRID, m.step, m.status) for m in messages] == outages.select(
        "incident_id", "step", pl.col("state").cast(pl.String)
    ).rows()
    assert messages[-1].actualPeriod.end == outages["restored_at"][-1]
    assert messages[0].actualPeriod.end is None


def test_the_schema_file_is_the_schema_of_the_code() -> None:
    assert json.loads(SCHEMA.read_text()) == message_schema()


@pytest.mark.parametrize(
    ("field", "value"),
    [("status", "broken"), ("step", -1), ("confidence", 1.5), ("updatedDateTime", "2026-01-10T10:00:00"), ("extra", 1)],
)
def test_a_wrong_field_is_refused_and_named(field: str, value: object) -> None:
    message = msgspec.json.decode(next(iter(render_cim_json(incidents()))))
    message[field] = value
    with pytest.raises(ContractError, match=field):
        parse_cim_json(msgspec.json.encode(message))


def test_the_same_incidents_give_the_same_bytes() -> None:
    assert render_feeds(incidents(), FEEDS) == render_feeds(incidents(), FEEDS)


def test_an_unknown_format_is_named() -> None:
    with pytest.raises(ContractError, match="fax"):
        render_feeds(incidents(), ["fax"])
