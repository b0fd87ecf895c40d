"""Delivery to an outage system: over TLS, in order, at least once, and never in the way of detection."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from itertools import count
from pathlib import Path
from ssl import PROTOCOL_TLS_SERVER, SSLContext
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import polars as pl
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st
from oms_double import OmsDouble
from outage_logs import MINUTE, T0, alive, below, log, told, tree
from test_messages import PING
from xsd_check import Schema

from outage.breaker import Breaker, RetryParams, next_try
from outage.delivery import Delivery
from outage.detect import detect_outages
from outage.letter import Answer, Letter, Verdict
from outage.messages.cim_json import render_cim_json
from outage.messages.feedback import answer_ping, answer_request, feedback_of, refusals_of
from outage.messages.letters import iec61968_letters, json_letters, multispeak_letters, odin_letters, soap_dress
from outage.messages.multispeak import Account, Version
from outage.messages.multispeak_in import parse_request
from outage.oms import OmsClient, OmsListener, OmsParams, Reply
from outage.oms_outbox import Check, Outbox, Step, hold_folder
from outage.params import DetectParams
from outage.stream_said import said_steps
from schemas.errors import ContractError, TerminalError

METERS = tree()
FAST = RetryParams(first_s=1.0, longest_s=8.0, open_after=3, cool_s=30.0)
SECRET = "do-not-store-me"


def incidents() -> pl.DataFrame:
    first, second = below(METERS, "T000"), below(METERS, "T110")
    events = log(
        told(first + second, "power_down", T0),
        told(first, "power_up", T0 + 40 * MINUTE),
        told(second, "power_up", T0 + 70 * MINUTE),
    )
    return detect_outages(events, METERS, alive(METERS, first + second, T0 + 10 * MINUTE), DetectParams()).outages


OUTAGES = incidents()


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def double() -> Iterator[OmsDouble]:
    made = OmsDouble()
    yield made
    made.close()


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox(tmp_path / "outbox.sqlite") as made:
        yield made


def delivery(outbox: Outbox, double: OmsDouble, timeout_s: float = 5.0) -> Delivery:
    client = OmsClient(OmsParams(url=f"http://127.0.0.1:{double.port}/oms", timeout_s=timeout_s, retry=FAST))
    return Delivery(outbox, client.send, FAST)


def test_every_step_arrives_once_in_the_order_of_its_incident(outbox: Outbox, double: OmsDouble) -> None:
    outbox.put(json_letters(OUTAGES))
    done = delivery(outbox, double).pump(Clock())
    assert (done.accepted, outbox.counts().waiting) == (OUTAGES.height, 0)
    for incident in OUTAGES["incident_id"].unique():
        assert [step for name, step in double.incidents() if name == incident] == list(
            range(OUTAGES.filter(pl.col("incident_id") == incident).height)
        )


def test_putting_the_same_letters_again_adds_none(outbox: Outbox) -> None:
    assert outbox.put(json_letters(OUTAGES)) == OUTAGES.height
    assert outbox.put(json_letters(OUTAGES)) == 0
    newer = OUTAGES.with_columns(pl.col("updated_at") + timedelta(minutes=1))
    assert outbox.put(json_letters(newer)) == OUTAGES.height, "a new version of a step is a new letter"


def test_failures_are_tried_again_and_the_order_holds(outbox: Outbox, double: OmsDouble) -> None:
    clock = Clock()
    outbox.put(json_letters(OUTAGES))
    double.plan.extend(["500", "503", "drop", "429", "500"])
    road = delivery(outbox, double)
    for _ in range(40):
        road.pump(clock)
        clock.now += 10
    assert outbox.counts().sent == OUTAGES.height
    for incident in OUTAGES["incident_id"].unique():
        steps = [step for name, step in double.incidents() if name == incident]
        assert steps == sorted(steps)


def test_a_letter_sent_twice_counts_once(outbox: Outbox, double: OmsDouble, tmp_path: Path) -> None:
    """The answer was lost: the letter goes out again under its key, and the receiver knows it."""
    outbox.put(json_letters(OUTAGES[:1]))
    client = OmsClient(OmsParams(url=f"http://127.0.0.1:{double.port}/"))
    (waiting,) = outbox.due(0.0)
    assert client.send(waiting.letter).verdict is Verdict.ACCEPTED
    with Outbox(tmp_path / "outbox.sqlite") as after_the_crash:
        assert Delivery(after_the_crash, client.send, FAST).pump(Clock()).accepted == 1
    assert (double.requests, len(double.got)) == (2, 1)


def test_letters_survive_a_kill(tmp_path: Path) -> None:
    script = (
        "import os, pathlib, sys; from outage.oms_outbox import Outbox; from outage.letter import Letter\n"
        "box = Outbox(pathlib.Path(sys.argv[1])); box.put([Letter(f'k{n}', 'i', 'x', '', b'b') for n in range(50)])\n"
        "os.kill(os.getpid(), 9)"
    )
    path = tmp_path / "outbox.sqlite"
    done = subprocess.run([sys.executable, "-c", script, str(path)], check=False, timeout=60)
    assert done.returncode == -9
    with Outbox(path) as outbox:
        assert outbox.counts().waiting == 50


def test_a_refused_letter_is_set_aside_and_its_lane_goes_on(outbox: Outbox, double: OmsDouble) -> None:
    outbox.put([Letter("a", "lane", "text/xml", "", b"<a/>"), Letter("b", "lane", "text/xml", "", b"<b/>")])
    double.plan.extend(["errors"])
    done = delivery(outbox, double).pump(Clock())
    assert (done.refused, done.accepted) == (1, 1)
    assert [(letter.key, reason) for letter, reason in outbox.refused()] == [("a", "no such meter")]


@pytest.mark.parametrize("status", ["400", "401", "404", "413", "422"])
def test_a_letter_that_will_never_do_is_refused(outbox: Outbox, double: OmsDouble, status: str) -> None:
    outbox.put(json_letters(OUTAGES[:1]))
    double.plan.append(status)
    assert delivery(outbox, double).pump(Clock()).refused == 1


def test_the_circuit_opens_leaves_the_counterparty_alone_and_tries_one_letter(
    outbox: Outbox, double: OmsDouble
) -> None:
    clock = Clock()
    outbox.put(Letter(f"k{n}", f"lane{n}", "x", "", b"b") for n in range(20))
    double.plan.extend(["500"] * 4)
    road = delivery(outbox, double)
    assert road.pump(clock).circuit_open
    assert double.requests == 3
    clock.now += 29
    road.pump(clock)
    assert double.requests == 3
    clock.now += 2
    assert road.pump(clock).circuit_open, "the one trial failed: open again"
    assert double.requests == 4
    clock.now += 31
    road.pump(clock)
    assert outbox.counts().sent == 20


def test_a_hanging_counterparty_blocks_neither_detection_nor_the_outbox(outbox: Outbox, double: OmsDouble) -> None:
    double.plan.append("hang")
    outbox.put(json_letters(OUTAGES[:1]))
    road = delivery(outbox, double, timeout_s=30.0)
    sender = threading.Thread(target=road.pump, args=(Clock(),), daemon=True)
    sender.start()
    assert double.asked.wait(10), "the letter is on its way, and gets no answer"
    found = incidents()
    assert outbox.put(json_letters(found)) == found.height - 1
    assert sender.is_alive()
    double.release.set()
    sender.join(10)
    assert not sender.is_alive()


def test_a_counterparty_that_is_away_is_no_exception(outbox: Outbox) -> None:
    outbox.put(json_letters(OUTAGES[:1]))
    client = OmsClient(OmsParams(url="http://127.0.0.1:9/", timeout_s=1))
    done = Delivery(outbox, client.send, FAST).pump(Clock())
    assert (done.postponed, outbox.counts().waiting) == (1, 1)


def test_odin_letters_tell_an_incident_whole_and_that_it_is_gone(outbox: Outbox) -> None:
    one = OUTAGES.filter(pl.col("incident_id") == OUTAGES["incident_id"][0])
    gone = one[-1:].with_columns(
        pl.col("step") + 1, state=pl.lit("cancelled").cast(one.schema["state"]), restored_at=None
    )
    every = pl.concat([one, gone.select(one.columns).cast(one.schema)])
    outbox.keep(
        (Step(*row) for row in zip(every["incident_id"], every["step"], render_cim_json(every), strict=True)), 1.0
    )
    steps = said_steps(outbox.kept(every["incident_id"][0]))
    assert steps.equals(every)
    bodies = [letter.body.decode() for letter in odin_letters(every, lambda _: steps, ({}, None))]
    affected = [int(body.split("<metersAffected>")[1].split("<")[0]) for body in bodies]
    assert len(bodies) == every.height
    assert affected[0] == one["meters_out"][0]
    assert affected[-1] == 0, "who heard of it hears that it is gone"
    assert all(f"<originalMetersAffected>{one['meters_out'][0]}<" in body for body in bodies)


def test_positions_and_letters_are_one_and_what_was_asked_survives(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    check = Check("r", "M1", Version.V3.value, "t", "id-1", 100.0)
    with Outbox(path) as first:
        first.put(json_letters(OUTAGES[:1]), {"t": {0: 7}})
        first.ask([check, check._replace(meter="M2", request_id="id-2")])
        first.ask([check._replace(expires_at=9.0)])
        first.answer([("id-1", "off", 5), ("id-1", "on", 6), ("stranger", "on", 6)])
    with Outbox(path) as again:
        assert again.positions() == {"t": {0: 7}}
        assert again.answerable(99.0) == []
        (both,) = again.answerable(100.0)
        assert [(each.meter, each.answer, each.answered_us) for each in both] == [("M1", "off", 5), ("M2", None, None)]
        again.put((), {"t": {0: 9}}, ["r"])
        assert again.answerable(1e9) == []
        assert again.positions() == {"t": {0: 9}}


def test_a_second_worker_on_one_folder_is_refused(tmp_path: Path) -> None:
    held = hold_folder(tmp_path / "oms")
    with pytest.raises(TerminalError, match="another worker"):
        hold_folder(tmp_path / "oms")
    held.close()
    hold_folder(tmp_path / "oms").close()


def test_outages_never_cross_a_network_in_clear() -> None:
    with pytest.raises(ContractError, match="use https"):
        OmsClient(OmsParams(url="http://oms.example/"))
    with pytest.raises(ContractError, match="not an http"):
        OmsClient(OmsParams(url="ftp://oms.example/"))
    with pytest.raises(ContractError, match="certificate"):
        OmsListener("0.0.0.0", 0, lambda _, body: Reply(200, body))


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1, signed by itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "oms.test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / "oms.pem", folder / "oms.key"
    cert_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return cert_file, key_file


def test_over_tls_the_certificate_is_checked(tmp_path: Path, outbox: Outbox) -> None:
    cert_file, key_file = certificate(tmp_path)
    context = SSLContext(PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert_file, key_file)
    double = OmsDouble(context)
    url = f"https://127.0.0.1:{double.port}/"
    letter = next(json_letters(OUTAGES))
    trusting, strange = OmsClient(OmsParams(url=url, ca_file=cert_file)), OmsClient(OmsParams(url=url))
    assert trusting.send(letter) == Answer(Verdict.ACCEPTED)
    assert strange.send(letter).verdict is Verdict.LATER
    assert double.requests == 1
    double.close()


@pytest.mark.parametrize("version", list(Version))
def test_soap_letters_are_valid_and_the_password_is_never_stored(
    version: Version, tmp_path: Path, xsd: Path, outbox: Outbox
) -> None:
    file = "oa_v30ac.xsd" if version is Version.V3 else "not_v416.xsd"
    double = OmsDouble(check=Schema(xsd / "multispeak" / file).errors)
    outbox.put(multispeak_letters(OUTAGES, version))
    assert all(SECRET.encode() not in part.read_bytes() for part in tmp_path.iterdir())
    client = OmsClient(OmsParams(url=f"http://127.0.0.1:{double.port}/"), soap_dress(Account("utility", "ami", SECRET)))
    assert Delivery(outbox, client.send, FAST).pump(Clock()).accepted == OUTAGES.height
    assert double.wrong == []
    assert all(
        SECRET.encode() in got.body and got.action == f'"{version.value}/ODEventNotification"' for got in double.got
    )
    double.close()


def test_iec_letters_are_valid(xsd: Path, outbox: Outbox) -> None:
    double = OmsDouble(check=Schema(xsd / "iec61968" / "subset_message.xsd").errors)
    outbox.put(iec61968_letters(OUTAGES))
    assert delivery(outbox, double).pump(Clock()).accepted == OUTAGES.height
    assert double.wrong == []
    double.close()


def test_the_outage_system_pings_and_gets_its_answer(outbox: Outbox) -> None:
    asked: list[tuple[str, ...]] = []

    def answer(path: str, body: bytes) -> Reply:
        incoming = parse_request(body)
        asked.append(feedback_of(incoming, T0).ping)
        return Reply(200, answer_request(incoming, refusals_of(incoming, {"M1"})))

    listener = OmsListener("127.0.0.1", 0, answer)
    request = Request(f"http://127.0.0.1:{listener.port}/", PING, {"Content-Type": "text/xml"}, method="POST")
    with urlopen(request, timeout=10) as response:
        told_at_once = response.read().decode()
    assert 'objectID="M2"' in told_at_once
    assert 'objectID="M1"' not in told_at_once
    assert asked == [("M1", "M2")]
    results = pl.DataFrame({"meter_id": ["M1"], "answered_at": [T0], "answer": ["off"]})
    later = answer_ping(parse_request(PING), results).decode()
    assert "<transactionID>t-7</transactionID>" in later
    assert "PowerOff" in later
    listener.close()


def test_a_broken_request_is_answered_and_the_listener_goes_on() -> None:
    listener = OmsListener("127.0.0.1", 0, lambda _, body: Reply(200, answer_request(parse_request(body), [])))
    url = f"http://127.0.0.1:{listener.port}/"
    for body, status in ((b"<a>", 400), (PING, 200), (b"", 400)):
        assert post(url, body) == status
    listener.close()


def post(url: str, body: bytes) -> int:
    try:
        with urlopen(Request(url, body, method="POST"), timeout=10) as response:
            return int(response.status)
    except HTTPError as error:
        with error:
            return error.code


def test_what_the_outage_system_plans_suppresses_and_what_it_confirms_counts() -> None:
    text = b"""<OutageEventChangedNotification xmlns="http://www.multispeak.org/Version_3.0"><oEvents>
    <outageEvent objectID="1"><feeder>F0</feeder><outageStatus>Scheduled</outageStatus>
    <startTime>2026-01-10T09:00:00Z</startTime><ETOR>2026-01-10T12:00:00Z</ETOR></outageEvent>
    <outageEvent objectID="2"><deviceID>T110</deviceID><outageStatus>Confirmed</outageStatus></outageEvent></oEvents>
    </OutageEventChangedNotification>"""
    said = feedback_of(parse_request(text), T0)
    assert said.notes.rows() == [
        ("planned", "feeder", "F0", T0 - 60 * MINUTE, T0 + 120 * MINUTE),
        ("confirmed", "transformer", "T110", T0, None),
    ]


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 60), st.text(max_size=20))
def test_pauses_grow_and_are_capped(attempts: int, key: str) -> None:
    params = RetryParams(first_s=1, longest_s=60)
    pause = next_try(100.0, attempts, key, params) - 100.0
    assert min(60, 2.0 ** (attempts - 1)) / 2 <= pause <= min(60, 2.0 ** (attempts - 1))


def test_the_breaker_counts_failures_in_a_row_only() -> None:
    breaker = Breaker()
    for n in count():
        breaker = breaker.after_failure(0.0, FAST)
        if n == 1:
            breaker = breaker.after_success()
        if n == 3:
            break
    assert breaker.allows(0.0)
    assert not breaker.after_failure(0.0, FAST).allows(29.0)
    assert breaker.after_failure(0.0, FAST).allows(30.0)
