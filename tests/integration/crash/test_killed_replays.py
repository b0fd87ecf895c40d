"""`ami replay` killed in the middle of what it does, in each of its forms: done again, nothing is lost or there twice.

Workers have decoded with every second key; then all keys are there, and what was rejected is replayed.
"""

from collections.abc import Iterator

import polars as pl
import pytest
from accounts import PLACE, all_rows, current_places
from cluster import FULL, LIMIT_S, Workers
from fleet import LANES, PARTITIONS, Fleet, in_one_pass, on_topics, push
from polars.testing import assert_frame_equal

from app.replay import REPLAYABLE
from storage.store import SqlStore

LIFE = (
    "load_windows", "append frames", "append intervals", "append reads", "append replay_windows",
    "publish ami.heard.v1", "publish ami.dirty-days.v1", "flush", "append rejects", "publish ami.rejects.v1",
    "publish ami.events.v1",
)  # fmt: skip
"""The calls of a replay. Those that a page may lack, or that resolve it, come last: no death before takes work away."""
EVERY = tuple((f"{call}:{when}", 1) for call in LIFE for when in ("before", "after"))
FORMS = {
    "stop": ("rejects", "--policy", "stop", "--reason", "key_unknown"),
    "reinsert": ("rejects", "--policy", "reinsert"),
    "drop": ("rejects", "--policy", "drop"),
}
DEATHS = {
    "stop": (("append intervals:after", 2),),
    "reinsert": (("append rejects:after", 1), ("flush:after", 2)),
    "drop": (("append rejects:before", 1), ("publish ami.events.v1:after", 1)),
}
"""Without AMI_FULL=1: in the first page or in the second."""
ONLY_REINSERTED = "publish ami.rejects.v1"
RANGE = ("prepare", *LIFE)
RARE = ("publish ami.heard.v1", "publish ami.dirty-days.v1", "append reads", "append rejects", ONLY_REINSERTED,
        "publish ami.events.v1")  # fmt: skip
"""Not in every range."""


@pytest.fixture
def lacking(workers: Workers, fleet: Fleet) -> Iterator[None]:
    """Every lane has been read with half of the keys; from here on the workers and verbs have all."""
    head, *keys = fleet.keys.read_text().splitlines()
    some = workers.config.with_name("some_keys.csv")
    some.write_text("\n".join([head, *keys[::2]]) + "\n")
    whole = workers.config.read_text()
    workers.config.write_text(
        whole.replace(str(fleet.keys), str(some)).replace("[ingest]", "[ingest]\nfuse_share = 1.0")
    )
    push(workers.settings, fleet.payloads)
    workers.run_out("ingest", "events")
    workers.config.write_text(whole)
    yield


def replayed(workers: Workers, form: tuple[str, ...]) -> int:
    return workers.run(("replay", *form), "replay").wait(LIMIT_S)


def killed(workers: Workers, form: tuple[str, ...], step: str, nth: int) -> None:
    for _ in range(20):  # a run takes so many messages: what the first ones lack, later ones have
        ended = workers.run(("replay", *form), "replay", step, nth).wait(LIMIT_S)
        if ended == -9:
            return
        assert ended in (0, 1), (step, ended, workers.tail())
    raise AssertionError((step, "never reached", workers.tail()))


def deaths(policy: str) -> tuple[tuple[str, int], ...]:
    every = tuple(one for one in EVERY if policy == "reinsert" or not one[0].startswith(ONLY_REINSERTED))
    return every if FULL else DEATHS[policy]


@pytest.mark.usefixtures("lacking")
@pytest.mark.parametrize("policy", FORMS)
def test_rejects_replayed_by_a_verb_that_is_killed_are_there_once(
    workers: Workers, store: SqlStore, fleet: Fleet, policy: str
) -> None:
    before = current_places(store, "rejects").unique()
    for step, nth in deaths(policy):
        killed(workers, FORMS[policy], step, nth)
    assert replayed(workers, FORMS[policy]) == 0, workers.tail()
    if policy == "stop":
        assert replayed(workers, ("rejects",)) == 1, "rubbish is left, and it stops there"
    as_if_never_failed(workers, store, fleet)
    rejected = in_one_pass(on_topics(workers.settings, *LANES), fleet.registry()).rejects.select(PLACE).unique()
    dropped = current_places(store, "rejects", "resolution = 'dropped'").unique()
    still, none = rejected.sort(PLACE), rejected.clear()
    assert_frame_equal(open_places(store), none if policy == "drop" else still)
    assert_frame_equal(dropped.sort(PLACE), still if policy == "drop" else none)
    assert_frame_equal(all_rows(store, "rejects").select(PLACE).unique().sort(PLACE), before.sort(PLACE))
    assert workers.reached("replay") <= set(LIFE), "a call at which nobody dies"


@pytest.mark.usefixtures("lacking")
def test_ranges_replayed_by_a_verb_that_is_killed_are_there_once(
    workers: Workers, store: SqlStore, fleet: Fleet
) -> None:
    every = [f"{call}:{when}" for call in RANGE if call not in RARE for when in ("before", "after")]
    steps = every if FULL else ["append replay_windows:after"]
    for topic in LANES:
        for partition in range(PARTITIONS):
            bounds = ("--topic", topic, "--partition", str(partition), "--first", "0", "--after", "1000000")
            for step in steps if partition == 0 else ():
                killed(workers, ("range", *bounds), step, 1)
            assert replayed(workers, ("range", *bounds)) == 0, workers.tail()
    as_if_never_failed(workers, store, fleet)
    rejected = in_one_pass(on_topics(workers.settings, *LANES), fleet.registry()).rejects.select(PLACE).unique()
    assert_frame_equal(open_places(store), rejected.sort(PLACE))
    assert workers.reached("replay") <= set(RANGE), "a call at which nobody dies"


def as_if_never_failed(workers: Workers, store: SqlStore, fleet: Fleet) -> None:
    """Each table holds what one pass with all keys gives, and no place twice in the view of the newest."""
    workers.run_out("store")
    one_pass = in_one_pass(on_topics(workers.settings, *LANES), fleet.registry())
    for name, rows in (
        ("frames", one_pass.messages),
        ("intervals", one_pass.intervals),
        ("reads", one_pass.reads),
        ("events", one_pass.events),
        ("replay_windows", one_pass.seen),
    ):
        stored = all_rows(store, name)
        wanted = rows.select(stored.columns).unique()
        assert stored.height == wanted.height, name
        assert_frame_equal(stored.sort(stored.columns), wanted.sort(stored.columns))
    places = current_places(store, "frames")
    assert places.height == places.n_unique()


def open_places(store: SqlStore) -> pl.DataFrame:
    """Places of rejects that wait for somebody."""
    return store.load_open_rejects(REPLAYABLE, 1_000_000).select(PLACE).unique().sort(PLACE)
