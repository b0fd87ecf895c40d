"""Coverage-guided fuzzing of the codec with atheris, where that is installed.

    PYTHONPATH=. python tests/fuzz/fuzz_codec.py -max_total_time=3600 tests/fuzz/corpus

The corpus is replayed by `tests/ingest/dlms/test_hostile.py` with every test run; what a long run finds goes into it.
"""

import sys
from collections.abc import Mapping
from contextlib import suppress
from types import SimpleNamespace

from ingest.dlms.apdu import decode_apdu
from ingest.dlms.axdr import decode_data
from ingest.dlms.framing import split_messages
from ingest.dlms.locate import locate_data
from ingest.dlms.profile import decode_profile
from ingest.dlms.signing import read_signed
from ingest.inspect import inspect_message
from schemas.errors import ProtocolError

EXAMPLE_KEYS = SimpleNamespace(ek=bytes(range(16)), ak=bytes(range(0xD0, 0xE0)))


class AnyKey:
    """The example keys for every sender, so that ciphered content is reached too."""

    signers: Mapping[bytes, bytes] = {}

    def candidates(self, system_title: bytes, *, broadcast: bool = False) -> list[SimpleNamespace]:
        return [EXAMPLE_KEYS] if system_title or broadcast else []

    def masters(self, system_title: bytes) -> list[bytes]:
        return [bytes(range(0x60, 0x70))] if system_title else []


def test_one_input(data: bytes) -> None:
    """Any bytes are values or a ProtocolError; everything else is a finding."""
    for message in split_messages(data):
        inspect_message(message, AnyKey())
    for read in (decode_data, decode_apdu, locate_data, read_signed):
        with suppress(ProtocolError):
            read(data)
    with suppress(ProtocolError):
        decode_profile(decode_data(data), 900)


def main() -> int:
    """Fuzz until stopped; 2 where atheris is not installed."""
    try:
        import atheris
    except ImportError:
        print("atheris is not installed: pip install atheris", file=sys.stderr)
        return 2
    atheris.instrument_all()
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
