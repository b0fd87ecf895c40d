"""The picture of a night."""

from xml.etree import ElementTree

import polars as pl
from outage_logs import MINUTE, T0, alive, below, log, told, tree

from benchmarks.outage_picture import PICTURE, draw
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


def repeated(outages: pl.DataFrame, count: int, node: str) -> pl.DataFrame:
    return pl.concat(
        outages.with_columns(incident_id=pl.lit(f"i{n}"), node_id=pl.lit(node.format(n))) for n in range(count)
    )


def test_single_points_beyond_what_fits_share_a_row_of_their_feeder_and_nothing_larger_is_left_out() -> None:
    whole = night()
    many = repeated(whole.filter(pl.col("scope") == "individual"), MOST_ROWS, "X{:04d}")
    root = ElementTree.fromstring(render_map(pl.concat([whole, many]), METERS))
    texts = [text.text or "" for text in root.iter(f"{SVG}text")]
    assert f"{MOST_ROWS} single points" in texts
    assert {
        f"{row['node_kind']} {row['node_id']}" for row in whole.filter(pl.col("scope") != "individual").to_dicts()
    } <= {*texts}
    assert not any("more incident" in text for text in texts)


def test_a_picture_of_very_many_streets_says_how_many_it_leaves_out() -> None:
    street = night().filter(pl.col("node_id") == "T110")
    root = ElementTree.fromstring(render_map(repeated(street, MOST_ROWS + 40, "T{:04d}"), METERS))
    bars = len(list(root.iter(f"{SVG}g")))
    (rest,) = (text.text for text in root.iter(f"{SVG}text") if "more incident" in (text.text or ""))
    assert bars == MOST_ROWS - 1
    assert rest == f"and {MOST_ROWS + 40 - bars} more incidents, {8 * (MOST_ROWS + 40 - bars)} meters"


def test_the_feeder_that_was_hit_most_stands_first_and_the_curve_tells_the_worst_moment() -> None:
    texts = [text.text or "" for text in ElementTree.fromstring(render_map(night(), METERS)).iter(f"{SVG}text")]
    headings = [text for text in texts if text.startswith("Feeder ")]
    assert headings == [
        "Feeder F0, substation S0: 4 incidents, 72 meters",
        "Feeder F1, substation S0: 2 incidents, 9 meters",
    ]
    assert any(text.startswith("most: 73 meters at ") for text in texts), "the whole feeder, and one point of the other"
    assert any(text.startswith("as of ") for text in texts), "two are not over"


def test_the_picture_in_the_documents_is_what_is_drawn_today() -> None:
    assert draw() == PICTURE.read_text(), "python benchmarks/outage_picture.py"
