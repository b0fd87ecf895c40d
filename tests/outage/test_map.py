"""The picture of a night."""

from xml.etree import ElementTree

import polars as pl
from outage_logs import MINUTE, T0, alive, below, log, told, tree

from outage.detect import detect_outages
from outage.map import MOST_ROWS, render_map
from outage.params import DetectParams
from schemas.frames import OUTAGES

METERS = tree()
SVG = "{http://www.w3.org/2000/svg}"


def night() -> pl.DataFrame:
    whole, street = below(METERS, "F0"), below(METERS, "T110")
    events = log(
        told(whole, "power_down", T0),
        told(whole[:40], "power_up", T0 + 40 * MINUTE),
        told(whole[40:64], "power_up", T0 + 80 * MINUTE),
        told(street, "power_down", T0 + 60 * MINUTE),
        told(["M100-001"], "power_down", T0 + 5 * MINUTE),
        told(["M100-001"], "power_up", T0 + 95 * MINUTE),
    )
    lives = alive(METERS, [*whole, *street, "M100-001"], T0 + 10 * MINUTE, T0 + 90 * MINUTE)
    return detect_outages(events, METERS, lives, DetectParams()).outages


def test_every_incident_is_a_bar_on_its_node() -> None:
    outages = night()
    root = ElementTree.fromstring(render_map(outages, METERS, "A night"))
    bars = [group.find(f"{SVG}title").text for group in root.iter(f"{SVG}g")]  # type: ignore[union-attr]
    assert len(bars) == outages["incident_id"].n_unique()
    assert {bar.split(":")[0].split()[1] for bar in bars if bar} == set(outages["node_id"])
    assert any("still dark" in bar for bar in bars if bar)


def test_a_bar_says_in_words_how_many_how_long_and_whether_it_is_over() -> None:
    labels = [text.text or "" for text in ElementTree.fromstring(render_map(night(), METERS)).iter(f"{SVG}text")]
    assert any("meters · " in label and label.endswith(" h") for label in labels)
    assert any(label.endswith(" h, still dark") for label in labels)
    assert any(label.startswith("1 meter · ") for label in labels)


def test_the_same_incidents_give_the_same_picture() -> None:
    assert render_map(night(), METERS) == render_map(night(), METERS)


def test_a_night_without_outages_is_a_picture_too() -> None:
    root = ElementTree.fromstring(render_map(OUTAGES.empty(), METERS))
    assert "0 incidents" in (root.findtext(f"{SVG}desc") or "")


def test_names_that_look_like_markup_stay_names() -> None:
    outages = night().with_columns(node_id=pl.lit('<script>alert("x")</script>&'))
    ElementTree.fromstring(render_map(outages, METERS))


def test_a_picture_of_very_many_incidents_says_how_many_it_leaves_out() -> None:
    one = night().filter(pl.col("scope") == "individual")
    many = pl.concat(
        [one.with_columns(incident_id=pl.lit(f"i{n}"), node_id=pl.lit(f"X{n:04d}")) for n in range(MOST_ROWS)]
    )
    assert "more incidents" in render_map(many, METERS)
