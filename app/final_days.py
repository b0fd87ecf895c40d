"""Days whose estimates become final because the market's deadline passes (E14), though nothing of them is dirty."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta

from schemas.timegrid import zone
from storage.store import ReadingStore, Scope

_DAY = timedelta(days=1)


def final_days(store: ReadingStore, meters: tuple[str, ...], deadline: datetime, zones: Sequence[str]) -> list[date]:
    """Local days, two at most beside the differences of zones, that the deadline passed within the last day.

    Args:
        store: Where finals are. Before the first day that was judged nothing becomes final.
        meters: Some of the fleet: if nothing of theirs was judged then, nothing was.
        deadline: Estimates of intervals before it are final.
        zones: Of the meters.
    """
    if not store.load_current("finals", Scope(meters, deadline - _DAY, deadline)).height:
        return []
    first, last = ([instant.astimezone(zone(name)).date() for name in zones] for instant in (deadline - _DAY, deadline))
    start = min(first)
    return [start + number * _DAY for number in range((max(last) - start).days + 1)]
