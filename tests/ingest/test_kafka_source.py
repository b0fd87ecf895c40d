"""The member of a group, on a client that says what a real one says only in a race."""

from collections.abc import Callable
from typing import Any

import pytest
from kafka import TopicPartition, errors
from kafka.structs import MemberState

from ingest.kafka import source as door
from ingest.kafka.settings import KafkaSettings
from ingest.kafka.source import FirstStart, KafkaSource, Position, Span, Subscription
from schemas.errors import TerminalError, TransientError

HERE, THERE = TopicPartition("t", 0), TopicPartition("t", 1)


class Record:
    def __init__(self, offset: int) -> None:
        self.offset, self.timestamp, self.value = offset, 1_743_292_800_000, bytes([0, 1, 0, 1, 0, 16, 0, 1, offset])


class Client:
    """What `KafkaSource` uses of a consumer. Each poll does the next thing that is written down."""

    def __init__(self, **options: Any) -> None:
        self.script: list[Callable[[], dict[Any, list[Any]]]] = []
        self.offsets: dict[Any, int | None] = {HERE: 0, THERE: 0}
        self.mine: set[Any] = set()
        self.committing: Exception | None = None
        self.sought: dict[Any, int] = {}
        self.unanswered = 0
        self.state = MemberState.STABLE
        self._coordinator = self

    def request_rejoin(self) -> None: ...

    def subscribe(self, topics: list[str], listener: Any) -> None:
        self.listener = listener

    def assignment(self) -> set[Any]:
        return self.mine

    def pause(self, *places: Any) -> None: ...
    def resume(self, *places: Any) -> None: ...
    def paused(self) -> set[Any]:
        return self.mine

    def group_metadata(self) -> Any:
        return self

    def poll(self, timeout_ms: int, max_records: int) -> dict[Any, list[Any]]:
        self.waited_ms = timeout_ms
        return self.script.pop(0)() if self.script else {}

    def committed(self, place: Any, timeout_ms: int | None = None) -> int | None:
        assert timeout_ms, "without a limit the client asks for ever"
        if self.unanswered:
            self.unanswered -= 1
            raise errors.KafkaTimeoutError
        return self.offsets[place]

    def beginning_offsets(self, places: list[Any]) -> dict[Any, int]:
        return dict.fromkeys(places, 3)

    def commit(self, offsets: dict[Any, Any], timeout_ms: int | None = None) -> None:
        if self.committing is not None:
            raise self.committing
        self.offsets |= {place: offset.offset for place, offset in offsets.items()}

    def highwater(self, place: Any) -> int | None:
        return 7

    def end_offsets(self, places: list[Any], timeout_ms: int | None = None) -> dict[Any, int]:
        assert timeout_ms
        if self.unanswered:
            raise errors.KafkaTimeoutError
        return dict.fromkeys(places, 40)

    def seek(self, place: Any, offset: int) -> None:
        self.sought[place] = offset

    def won(self, *places: Any, then: dict[Any, list[Any]] | None = None) -> Callable[[], dict[Any, list[Any]]]:
        def happen() -> dict[Any, list[Any]]:
            self.mine |= set(places)
            self.listener.on_partitions_assigned(places)
            return then or {}

        return happen

    def lost(self, *places: Any, then: Callable[[], Any] = dict) -> Callable[[], dict[Any, list[Any]]]:
        def happen() -> dict[Any, list[Any]]:
            self.mine -= set(places)
            self.listener.on_partitions_revoked(places)
            return then()

        return happen


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    client = Client()
    monkeypatch.setattr(door, "KafkaConsumer", lambda **_: client)
    return client


@pytest.fixture
def source(client: Client) -> KafkaSource:
    return KafkaSource(KafkaSettings(), Subscription(("t",), "g", first_start=FirstStart.EARLIEST))


def offsets(polled: door.Polled) -> list[int]:
    return [offset for records in polled.records for offset in records.offsets]


def test_what_comes_of_a_partition_that_is_won_while_paused_is_told_by_the_next_poll(client, source) -> None:
    source.pause()
    client.script = [client.won(HERE, then={HERE: [Record(0)]}), lambda: {HERE: [Record(1)]}, dict]
    alive = [source.keep_alive() for _ in range(3)]
    assert [poll.records for poll in alive] == [(), (), ()]
    assert alive[0].assigned == (Position("t", 0, 0),)
    source.resume()
    polled = source.poll(0, 10)
    assert offsets(polled) == [0, 1]
    assert polled.spans == (Span("t", 0, 0, 2, 0),)


def test_what_was_kept_of_a_term_that_is_over_is_read_again_and_not_told_twice(client, source) -> None:
    source.pause()
    client.script = [
        client.won(HERE, then={HERE: [Record(0)]}),
        client.lost(HERE, then=client.won(HERE, then={HERE: [Record(0)]})),
    ]
    source.keep_alive()
    source.keep_alive()
    source.resume()
    polled = source.poll(0, 10)
    assert offsets(polled) == [0]
    assert polled.spans == (Span("t", 0, 0, 1, 1),)


def test_a_partition_that_is_ours_anew_is_read_from_where_it_is_told_and_not_where_its_former_term_ended(
    client, source
) -> None:
    back = client.lost(HERE, then=client.won(HERE, THERE, then={HERE: [Record(5)], THERE: [Record(0)]}))
    client.script = [client.won(HERE, then={HERE: [Record(n) for n in range(5)]}), back, lambda: {HERE: [Record(0)]}]
    assert offsets(source.poll(0, 10)) == [0, 1, 2, 3, 4]
    polled = source.poll(0, 10)
    assert polled.assigned == (Position("t", 0, 0), Position("t", 1, 0))
    assert polled.spans == (Span("t", 1, 0, 1, 2),), "what came of the other from where it stands is kept"
    assert client.sought == {HERE: 0}
    assert source.poll(0, 10).spans == (Span("t", 0, 0, 1, 1),)


def test_brokers_that_do_not_say_where_a_partition_stands_are_asked_again_and_nothing_is_forgotten(
    client, source
) -> None:
    client.script = [client.won(HERE, then={HERE: [Record(0)]}), lambda: {HERE: [Record(1)]}]
    client.unanswered = 1
    with pytest.raises(TransientError):
        source.poll(0, 10)
    polled = source.poll(0, 10)
    assert polled.assigned == (Position("t", 0, 0),)
    assert offsets(polled) == [0]
    assert offsets(source.poll(0, 10)) == [1]


def no_position() -> dict[Any, list[Any]]:
    raise errors.NoOffsetForPartitionError(HERE)


def test_a_first_start_in_the_middle_of_a_rebalance_is_left_to_who_gets_the_partition(client, source) -> None:
    client.offsets[HERE] = None
    client.committing = errors.CommitFailedError("rebalance")
    client.script = [client.won(HERE), no_position, no_position]
    source.poll(0, 10)
    assert source.poll(0, 10).records == ()
    assert client.sought == {}
    client.committing = None
    source.poll(0, 10)
    assert (client.sought, client.offsets[HERE]) == ({HERE: 3}, 3)


def test_a_first_start_while_the_brokers_are_away_is_tried_again(client, source) -> None:
    client.offsets[HERE] = None
    client.script = [client.won(HERE), no_position, no_position]
    source.poll(0, 10)
    client.unanswered = 1
    with pytest.raises(TransientError):
        source.poll(0, 10)
    source.poll(0, 10)
    assert client.sought == {HERE: 3}


def test_another_member_of_the_same_name_ends_this_one(client, source) -> None:
    def fenced() -> dict[Any, list[Any]]:
        raise errors.FencedInstanceIdError

    client.script = [fenced]
    with pytest.raises(TerminalError, match=r"FencedInstanceId.*group\.instance"):
        source.poll(0, 10)


def test_the_lag_of_a_paused_member_is_what_the_brokers_say_or_the_last_that_was_known(client, source) -> None:
    client.script = [client.won(HERE, then={HERE: [Record(0)]})]
    source.commit(source.poll(0, 10).spans)
    assert source.lag() == {("t", 0): 6}
    source.pause()
    assert source.lag() == {("t", 0): 39}
    client.unanswered = 1
    assert source.lag() == {("t", 0): 6}


def test_of_a_partition_that_never_had_a_position_waits_what_comes_after_its_first_start(client, source) -> None:
    """Offsets 0 to 2 are no longer kept: nobody is to read them."""
    client.offsets[HERE] = None
    client.script = [client.won(HERE), no_position]
    source.poll(0, 10)
    source.poll(0, 10)
    assert client.sought == {HERE: 3}
    assert source.lag() == {("t", 0): 4}


def test_what_was_polled_and_not_committed_still_waits(client, source) -> None:
    client.offsets[HERE] = 2
    client.script = [client.won(HERE, then={HERE: [Record(offset) for offset in range(2, 6)]})]
    polled = source.poll(0, 10)
    assert source.lag() == {("t", 0): 5}, "a delivery that hangs is seen"
    client.committing = errors.RebalanceInProgressError()
    source.commit(polled.spans)
    assert source.lag() == {("t", 0): 5}
    client.committing = None
    source.commit(polled.spans)
    assert source.lag() == {("t", 0): 1}
    client.script = [client.lost(HERE)]
    source.keep_alive()
    assert source.lag() == {}


def test_a_paused_member_waits_for_the_group_that_forms_anew_and_for_nothing_else(client, source) -> None:
    """Asked without waiting, the client sends the group another request to join each time it is asked."""
    source.pause()
    source.keep_alive()
    assert client.waited_ms == 0
    client.state = MemberState.REBALANCING
    source.keep_alive()
    assert client.waited_ms >= 1000
