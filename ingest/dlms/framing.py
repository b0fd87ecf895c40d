"""The link layer: recognise it from the first bytes, cut frames by their lengths, join them to messages.

A message is what one APDU came in: a WPDU, the HDLC segments, M-Bus telegrams or transfer blocks of one APDU. Frames
are never found by searching for a flag: no byte is stuffed, 7E may stand anywhere (dlms.md section 2).
"""

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from ingest.dlms import hdlc, mbus
from ingest.dlms.blocks import is_block
from ingest.dlms.gathering import gathered
from ingest.dlms.joining import Joined, LinkFrame, join_next
from ingest.dlms.resync import WPDU_HEAD_OCTETS as WPDU_HEAD_OCTETS
from ingest.dlms.resync import WPDU_VERSION, is_sound_end, is_sure_end, next_start
from ingest.dlms.tags import APDU_NAMES
from schemas.codes import RejectReason
from schemas.errors import ContractError, ProtocolError

_MAX_WPDU_APDU: Final = 0xFFFF
_WITHOUT_LENGTH: Final = frozenset(("apdu", "llc"))
_TORN: Final = (RejectReason.LINK_INCOMPLETE, RejectReason.BLOCK_TRANSFER_INCOMPLETE)
_LLC: Final = (hdlc.LLC_FROM_SERVER, hdlc.LLC_FROM_CLIENT)


class RawMessage(NamedTuple):
    """One link-layer message as it came.

    `start` and `stop` are its place in the input (an HDLC flag may close one frame and open the next; between frames of
    one transfer others may stand), `payload` its frames end to end, `frames` their number, `link` their layer as in
    `LinkMessage`, or "none". `error` says why it cannot be a message; its `at` counts in `payload`.
    """

    start: int
    stop: int
    payload: bytes
    frames: int
    link: str
    error: ProtocolError | None


class LinkMessage(NamedTuple):
    """What a message carries.

    Attributes:
        link: "hdlc", "wrapper", "mbus", "llc" or "apdu", with "+gbt" behind it for a block transfer.
        apdu: The APDU, whole.
        frames: Link-layer frames it came in.
        source: Sender's port, address or access point as sent; None where the link has none.
        destination: Receiver's.
        quirks: Departures from the standard that were needed to read the link.
        pieces: Where the APDU's bytes stand in the message: (place in the message, number of bytes) in order.
    """

    link: str
    apdu: bytes
    frames: int
    source: int | None
    destination: int | None
    quirks: tuple[str, ...]
    pieces: tuple[tuple[int, int], ...]

    def locate(self, at: int) -> int:
        """The byte of the message that byte `at` of the APDU is; one past its last where `at` lies beyond."""
        for place, octets in self.pieces:
            if at < octets:
                return place + at
            at -= octets
        place, octets = self.pieces[-1]
        return place + octets


def split_messages(data: bytes) -> list[RawMessage]:
    """The messages of a byte string that holds frames end to end, none lost: bytes that fit nothing come back too.

    Where cutting fails (junk between frames, a damaged length) the bytes up to the next frame that is surely one are a
    message with an error of their own, and cutting goes on there (`resync`).
    """
    return _join(cut_frames(data))


def cut_frames(data: bytes, *, growing: bool = False) -> list[LinkFrame]:
    """The frames that `split_messages` joins; only the last one may be cut short.

    `growing`: more may come. Then a frame that is cut short is waited for, and no other is looked for inside it.
    """
    return list(_cut(data, 0, resync=True, growing=growing))


def may_grow(last: LinkFrame) -> bool:
    """Whether bytes that come behind the last frame may belong to it: it is cut short, or has no length."""
    if last.error is None:
        return last.link in _WITHOUT_LENGTH
    return _is_cut_short(last.link, last.raw, 0, last.error)


def split_lines(lines: Iterable[bytes], place: int = 0) -> list[RawMessage]:
    """The messages of lines that hold a link-layer frame each; what is damaged ends with its line.

    `start` and `stop` count in the lines end to end, the first of which starts at `place`.
    """
    frames: list[LinkFrame] = []
    for line in lines:
        frames.extend(_cut(line, place, resync=False))
        place += len(line)
    return _join(frames)


def wpdu_starts(data: bytes, at: int = 0) -> tuple[list[int], int]:
    """First bytes of the WPDUs that stand end to end from `at`, and the byte after the last one.

    By their lengths alone, for streams that are still coming; whole files and Kafka values go by `resync.wpdu_chain`.
    """
    starts: list[int] = []
    stop = len(data)
    while data[at : at + 2] == WPDU_VERSION and at + WPDU_HEAD_OCTETS <= stop:
        after = at + WPDU_HEAD_OCTETS + (data[at + 6] << 8 | data[at + 7])
        if after > stop:
            break
        starts.append(at)
        at = after
    return starts, at


def unwrap(message: bytes) -> LinkMessage:
    """The APDU that a whole message carries, checksums verified, segments, telegrams and blocks joined.

    HDLC frames with a number (I) are joined as others are: whether the meter may send them, `check_numbered` says.

    Raises:
        ProtocolError: Not a message, an incomplete one, or more than one.
    """
    if not message:
        raise ProtocolError(RejectReason.NOT_DLMS, 0, "no bytes")
    frames = list(_cut(message, 0, resync=False))
    joined = join_next(frames, 0)
    if joined.error is not None:
        raise joined.error
    if joined.frames != len(frames):
        rest = sum(len(frame.raw) for frame in frames[: joined.frames])
        raise ProtocolError(RejectReason.TRAILING_BYTES, rest, "more than one message")
    return LinkMessage(
        joined.link, joined.apdu, joined.frames, joined.source, joined.destination, joined.quirks, joined.pieces
    )


def is_numbered(link: LinkMessage) -> bool:
    """The message came in numbered HDLC frames (I)."""
    return hdlc.QUIRK_NUMBERED in link.quirks


def check_numbered(message: bytes, link: LinkMessage) -> None:
    """Refuse a message that came in numbered HDLC frames, for a meter whose type does not say that it sends such.

    Raises:
        ProtocolError: `not_dlms`, at the control byte of the first frame.
    """
    if is_numbered(link):
        at = hdlc.control_at(message)
        raise ProtocolError(RejectReason.NOT_DLMS, at, f"HDLC control {message[at]:02X}: a numbered frame (I)")


def wrap_wpdu(apdu: bytes, source: int = 1, destination: int = 0x10) -> bytes:
    """The APDU in a wrapper PDU; in a push the server is the source.

    Raises:
        ContractError: More than 65,535 bytes.
    """
    if len(apdu) > _MAX_WPDU_APDU:
        raise ContractError("a wrapper PDU holds at most 65,535 bytes")
    ports = source.to_bytes(2, "big") + destination.to_bytes(2, "big")
    return b"".join((WPDU_VERSION, ports, len(apdu).to_bytes(2, "big"), apdu))


def _join(frames: list[LinkFrame]) -> list[RawMessage]:
    """The messages in their order; transfers that are torn by others that run between them are brought together.

    That no fewer are whole then is the proof: one torn may be the sign that another was joined to what it is not of.
    """
    messages = _in_a_row(frames)
    torn = sum(map(_is_torn, messages))
    if torn == 0:
        return messages
    again = [message for together in gathered(frames) for message in _in_a_row(together)]
    return again if sum(map(_is_torn, again)) <= torn else messages


def _is_torn(message: RawMessage) -> bool:
    return message.error is not None and message.error.reason in _TORN


def _in_a_row(frames: list[LinkFrame]) -> list[RawMessage]:
    messages: list[RawMessage] = []
    first = 0
    while first < len(frames):
        head = frames[first]
        if head.link == "wrapper" and head.error is None and not is_block(head.raw[head.info_at :]):
            messages.append(RawMessage(head.start, head.stop, head.raw, 1, "wrapper", None))
            first += 1
            continue
        joined: Joined = join_next(frames, first)
        mine = frames[first : first + joined.frames]
        payload = mine[0].raw if len(mine) == 1 else b"".join(frame.raw for frame in mine)
        messages.append(RawMessage(mine[0].start, mine[-1].stop, payload, joined.frames, joined.link, joined.error))
        first += joined.frames
    return messages


def _cut(data: bytes, place: int, *, resync: bool, growing: bool = False) -> Iterator[LinkFrame]:
    at = 0
    while at < len(data):
        stop, bounded, cut_short = _extent(data, at)
        if resync and not bounded and not (growing and cut_short):
            stop = next_start(data, at + 1, stop) or stop
        frame = read_frame(data[at:stop], place + at)
        if resync and bounded and _is_doubtful(frame, data, stop):
            # Its length may be the damaged part: then another frame begins inside, though none with a closing flag.
            found = next_start(
                data, at + 1, stop - 1 if frame.link == "hdlc" else stop, checked=_has_sure_length(frame, data, stop)
            )
            if found is not None:
                stop = found
                frame = read_frame(data[at:stop], place + at)
        yield frame
        at = _skip_fill(data, stop) if data[at] == hdlc.FLAG else stop


def _extent(data: bytes, at: int) -> tuple[int, bool, bool]:
    # The end of the frame, whether a length field puts it there (else it is that of the data), and if not, whether the
    # data end before it.
    layer = _layer(data, at)
    if layer in _WITHOUT_LENGTH:
        return len(data), False, False
    try:
        return _frame_stop(layer, data, at), True, False
    except ProtocolError as error:
        return len(data), False, _is_cut_short(layer, data, at, error)


def _is_cut_short(layer: str, data: bytes, at: int, error: ProtocolError) -> bool:
    return error.reason is RejectReason.LINK_INCOMPLETE or (layer == "mbus" and mbus.may_wrap(data, at))


def _is_doubtful(frame: LinkFrame, data: bytes, stop: int) -> bool:
    return frame.error is not None or (frame.link == "wrapper" and not is_sound_end(data, stop))


def _has_sure_length(frame: LinkFrame, data: bytes, stop: int) -> bool:
    # Its head verifies, or the next one begins just behind it: then only what has a checksum is believed inside. A
    # telegram has told its length twice and has its stop byte there: what may be the next, damaged too, is enough.
    if frame.link == "mbus":
        return is_sound_end(data, stop) or is_sure_end(data, stop)
    return frame.link == "hdlc" and (frame.source is not None or is_sure_end(data, stop))


def _skip_fill(data: bytes, stop: int) -> int:
    # Flags between frames are fill; one flag may close a frame and open the next, whose format then starts with A.
    at = stop
    while at < len(data) and data[at] == hdlc.FLAG:
        at += 1
    if at == len(data):
        return at
    shared = data[at] >> 4 == 0xA
    return at - 1 if at > stop or shared else at


def _layer(data: bytes, at: int) -> str:
    first = data[at]
    if first == hdlc.FLAG:
        return "hdlc"
    if data[at : at + 2] == WPDU_VERSION:
        return "wrapper"
    if first == mbus.START and data[at + 3 : at + 4] in (b"", b"\x68"):
        return "mbus"
    if data[at : at + 3] in _LLC:
        return "llc"
    return "apdu" if first in APDU_NAMES else "none"


def _frame_stop(layer: str, data: bytes, at: int) -> int:
    if layer == "hdlc":
        return hdlc.frame_stop(data, at)
    if layer == "mbus":
        return mbus.telegram_stop(data, at)
    if layer == "wrapper":
        head_stop = at + WPDU_HEAD_OCTETS
        stop = head_stop + (data[at + 6] << 8 | data[at + 7]) if head_stop <= len(data) else head_stop
        if stop > len(data):
            raise ProtocolError(RejectReason.LINK_INCOMPLETE, at, "wrapper PDU longer than the data")
        return stop
    if layer == "none":
        raise ProtocolError(RejectReason.NOT_DLMS, at, "no known link layer")
    return len(data)


def read_frame(raw: bytes, start: int) -> LinkFrame:
    """The frame that these bytes are, which stand at `start` of the input; what is wrong with it is in `error`."""
    layer = _layer(raw, 0)
    stop = start + len(raw)
    try:
        _frame_stop(layer, raw, 0)
        if layer == "hdlc":
            frame = hdlc.read_frame(raw, 0, len(raw))
            source, destination = _number(frame.server), _number(frame.client)
            place = (frame.info_at, frame.info_stop, frame.segmented)
            return LinkFrame(layer, start, stop, raw, *place, 0, source, destination, frame.quirks)
        if layer == "mbus":
            telegram = mbus.read_telegram(raw, 0, len(raw))
            used = (mbus.QUIRK_LENGTH_257,) if telegram.wrapped else ()
            return LinkFrame(
                layer,
                start,
                stop,
                raw,
                telegram.data_at,
                telegram.data_stop,
                not telegram.last,
                telegram.segment,
                telegram.source,
                telegram.destination,
                used,
            )
    except ProtocolError as error:
        sender, receiver = _addresses(layer, raw, error)
        return LinkFrame.faulty(layer, start, raw, error)._replace(source=sender, destination=receiver)
    if layer == "wrapper":
        source, destination = raw[2] << 8 | raw[3], raw[4] << 8 | raw[5]
        return LinkFrame(layer, start, stop, raw, WPDU_HEAD_OCTETS, len(raw), False, 0, source, destination, ())
    return LinkFrame(layer, start, stop, raw, 0, len(raw), False, 0, None, None, ())


def _addresses(layer: str, raw: bytes, error: ProtocolError) -> tuple[int | None, int | None]:
    """Who sent a damaged frame: an HDLC frame whose head verifies, a telegram of which but the checksum is wrong.

    A telegram's may be the damage: then nobody's is ended by it, and its numbers say that one is missing.
    """
    if layer == "mbus" and error.reason is RejectReason.LINK_CHECKSUM:
        return mbus.addresses(raw)
    head = hdlc.sound_head(raw) if layer == "hdlc" else None
    return (None, None) if head is None else (_number(head.server), _number(head.client))


def _number(address: bytes) -> int:
    return int.from_bytes(address, "big")
