"""Clocks that go by another period than METERS says: their intervals would overlap, so none is made of them."""

from datetime import timedelta

import pytest

from ingest.dlms.data import Data, Tag
from ingest.dlms.framing import wrap_wpdu
from tests.ingest.fleet import START, decode, enrolled, interval_rows, meters, notification, stamp


def _push(seconds: list[int | None]) -> bytes:
    rows = [
        (Data(Tag.NULL, None) if each is None else stamp(START + timedelta(seconds=each)), 0, [100, 7])
        for each in seconds
    ]
    return wrap_wpdu(notification(interval_rows(rows)))


def _registry(interval_s: int):  # type: ignore[no-untyped-def]
    return meters(enrolled(interval_s=interval_s, system_title=None, security_min=0))


@pytest.mark.parametrize("interval_s", [1800, 3600, 86400])
@pytest.mark.parametrize("seconds", [[900, 1800], [900, 1800, 2700, 3600], [900, 1800, 2700, None]])
def test_clocks_at_odds_with_the_known_period_place_no_row(interval_s: int, seconds: list[int | None]) -> None:
    decoded = decode(_push(seconds), _push(seconds), registry=_registry(interval_s))
    assert decoded.intervals.is_empty()
    detail = f"{2 * len(seconds)} values: no step between clocks is of the known {interval_s} s"
    assert decoded.rejects.select("reason", "detail").rows() == [("layout_unknown", detail)] * 2
    assert (decoded.rejects["at"] > 0).all()


@pytest.mark.parametrize(
    "seconds",
    [[900], [900, 1800, 2700], [900, 2700], [2700, 1800, 900], [903, 1798, 2701], [900, 1800, 2000, 2700], [900, None]],
    ids=["one", "even", "a hole", "backwards", "by some seconds", "one that is odd", "null"],
)
def test_clocks_of_the_known_period_place_every_row(seconds: list[int | None]) -> None:
    decoded = decode(_push(seconds), registry=_registry(900))
    assert decoded.intervals.height == 2 * len(seconds)
    assert decoded.rejects.is_empty()


def test_of_two_messages_the_one_at_odds_is_refused() -> None:
    decoded = decode(_push([900, 1200]), _push([900, 1800]), registry=_registry(900))
    assert decoded.intervals["offset"].unique().to_list() == [1]
    assert decoded.rejects["offset"].to_list() == [0]
