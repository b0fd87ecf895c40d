"""The published captures and computed vectors, described once."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest


class KeyPair(NamedTuple):
    ek: bytes
    ak: bytes | None


class OneKey:
    """A key source that knows the keys of one system title."""

    def __init__(self, system_title: bytes, ek: bytes, ak: bytes | None) -> None:
        self.system_title = system_title
        self.pair = KeyPair(ek, ak)
        self.signers: dict[bytes, bytes] = {}

    def candidates(self, system_title: bytes, *, broadcast: bool = False) -> list[KeyPair]:
        return [self.pair] if system_title == self.system_title and not broadcast else []


class Capture(NamedTuple):
    """One published message: its entry of the index, its lines, and the keys published with it."""

    entry: dict[str, Any]
    text: bytes
    keys: OneKey | None

    @property
    def lines(self) -> list[bytes]:
        return [bytes.fromhex(line) for line in self.text.decode().split()]

    @property
    def octets(self) -> bytes:
        return b"".join(self.lines)


@pytest.fixture(scope="session")
def captures(shared_data: Path) -> dict[str, Capture]:
    folder = shared_data / "captures"
    found = {}
    for entry in json.loads((folder / "index.json").read_text())["captures"]:
        keys = None
        if entry["keys"]:
            ak = entry["keys"]["ak"]
            keys = OneKey(
                bytes.fromhex(entry["security"]["system_title"]),
                bytes.fromhex(entry["keys"]["ek"]),
                bytes.fromhex(ak) if ak else None,
            )
        found[entry["name"]] = Capture(entry, (folder / entry["file"]).read_bytes(), keys)
    return found


@pytest.fixture(scope="session")
def vectors(shared_data: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((shared_data / "captures" / "vectors.json").read_text())
    return loaded
