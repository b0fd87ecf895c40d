"""What a compacted topic promises to its readers: tests of whatever `compacted` is given, in memory or in Kafka."""

from collections.abc import Callable
from typing import Any, NamedTuple


class Compacted(NamedTuple):
    """A topic, empty when a test begins: `reader()` opens one more reader, `write` puts messages there in order."""

    reader: Callable[[], Any]
    write: Callable[[list[tuple[bytes, bytes | None]]], None]


def changed(reader: Any) -> dict[bytes, bytes | None]:
    return {key: newest.value for key, newest in reader.changes().items()}


def test_of_every_key_the_newest_message_is_told_once(compacted: Compacted) -> None:
    reader = compacted.reader()
    assert changed(reader) == {}
    compacted.write([(b"a", b"1"), (b"b", b"2"), (b"a", b"3")])
    assert changed(reader) == {b"a": b"3", b"b": b"2"}
    assert changed(reader) == {}
    compacted.write([(b"b", b"4")])
    assert changed(reader) == {b"b": b"4"}
    reader.close()


def test_a_key_that_was_taken_away_is_told_without_a_value(compacted: Compacted) -> None:
    reader = compacted.reader()
    compacted.write([(b"a", b"1"), (b"b", b"2")])
    reader.changes()
    compacted.write([(b"a", None)])
    assert changed(reader) == {b"a": None}
    compacted.write([(b"a", b"5"), (b"b", None), (b"b", b"6"), (b"a", None)])
    assert changed(reader) == {b"a": None, b"b": b"6"}
    reader.close()


def test_whoever_comes_later_is_told_all_that_stands_there(compacted: Compacted) -> None:
    first = compacted.reader()
    compacted.write([(b"a", b"1"), (b"b", b"2")])
    first.changes()
    compacted.write([(b"a", b"3")])
    later = compacted.reader()
    assert changed(later) == {b"a": b"3", b"b": b"2"}
    assert changed(first) == {b"a": b"3"}
    first.close()
    later.close()


def test_the_version_rises_with_every_message_and_is_the_same_for_all_who_read_so_far(compacted: Compacted) -> None:
    first = compacted.reader()
    first.changes()
    assert first.version() == 0
    compacted.write([(b"a", b"1"), (b"a", b"2")])
    assert first.version() == 0, "not read yet"
    first.changes()
    assert first.version() == 2, "messages, not keys"
    compacted.write([(b"b", None)])
    first.changes()
    later = compacted.reader()
    later.changes()
    assert later.version() == first.version() == 3
    first.close()
    later.close()
