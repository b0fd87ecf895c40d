"""ODIN messages against our own strict shape: no schema of the profile is public."""

import uuid
from pathlib import Path

import polars as pl
import pytest
from outage_logs import MINUTE, T0, alive, below, log, told, tree
from xsd_check import Schema

from outage.detect import detect_outages
from outage.messages.odin import render_odin
from outage.messages.xml import parse_xml
from outage.params import DetectParams
from schemas.frames import OUTAGES

METERS = tree()
SHAPE = Schema(Path(__file__).with_name("odin_shape.xsd"))
NAME = "{http://iec.ch/TC57/2014/FROutages#}"


def night() -> pl.DataFrame:
    """A feeder that comes back in steps, with what stays dark in it; a street; a single point that goes on."""
    whole, street = below(METERS, "F0"), below(METERS, "T110")
    events = log(
        told(whole, "power_down", T0),
        told(whole[:40], "power_up", T0 + 40 * MINUTE),
        told(whole[40:64], "power_up", T0 + 80 * MINUTE),
        told(street, "power_down", T0 + 60 * MINUTE),
        told(street, "power_up", T0 + 85 * MINUTE),
        told(["M100-001"], "power_down", T0 + 5 * MINUTE),
    )
    heard = alive(METERS, [*whole, *street, "M100-001"], *(T0 + n * MINUTE for n in (10, 70, 90)))
    return detect_outages(events, METERS, heard, DetectParams()).outages


OUT = night()
SENT = render_odin(OUT, {"T110": "06085"}, "as known, without warranty")


def test_what_we_send_has_the_shape() -> None:
    assert SHAPE.errors(SENT) == []
    assert SHAPE.errors(render_odin(OUTAGES.empty())) == []
    gone = OUT.with_columns(state=pl.lit("cancelled").cast(OUT.schema["state"]))
    assert SHAPE.errors(render_odin(gone, with_gone=True)) == []
    assert len(parse_xml(render_odin(gone))) == 0


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (b">verified<", b">certain<"),
        (b"<scope>street<", b"<scope>village<"),
        (b"<NameType><name>transformer<", b"<NameType><name>box<"),
        (b"<outageKind>", b"<cause>tree</cause><outageKind>"),
        (b"Names>", b"Nomen>"),
        (b"<metersAffected>", b"<metersAffected>about "),
        (b"<start>", b"<start>soon "),
        (b"mRID>", b"mrid>"),
        (b"FROutages#", b"FROutage#"),
    ],
)
def test_another_word_order_type_or_namespace_is_refused(right: bytes, wrong: bytes) -> None:
    assert right in SENT
    assert SHAPE.errors(SENT.replace(right, wrong))


def test_the_numbers_are_those_of_the_incident() -> None:
    """ODIN counts what is dark now; what came back and what was dark at first stand beside it."""
    steps = OUT.partition_by("incident_id", as_dict=True)
    outages = parse_xml(SENT).findall(f"{NAME}Outage")
    assert len(outages) == len(steps)
    for outage in outages:
        told = {child.tag.removeprefix(NAME): child.text for child in outage}
        rows = steps[told["mRID"] or "",].sort("step")
        over = rows["state"][-1] in ("restored", "closed")
        back = rows.filter(pl.col("restored_at").is_not_null())
        assert uuid.UUID(told["mRID"] or "").version == 5
        assert int(told["originalMetersAffected"] or "") == rows["meters_out"][0]
        assert int(told["metersAffected"] or "") == rows["meters_out"][0] - back["meters_out"].sum()
        assert int(told["customersRestored"] or "") == back["customers_out"].sum()
        assert (outage.find(f"{NAME}actualPeriod/{NAME}end") is not None) is over
        assert told["outageKind"] == ("estimated" if set(rows["state"]) == {"reported"} else "verified")
        assert [name.text for name in outage.findall(f"{NAME}Names/{NAME}name")] == [rows["node_id"][-1]]
    places = [o.findtext(f"{NAME}communityDescriptor") for o in outages]
    assert places.count("06085") == 1
    assert places.count(None) == len(outages) - 1
