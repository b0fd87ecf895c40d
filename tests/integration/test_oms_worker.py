"""The delivering worker between a real broker and doubles of outage systems that fail on purpose."""

import json
from collections.abc import Iterator
from pathlib import Path
from ssl import PROTOCOL_TLS_SERVER, SSLContext

import polars as pl
import pytest
from doomed_oms import DELIVERS, STEPS
from oms_bench import PASSWORD, SPEAKS, XSD, World, opened, serves
from outage_bench import LIMIT_S, MINUTE, T0, Night, feeder_of, night_of_storms

from oms_double import OmsDouble  # isort: skip  its folder is on the path since `outage_bench`
from outage_logs import log, told  # isort: skip
from test_oms import certificate  # isort: skip
from xsd_check import Schema  # isort: skip

from app.messages import from_messages, to_messages
from app.meter_states import METERS_TOPIC
from app.outage_messages import PING_REQUESTS_TOPIC, PING_RESULTS
from app.outage_source import NOTES_TOPIC, PING_RESULTS_TOPIC
from app.workers import EVENTS_TOPIC
from ingest.kafka.settings import KafkaSettings
from outage.notes import NOTES
from schemas.frames import EVENTS


@pytest.fixture(scope="module")
def night() -> Night:
    return night_of_storms()


@pytest.fixture
def world(kafka_settings: KafkaSettings, night: Night, tmp_path: Path) -> Iterator[World]:
    """Two outage systems: plain JSON; MultiSpeak over TLS, which may ask."""
    cert_file, key_file = certificate(tmp_path)
    tls = SSLContext(PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(cert_file, key_file)
    schema = Schema(XSD / "multispeak" / "oa_v30ac.xsd").errors if XSD.exists() else None
    doubles = {"plain": OmsDouble(), "soap": OmsDouble(tls, schema)}
    with opened(kafka_settings, tmp_path, night.meters, doubles) as world:
        plain = f"""
format = "cim-json"
url = "http://127.0.0.1:{world.plain.port}/in"
timeout_s = 2.0"""
        soap = f'''
format = "multispeak3"
url = "https://127.0.0.1:{world.soap.port}/in"
ca_file = "{cert_file}"
company = "utility"
user = "ami"
password_file = "{tmp_path / "ours"}"
asks_user = "oms"
asks_password_file = "{tmp_path / "theirs"}"
timeout_s = 2.0'''
        world.configure({"plain": plain, "soap": soap})
        yield world


def in_order(heard: list[tuple[str, int]], said: list[tuple[str, int]]) -> bool:
    """Of every incident the same steps in the same order; whole incidents may pass one another."""
    incidents = {name for name, _ in [*heard, *said]}
    return all([s for n, s in heard if n == name] == [s for n, s in said if n == name] for name in incidents)


def test_whatever_step_kills_the_worker_every_step_arrives_once_and_in_order(world: World, night: Night) -> None:
    """The counterparties fail, fall silent and recover meanwhile; answers are lost; positions and letters are one."""
    outages = night.said()
    size = outages.height // (len(STEPS) + 1)
    assert size, "a step without an outage would kill nobody"
    for n, step in enumerate(STEPS):
        world.say(outages[n * size : (n + 1) * size])
        world.plain.plan.extend(["500", "drop", "429", "503"])
        world.soap.plan.extend(["drop", "500"])
        worker = world.start("doomed_oms.py", step, 2 if step.startswith("put") else 1)
        assert worker.wait(LIMIT_S) == -9, (step, (world.folder / "doomed_oms.py.log").read_text()[-3000:])
    world.say(outages[len(STEPS) * size :])
    world.plain.plan.clear()
    world.plain.plan.extend(["500"] * 7)
    worker = world.start("doomed_oms.py")
    said = world.said()
    assert len(said) == outages.height
    world.wait(lambda: len(world.plain.got) == len(world.soap.got) == len(said), "not all has arrived")
    assert in_order(world.plain.incidents(), said)
    assert len({got.key for got in world.soap.got}) == len(said)
    assert world.soap.wrong == []
    assert all(PASSWORD.encode() in got.body for got in world.soap.got)
    stored = b"".join(path.read_bytes() for path in (world.folder / "outboxes").iterdir())
    assert PASSWORD.encode() not in stored
    assert '"circuit_open": true' in (world.folder / "doomed_oms.py.log").read_text()
    worker.terminate()
    assert worker.wait(LIMIT_S) == 0
    assert set(world.life("doomed_oms.py").read_text().splitlines()) == set(DELIVERS), "a call at which nobody dies"


def test_an_outage_system_that_hangs_holds_back_neither_detection_nor_the_other(world: World, night: Night) -> None:
    world.plain.plan.extend(["hang"] * 1000)
    world.start("doomed_oms.py")
    world.start("doomed_outage.py")
    events = night.events[0]
    world.publish(EVENTS_TOPIC, to_messages(events, feeder_of(events, night.meters)))
    assert world.plain.asked.wait(LIMIT_S), "nothing was delivered"
    later = log(told(night.meters["meter_id"][-8:].to_list(), "last_gasp", T0 + 3 * MINUTE))
    before = len(world.said())
    world.publish(EVENTS_TOPIC, to_messages(later, feeder_of(later, night.meters)))
    world.wait(lambda: len(world.said()) > before, "detection stood still")
    world.wait(lambda: len(world.soap.got) == len(world.said()), "the other outage system waits")
    assert world.plain.got == []
    world.plain.plan.clear()
    world.plain.release.set()
    world.wait(lambda: in_order(world.plain.incidents(), world.said()), "the one that hung was not caught up with")


PING = f"""<InitiateOutageDetectionEventRequest {SPEAKS}><meterNos><string>M000-000</string><string>nobody</string>
<string>M000-001</string></meterNos><requestDate>2026-01-10T10:00:00Z</requestDate>{{url}}
<transactionID>t-7</transactionID><expirationTime>0.1</expirationTime></InitiateOutageDetectionEventRequest>"""
CHANGED = f"""<OutageEventChangedNotification {SPEAKS}><oEvents>
<outageEvent objectID="1"><feeder>F0</feeder><outageStatus>Scheduled</outageStatus>
<startTime>2026-01-10T09:00:00Z</startTime><ETOR>2026-01-10T12:00:00Z</ETOR></outageEvent>
<outageEvent objectID="2"><feeder>nowhere</feeder><outageStatus>Confirmed</outageStatus></outageEvent>
</oEvents></OutageEventChangedNotification>"""


def test_an_outage_system_pings_and_is_answered_though_the_worker_dies_in_between(world: World) -> None:
    worker = world.start("doomed_oms.py")
    world.wait(lambda: serves(world.port), "nobody listens")
    assert world.ask(PING.format(url=""), password="wrong")[0] == 401
    assert world.ask("<nonsense/>")[0] == 400
    assert "no other" in world.ask(PING.format(url="<responseURL>https://evil.example/</responseURL>"))[1]
    status, answer = world.ask(PING.format(url=""))
    assert (status, 'objectID="nobody"' in answer, "M000" in answer) == (200, True, False)
    assert world.ask(PING.format(url=""))[0] == 200, "asked again: the same checks"
    worker.kill()
    worker.wait()
    asked = asked_meters(world)
    assert set(asked) == {"M000-000", "M000-001"}
    results = pl.DataFrame(
        {"request_id": [asked["M000-000"]], "meter_id": ["M000-000"], "result": ["no_power"],
         "answered_at": [T0], "authenticated": [True]},
        schema=PING_RESULTS.schema,
    )  # fmt: skip
    world.publish(PING_RESULTS_TOPIC, to_messages(results, results["meter_id"]))
    world.start("doomed_oms.py")
    world.wait(lambda: bool(world.soap.got), "no answer came")
    (got,) = world.soap.got
    body = got.body.decode()
    assert "transactionID>t-7</" in body
    assert (body.count("PowerOff"), body.count("NoResponse")) == (1, 1), "one was dark, one said nothing in time"
    assert world.soap.wrong == []


def test_an_outage_system_may_ask_for_a_meter_that_came_while_the_worker_runs(world: World, night: Night) -> None:
    """It came over the topic of the registry; one that has left it is asked for no more."""
    world.start("doomed_oms.py")
    world.wait(lambda: serves(world.port), "nobody listens")
    question = PING.format(url="")
    assert 'objectID="nobody"' in world.ask(question)[1]
    new = night.meters[:1].with_columns(meter_id=pl.lit("nobody"))
    world.publish(METERS_TOPIC, to_messages(new, new["meter_id"]))
    gone = pl.DataFrame({"key": ["M000-001"], "value": [None]}, schema={"key": pl.String, "value": pl.Binary})
    world.publish(METERS_TOPIC, gone)
    world.wait(lambda: 'objectID="M000-001"' in world.ask(question)[1], "the registry is not followed")
    assert 'objectID="nobody"' not in world.ask(question)[1]
    assert set(asked_meters(world)) == {"M000-000", "M000-001", "nobody"}


def test_what_an_outage_system_plans_silences_detection(world: World, night: Night) -> None:
    world.start("doomed_oms.py")
    world.start("doomed_outage.py")
    world.wait(lambda: serves(world.port), "nobody listens")
    status, answer = world.ask(CHANGED)
    assert (status, 'objectID="2"' in answer, 'objectID="1"' in answer) == (200, True, False)
    notes = from_messages(world.values(NOTES_TOPIC), NOTES)
    assert notes.select("note", "node_kind", "node_id", "said_by").rows() == [("planned", "feeder", "F0", "soap")]
    feeders = {name: night.meters.filter(pl.col("feeder_id") == name)["meter_id"].to_list() for name in ("F0", "F2")}
    for name in ("F0", "F2"):
        gasps = log(told(feeders[name][:8], "last_gasp", T0))
        assert gasps.schema == EVENTS.schema
        world.publish(EVENTS_TOPIC, to_messages(gasps, feeder_of(gasps, night.meters)))
    world.wait(lambda: len(world.plain.got) > 0, "no incident came")
    nodes = {json.loads(got.body)["node"]["mRID"] for got in world.plain.got}
    assert nodes == {"L20"}, "the feeder under planned work is left alone"


def asked_meters(world: World) -> dict[str, str]:
    found = {}
    for line in b"".join(world.values(PING_REQUESTS_TOPIC)).splitlines():
        row = json.loads(line)
        assert row["requested_by"] == "soap"
        assert found.setdefault(row["meter_id"], row["request_id"]) == row["request_id"]
    return found
