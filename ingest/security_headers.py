"""Security headers of a batch: who sent a ciphered APDU and how it is protected, read without a key.

General-glo-ciphering, the usual form, is read by columns; every other form by the codec, one by one.
"""

from typing import Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from ingest.dlms.security import (
    AUTHENTICATED,
    BROADCAST,
    CIPHERED,
    COMPRESSED,
    SUITE_MASK,
    SYSTEM_TITLE_OCTETS,
    TAG_OCTETS,
    SecurityHeader,
    read_header,
)
from ingest.dlms.tags import GENERAL_GLO
from ingest.enrolment import Enrolment, is_downgrade
from ingest.faults import NO_FAULT, Faults
from ingest.keyring import Keyring
from ingest.spans import EVERY, Flags, Places, Spans
from schemas.codes import RejectReason
from schemas.errors import ProtocolError

HEAD_OCTETS: Final = 5
"""Security control and invocation counter."""
KEY_OCTETS: Final = (16, 16, 32)
"""Of an encryption key, by suite."""
_LENGTH_AT: Final = 2 + SYSTEM_TITLE_OCTETS
Titles: TypeAlias = npt.NDArray[np.uint64]
_IS_CIPHERED: Final = np.isin(np.arange(256), list(CIPHERED))


class Headers(NamedTuple):
    """Security headers by message; zeros where a message has none, or it could not be read."""

    ciphered: Flags
    title: npt.NDArray[np.uint64]  # 0 where not known
    control: Places
    counter: Places
    content_at: Places  # in the APDU, behind the counter
    content_length: Places  # without the tag
    other_fields: dict[int, bytes]  # of general-ciphering: part of the associated data
    broadcast: Flags  # the key is the broadcast one
    wrapped: dict[int, SecurityHeader]  # of general-ciphering that brings its own key, wrapped

    @property
    def read(self) -> Flags:
        """Messages whose header was read."""
        flags: Flags = self.content_at > 0
        return flags

    def usable(self, faults: Faults) -> Places:
        """Ciphered messages without a fault so far, ascending."""
        rows = np.flatnonzero(self.ciphered)
        return rows[faults.reason[rows] == NO_FAULT] if faults.any and len(rows) else rows

    def tag_places(self, rows: Places) -> Places:
        """Where the tags of these messages stand in their APDUs."""
        places: Places = self.content_at[rows] + self.content_length[rows]
        return places


def read_headers(apdus: Spans, faults: Faults, signer: Titles | None = None, sender: Titles | None = None) -> Headers:
    """The security headers of all APDUs; what cannot be one is a fault.

    Args:
        apdus: As they came, signatures verified and taken off.
        faults: Receives what cannot be a header.
        signer: System title of who signed each, 0 where nobody did: the sender of an APDU without a title of its own.
        sender: System title that the link knows, 0 where it knows none: the sender of a ciphered APDU that neither
            names nor is signed by one. Whether it is true the tag says.
    """
    messages = len(apdus.start)
    tag = apdus.at(EVERY, 0)
    ciphered = _IS_CIPHERED[tag] & (apdus.length > 0)
    title = np.zeros(messages, np.uint64) if signer is None else signer.copy()
    if not ciphered.any():
        nothing = np.zeros(messages, np.int64)
        return Headers(ciphered, title, *(nothing,) * 4, {}, np.zeros(messages, np.bool_), {})
    control, counter, content_at, content_length = (np.zeros(messages, np.int64) for _ in range(4))
    headers = Headers(
        ciphered,
        title,
        control,
        counter,
        content_at,
        content_length,
        {},
        np.zeros(messages, np.bool_),
        {},
    )
    rows = np.flatnonzero(ciphered)
    usual = _read_usual(apdus, rows[tag[rows] == GENERAL_GLO], headers)
    if len(usual) < len(rows):
        for row in np.setdiff1d(rows, usual, assume_unique=True).tolist():
            _read_each(apdus, row, headers, faults)
    if sender is not None:
        lacking = rows[headers.title[rows] == 0]
        headers.title[lacking] = sender[lacking]
    return headers


def check_policy(headers: Headers, meter_row: Places, enrolment: Enrolment, keyring: Keyring, faults: Faults) -> None:
    """Ciphered messages whose suite cannot be undone or whose protection is below what their sender owes are faults."""
    rows = headers.usable(faults)
    if not len(rows):
        return
    control = headers.control
    at = headers.content_at - HEAD_OCTETS
    packed = rows[control[rows] & COMPRESSED > 0]
    faults.record(packed, RejectReason.COMPRESSION_UNSUPPORTED, at[packed], "V.44 compression")
    unknown = rows[control[rows] & SUITE_MASK >= len(KEY_OCTETS)]
    faults.record(unknown, RejectReason.SECURITY_UNSUPPORTED, at[unknown], "security suite")
    lowest = enrolment.lowest_security(meter_row[rows], headers.title[rows], keyring)
    low = rows[is_downgrade(control[rows], lowest)]
    faults.record(low, RejectReason.DOWNGRADE, at[low], "less protection than the meter owes")


def _read_usual(apdus: Spans, rows: Places, headers: Headers) -> Places:
    """Fill in general-glo headers with a title of 8 octets and a length of up to two; the places that were."""
    form = apdus.at(rows, _LENGTH_AT).astype(np.int64)
    octets = np.where(form < 0x80, 0, form - 0x80)
    long = np.where(octets == 1, apdus.number(rows, _LENGTH_AT + 1, 1), apdus.number(rows, _LENGTH_AT + 1, 2))
    length = np.where(octets == 0, form, long.astype(np.int64))
    content = _LENGTH_AT + 1 + octets
    control = apdus.at(rows, content).astype(np.int64)
    overhead = HEAD_OCTETS + np.where(control & AUTHENTICATED, TAG_OCTETS, 0)
    usual = (apdus.at(rows, 1) == SYSTEM_TITLE_OCTETS) & (form != 0x80) & (octets <= 2) & (length >= overhead)
    usual &= content + length == apdus.length[rows]
    chosen: Places = rows[usual]
    headers.title[chosen] = apdus.number(chosen, 2, SYSTEM_TITLE_OCTETS)
    headers.control[chosen] = control[usual]
    headers.broadcast[chosen] = control[usual] & BROADCAST > 0
    headers.counter[chosen] = apdus.number(chosen, content[usual] + 1, 4)
    headers.content_at[chosen] = content[usual] + HEAD_OCTETS
    headers.content_length[chosen] = (length - overhead)[usual]
    return chosen


def _read_each(apdus: Spans, row: int, headers: Headers, faults: Faults) -> None:
    apdu = apdus.message(row)
    try:
        header = read_header(apdu)
    except ProtocolError as error:
        faults.record_error(row, error)
        return
    if header.system_title is not None:
        headers.title[row] = int.from_bytes(header.system_title, "big")
    if header.agrees_key:
        at = np.array([header.content_at - HEAD_OCTETS])
        faults.record(np.array([row]), RejectReason.AGREED_KEY_UNSUPPORTED, at, "a key by agreement")
    headers.control[row] = header.control
    headers.counter[row] = header.counter
    headers.content_at[row] = header.content_at
    headers.content_length[row] = header.content_stop - header.content_at
    headers.broadcast[row] = header.broadcast
    if header.other_fields:
        headers.other_fields[row] = header.other_fields
    if header.brings_key:
        headers.wrapped[row] = header
