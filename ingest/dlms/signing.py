"""General-signing APDUs (DF): who signed what, and whether it is so (suites 1 and 2, ECDSA, raw r and s)."""

from typing import Final, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384

from ingest.dlms.cursor import Cursor
from ingest.dlms.security import read_general_fields
from ingest.dlms.tags import GENERAL_SIGNING
from schemas.codes import RejectReason
from schemas.errors import ContractError, ProtocolError

_UNCOMPRESSED: Final = b"\x04"
_P256_OCTETS: Final = 64
_P384_OCTETS: Final = 96


class SignedApdu(NamedTuple):
    """What a general-signing APDU says, unverified. `content` is the APDU it carries, from byte `content_at` on."""

    system_title: bytes | None
    signed: bytes
    content: bytes
    content_at: int
    signature: bytes
    signature_at: int


def read_signed(apdu: bytes) -> SignedApdu:
    """The parts of a general-signing APDU.

    What is signed is taken to be everything between the tag and the signature's length: the five header fields and the
    content, each with its length.

    Raises:
        ProtocolError: Another APDU, cut short, or bytes left over.
    """
    cursor = Cursor(apdu)
    tag = cursor.u8()
    if tag != GENERAL_SIGNING:
        raise ProtocolError(RejectReason.APDU_UNSUPPORTED, 0, f"tag {tag:02X} is not general-signing")
    originator, _ = read_general_fields(cursor)
    content = cursor.octets()
    signed_stop = cursor.at
    signature = cursor.octets()
    cursor.finish()
    return SignedApdu(
        originator,
        apdu[1:signed_stop],
        content,
        signed_stop - len(content),
        signature,
        cursor.at - len(signature),
    )


def verify_signed(signed: SignedApdu, public_key: bytes) -> bytes:
    """The content, whose signature has been verified.

    Args:
        signed: The APDU.
        public_key: Of its originator: x and y, 64 octets on P-256 (suite 1) or 96 on P-384 (suite 2), with or without
            the leading 04 of an uncompressed point.

    Raises:
        ProtocolError: The signature has another length or does not verify.
        ContractError: Not a public key.
    """
    key = _point(public_key)
    is_p256 = key.curve.name == ec.SECP256R1.name
    half = (_P256_OCTETS if is_p256 else _P384_OCTETS) // 2
    if len(signed.signature) != 2 * half:
        raise ProtocolError(
            RejectReason.SIGNATURE_MISMATCH, signed.signature_at, f"a signature of {len(signed.signature)} octets"
        )
    r, s = int.from_bytes(signed.signature[:half], "big"), int.from_bytes(signed.signature[half:], "big")
    try:
        key.verify(encode_dss_signature(r, s), signed.signed, ec.ECDSA(SHA256() if is_p256 else SHA384()))
    except InvalidSignature as error:
        raise ProtocolError(
            RejectReason.SIGNATURE_MISMATCH, signed.signature_at, "the signature does not verify"
        ) from error
    return signed.content


def check_public_key(public_key: bytes) -> None:
    """The octets are a public key, as `verify_signed` takes it.

    Raises:
        ContractError: Another length, or no point of the curve.
    """
    _point(public_key)


def _point(public_key: bytes) -> ec.EllipticCurvePublicKey:
    point = public_key if len(public_key) % 2 else _UNCOMPRESSED + public_key
    is_p256 = len(point) == _P256_OCTETS + 1
    if not is_p256 and len(point) != _P384_OCTETS + 1:
        raise ContractError("a public key has 64 octets (P-256) or 96 (P-384)")
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1() if is_p256 else ec.SECP384R1(), point)
    except ValueError as error:
        raise ContractError("a public key that is no point of its curve") from error
