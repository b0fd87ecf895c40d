"""Ciphered APDUs of suites 0, 1 and 2: read the header, verify and undo the protection, protect.

The header is read without a key and without touching the content, so that keys, replay and lanes can be decided
first. A tag is verified before a byte of plaintext is handed out (Green Book 9.2).
"""

from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR, GCM
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap

from ingest.dlms.cursor import Cursor, encode_length
from ingest.dlms.tags import GENERAL_CIPHERING, GENERAL_DED, GENERAL_GLO
from schemas.codes import RejectReason
from schemas.errors import ContractError, ProtocolError

SERVICE_CIPHERED: Final = frozenset((0xCA, 0xD2, 0x38, 0x58))
"""Event-notification and information-report ciphered by service: their sender is known from the link."""
_GENERAL: Final = (bytes((GENERAL_GLO,)), bytes((GENERAL_DED,)))
DOUBLED_LENGTH: Final = b"\x09\x08"
_DEDICATED: Final = frozenset((0xD2, 0x58))
CIPHERED: Final = frozenset((GENERAL_GLO, GENERAL_DED, GENERAL_CIPHERING)) | SERVICE_CIPHERED

SYSTEM_TITLE_OCTETS: Final = 8
TAG_OCTETS: Final = 12
_HEADER_OCTETS: Final = 5  # security control, invocation counter

SUITE_MASK: Final = 0x0F
AUTHENTICATED: Final = 0x10
ENCRYPTED: Final = 0x20
BROADCAST: Final = 0x40
COMPRESSED: Final = 0x80

_KEY_OCTETS: Final = {0: 16, 1: 16, 2: 32}
_WRAPPED: Final = b"\x01"
_AGREED: Final = b"\x02"
_BROADCAST_KEY_ID: Final = b"\x00\x01"
_GCM_FIRST_BLOCK: Final = b"\x00\x00\x00\x02"  # GCM encrypts its text from counter 2 on; 1 is for the tag


class SecurityHeader(msgspec.Struct, frozen=True):
    """What a ciphered APDU says before its content.

    Attributes:
        tag: APDU tag.
        system_title: Of the sender (the originator in general-ciphering); None where only the link knows it.
        control: Security control byte.
        counter: Invocation counter.
        content_at: First byte of the ciphertext (or authenticated plaintext) in the APDU.
        content_stop: Byte after it; the tag of 12 bytes follows where `authenticated`.
        other_fields: The five header fields of general-ciphering with their lengths, part of the associated data.
        key_info: Key information of general-ciphering, its choice first; empty where there is none.
    """

    tag: int
    system_title: bytes | None
    control: int
    counter: int
    content_at: int
    content_stop: int
    other_fields: bytes = b""
    key_info: bytes = b""

    @property
    def suite(self) -> int:
        """Security suite, 0 to 15."""
        return self.control & SUITE_MASK

    @property
    def authenticated(self) -> bool:
        """A tag follows the content."""
        return bool(self.control & AUTHENTICATED)

    @property
    def encrypted(self) -> bool:
        """The content is ciphertext."""
        return bool(self.control & ENCRYPTED)

    @property
    def brings_key(self) -> bool:
        """The key comes with the message, wrapped under the meter's master key."""
        return self.key_info[:1] == _WRAPPED

    @property
    def agrees_key(self) -> bool:
        """The key is to be derived by both sides, from parameters that come with the message."""
        return self.key_info[:1] == _AGREED

    @property
    def wrapped_key(self) -> bytes:
        """The octets of that key, without their length."""
        return Cursor(self.key_info, 2).octets()

    @property
    def broadcast(self) -> bool:
        """The key is the broadcast one: by the control byte, in general-ciphering by the key's identifier (9.2.7)."""
        return self.key_info == _BROADCAST_KEY_ID if self.tag == GENERAL_CIPHERING else bool(self.control & BROADCAST)


def is_ciphered(apdu: bytes) -> bool:
    """The APDU has a security header."""
    return bool(apdu) and apdu[0] in CIPHERED


def read_header(apdu: bytes, system_title: bytes | None = None) -> SecurityHeader:
    """The security header of a ciphered APDU.

    Args:
        apdu: The APDU, its tag first.
        system_title: Of the sender, where the link knows it: used where the APDU carries none.

    Raises:
        ProtocolError: Not a ciphered APDU, cut short, or bytes left over. A suite or compression that cannot be
            undone is no fault of the header: `unprotect` refuses it.
    """
    cursor = Cursor(apdu)
    tag = cursor.u8()
    other_fields = key_info = b""
    if tag in (GENERAL_GLO, GENERAL_DED):
        system_title = _title(cursor) or system_title
    elif tag == GENERAL_CIPHERING:
        system_title, other_fields = read_general_fields(cursor)
        key_info = _key_info(cursor)
    elif tag not in SERVICE_CIPHERED:
        raise ProtocolError(RejectReason.APDU_UNSUPPORTED, 0, f"tag {tag:02X} is not a ciphered APDU")
    length = cursor.length()
    start = cursor.at
    cursor.take(length)
    cursor.finish()
    control = apdu[start] if length else 0
    overhead = _HEADER_OCTETS + (TAG_OCTETS if control & AUTHENTICATED else 0)
    if length < overhead:
        raise ProtocolError(RejectReason.APDU_MALFORMED, start, "too short for its security control")
    return SecurityHeader(
        tag=tag,
        system_title=system_title,
        control=control,
        counter=int.from_bytes(apdu[start + 1 : start + _HEADER_OCTETS], "big"),
        content_at=start + _HEADER_OCTETS,
        content_stop=start + length - overhead + _HEADER_OCTETS,
        other_fields=other_fields,
        key_info=key_info,
    )


def has_doubled_title(apdu: bytes) -> bool:
    """The APDU is general-glo or general-ded whose system title stands behind two lengths, `09 08`."""
    return apdu[:1] in _GENERAL and apdu[1:3] == DOUBLED_LENGTH


def undoubled(apdu: bytes) -> bytes:
    """The same APDU with one length before its system title, of which `has_doubled_title` holds."""
    return apdu[:1] + apdu[2:]


def with_title(apdu: bytes, system_title: bytes) -> bytes:
    """The general-glo or general-ded APDU that protects the same as one ciphered by service.

    Associated data and IV are the same in both, so nothing is opened and every tag still verifies: what the link knew
    of the sender now stands in the message. Any other APDU comes back as it is.
    """
    tag = apdu[0] if apdu else 0
    if tag not in SERVICE_CIPHERED:
        return apdu
    general = GENERAL_DED if tag in _DEDICATED else GENERAL_GLO
    return bytes((general, len(system_title))) + system_title + apdu[1:]


def read_general_fields(cursor: Cursor) -> tuple[bytes | None, bytes]:
    """Originator and the five fields, lengths included, of general-ciphering and general-signing.

    The fields are transaction id, originator, recipient, date-time and other information, each an octet string.
    """
    first = cursor.at
    cursor.octets()
    originator = _title(cursor)
    for _ in range(3):
        cursor.octets()
    return originator, cursor.data[first : cursor.at]


def check_supported(header: SecurityHeader) -> None:
    """What the header asks for can be undone, whatever the key.

    Raises:
        ProtocolError: A key by agreement, compression, or another suite, in this order; the security control byte.
    """
    at = header.content_at - _HEADER_OCTETS
    if header.agrees_key:
        raise ProtocolError(RejectReason.AGREED_KEY_UNSUPPORTED, at, "a key by agreement")
    if header.control & COMPRESSED:
        raise ProtocolError(RejectReason.COMPRESSION_UNSUPPORTED, at, "V.44 compression")
    if header.suite not in _KEY_OCTETS:
        raise ProtocolError(RejectReason.SECURITY_UNSUPPORTED, at, f"security suite {header.suite}")


def unprotect(apdu: bytes, header: SecurityHeader, ek: bytes, ak: bytes | None, kek: bytes | None = None) -> bytes:
    """The plaintext APDU; the tag has been verified where there is one.

    Args:
        apdu: The ciphered APDU.
        header: Its header, as `read_header` gave it.
        ek: Encryption key, 16 octets (32 in suite 2).
        ak: Authentication key, as long; may be None where nothing is authenticated.
        kek: Key-encrypting (master) key, for general-ciphering that brings its own encryption key, wrapped.

    Raises:
        ProtocolError: An agreed key (not supported), suite or compression unsupported, a key missing or of another
            length, or a tag that does not verify.
    """
    check_supported(header)
    if header.system_title is None:
        raise ProtocolError(RejectReason.KEY_UNKNOWN, 0, "the sender's system title is not known")
    ek = _content_key(header, ek, kek)
    keys = (ek, ak) if header.authenticated else (ek,)
    if any(key is None or len(key) != _KEY_OCTETS[header.suite] for key in keys):
        raise ProtocolError(RejectReason.KEY_UNKNOWN, 0, f"no key of the length that suite {header.suite} needs")
    content = apdu[header.content_at : header.content_stop]
    iv = header.system_title + header.counter.to_bytes(4, "big")
    if not header.authenticated:
        return _counter_mode(ek, iv, content) if header.encrypted else content
    associated = bytes((header.control,)) + (ak or b"") + header.other_fields
    tag = apdu[header.content_stop : header.content_stop + TAG_OCTETS]
    cipher = Cipher(AES(ek), GCM(iv, tag, min_tag_length=TAG_OCTETS)).decryptor()
    cipher.authenticate_additional_data(associated if header.encrypted else associated + content)
    plain = cipher.update(content) if header.encrypted else content
    try:
        cipher.finalize()
    except InvalidTag as error:
        raise ProtocolError(RejectReason.TAG_MISMATCH, header.content_stop, "the tag does not verify") from error
    return plain


def protect(
    plain: bytes, *, system_title: bytes, control: int, counter: int, ek: bytes, ak: bytes | None = None
) -> bytes:
    """A general-glo-ciphering APDU of `plain`.

    Args:
        plain: The APDU to protect.
        system_title: Of the sender, 8 octets.
        control: Security control byte: 30, 20, 10 and a suite of 0, 1 or 2.
        counter: Invocation counter, never used before with this key.
        ek: Encryption key.
        ak: Authentication key, where the control byte asks for authentication.

    Raises:
        ContractError: A key or the system title has the wrong length, or the control byte is not supported.
    """
    suite = control & SUITE_MASK
    if len(system_title) != SYSTEM_TITLE_OCTETS or suite not in _KEY_OCTETS or control & COMPRESSED:
        raise ContractError("a system title has 8 octets; suites 0, 1 and 2 without compression are supported")
    octets = _KEY_OCTETS[suite]
    if len(ek) != octets or (control & AUTHENTICATED and len(ak or b"") != octets):
        raise ContractError(f"keys of suite {suite} have {octets} octets")
    content = seal(plain, system_title=system_title, control=control, counter=counter, ek=ek, associated=ak or b"")
    return b"".join((b"\xdb\x08", system_title, encode_length(len(content)), content))


def seal(plain: bytes, *, system_title: bytes, control: int, counter: int, ek: bytes, associated: bytes) -> bytes:
    """Security control, invocation counter, content and tag, as they stand in the octet string of any ciphered APDU.

    `associated` is the authentication key, in general-ciphering followed by the five header fields.
    """
    iv = system_title + counter.to_bytes(4, "big")
    head = bytes((control,)) + counter.to_bytes(4, "big")
    if not control & AUTHENTICATED:
        return head + (_counter_mode(ek, iv, plain) if control & ENCRYPTED else plain)
    known = bytes((control,)) + associated
    cipher = Cipher(AES(ek), GCM(iv)).encryptor()
    cipher.authenticate_additional_data(known if control & ENCRYPTED else known + plain)
    content = cipher.update(plain) if control & ENCRYPTED else plain
    cipher.finalize()
    return head + content + cipher.tag[:TAG_OCTETS]


def _counter_mode(ek: bytes, iv: bytes, content: bytes) -> bytes:
    cipher = Cipher(AES(ek), CTR(iv + _GCM_FIRST_BLOCK)).encryptor()
    return cipher.update(content) + cipher.finalize()


def _content_key(header: SecurityHeader, ek: bytes, kek: bytes | None) -> bytes:
    at = header.content_at - _HEADER_OCTETS
    if header.key_info[:1] != _WRAPPED:
        return ek
    if kek is None:
        raise ProtocolError(RejectReason.KEY_UNKNOWN, at, "no key-encrypting key for the wrapped one")
    try:
        return aes_key_unwrap(kek, header.wrapped_key)
    except (InvalidUnwrap, ValueError) as error:
        raise ProtocolError(RejectReason.TAG_MISMATCH, at, "the wrapped key does not unwrap") from error


def _title(cursor: Cursor) -> bytes | None:
    at = cursor.at
    title = cursor.octets()
    if len(title) not in (0, SYSTEM_TITLE_OCTETS):
        raise ProtocolError(RejectReason.APDU_MALFORMED, at, f"a system title of {len(title)} octets")
    return title or None


def _key_info(cursor: Cursor) -> bytes:
    if not cursor.u8():
        return b""
    first = cursor.at
    choice = cursor.u8()
    if choice == 0:  # identified: key id
        cursor.u8()
    elif choice == 1:  # wrapped: key-encrypting key's id, wrapped key
        cursor.u8()
        cursor.octets()
    elif choice == 2:  # agreed: parameters, data of the agreement
        cursor.octets()
        cursor.octets()
    else:
        raise ProtocolError(RejectReason.APDU_MALFORMED, first, f"key information of kind {choice}")
    return cursor.data[first : cursor.at]
