"""Parts of one message that could not become rows are told once a reason, whatever their number."""

from ingest.dlms.data import Data, Tag
from ingest.dlms.framing import wrap_wpdu
from tests.ingest.fleet import decode, device_name, enrolled, meters, notification, register_rows

_WIDE = 2**64 - 1


def _wide_registers(count: int) -> bytes:
    """A push of alarm registers whose values no event code and no row holds."""
    rows = [(f"0-{each}:97.98.0.255", Data(Tag.UINT64, _WIDE), None) for each in range(count)]
    return wrap_wpdu(notification(register_rows([device_name("NOBODY0000000001"), *rows])))


def test_a_message_of_many_refused_values_is_one_reject_row() -> None:
    payload = _wide_registers(200)
    decoded = decode(payload, registry=meters(enrolled()))
    assert decoded.rejects["reason"].to_list() == ["scaling"]
    assert decoded.rejects["detail"][0].startswith("200 values: ")
    assert decoded.rejects["payload"].to_list() == [payload]
    first = payload.index(b"\x00\x00\x61\x62\x00\xff")
    assert first < decoded.rejects["at"][0] < first + 20  # the first of them


def test_messages_are_told_apart() -> None:
    decoded = decode(_wide_registers(3), _wide_registers(5), registry=meters(enrolled()))
    assert decoded.rejects["offset"].to_list() == [0, 1]
    assert [each.split()[0] for each in decoded.rejects["detail"]] == ["3", "5"]


def test_a_refused_register_is_named_by_its_own_byte_whatever_others_of_the_batch_lack() -> None:
    """Registers are one block a layout: the byte is that of the first value that was refused, of each message."""
    sent = [_registers(values) for values in ((1, _WIDE, _WIDE), (1, 2, _WIDE), (_WIDE, 2, 3), (1, 2, 3))]
    decoded = decode(*sent, registry=meters(enrolled(system_title=None, security_min=0)))
    assert decoded.rejects["offset"].to_list() == [0, 1, 2]
    places = [payload.index(b"\x15" + b"\xff" * 8) + 1 for payload in sent[:3]]
    assert decoded.rejects["at"].to_list() == places
    assert [each.split()[0] for each in decoded.rejects["detail"]] == ["2", "1", "1"]


def _registers(values: tuple[int, ...]) -> bytes:
    rows = [(f"1-0:{n}.8.0.255", Data(Tag.UINT64, value), (0, 30)) for n, value in enumerate(values, 1)]
    return wrap_wpdu(notification(register_rows([device_name(), *rows])))
