"""Messages of a batch to APDUs, with what only a meter's type or a sender's public key can add to the link layer."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ingest.dlms.alarm_telegram import EQUIPMENT_ID_OCTETS, TELEGRAM_OCTETS, as_notification, is_alarm_telegram
from ingest.dlms.signing import read_signed, verify_signed
from ingest.dlms.tags import GENERAL_SIGNING
from ingest.faults import Faults
from ingest.interpretation import Rules
from ingest.link import unwrap_all
from ingest.meter_types import ALARM_TELEGRAM
from ingest.spans import Places, Spans
from schemas.codes import RejectReason
from schemas.errors import ProtocolError


class Received(NamedTuple):
    """APDUs, ciphered or not, and who signed them: system title as a number, 0 where nobody did."""

    apdus: Spans
    signer: npt.NDArray[np.uint64]


def receive(messages: Spans, rules: Rules, faults: Faults) -> Received:
    """The APDU of every message; signatures are verified and taken off.

    A signature that does not verify is a fault (`signature_mismatch`), and one whose public key is not held
    (`key_unknown`). A DSMR4 alarm is read where the type of the meter that it names has the switch.
    """
    telegrams = _alarm_telegrams(messages, rules)
    apdus = unwrap_all(messages, faults, other=telegrams)
    if len(telegrams):
        apdus = apdus.replaced(telegrams, [as_notification(messages.message(row)) for row in telegrams.tolist()])
    return _verified(apdus, rules, faults)


def _alarm_telegrams(messages: Spans, rules: Rules) -> Places:
    rows = np.flatnonzero(messages.length == TELEGRAM_OCTETS)
    rows = rows[[is_alarm_telegram(messages.message(row)) for row in rows.tolist()]] if len(rows) else rows
    if not len(rows):
        return rows
    enrolment = rules.enrolment
    meter_row = enrolment.names.find(messages.matrix(rows, EQUIPMENT_ID_OCTETS))
    switched = [ALARM_TELEGRAM in (kind.meter_type or rules.types.default).quirks for kind in enrolment.kinds]
    switched.append(ALARM_TELEGRAM in rules.types.default.quirks)
    kind = np.full(len(rows), len(enrolment.kinds), np.int64)
    known = meter_row >= 0
    kind[known] = enrolment.kind[meter_row[known]]
    return rows[np.array(switched, np.bool_)[kind]]


def _verified(apdus: Spans, rules: Rules, faults: Faults) -> Received:
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
    return Received(apdus.replaced(rows, contents) if len(rows) else apdus, signer)
