"""Topic contracts and message schemas say what the frames say."""

import json
from pathlib import Path

import polars as pl
import pytest

from ingest.kafka.topics import Difference, TopicContract, differences, packaged_topics, plan_topics
from outage.notes import NOTES
from outage.notices import WARNINGS
from schemas import errors, frames

FOLDER = Path(errors.__file__).with_name("kafka")
FRAMES = {
    "events.v1": frames.EVENTS,
    "heard.v1": frames.HEARD,
    "dirty-days.v1": frames.DIRTY_DAYS,
    "rejects.v1": frames.REJECTS,
    "meters.v1": frames.METERS,
    "outage-notes.v1": NOTES,
    "outage-notices.v1": WARNINGS,
}


@pytest.mark.parametrize("name", FRAMES)
def test_a_line_of_a_message_has_the_columns_nulls_and_codes_of_its_frame(name: str) -> None:
    frame, schema = FRAMES[name], json.loads((FOLDER / f"{name}.json").read_text())
    assert list(schema["properties"]) == list(frame.schema) == schema["required"]
    for column, dtype in frame.schema.items():
        said = schema["properties"][column]
        codes = said.get("enum", [])
        assert (None in codes or "null" in said.get("type", "")) == (column in frame.nullable), column
        if isinstance(dtype, pl.Enum):
            assert [code for code in codes if code is not None] == dtype.categories.to_list(), column


def test_every_topic_names_a_schema_that_is_there_or_says_what_its_bytes_are() -> None:
    for topic in packaged_topics():
        if topic.value.endswith(".json"):
            assert json.loads((FOLDER / topic.value).read_text())["$id"] == topic.name
        else:
            assert topic.value in {"link-layer frames end to end", "records of the outage worker"}


def test_only_missing_topics_are_made_and_none_ever_shrinks() -> None:
    wanted = packaged_topics()[:3]
    plan = plan_topics(wanted, {wanted[1].name: wanted[1].partitions - 1, wanted[2].name: wanted[2].partitions + 1})
    assert plan.missing == (wanted[0],)
    assert plan.grow == (wanted[1],)


def test_a_compacted_topic_keeps_its_last_state_for_ever() -> None:
    meters = next(topic for topic in packaged_topics() if topic.name == "ami.meters.v1")
    assert isinstance(meters, TopicContract)
    assert meters.configuration(copies=3)["cleanup.policy"] == "compact"
    assert meters.configuration(copies=3)["retention.ms"] == "-1"


def test_a_message_that_is_acknowledged_lies_on_more_than_the_leader() -> None:
    """One broker of those that hold a topic may be away; a topic of fewer copies than new ones is judged by its own."""
    kept = [
        topic.configuration(copies)["min.insync.replicas"] for topic in packaged_topics()[:1] for copies in (1, 2, 3, 4)
    ]
    assert kept == ["1", "1", "2", "3"]
    there = packaged_topics()[:2]
    weak = {topic.name: {"min.insync.replicas": "1"} for topic in there}
    differ = differences(there, weak, {there[0].name: 3, there[1].name: 1})
    assert differ == (Difference(there[0].name, "min.insync.replicas", "1", "2"),)
