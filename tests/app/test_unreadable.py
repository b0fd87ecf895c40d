"""A message of our own topics that is no rows of it holds up no worker: others are read, and it becomes a reject."""

import logging
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from app import far_days, store_lane, vee_lane, workers
from app.embedded import MemoryPublisher
from app.messages import to_messages
from app.oms_lane import OmsWork, Post
from app.outage_messages import PING_RESULTS, ping_results
from app.outage_source import PING_RESULTS_TOPIC
from app.replay import REPLAYABLE, check_reasons
from app.telemetry import REGISTRY
from app.unreadable import read, sift
from outage.delivery import Delivery, RetryParams
from outage.messages.cim_json import render_cim_json
from outage.messages.letters import json_letters
from outage.oms_outbox import Outbox
from outage.stream_said import said_steps
from schemas.errors import ContractError
from schemas.frames import DIRTY_DAYS, EVENTS, METERS, OUTAGES, REJECTS
from tests.noting_store import NotingStore, noting_store
from validation.params import VeeParams

NOW = datetime(2026, 3, 2, tzinfo=UTC)
RUBBISH = (
    b"{", b"null", b"[]", b"{}", b"\xff\xfe", b"\x00", b'{"no": "row"}', b'"text"', b"[" * 10_000, b'{"step": 1e99}',
)  # fmt: skip
PLACES = {"topic": pl.String(), "partition": pl.Int32(), "offset": pl.Int64(), "value": pl.Binary()}


def on(topic: str, values: list[bytes], first: int = 0) -> pl.DataFrame:
    """Messages as a source polls them."""
    columns = {"topic": topic, "partition": 3, "offset": range(first, first + len(values)), "value": values}
    frame = pl.DataFrame(columns, schema=PLACES)
    return frame.with_columns(at=pl.lit(NOW).cast(pl.Datetime("us", "UTC")), timestamp_ms=pl.lit(0, pl.Int64))


def events(*meters: str) -> list[bytes]:
    row = {
        "topic": "ami.lastgasp.v1", "partition": 0, "offset": 0, "frame": 0, "received_at": NOW, "event": "power_down",
        "origin": "meter", "occurred_at": NOW, "authenticated": True,
    }  # fmt: skip
    frame = pl.DataFrame([row | {"meter_id": meter} for meter in meters], schema=EVENTS.schema)
    return to_messages(frame, frame["meter_id"])["value"].to_list()


def steps(*incidents: str) -> list[bytes]:
    row = {
        "step": 0, "state": "reported", "scope": "street", "node_kind": "transformer", "node_id": "T1",
        "started_at": NOW, "meters_out": 1, "customers_out": 1, "confidence": 0.9, "updated_at": NOW,
        "meters_eligible": 1, "meters_heard": 1, "meters_alive": 0, "meters_silent": 0, "authenticated_share": 1.0,
        "planned": False, "run_id": "",
    }  # fmt: skip
    frame = pl.DataFrame([row | {"incident_id": name} for name in incidents], schema=OUTAGES.schema)
    return list(render_cim_json(frame))


@pytest.fixture
def tables() -> Iterator[NotingStore]:
    with noting_store() as opened:
        yield opened


def counted(topic: str) -> float:
    return REGISTRY.get_sample_value("ami_unreadable_messages_total", {"topic": topic}) or 0.0


def test_the_store_worker_stores_what_stands_around_them_and_rejects_them_with_their_bytes(
    tables: NotingStore, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = events("A", "B")
    first, second = steps("first", "second")
    publisher = MemoryPublisher()
    before = counted(workers.EVENTS_TOPIC)
    messages = pl.concat(
        [
            on(workers.EVENTS_TOPIC, [one, *RUBBISH, two]),
            on(workers.OUTAGES_TOPIC, [first, *RUBBISH, second]),
            on(workers.REJECTS_TOPIC, list(RUBBISH)),
        ]
    )
    work = store_lane.StoreWork(tables, publisher, METERS.empty())
    with caplog.at_level(logging.ERROR):
        work.deliver(work.prepare(messages), "batch")
    assert tables.rows["events"]["meter_id"].to_list() == ["A", "B"]
    assert tables.rows["outages"]["incident_id"].to_list() == ["first", "second"]
    rejects = tables.rows["rejects"]
    assert rejects["payload"].to_list() == [*RUBBISH] * 3
    assert set(rejects["reason"].cast(pl.String)) == {"no_rows"}
    assert rejects["offset"].to_list()[:10] == list(range(1, 11))
    assert rejects["received_at"].unique().to_list() == [NOW]
    assert publisher.rows(workers.REJECTS_TOPIC, REJECTS).equals(rejects)
    assert counted(workers.EVENTS_TOPIC) - before == len(RUBBISH)
    told = [record for record in caplog.records if record.name == "ami.unreadable"]
    assert [record.fields["messages"] for record in told] == [3 * len(RUBBISH)]


def test_a_number_that_no_row_holds_is_no_step_of_an_incident() -> None:
    (good,) = steps("one")
    with pytest.raises(ContractError):
        said_steps([good.replace(b'"step":0', b'"step":1000000000000')])


def test_vee_judges_the_days_that_can_be_read_and_rejects_the_rest(tables: NotingStore) -> None:
    meters = pl.DataFrame([{"meter_id": "A"}], schema=METERS.schema)
    work = vee_lane.VeeWork(tables, meters, VeeParams(judged_at=NOW, run_id="", context_days=3), lambda: NOW)
    days = pl.DataFrame({"bucket": work._buckets["bucket"], "day": [date(2026, 3, 2)]}, schema=DIRTY_DAYS.schema)
    good = to_messages(days, days["bucket"])["value"].to_list()
    due = work.prepare(on(workers.DIRTY_DAYS_TOPIC, [RUBBISH[0], *good, RUBBISH[1]]))
    assert [scope.meters for scope in due.scopes] == [("A",)]
    work.deliver(due._replace(scopes=[]), "batch")
    assert tables.rows["rejects"]["payload"].to_list() == list(RUBBISH[:2])


def test_a_day_at_the_end_of_all_clocks_stops_no_judging_of_others(tables: NotingStore) -> None:
    """Any meter may name it: its clock is a field of twelve octets."""
    meters = pl.DataFrame([{"meter_id": "A", "timezone": "Australia/Sydney"}], schema=METERS.schema)
    work = vee_lane.VeeWork(tables, meters, VeeParams(judged_at=NOW, run_id="", context_days=400), lambda: NOW)
    far = [date(1, 1, 1), date(1904, 12, 31), date(2295, 1, 1), date(9999, 12, 30), date(9999, 12, 31)]
    lived = [far_days.FIRST_DAY, date(2026, 3, 2), far_days.LAST_DAY]
    days = pl.DataFrame({"bucket": work._buckets["bucket"], "day": [[*far, *lived]]}).explode("day")
    messages = to_messages(days.cast(dict(DIRTY_DAYS.schema)), days["bucket"])["value"].to_list()
    due = work.prepare(on(workers.DIRTY_DAYS_TOPIC, messages))
    assert [(scope.start + timedelta(hours=14)).date() for scope in due.scopes] == lived[1:2]
    assert due.far["day"].sort().to_list() == lived[::2], "judged where something is stored of them"


class Seeking:
    """Reads from wherever it is told to."""

    def seek(self, positions, *, missing_from_start):
        return positions


def test_an_outage_system_hears_of_the_steps_around_them_and_its_positions_move_on(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "party.sqlite")
    answer = {"request_id": "r", "meter_id": "A", "result": "no_power", "answered_at": NOW}
    unknown = pl.DataFrame([answer | {"result": "perhaps"}], schema=PING_RESULTS.schema)
    delivery = Delivery(outbox, lambda _: pytest.fail("nothing is sent"), RetryParams())
    post = Post("party", outbox, json_letters, delivery, whole=True)
    work = OmsWork(Seeking(), [post], missing_from_start=True)
    first, second = steps("first", "second")
    messages = pl.concat(
        [
            on(workers.OUTAGES_TOPIC, [first, *RUBBISH, second]),
            on(PING_RESULTS_TOPIC, [*RUBBISH, *to_messages(unknown, unknown["meter_id"])["value"]]),
        ]
    )
    work.deliver(work.prepare(messages), "batch")
    assert outbox.counts().waiting == 2
    assert outbox.positions() == {workers.OUTAGES_TOPIC: {3: 12}, PING_RESULTS_TOPIC: {3: 11}}
    assert list(outbox.kept("first")) == [first]
    outbox.close()


def test_an_answer_of_an_unknown_result_is_no_row() -> None:
    answer = {"request_id": "r", "meter_id": "A", "result": "perhaps", "answered_at": NOW}
    rows = pl.DataFrame([answer], schema=PING_RESULTS.schema)
    with pytest.raises(ContractError):
        ping_results(to_messages(rows, rows["meter_id"])["value"])


def test_messages_keep_their_order_and_what_is_no_fault_of_one_of_them_is_raised() -> None:
    messages = on("t", [b"1", b"x", b"2", b"y", b"3"])

    def parse(part: pl.DataFrame) -> list[int]:
        try:
            return [int(value) for value in part["value"]]
        except ValueError as error:
            raise ContractError("no number") from error

    good, bad = read(messages, parse)
    assert good == [1, 2, 3]
    assert bad["value"].to_list() == [b"x", b"y"]
    assert sift(messages, parse).readable.columns == messages.columns

    def together(part: pl.DataFrame) -> int:
        if part.height > 1:
            raise ContractError("two are too many")
        return part.height

    with pytest.raises(ContractError):
        read(messages, together)


def test_they_are_never_replayed_as_frames() -> None:
    assert "no_rows" not in REPLAYABLE
    with pytest.raises(ContractError, match="never read again"):
        check_reasons(("no_rows",))
