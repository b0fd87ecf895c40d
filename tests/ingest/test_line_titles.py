"""Titles of the senders of one line, by the wrapper port that they send from."""

from hypothesis import given
from hypothesis import strategies as st

from ingest.line_titles import MAX_PORTS, LineTitles
from tests.ingest import by_hand as hand

TITLES = [b"MET\x00\x00\x00\x00" + bytes((number,)) for number in range(4)]


def sent_from(port: int, destination: int = 0x67) -> bytes:
    return hand.wrapper(b"\xca\x01\x00", source=port, destination=destination)


@given(st.lists(st.tuples(st.integers(1, 3), st.sampled_from([b"", *TITLES])), max_size=20))
def test_a_port_has_the_title_that_it_named_last_and_no_other_s(heard: list[tuple[int, bytes]]) -> None:
    titles = LineTitles()
    for port, title in heard:
        titles.note(sent_from(port), title)
    for port in (1, 2, 3):
        named = [title for each, title in heard if each == port and title]
        assert titles.of(sent_from(port, 0x10)) == (named[-1] if named else b"")


def test_a_message_without_ports_has_no_title_and_gives_none() -> None:
    titles = LineTitles()
    for message in (b"", b"\x00\x01\x00\x01", hand.hdlc(b"\xe6\xe7\x00\xca\x01\x00"), b"\xca\x01\x00"):
        titles.note(message, TITLES[0])
        assert titles.of(message) == titles.of(sent_from(1)) == b""


def test_ports_without_end_are_not_remembered_without_end() -> None:
    titles = LineTitles()
    for port in range(1, MAX_PORTS + 2):
        titles.note(sent_from(port), TITLES[0])
    assert (
        titles.of(sent_from(1)) == b"" and titles.of(sent_from(2)) == titles.of(sent_from(MAX_PORTS + 1)) == TITLES[0]
    )
    titles.note(sent_from(2), TITLES[0])  # heard again: others are forgotten first
    titles.note(sent_from(MAX_PORTS + 2), TITLES[1])
    assert titles.of(sent_from(2)) == TITLES[0] and titles.of(sent_from(3)) == b""
