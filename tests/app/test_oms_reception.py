"""What an outage system says, from its SOAP message to what detection makes of it; and what is not taken, counted."""

import json
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "outage"))
from outage_logs import MINUTE, T0, alive, below, last_steps, log, told, tree
from xsd_check import Schema

from app import telemetry
from app.messages import from_messages
from app.oms_reception import Asker, Reception
from app.outage_messages import PING_REQUESTS_TOPIC
from app.outage_source import NOTES_TOPIC
from outage.circumstances import PINGS
from outage.detect import Detected, detect_outages
from outage.messages.feedback import Refusal
from outage.notes import NOTES, circumstances_of, standing
from outage.oms_outbox import Outbox
from outage.params import DetectParams
from schemas.frames import UTC_US
from tests.failing_publisher import FailingPublisher

METERS = tree()
SPEAKS = 'xmlns="http://www.multispeak.org/Version_3.0"'
XSD = Path(__file__).resolve().parents[3] / "shared" / "data" / "xsd" / "multispeak" / "od_v30ac.xsd"


class Told(FailingPublisher):
    """One that tells what was acknowledged."""

    @property
    def said(self) -> list[tuple[str, bytes]]:
        return [(topic, value) for topic in self._topics for value in self.values(topic)]

    def of(self, topic: str) -> list[bytes]:
        return self.values(topic)

    def notes(self) -> pl.DataFrame:
        return from_messages(self.of(NOTES_TOPIC), NOTES)


class Office:
    """An outage system that speaks at chosen instants."""

    def __init__(self, folder: Path) -> None:
        self.now, self.publisher = T0, Told()
        asker = Asker("office", Outbox(folder / "office.sqlite"), "http://127.0.0.1:1/", None)
        self.reception = Reception({"office": asker}, METERS, self.publisher, lambda: self.now.timestamp())
        self.outbox = asker.outbox

    def says(self, at: datetime, *events: str) -> str:
        self.now = at
        body = f"<OutageEventChangedNotification {SPEAKS}><oEvents>{''.join(events)}</oEvents>"
        return self.asks(body + "</OutageEventChangedNotification>")

    def asks(self, body: str) -> str:
        if XSD.exists():
            assert Schema(XSD).errors(body.encode()) == [], "the question itself keeps the schema"
        reply = self.reception.answer("/office", body.encode())
        assert reply.status == 200
        if XSD.exists():
            assert Schema(XSD).errors(reply.body) == []
        return reply.body.decode()

    def makes_of(self, *events: pl.DataFrame, until: datetime) -> Detected:
        known = circumstances_of(standing(self.publisher.notes(), 0), PINGS.to_frame())
        heard = alive(METERS, below(METERS, "T000"), T0 + 3 * MINUTE, until)
        return detect_outages(log(*events), METERS, heard, DetectParams(), None, known)


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    world = Office(tmp_path)
    yield world
    world.outbox.close()


def event(name: str, status: str, place: str, started: datetime | None = None, etor: datetime | None = None) -> str:
    times = "".join(
        f"<{tag}>{at.isoformat()}</{tag}>" for tag, at in (("startTime", started), ("ETOR", etor)) if at is not None
    )
    begin, end = times.split("<ETOR>")[0], "<ETOR>" + times.split("<ETOR>")[1] if "<ETOR>" in times else ""
    where = f"<deviceID>{place}</deviceID>"
    return f'<outageEvent objectID="{name}">{where}<outageStatus>{status}</outageStatus>{begin}{end}</outageEvent>'


def refused(reason: str) -> float:
    return float(telemetry.OMS_REFUSED.labels(reason=reason)._value.get())


STREET = below(METERS, "T000")


def nodes(detected: Detected) -> list[str]:
    return last_steps(detected.outages)["node_id"].to_list()


def test_restored_ends_planned_work_so_that_the_next_silence_is_a_fault(office: Office) -> None:
    office.says(T0 - 60 * MINUTE, event("1", "Scheduled", "T000", T0 - 30 * MINUTE, T0 + 120 * MINUTE))
    fault = told(STREET, "last_gasp", T0 + 40 * MINUTE)
    assert nodes(office.makes_of(fault, until=T0 + 60 * MINUTE)) == []
    office.says(T0 + 20 * MINUTE, event("1", "Restored", "T000"))
    assert nodes(office.makes_of(fault, until=T0 + 60 * MINUTE)) == ["T000"]


def test_work_that_is_planned_anew_after_its_restoration_counts_again(office: Office) -> None:
    first = event("1", "Scheduled", "T000", T0 - 30 * MINUTE, T0 + 120 * MINUTE)
    office.says(T0 - 60 * MINUTE, first)
    office.says(T0 + 20 * MINUTE, event("1", "Restored", "T000"))
    office.says(T0 + 25 * MINUTE, first)
    assert nodes(office.makes_of(told(STREET, "last_gasp", T0 + 40 * MINUTE), until=T0 + 60 * MINUTE)) == []


def test_work_that_lies_ahead_is_not_ended_by_a_restoration(office: Office) -> None:
    office.says(T0, event("1", "Scheduled", "T000", T0 + 30 * MINUTE, T0 + 120 * MINUTE))
    office.says(T0 + 20 * MINUTE, event("2", "Restored", "T000"))
    assert nodes(office.makes_of(told(STREET, "last_gasp", T0 + 40 * MINUTE), until=T0 + 60 * MINUTE)) == []


def test_who_shows_no_life_where_the_office_says_restored_is_asked(office: Office) -> None:
    dark = told(STREET, "last_gasp", T0)
    assert office.makes_of(dark, until=T0 + 30 * MINUTE).pings.is_empty()
    office.says(T0 + 25 * MINUTE, event("1", "Restored", "F0"))
    detected = office.makes_of(dark, until=T0 + 30 * MINUTE)
    assert detected.pings.select("meter_id", "reason").rows() == [(name, "nested") for name in STREET]
    assert last_steps(detected.outages)["state"].to_list() == ["confirmed"], "a word is no life: nothing is closed"


def test_an_installation_that_has_ended_is_not_asked(office: Office) -> None:
    """The meter was exchanged: below its node only the one that hangs there answers; its own name is unknown."""
    gone = METERS.filter(pl.col("meter_id") == "M000-003").with_columns(removed_at=pl.lit(T0 - MINUTE, UTC_US))
    new = gone.with_columns(meter_id=pl.lit("N1"), removed_at=pl.lit(None, UTC_US))
    rest = METERS.filter(pl.col("meter_id") != "M000-003")
    office.reception.enrol(pl.concat([rest, gone.select(rest.columns), new.select(rest.columns)]))
    office.asks(
        f"<InitiateODEventRequestByObject {SPEAKS}><objectName>T000</objectName><PhaseCode>ABC</PhaseCode>"
        "<requestDate>2026-01-10T10:00:00Z</requestDate><expirationTime>5</expirationTime>"
        "</InitiateODEventRequestByObject>"
    )
    asked = {
        row["meter_id"] for row in map(json.loads, b"".join(office.publisher.of(PING_REQUESTS_TOPIC)).splitlines())
    }
    assert {"N1", "M000-002"} <= asked
    assert "M000-003" not in asked


@pytest.mark.parametrize("point", ["SP000-003", "M000-003"])
def test_a_customer_who_did_not_pay_is_no_outage_until_restored(office: Office, point: str) -> None:
    assert "errorObject" not in office.says(T0 - 10 * MINUTE, event("1", "NonPay", point, T0 - 5 * MINUTE))
    gasp = told(STREET[3:4], "power_down", T0)
    assert nodes(office.makes_of(gasp, until=T0 + 30 * MINUTE)) == []
    assert office.makes_of(gasp, until=T0 + 30 * MINUTE).suppressed["reason"].to_list() == ["disconnected"]
    office.says(T0 + 40 * MINUTE, event("1", "Restored", point))
    later = told(STREET[3:4], "power_down", T0 + 50 * MINUTE)
    assert nodes(office.makes_of(later, until=T0 + 70 * MINUTE)) == ["SP000-003"]


def test_nobodys_debt_darkens_a_street(office: Office) -> None:
    before = refused("not_a_point")
    answer = office.says(T0, event("7", "NonPay", "T000"), event("8", "Confirmed", "T001"))
    assert 'objectID="7"' in answer and Refusal.NOT_A_POINT.value in answer and 'objectID="8"' not in answer
    assert refused("not_a_point") == before + 1
    assert office.publisher.notes().select("note", "node_id").rows() == [("confirmed", "T001")]


def test_monitoring_is_refused_with_its_reason_and_counted_and_asks_nobody(office: Office) -> None:
    before = refused("monitoring")
    answer = office.asks(
        f"<InitiateODMonitoringRequestByObject {SPEAKS}><objectName>T000</objectName><PhaseCode>ABC</PhaseCode>"
        "<periodicity>15</periodicity><requestDate>2026-01-10T10:00:00Z</requestDate><expirationTime>60</expirationTime>"
        "</InitiateODMonitoringRequestByObject>"
    )
    assert 'objectID="T000"' in answer and Refusal.MONITORING.value in answer
    assert refused("monitoring") == before + 1
    assert office.publisher.said == []


def test_service_locations_are_asked_together_and_a_strange_one_is_named(office: Office) -> None:
    answer = office.asks(
        f"<InitiateODEventRequestByServiceLocation {SPEAKS}><servLoc><string>SP000-001</string>"
        "<string>nowhere</string><string>SP010-002</string></servLoc>"
        "<requestDate>2026-01-10T10:00:00Z</requestDate><transactionID>t-9</transactionID>"
        "<expirationTime>2</expirationTime></InitiateODEventRequestByServiceLocation>"
    )
    assert 'objectID="nowhere"' in answer and 'objectID="SP000-001"' not in answer
    rows = [json.loads(row) for row in b"".join(office.publisher.of(PING_REQUESTS_TOPIC)).splitlines()]
    assert sorted(row["meter_id"] for row in rows) == ["M000-001", "M010-002"]
    lasts = {datetime.fromisoformat(row["expires_at"]) - datetime.fromisoformat(row["requested_at"]) for row in rows}
    assert lasts == {2 * MINUTE}
    (checks,) = office.outbox.answerable(office.now.timestamp() + 121)
    assert {check.transaction for check in checks} == {"t-9"}


def test_unknown_places_and_meters_are_refused_and_counted_and_the_rest_is_taken(office: Office) -> None:
    before = refused("unknown_place"), refused("unknown_meter")
    office.says(T0, event("1", "Confirmed", "nowhere"), event("2", "Confirmed", "T000"))
    office.asks(
        f"<InitiateOutageDetectionEventRequest {SPEAKS}><meterNos><string>M000-000</string><string>nobody</string>"
        "</meterNos><requestDate>2026-01-10T10:00:00Z</requestDate><expirationTime>5</expirationTime>"
        "</InitiateOutageDetectionEventRequest>"
    )
    assert (refused("unknown_place"), refused("unknown_meter")) == (before[0] + 1, before[1] + 1)
    assert len(office.publisher.of(PING_REQUESTS_TOPIC)) == 1
