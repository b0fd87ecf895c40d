"""Messages to and from outage systems: what we send is valid, what comes in is read or refused."""

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from outage_logs import MINUTE, SECOND, T0, alive, below, log, told, tree
from xsd_check import Schema

from outage.circumstances import PINGS
from outage.detect import detect_outages
from outage.messages import FEEDS, render_feeds
from outage.messages.feedback import Refusal, answer_ping, answer_request, feedback_of, refusals_of
from outage.messages.iec61968 import parse_end_device_events, render_end_device_events
from outage.messages.multispeak import (
    Account,
    Version,
    od_event_notification,
    render_envelope,
    render_od_event_notification,
    render_result,
    soap_action,
)
from outage.messages.multispeak_in import parse_request
from outage.messages.multispeak_requests import OutageStatus, PingRequest, Question
from outage.messages.notices import (
    notices_of_events,
    notices_of_interruptions,
    notices_of_outages,
    notices_of_pings,
)
from outage.messages.odin import render_odin
from outage.messages.tables import built_in_tables, code_table, parse_tables
from outage.messages.xml import parse_xml, render_xml
from outage.params import DetectParams
from schemas.codes import EventKind, NodeKind
from schemas.errors import ContractError, ProtocolError

METERS = tree()


def events() -> pl.DataFrame:
    dark = below(METERS, "T000")
    return log(
        told(dark, "last_gasp", T0, origin="nic"),
        told(dark, "power_up", T0 + 45 * MINUTE),
        told(["M110-001"], "power_down", T0 + MINUTE),
        told(["M111-001"], "power_down", T0),
        told(["M111-001"], "power_up", T0 + 20 * SECOND),
    )


DARK = [*below(METERS, "T000"), "M110-001"]
FOUND = detect_outages(events(), METERS, alive(METERS, DARK, T0 + 10 * MINUTE), DetectParams())
ANSWERS = pl.DataFrame(
    {"meter_id": ["M1", "M2", "M3"], "answered_at": [T0] * 3, "answer": ["on", "off", "communication_failure"]},
    schema_overrides=dict(PINGS),
)
NOTICES = pl.concat(
    [
        notices_of_outages(FOUND.outages),
        notices_of_events(events()),
        notices_of_interruptions(FOUND.interruptions),
        notices_of_pings(ANSWERS),
    ]
)


def test_end_device_events_keep_the_schema(xsd: Path) -> None:
    messages = list(render_end_device_events(NOTICES))
    assert Schema(xsd / "iec61968" / "subset_message.xsd").errors(messages[0]) == []
    assert len(messages) == 1


@pytest.mark.parametrize(("version", "file"), [(Version.V3, "oa_v30ac.xsd"), (Version.V4, "not_v416.xsd")])
def test_outage_detection_events_keep_the_schema(xsd: Path, version: Version, file: str) -> None:
    schema = Schema(xsd / "multispeak" / file)
    message = render_od_event_notification(NOTICES, version, "tx-1")
    assert schema.errors(message) == []
    wrong_enum = message.replace(b">Restoration<", b">Restored<", 1)
    assert any("is not one of" in error for error in schema.errors(wrong_enum))
    wrong_order = message.replace(b"<comments>", b"<priority>Urgent</priority><comments>", 1)
    assert any("is not expected here" in error for error in schema.errors(wrong_order))


@pytest.mark.parametrize(
    "sample", ["iec61968_EndDeviceEvents", "multispeak_v3_ODEventNotification", "multispeak_v41_ODEventNotification"]
)
def test_the_checker_takes_the_published_samples_and_refuses_a_wrong_order(xsd: Path, sample: str) -> None:
    file = {"i": "iec61968/subset_message.xsd", "3": "multispeak/oa_v30ac.xsd", "4": "multispeak/not_v416.xsd"}
    schema = Schema(xsd / file["i" if sample[0] == "i" else sample[12]])
    text = (xsd / "samples" / f"{sample}.xml").read_bytes()
    assert schema.errors(text) == []
    early = text.replace(b"<Verb>", b"<Noun>X</Noun><Verb>").replace(
        b"<eventTime>", b"<priority>Normal</priority><eventTime>"
    )
    assert schema.errors(early)


@pytest.mark.parametrize(("version", "file"), [(Version.V3, "oa_v30ac.xsd"), (Version.V4, "not_v416.xsd")])
def test_the_soap_header_keeps_the_schema(xsd: Path, version: Version, file: str) -> None:
    body = od_event_notification(NOTICES[:1], version)
    message = render_envelope(body, version, Account("utility", "ami", "secret"), "m-1", T0)
    envelope = parse_xml(message)
    header = envelope[0][0]
    bare = render_xml(header).replace(b"ns0:", b"").replace(b"xmlns:ns0", b"xmlns")
    assert Schema(xsd / "multispeak" / file).errors(bare) == []
    assert header.get("Pwd") == "secret"


def test_an_account_never_shows_its_password() -> None:
    assert "secret" not in repr(Account("utility", "ami", "secret"))
    assert "secret" not in str(Account("utility", "ami", "secret"))


def test_answers_to_requests_keep_the_schema(xsd: Path) -> None:
    answer = render_xml(render_result("InitiateOutageDetectionEventRequest", Version.V3, [("M9", "unknown meter")]))
    assert Schema(xsd / "multispeak" / "od_v30ac.xsd").errors(answer) == []


def test_the_codes_of_the_radio_and_of_the_meter_are_told_apart() -> None:
    text = b"".join(render_end_device_events(NOTICES)).decode()
    assert '"3.26.136.47"' in text
    assert '"3.26.0.47"' in text
    norway = b"".join(render_end_device_events(NOTICES, None, code_table("norway"))).decode()
    assert '"3.26.9.185"' in norway
    assert '"3.26.136.47"' not in norway


def test_events_that_a_counterparty_has_no_code_for_are_not_sent() -> None:
    text = b"".join(render_end_device_events(NOTICES, None, code_table("smets2"))).decode()
    assert set(parse_end_device_events(text.encode(), code_table("smets2"))["event"]) == {"power_up"}


def test_what_we_send_is_understood_when_it_comes_back() -> None:
    sent = notices_of_events(events())
    read = parse_end_device_events(next(render_end_device_events(sent)))
    assert read["meter_id"].to_list() == sent["node_id"].to_list()
    assert read["occurred_at"].to_list() == sent["at"].to_list()
    assert set(read["event"]) == {"last_gasp", "power_up", "power_down"}


def test_a_code_in_the_wrong_place_is_read_all_the_same() -> None:
    text = b"""<EndDeviceEvents xmlns="http://iec.ch/TC57/2011/EndDeviceEvents#"><EndDeviceEvent><mRID>3.26.136.216</mRID>
    <createdDateTime>2026-01-10T10:00:00+01:00</createdDateTime><Assets><mRID>M1</mRID></Assets><EndDeviceEventType/>
    </EndDeviceEvent></EndDeviceEvents>"""
    assert parse_end_device_events(text).rows() == [
        ("M1", "first_breath", "3.26.136.216", datetime(2026, 1, 10, 9, tzinfo=UTC))
    ]


def test_large_batches_are_split_and_numbered() -> None:
    many = pl.concat([NOTICES] * 30)
    messages = list(render_end_device_events(many))
    assert [b"<Value>%d/%d</Value>" % (n, len(messages)) in m for n, m in enumerate(messages, 1)] == [True] * len(
        messages
    )
    assert len(messages) > 1


def test_the_same_incidents_give_the_same_bytes_in_every_format() -> None:
    assert render_feeds(FOUND.outages, FEEDS) == render_feeds(
        FOUND.outages[::-1].sort("started_at", "incident_id", "step"), FEEDS
    )
    assert sorted(render_feeds(FOUND.outages, FEEDS)) == [
        "outages.iec61968.1.xml",
        "outages.jsonl",
        "outages.multispeak3.xml",
        "outages.multispeak41.xml",
        "outages.odin.xml",
    ]


def test_odin_tells_the_state_of_each_incident() -> None:
    root = parse_xml(render_odin(FOUND.outages, {"T000": "06085"}))
    outage = {child.tag.rpartition("}")[2]: child.text for child in root[0]}
    assert outage["originalMetersAffected"] == "8"
    assert outage["metersAffected"] == "0"
    assert (outage["outageKind"], outage["communityDescriptor"]) == ("verified", "06085")
    assert root[0][0].tag.rpartition("}")[2] == "mRID"
    assert len(root) == 2


def test_names_and_words_are_escaped() -> None:
    nasty = NOTICES[:1].with_columns(node_id=pl.lit('<&">'), detail=pl.lit("]]> & <x/>"))
    for message in (render_od_event_notification(nasty, Version.V4), *render_end_device_events(nasty)):
        parse_xml(message)


PING = b"""<soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/"><soap:Header>
<MultiSpeakMsgHeader xmlns="http://www.multispeak.org/Version_3.0" Version="3.0" UserID="oms" Pwd="hidden"/>
</soap:Header>
<soap:Body><InitiateOutageDetectionEventRequest xmlns="http://www.multispeak.org/Version_3.0"><meterNos><string>M1</string>
<string> M2 </string></meterNos><requestDate>2026-01-10T10:00:00Z</requestDate>
<responseURL>https://oms.example/back</responseURL>
<transactionID>t-7</transactionID><expirationTime>15</expirationTime></InitiateOutageDetectionEventRequest></soap:Body>
</soap:Envelope>"""


def test_a_ping_request_is_read() -> None:
    incoming = parse_request(PING)
    assert incoming.version is Version.V3
    assert incoming.said == PingRequest(("M1", "M2"), T0, "https://oms.example/back", "t-7", 15.0)
    assert "hidden" not in repr(incoming)


def test_an_incident_changed_by_the_outage_system_is_read(xsd: Path) -> None:
    text = b"""<OutageEventChangedNotification xmlns="http://www.multispeak.org/Version_3.0"><oEvents>
    <outageEvent objectID="O-1"><deviceID>T000</deviceID><substationCode>S0</substationCode><feeder>F0</feeder>
    <outageStatus>Confirmed</outageStatus>
    <startTime>2026-01-10T10:00:00Z</startTime><ETOR>2026-01-10T12:00:00Z</ETOR><isPlanned>true</isPlanned>
    <customersAffected>8</customersAffected><customersRestored>3</customersRestored></outageEvent></oEvents>
    </OutageEventChangedNotification>"""
    assert Schema(xsd / "multispeak" / "od_v30ac.xsd").errors(text) == []
    (change,) = parse_request(text).said
    assert (change.status, change.planned, change.feeder, change.device) == (OutageStatus.CONFIRMED, True, "F0", "T000")
    assert (change.customers_affected, change.customers_restored) == (8, 3)


@pytest.mark.parametrize(
    "device",
    ['<deviceID noun="x">T000</deviceID>', '<deviceID objectID="T000" name="North"/>', '<deviceID name="T000"/>'],
)
def test_an_incident_changed_in_4_1_names_its_device_by_a_reference(xsd: Path, device: str) -> None:
    text = f"""<OutageEventChangedNotification xmlns="{Version.V4.value}"><oEvents>
    <outageEvent objectID="O-1">{device}<feeder>F0</feeder><isPlanned>false</isPlanned>
    <outageStatus>StillOut</outageStatus><startTime>2026-01-10T10:00:00Z</startTime><customersAffected>8</customersAffected>
    <customersRestored>3</customersRestored></outageEvent></oEvents></OutageEventChangedNotification>""".encode()
    assert Schema(xsd / "multispeak" / "not_v416.xsd").errors(text) == []
    incoming = parse_request(text)
    (change,) = incoming.said
    assert incoming.version is Version.V4
    assert (change.status, change.planned, change.feeder, change.device) == (
        OutageStatus.STILL_OUT,
        False,
        "F0",
        "T000",
    )
    answer = answer_request(incoming, [("O-1", Refusal.UNKNOWN_PLACE)])
    assert Schema(xsd / "multispeak" / "not_v416.xsd").errors(answer) == []


def test_meters_counted_by_the_outage_system_are_read(xsd: Path) -> None:
    text = b"""<CustomersAffectedByOutageNotification xmlns="http://www.multispeak.org/Version_4.1_Release"><newOutages>
    <customersAffectedByOutage><outageEventID>O-1</outageEventID><affectedMeters><affectedMeter><meterID>M1</meterID></affectedMeter>
    <affectedMeter><meterID>M2</meterID></affectedMeter></affectedMeters></customersAffectedByOutage></newOutages>
    </CustomersAffectedByOutageNotification>"""
    assert Schema(xsd / "multispeak" / "not_v416.xsd").errors(text) == []
    assert parse_request(text).said[0].meters == ("M1", "M2")


def test_a_customer_named_by_the_service_location_alone_and_a_meter_by_its_attribute_are_not_lost(xsd: Path) -> None:
    text = b"""<CustomersAffectedByOutageNotification xmlns="http://www.multispeak.org/Version_4.1_Release"><newOutages>
    <customersAffectedByOutage><outageEventID>O-1</outageEventID><affectedMeters>
    <affectedMeter><meterID meterNo="M1"/></affectedMeter>
    <affectedMeter><serviceLocationID>SP2</serviceLocationID></affectedMeter><affectedMeter><meterID>M3</meterID>
    <serviceLocationID>SP3</serviceLocationID></affectedMeter></affectedMeters></customersAffectedByOutage></newOutages>
    </CustomersAffectedByOutageNotification>"""
    assert Schema(xsd / "multispeak" / "not_v416.xsd").errors(text) == []
    incoming = parse_request(text)
    (affected,) = incoming.said
    assert (affected.meters, affected.service_locations) == (("M1", "M3"), ("SP2",))
    kinds = {"M1": NodeKind.METER, "M3": NodeKind.METER, "SP2": NodeKind.SERVICE_POINT}
    notes = feedback_of(incoming, T0, kinds).notes
    assert notes.select("note", "node_kind", "node_id").rows() == [
        ("confirmed", "meter", "M1"), ("confirmed", "meter", "M3"), ("confirmed", "service_point", "SP2"),
    ]  # fmt: skip
    assert refusals_of(incoming, {"M1", "M3"}, kinds) == []
    del kinds["SP2"]
    assert refusals_of(incoming, {"M1"}, kinds) == [("M3", Refusal.UNKNOWN_METER), ("SP2", Refusal.UNKNOWN_OBJECT)]


@pytest.mark.parametrize(
    "names",
    [
        '<meterIDs><meterID meterNo="M1" serviceType="Electric">M1</meterID><meterID>M2</meterID></meterIDs>',
        '<meterIDs><meterID meterNo="M1"/><meterID objectID="M2"/><meterID/></meterIDs>',
        "<meterNos><string>M1</string><string> M2 </string></meterNos>",
    ],
)
def test_a_ping_request_in_4_1_is_read_and_answered_in_4_1(xsd: Path, names: str) -> None:
    """No schema of the request in 4.1 is at hand; the answer has one."""
    text = f"""<InitiateOutageDetectionEventRequest xmlns="{Version.V4.value}">{names}
    <requestDate>2026-01-10T10:00:00Z</requestDate><transactionID>t-8</transactionID>
    <expirationTime>15</expirationTime></InitiateOutageDetectionEventRequest>""".encode()
    incoming = parse_request(text)
    assert (incoming.version, incoming.said.meters) == (Version.V4, ("M1", "M2"))
    results = pl.DataFrame({"meter_id": ["M1", "M2"], "answered_at": [T0] * 2, "answer": ["off", "unknown"]})
    later = answer_ping(incoming, results)
    assert Schema(xsd / "multispeak" / "not_v416.xsd").errors(later) == []
    assert b"<transactionID>t-8</transactionID>" in later
    assert all(word in later for word in (b"PowerOff", b"NoResponse"))


def test_a_ping_request_that_names_nobody_is_refused() -> None:
    with pytest.raises(ProtocolError, match="names a meter"):
        parse_request(PING.replace(b"<string>M1</string>", b"").replace(b"<string> M2 </string>", b"<string/>"))


@pytest.mark.parametrize("operation", ["PingURL", "GetMethods"])
def test_questions_are_read(operation: str) -> None:
    assert parse_request(f'<{operation} xmlns="{Version.V4.value}"/>'.encode()).said == Question(operation)


BOMB = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><x>&b;</x>'


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"<a>",
        b"not xml",
        BOMB,
        b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><x/>',
        b"<a>" * 40 + b"</a>" * 40,
        b"<x/>",
        b'<PingURL xmlns="http://www.multispeak.org/Version_5.0"/>',
        b'<FormatDisk xmlns="http://www.multispeak.org/Version_3.0"/>',
        PING.replace(b"2026-01-10T10:00:00Z", b"yesterday"),
        PING.replace(b">15<", b">soon<"),
        PING.replace(b"<requestDate>2026-01-10T10:00:00Z</requestDate>", b""),
        PING.replace(b"<string>M1</string>", b"<string>M1</string>" * 10_001),
        b"<x>" + b" " * 4_000_001 + b"</x>",
    ],
    ids=range(14),
)
def test_what_is_no_request_is_refused_with_a_protocol_error(message: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse_request(message)


@pytest.mark.parametrize("message", [BOMB, b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><x/>', b"<!DOCTYPE x><x/>"])
def test_a_document_type_is_refused_as_such(message: bytes) -> None:
    with pytest.raises(ProtocolError, match="document type"):
        parse_xml(message)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(PING)), st.binary(max_size=8))
def test_damaged_requests_are_read_or_refused_and_nothing_else(at: int, noise: bytes) -> None:
    for damaged in (PING[:at], PING[:at] + noise + PING[at:], PING[:at] + noise + PING[at + len(noise) :]):
        try:
            parse_request(damaged)
        except ProtocolError as error:
            assert error.at >= 0


def test_every_table_names_events_that_exist_and_reads_what_it_sends() -> None:
    for name, table in built_in_tables().items():
        for kind, code in table.out.items():
            event = table.event(code)
            assert event is not EventKind.OTHER, (name, kind)
            assert (event in (EventKind.POWER_UP, EventKind.FIRST_BREATH)) == kind.startswith("restoration")


@pytest.mark.parametrize(
    ("text", "says"),
    [("[x]\ntitle=1", "title"), ('[x]\ntitle="a"\nout={}\nin={"1"="explosion"}', "explosion"), ("[", "code tables")],
)
def test_a_wrong_table_is_named(text: str, says: str) -> None:
    with pytest.raises(ContractError, match=says):
        parse_tables(text)


def test_an_action_is_namespace_and_operation() -> None:
    assert soap_action(Version.V3, "ODEventNotification") == "http://www.multispeak.org/Version_3.0/ODEventNotification"
