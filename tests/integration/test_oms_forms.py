"""Every form from the broker to an outage system that demands our certificate and checks what it gets."""

import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pytest
from certificates import Authority
from oms_bench import PASSWORD, XSD, World, opened
from outage_bench import LIMIT_S, Night, night_of_storms

from oms_double import OmsDouble  # isort: skip  its folder is on the path since `outage_bench`
from xsd_check import Schema  # isort: skip

from ingest.kafka.settings import KafkaSettings
from outage.letter import Letter
from outage.messages.cim_json import parse_cim_json
from outage.messages.letters import iec61968_letters, json_letters, multispeak_letters, odin_letters
from outage.messages.multispeak import Version
from outage.messages.xml import find, local, parse_xml

SCHEMAS = {
    "iec61968": XSD / "iec61968" / "subset_message.xsd",
    "multispeak3": XSD / "multispeak" / "oa_v30ac.xsd",
    "multispeak41": XSD / "multispeak" / "not_v416.xsd",
}
"""CIM-JSON has a schema of its own, by which `parse_cim_json` reads it; no schema of ODIN is public."""
FORMS = ("cim-json", "iec61968", "multispeak3", "multispeak41", "odin")


@pytest.fixture(scope="module")
def night() -> Night:
    return night_of_storms()


class Forms(NamedTuple):
    """A world whose counterparties are one of each form, over mutual TLS."""

    world: World
    ours: Authority
    strange: Authority

    @property
    def doubles(self) -> dict[str, OmsDouble]:
        return self.world.doubles

    def configure(self, who: Authority) -> None:
        """From the next start on the worker shows a certificate that `who` has signed."""
        certificate, key = who.issue("ami")
        self.world.configure(
            {
                form: f'''
format = "{form}"
url = "https://127.0.0.1:{double.port}/in"
ca_file = "{self.ours.file}"
certificate_file = "{certificate}"
key_file = "{key}"
company = "utility"
user = "ami"
password_file = "{self.world.folder / "ours"}"
timeout_s = 5.0'''
                for form, double in self.doubles.items()
            }
        )


@pytest.fixture
def forms(kafka_settings: KafkaSettings, night: Night, tmp_path: Path) -> Iterator[Forms]:
    ours, strange = Authority(tmp_path / "tls", "utility-ca"), Authority(tmp_path / "tls", "strange-ca")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*ours.issue("oms", ("127.0.0.1",)))
    tls.load_verify_locations(ours.file)
    tls.verify_mode = ssl.CERT_REQUIRED
    checks = {form: Schema(file).errors for form, file in SCHEMAS.items() if file.exists()}
    doubles = {form: OmsDouble(tls, checks.get(form)) for form in FORMS}
    with opened(kafka_settings, tmp_path, night.meters, doubles) as world:
        yield Forms(world, ours, strange)


def expected(form: str, outages: pl.DataFrame) -> list[Letter]:
    """The letters that the steps make, each for itself."""
    if form == "cim-json":
        return list(json_letters(outages))
    if form == "iec61968":
        return list(iec61968_letters(outages))
    if form == "odin":
        of = {name: outages.filter(pl.col("incident_id") == name) for name in outages["incident_id"].unique()}
        return list(odin_letters(outages, lambda name: of[name], ({}, None)))
    return list(multispeak_letters(outages, Version.V3 if form == "multispeak3" else Version.V4))


def told(form: str, body: bytes) -> list[str]:
    """What a reader of that form learns: events, states or codes, in words of the form."""
    if form == "cim-json":
        return [parse_cim_json(body).status]
    root = parse_xml(body)
    if form == "iec61968":
        return [part.get("ref", "") for part in root.iter() if local(part.tag) == "EndDeviceEventType"]
    if form == "odin":
        assert "}" in root.tag
        return [f"{local(part.tag)} {part.text}" for part in root.iter() if local(part.tag) in ("mRID", "outageKind")]
    assert find(root, "Header") is not None, "a SOAP message has its header"
    return [part.text or "" for part in root.iter() if local(part.tag) == "outageEventType"]


def test_every_form_arrives_whole_valid_and_in_order_though_the_worker_dies_and_the_systems_fail(
    forms: Forms, night: Night
) -> None:
    """Five outage systems that demand our certificate, answer with errors and silence, and forget nothing."""
    outages, world = night.said(), forms.world
    forms.configure(forms.ours)
    world.say(outages[: outages.height // 2])
    for double in forms.doubles.values():
        double.plan.extend(["500", "drop", "503"])
    worker = world.start("doomed_oms.py", "send:after", 4)
    assert worker.wait(LIMIT_S) == -9, (world.folder / "doomed_oms.py.log").read_text()[-3000:]
    world.say(outages[outages.height // 2 :])
    worker = world.start("doomed_oms.py")
    wanted = {form: expected(form, outages) for form in FORMS}
    world.wait(lambda: all(len(forms.doubles[form].got) >= len(wanted[form]) for form in FORMS), "not all has arrived")
    for form, double in forms.doubles.items():
        lane = {letter.key: letter.lane for letter in wanted[form]}
        order = {key: at for at, key in enumerate(lane)}
        keys = [got.key for got in double.got]
        assert sorted(keys) == sorted(lane), (form, "each letter once, none more")
        for name in set(lane.values()):
            mine = [order[key] for key in keys if lane[key] == name]
            assert mine == sorted(mine), (form, name, "steps of an incident keep their order")
        assert double.wrong == [], form
        assert all(told(form, got.body) for got in double.got), form
        carries = form.startswith("multispeak")
        assert all((PASSWORD.encode() in got.body) == carries for got in double.got), form
    assert {word for got in forms.doubles["multispeak41"].got for word in told("multispeak41", got.body)} == {
        "Inferred", "Outage", "Restoration",
    }  # fmt: skip
    assert {code for got in forms.doubles["iec61968"].got for code in told("iec61968", got.body)} == {
        "3.26.0.47", "3.26.0.216",
    }  # fmt: skip
    worker.terminate()
    assert worker.wait(LIMIT_S) == 0


def test_a_certificate_that_the_outage_system_does_not_know_is_refused_and_nothing_is_lost(
    forms: Forms, night: Night
) -> None:
    outages, world = night.said()[:6], forms.world
    forms.configure(forms.strange)
    world.say(outages)
    worker = world.start("doomed_oms.py")
    log_file = world.folder / "doomed_oms.py.log"
    world.wait(
        lambda: log_file.exists() and log_file.read_text().count('"circuit_open": true') >= len(FORMS),
        "the refusal was not seen",
    )
    time.sleep(1.0)
    assert all(double.requests == 0 for double in forms.doubles.values()), "no request got past the handshake"
    worker.terminate()
    assert worker.wait(LIMIT_S) == 0
    forms.configure(forms.ours)
    world.start("doomed_oms.py")
    wanted = {form: {letter.key for letter in expected(form, outages)} for form in FORMS}
    world.wait(lambda: all(len(forms.doubles[form].got) >= len(wanted[form]) for form in FORMS), "not all has arrived")
    assert {form: {got.key for got in double.got} for form, double in forms.doubles.items()} == wanted
