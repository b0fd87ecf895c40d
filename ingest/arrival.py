"""Messages of a batch to APDUs, with what only a meter's type or a sender's public key can add to the link layer."""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ingest.arrived import Rules
from ingest.blocks import Refused
from ingest.clocks import Micros
from ingest.dlms import p1_telegram
from ingest.dlms.alarm_telegram import EQUIPMENT_ID_OCTETS, TELEGRAM_OCTETS, as_notification, is_alarm_telegram
from ingest.dlms.framing import check_numbered, unwrap
from ingest.dlms.hdlc import QUIRK_NUMBERED
from ingest.dlms.security import DOUBLED_LENGTH, has_doubled_title, undoubled
from ingest.dlms.signing import read_signed, verify_signed
from ingest.dlms.tags import (
    ACCESS_RESPONSE,
    DATA_NOTIFICATION,
    EVENT_NOTIFICATION,
    GENERAL_DED,
    GENERAL_GLO,
    GENERAL_SIGNING,
    GET_RESPONSE,
    INFORMATION_REPORT,
)
from ingest.faults import REASON_CODE, Faults
from ingest.link import unwrap_all
from ingest.meter_types import ALARM_TELEGRAM, DOUBLED_TITLE, P1_TELEGRAM
from ingest.places import Part, Parts
from ingest.spans import EVERY, Flags, Places, Spans
from ingest.titles import TITLE_OCTETS
from schemas.codes import RejectReason
from schemas.errors import ProtocolError

_GENERAL: Final = (bytes((GENERAL_GLO,)), bytes((GENERAL_DED,)))
_IN_THE_CLEAR: Final = (DATA_NOTIFICATION, INFORMATION_REPORT, EVENT_NOTIFICATION, GET_RESPONSE, ACCESS_RESPONSE)
_SLASH: Final = 0x2F
_UNREAD: Final = "a number of a P1 telegram whose unit or place is not known"
_DOUBLED_HEAD: Final = 3 + TITLE_OCTETS
_IS_LOOKED_INTO: Final = np.isin(np.arange(256), (GENERAL_GLO, GENERAL_DED, GENERAL_SIGNING))
"""By first octet: APDUs that may be signed, or have their title's length twice."""


class Received(NamedTuple):
    """APDUs, ciphered or not, and who signed them: system title as a number, 0 where nobody did.

    `numbered`: messages in the clear that came in numbered HDLC frames, for `refuse_numbered`.
    """

    apdus: Spans
    signer: npt.NDArray[np.uint64]
    numbered: Places


def receive(messages: Spans, when: Micros, rules: Rules, faults: Faults, parts: Parts) -> Received:
    """The APDU of every message; signatures are verified and taken off.

    A signature that does not verify is a fault (`signature_mismatch`), and one whose public key is not held
    (`key_unknown`). A DSMR4 alarm is read where the type of the meter that it names has the switch.

    Args:
        messages: As the link carried them.
        when: Time whose lines of METERS count for each: see `Enrolment.when`.
        rules: What bodies are read by.
        faults: Receives what cannot be an APDU.
        parts: Receives what those faults are of.
    """
    telegrams = _alarm_telegrams(messages, when, rules)
    plain: list[int] = []

    def sends_numbered(row: int, apdu: bytes) -> bool:
        if apdu[0] not in _IN_THE_CLEAR:
            return _sends_numbered(when, rules, row, apdu)
        plain.append(row)  # its body is read first, and names its meter
        return True

    apdus = unwrap_all(messages, faults, sends_numbered, other=telegrams)
    numbered = np.array(plain, np.int64)
    parts.note(faults, Part.MESSAGE)
    if len(telegrams):
        apdus = apdus.replaced(telegrams, [as_notification(messages.message(row)) for row in telegrams.tolist()])
    if not _IS_LOOKED_INTO[apdus.at(EVERY, 0)].any():
        return Received(apdus, np.zeros(len(apdus.start), np.uint64), numbered)
    verified, signer = _verified(_undoubled(apdus, when, rules), rules, faults)
    parts.note(faults, Part.SIGNED_APDU)
    return Received(verified, signer, numbered)


def refuse_numbered(
    numbered: tuple[Spans, Places], meter_row: Places, rules: Rules, faults: Faults, parts: Parts
) -> None:
    """Of messages in the clear that came in numbered HDLC frames those are faults whose meter's type sends none.

    Args:
        numbered: All messages as they came, and which of them.
        meter_row: By message, once bodies are read; of one that named no meter of METERS the default type decides.
        rules: For the meters' types.
        faults: Receives `not_dlms`; what a body was refused for stays.
        parts: Receives that.
    """
    messages, rows = numbered
    if not len(rows):
        return
    parts.note(faults, Part.BODY)
    for row in rows[~_has_switch(QUIRK_NUMBERED, meter_row[rows], rules)].tolist():
        message = messages.message(row)
        try:
            check_numbered(message, unwrap(message))
        except ProtocolError as error:
            faults.record_error(row, error)
    parts.note(faults, Part.MESSAGE)


class Rewritten(NamedTuple):
    """APDUs, telegrams among them as pushes; and numbers of telegrams that cannot become rows."""

    apdus: Spans
    refused: tuple[Refused, ...]


def read_p1_telegrams(apdus: Spans, opened: Flags, meter_row: Places, rules: Rules, faults: Faults) -> Rewritten:
    """APDUs in the clear; a P1 telegram among them is the push that says the same, where its meter's type has the
    switch. Numbers whose unit or place is not known are refused (`scaling`).

    Args:
        apdus: In the clear.
        opened: Those that were ciphered.
        meter_row: By system title.
        rules: For the meters' types.
        faults: Receives telegrams that are none.
    """
    if not opened.any():
        return Rewritten(apdus, ())
    rows = faults.usable()
    rows = rows[opened[rows] & (apdus.at(rows, 0) == _SLASH)]
    rows = rows[_has_switch(P1_TELEGRAM, meter_row[rows], rules)] if len(rows) else rows
    if not len(rows):
        return Rewritten(apdus, ())
    read: list[bytes] = []
    unread = np.zeros(len(rows), np.int64)
    for place, row in enumerate(rows.tolist()):
        try:
            notification = p1_telegram.as_notification(apdus.message(row))
        except ProtocolError as error:
            faults.record_error(row, error)
            read.append(b"")
            continue
        read.append(notification.apdu)
        unread[place] = notification.unread
    some = unread > 0
    refused = Refused(rows[some], REASON_CODE[RejectReason.SCALING], 0, unread[some], _UNREAD)
    return Rewritten(apdus.replaced(rows, read), (refused,) if some.any() else ())


def _undoubled(apdus: Spans, when: Micros, rules: Rules) -> Spans:
    rows = np.flatnonzero(apdus.length > _DOUBLED_HEAD)
    for step, octet in enumerate(DOUBLED_LENGTH, start=1):
        rows = rows[apdus.at(rows, step) == octet]
    rows = rows[[has_doubled_title(apdus.message(row)) for row in rows.tolist()]] if len(rows) else rows
    if len(rows):
        meter_row = rules.enrolment.rows_of_titles(apdus.number(rows, 3, TITLE_OCTETS), when[rows])
        rows = rows[_has_switch(DOUBLED_TITLE, meter_row, rules)]
    return apdus.replaced(rows, [undoubled(apdus.message(row)) for row in rows.tolist()]) if len(rows) else apdus


def _sends_numbered(when: Micros, rules: Rules, row: int, apdu: bytes) -> bool:
    """Whether the meter of this ciphered APDU may send it in numbered HDLC frames: that of its title, else any (the
    default)."""
    is_titled = apdu[:1] in _GENERAL and apdu[1:2] == bytes((TITLE_OCTETS,)) and len(apdu) > 2 + TITLE_OCTETS
    title = int.from_bytes(apdu[2 : 2 + TITLE_OCTETS], "big") if is_titled else 0
    meter_row = rules.enrolment.rows_of_titles(np.array([title], np.uint64), when[row : row + 1])
    return bool(_has_switch(QUIRK_NUMBERED, meter_row, rules)[0])


def _has_switch(quirk: str, meter_row: Places, rules: Rules) -> Flags:
    """Whether the type of each meter, the default for one that METERS lacks, has a quirk."""
    enrolment, default = rules.enrolment, rules.types.default
    switched = [quirk in (kind.meter_type or default).quirks for kind in enrolment.kinds]
    kind = np.full(len(meter_row), len(enrolment.kinds), np.int64)
    known = meter_row >= 0
    kind[known] = enrolment.kind[meter_row[known]]
    flags: Flags = np.array([*switched, quirk in default.quirks], np.bool_)[kind]
    return flags


def _alarm_telegrams(messages: Spans, when: Micros, rules: Rules) -> Places:
    rows = np.flatnonzero(messages.length == TELEGRAM_OCTETS)
    if len(rows):
        rows = rows[[is_alarm_telegram(messages.message(row)) for row in rows.tolist()]]
    if not len(rows):
        return rows
    meter_row = rules.enrolment.rows_of_names(messages.matrix(rows, EQUIPMENT_ID_OCTETS), when[rows])
    return rows[_has_switch(ALARM_TELEGRAM, meter_row, rules)]


def _verified(apdus: Spans, rules: Rules, faults: Faults) -> tuple[Spans, npt.NDArray[np.uint64]]:
    rows = faults.usable()
    rows = rows[apdus.at(rows, 0) == GENERAL_SIGNING]
    signer = np.zeros(len(apdus.start), np.uint64)
    contents: list[bytes] = []
    for row in rows.tolist():
        try:
            signed = read_signed(apdus.message(row))
            public_key = rules.keyring.signers.get(signed.system_title or b"")
            if public_key is None:
                raise ProtocolError(RejectReason.KEY_UNKNOWN, 0, "no public key for the system title")
            contents.append(verify_signed(signed, public_key))
        except ProtocolError as error:
            faults.record_error(row, error)
            contents.append(b"")
            continue
        signer[row] = int.from_bytes(signed.system_title or b"", "big")
    return (apdus.replaced(rows, contents) if len(rows) else apdus), signer
