"""Explain messages: what `ami inspect` prints, one object a message, without replay or enrolment policy."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple, Protocol, TypeAlias

from ingest.dlms import apdu as apdus
from ingest.dlms import p1_telegram
from ingest.dlms.alarm_telegram import as_notification, is_alarm_telegram
from ingest.dlms.cosem import channel_of, obis_text
from ingest.dlms.data import Data
from ingest.dlms.framing import LinkMessage, RawMessage, check_numbered, split_lines, split_messages, unwrap
from ingest.dlms.hdlc import QUIRK_NUMBERED
from ingest.dlms.push import PushValue, apdu_values
from ingest.dlms.security import (
    SecurityHeader,
    check_supported,
    has_doubled_title,
    is_ciphered,
    read_header,
    undoubled,
    unprotect,
)
from ingest.dlms.signing import read_signed, verify_signed
from ingest.dlms.tags import APDU_NAMES, GENERAL_SIGNING
from ingest.meter_types import ALARM_TELEGRAM, AXDR_QUIRKS, DOUBLED_TITLE, P1_TELEGRAM, MeterTypes
from ingest.sources import octets_of_line
from ingest.templates import Template, is_compact_data, read_buffer
from schemas.codes import Channel, RejectReason
from schemas.errors import ProtocolError

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

_SIGNED: Final = bytes((GENERAL_SIGNING,))


class KeyPair(Protocol):
    """Keys of one meter, as far as this module looks at them."""

    @property
    def ek(self) -> bytes: ...
    @property
    def ak(self) -> bytes | None: ...


class KeySource(Protocol):
    """Where keys come from; `ingest.keyring.Keyring` is one."""

    def candidates(self, system_title: bytes, *, broadcast: bool = False) -> Sequence[KeyPair]:
        """Keys that may have protected a message of that sender, newest first; none where it is not known."""
        ...

    def masters(self, system_title: bytes) -> Sequence[bytes]:
        """Master keys of that sender, newest first: keys come wrapped under them."""
        ...

    @property
    def signers(self) -> Mapping[bytes, bytes]:
        """Public key by system title of those that sign."""
        ...


class _Brought(NamedTuple):
    """What stands for the keys of a meter of which only the master key is held."""

    ek: bytes = b""
    ak: bytes | None = None


_BROUGHT: Final = _Brought()


class _Known(NamedTuple):
    """What a message may be read with."""

    keys: KeySource | None
    quirk_sets: Sequence[frozenset[str]]
    templates: Sequence[Template] = ()
    sender: bytes | None = None


def inspect_bytes(
    data: bytes,
    *,
    file: str,
    hex_lines: bool,
    keyring: KeySource | None = None,
    types: MeterTypes | None = None,
    sender: bytes | None = None,
) -> list[dict[str, Json]]:
    """The messages of one file, explained in input order.

    Args:
        data: Content of the file.
        file: Its name, repeated in each object.
        hex_lines: The content is text, one link-layer frame a line in hexadecimal; else frames end to end.
        keyring: Keys by system title; without a key an object holds the header and an error `key_unknown`.
        types: Meter types whose quirks are tried, in their order, where the strict reading fails: no message names its
            type. The quirks that helped are in `quirks`. Their templates name the values of compact data.
        sender: System title that the link knows, for APDUs ciphered by service, which carry none.

    Returns:
        An object for each message, or for each line that cannot be one: `file`, `frame` (ordinal from 0), `frames`,
        `link`, `apdu`, `system_title`, `invocation_counter`, `security` (control byte in hex), `authenticated` (a tag
        was verified), `date_time` (ISO 8601 UTC), `clock_status`, `quirks`, and `data` with `values`, or `error`
        {`reason`, `at`: byte of the message}. What the message does not hold is null.
    """
    known = _Known(keyring, _quirk_sets(types), _templates(types), sender)
    messages = _hex_messages(data) if hex_lines else iter(split_messages(data))
    return [{"file": file, "frame": frame, **_inspected(message, known)} for frame, message in enumerate(messages)]


def inspect_message(
    message: RawMessage, keys: KeySource | None = None, quirk_sets: Sequence[frozenset[str]] = ()
) -> dict[str, Json]:
    """One message explained; the object of `inspect_bytes` without `file` and `frame`. Raises nothing."""
    return _inspected(message, _Known(keys, quirk_sets))


def _inspected(message: RawMessage, known: _Known) -> dict[str, Json]:
    explained: dict[str, Json] = {
        "frames": message.frames,
        "link": message.link,
        "apdu": None,
        "system_title": None,
        "invocation_counter": None,
        "security": None,
        "authenticated": False,
        "date_time": None,
        "clock_status": None,
        "quirks": [],
    }
    try:
        if is_alarm_telegram(message.payload) and _any_has(ALARM_TELEGRAM, known.quirk_sets):
            _explain_values(apdus.decode_apdu(as_notification(message.payload)), explained, ())
            explained["apdu"], explained["quirks"] = None, [ALARM_TELEGRAM]
            return explained
        if message.error is not None:
            raise message.error
        link = unwrap(message.payload)
        if not _any_has(QUIRK_NUMBERED, known.quirk_sets):
            check_numbered(message.payload, link)
        _explain(link, explained, known)
    except ProtocolError as error:
        explained["error"] = {"reason": error.reason.value, "at": error.at}
    return explained


def _quirk_sets(types: MeterTypes | None) -> list[frozenset[str]]:
    entries = () if types is None else types.by_name.values()
    return list(dict.fromkeys(frozenset(entry.quirks) for entry in entries if entry.quirks))


def _templates(types: MeterTypes | None) -> list[Template]:
    entries = () if types is None else types.by_name.values()
    return [template for entry in entries for template in entry.template]


def to_json(data: Data) -> Json:
    """A value as JSON: octet strings (and date-times) as lower-case hex, containers as lists, no tags.

    A float that is no number is null: JSON has no word for it.
    """
    value = data.value
    if isinstance(value, tuple):
        return [to_json(item) for item in value]
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _explain(link: LinkMessage, explained: dict[str, Json], known: _Known) -> None:
    explained["link"] = link.link
    if has_doubled_title(link.apdu) and _any_has(DOUBLED_TITLE, known.quirk_sets):
        link = _undoubled(link)
    explained["quirks"] = _names(link.quirks)
    try:
        explained["apdu"] = APDU_NAMES.get(link.apdu[0]) if link.apdu else None
        apdu, at = link.apdu, 0
        if apdu[:1] == _SIGNED:
            signer, apdu, at = _verified(apdu, explained, known.keys)
            known = known._replace(sender=signer)
        try:
            decoded = _decoded(apdu, explained, known)
        except ProtocolError as error:
            raise ProtocolError(error.reason, at + error.at, error.detail) from error
    except ProtocolError as error:
        raise ProtocolError(error.reason, link.locate(error.at), error.detail) from error
    _explain_values(decoded, explained, known.templates)
    explained["quirks"] = _names((*link.quirks, *decoded.quirks))
    if P1_TELEGRAM in decoded.quirks:
        explained["apdu"] = None


def _any_has(quirk: str, quirk_sets: Sequence[frozenset[str]]) -> bool:
    return any(quirk in quirks for quirks in quirk_sets)


def _undoubled(link: LinkMessage) -> LinkMessage:
    """The message without the second length, every other byte where it stood."""
    (place, octets), *others = link.pieces
    pieces = ((place, 1), (place + 2, octets - 2), *others) if octets > 1 else link.pieces
    return link._replace(apdu=undoubled(link.apdu), pieces=pieces, quirks=(*link.quirks, DOUBLED_TITLE))


def _verified(apdu: bytes, explained: dict[str, Json], keys: KeySource | None) -> tuple[bytes | None, bytes, int]:
    # Who signed an APDU, its content and where that stands, once its signature has verified.
    signed = read_signed(apdu)
    title = signed.system_title
    explained["system_title"] = None if title is None else title.hex()
    public_key = None if keys is None or title is None else keys.signers.get(title)
    if public_key is None:
        raise ProtocolError(RejectReason.KEY_UNKNOWN, 0, "no public key for this system title")
    content = verify_signed(signed, public_key)
    explained["authenticated"] = True
    return title, content, signed.content_at


def _decoded(apdu: bytes, explained: dict[str, Json], known: _Known) -> apdus.Apdu:
    if not is_ciphered(apdu):
        return _decode(apdu, known.quirk_sets)
    header = read_header(apdu, known.sender)
    _explain_header(header, explained)
    check_supported(header)
    candidates = _keys_of(header, known.keys)
    decoded = _open(apdu, header, candidates, known)
    explained["authenticated"] = explained["authenticated"] or header.authenticated
    return decoded


def _names(quirks: tuple[str, ...]) -> list[Json]:
    return [*sorted(set(quirks))]


def _explain_header(header: SecurityHeader, explained: dict[str, Json]) -> None:
    explained["system_title"] = None if header.system_title is None else header.system_title.hex()
    explained["invocation_counter"] = header.counter
    explained["security"] = f"{header.control:02x}"


def _explain_values(decoded: apdus.Apdu, explained: dict[str, Json], templates: Sequence[Template]) -> None:
    stamp = decoded.date_time
    utc = None if stamp is None else stamp.utc
    explained["apdu"] = apdus.name_of(decoded)
    explained["date_time"] = None if utc is None else utc.isoformat().replace("+00:00", "Z")
    explained["clock_status"] = None if stamp is None else stamp.status
    explained["data"] = to_json(decoded.body)
    explained["values"] = [_value(part) for each in apdu_values(decoded) for part in _parts(each, templates)]


def _parts(each: PushValue, templates: Sequence[Template]) -> list[PushValue]:
    # Compact data by the first template of its id that fits; no message names its type, so none fitting is no error.
    buffer = each.data.value
    if templates and isinstance(buffer, bytes) and is_compact_data(each.obis):
        for template in templates:
            try:
                return [PushValue(name, data) for name, data in read_buffer(buffer, (template,))]
            except ProtocolError:
                continue
    return [each]


def _value(each: PushValue) -> Json:
    value = each.data.value
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    channel = None if each.obis is None else channel_of(each.obis)
    return {
        "obis": None if each.obis is None else obis_text(each.obis),
        "value": to_json(each.data),
        "scaler": each.scaler,
        "unit": each.unit,
        "channel": None if channel is None or (channel is Channel.OTHER and not is_number) else channel.value,
    }


def _keys_of(header: SecurityHeader, keys: KeySource | None) -> Sequence[KeyPair]:
    if keys is None or header.system_title is None:
        return ()
    return keys.candidates(header.system_title, broadcast=header.broadcast)


def _open(apdu: bytes, header: SecurityHeader, candidates: Sequence[KeyPair], known: _Known) -> apdus.Apdu:
    # During a rotation two keys are valid. Without a tag only the content can tell which of them was meant.
    failure = ProtocolError(RejectReason.KEY_UNKNOWN, 0, "no key for this system title")
    masters: Sequence[bytes | None] = (None,)
    if header.brings_key and not candidates:
        candidates = (_BROUGHT,)
    if header.brings_key and known.keys is not None and header.system_title is not None:
        masters = known.keys.masters(header.system_title) or masters
    for pair, master in itertools.product(candidates, masters):
        try:
            plain = unprotect(apdu, header, pair.ek, pair.ak, master)
        except ProtocolError as error:
            failure = _likelier(failure, error)
            continue
        try:
            return _decode(plain, known.quirk_sets)
        except ProtocolError as error:
            failure = ProtocolError(error.reason, header.content_at + error.at, error.detail)
    raise failure


def _likelier(one: ProtocolError, other: ProtocolError) -> ProtocolError:
    """That a tag does not verify says more than that another key has another length."""
    return one if one.reason is RejectReason.TAG_MISMATCH else other


def _decode(apdu: bytes, quirk_sets: Sequence[frozenset[str]]) -> apdus.Apdu:
    if p1_telegram.is_p1_telegram(apdu) and _any_has(P1_TELEGRAM, quirk_sets):
        telegram = apdus.decode_apdu(p1_telegram.as_notification(apdu).apdu)
        return telegram._replace(quirks=(P1_TELEGRAM,))
    try:
        return apdus.decode_apdu(apdu)
    except ProtocolError as error:
        strict = error
    for quirks in quirk_sets:
        try:
            decoded = apdus.decode_apdu(apdu, quirks)
        except ProtocolError:
            continue
        return decoded._replace(quirks=(*decoded.quirks, *sorted(quirks & AXDR_QUIRKS)))
    raise strict


def _hex_messages(text: bytes) -> Iterator[RawMessage]:
    # A line that is no hexadecimal is a message by itself, and cannot be one.
    good: list[bytes] = []
    place = 0
    for line in text.splitlines():
        octets = octets_of_line(line)
        if octets is None:
            yield from split_lines(good, place)
            place += sum(map(len, good))
            good = []
            yield RawMessage(place, place, b"", 1, "none", ProtocolError(RejectReason.NOT_DLMS, 0, "no hexadecimal"))
        elif octets:
            good.append(octets)
    yield from split_lines(good, place)
