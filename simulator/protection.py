"""General-glo-ciphering and the wrapper, message after message of one length."""

import numpy as np
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ingest.dlms.framing import wrap_wpdu
from ingest.dlms.security import protect
from simulator.columns import I64, U8

_CONTROL = 0x30
"""Suite 0, authenticated and encrypted."""

_TAG_OCTETS = 12
_FULL_TAG_OCTETS = 16


class Ciphers:
    """Ready-made AES-GCM of each meter with its associated data. `repr` shows no key."""

    __slots__ = ("_associated", "_gcm")

    def __init__(self, ek: U8, ak: U8) -> None:
        self._gcm = [AESGCM(key.tobytes()) for key in ek]
        self._associated = [bytes((_CONTROL,)) + key.tobytes() for key in ak]

    def seal(self, apdus: U8, meter: I64, nonces: U8) -> U8:
        """Ciphertext and 12-byte tag of each APDU. `nonces`: system title and invocation counter, n × 12."""
        size = apdus.shape[1]
        plain, ivs = memoryview(apdus.tobytes()), nonces.tobytes()
        gcm, associated = self._gcm, self._associated
        sealed = [
            gcm[row].encrypt(ivs[12 * i : 12 * i + 12], plain[size * i : size * i + size], associated[row])
            for i, row in enumerate(meter.tolist())
        ]
        octets = np.frombuffer(b"".join(sealed), dtype=np.uint8).reshape(-1, size + _FULL_TAG_OCTETS)
        return octets[:, : size + _TAG_OCTETS]


def protected_wpdus(apdus: U8, meter: I64, title: U8, counter: I64, ciphers: Ciphers) -> U8:
    """Wrapper PDUs of general-glo-ciphering APDUs, security control 30.

    Args:
        apdus: n × octets, all of one length.
        meter: Row of each sender in `title` and `ciphers`.
        title: System titles, meters × 8.
        counter: Invocation counters, n.
        ciphers: Keys by meter.
    """
    size = apdus.shape[1]
    titles = title[meter]
    counters = np.ascontiguousarray(counter.astype(">u4")).view(np.uint8).reshape(-1, 4)
    # The codec's own encoder gives the octets around the content; only title, counter and content differ.
    empty = protect(bytes(size), system_title=bytes(8), control=_CONTROL, counter=0, ek=bytes(16), ak=bytes(16))
    head = len(empty) - size - _TAG_OCTETS
    message = np.frombuffer(wrap_wpdu(empty), dtype=np.uint8)
    link = message.size - len(empty)
    wpdus = np.broadcast_to(message, (meter.size, message.size)).copy()
    wpdus[:, link + 2 : link + 10] = titles
    wpdus[:, link + head - 4 : link + head] = counters
    wpdus[:, link + head :] = ciphers.seal(apdus, meter, np.concatenate([titles, counters], axis=1))
    return wpdus


def plain_wpdus(apdus: U8) -> U8:
    """Wrapper PDUs of APDUs in clear."""
    message = np.frombuffer(wrap_wpdu(bytes(apdus.shape[1])), dtype=np.uint8)
    wpdus = np.broadcast_to(message, (apdus.shape[0], message.size)).copy()
    wpdus[:, message.size - apdus.shape[1] :] = apdus
    return wpdus
