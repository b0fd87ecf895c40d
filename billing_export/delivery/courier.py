"""Carries a delivered folder to where its receiver looks: every file whole, the manifest last, taken up where it broke.

The folder on disk is the truth (`delivery.folder` made it); a target is a place that can hold files. Doing a delivery
again after a crash at any step finishes it, and doing a finished one again sends nothing.
"""

import hashlib
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import msgspec

from billing_export.delivery.folder import Delivered
from billing_export.export import MANIFEST
from schemas.errors import ContractError

BLOCK: Final = 1 << 20


class Parcel(NamedTuple):
    """A file to be carried, known to the last bit before it leaves."""

    name: str
    path: Path
    size: int
    sha256: str


class Target(Protocol):
    """A place that takes files. All methods raise `TransientError` when the place is away or the line breaks (try
    again: what was sent is used), and `TerminalError` when it refuses in a way that trying again cannot mend."""

    def stands(self, parcel: Parcel) -> bool:
        """Whether the file stands there under its name with exactly these bytes."""
        ...

    def send(self, parcel: Parcel) -> None:
        """The file stands there under its name, whole; nobody ever sees half of it under that name.

        What an earlier attempt left is continued, never trusted: its bytes are held against the parcel's.
        """
        ...

    def withdraw(self, name: str) -> None:
        """No file of that name stands there; it may have been absent before."""
        ...

    def close(self) -> None:
        """The connection is given back."""
        ...


class Stated(msgspec.Struct, frozen=True):
    """A file as a manifest states it."""

    name: str
    bytes: int
    sha256: str


class _Manifest(msgspec.Struct, frozen=True):
    files: tuple[Stated, ...]


def parcels_of(folder: Path) -> tuple[Parcel, ...]:
    """The files of a delivered folder in the order of its manifest, then the manifest.

    Raises:
        ContractError: There is no manifest, or a file is not what the manifest states: such a folder is never sent.
    """
    manifest = folder / MANIFEST
    if not manifest.is_file():
        raise ContractError(f"{folder}: no {MANIFEST}: the folder was never delivered whole")
    content = manifest.read_bytes()
    try:
        stated = msgspec.json.decode(content, type=_Manifest).files
    except msgspec.MsgspecError as error:
        raise ContractError(f"{manifest}: {error}") from error
    parcels = [Parcel(file.name, folder / file.name, file.bytes, file.sha256) for file in stated]
    for parcel in parcels:
        if Path(parcel.name).name != parcel.name or parcel.name in ("", ".", "..", MANIFEST):
            raise ContractError(f"{manifest}: {parcel.name!r} is no plain file name")
        if not parcel.path.is_file() or parcel.path.stat().st_size != parcel.size or digest(parcel) != parcel.sha256:
            raise ContractError(f"{parcel.path}: not the file that {MANIFEST} states")
    return (*parcels, Parcel(MANIFEST, manifest, len(content), hashlib.sha256(content).hexdigest()))


def digest(parcel: Parcel) -> str:
    """SHA-256 of the file on disk, in hex."""
    with parcel.path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def carry(folder: Path, target: Target) -> Delivered:
    """Files and manifest of a delivered folder stand at the target, the manifest last.

    A manifest with other content, or beside a file that is not what it should be, is withdrawn before anything
    changes: while files change there is no manifest.

    Raises:
        ContractError: The folder is not whole (see `parcels_of`); nothing was sent.
        TransientError: The line broke; done again, the delivery goes on where it stopped.
        TerminalError: The target refuses.
    """
    *parcels, manifest = parcels_of(folder)
    stands = {parcel.name for parcel in (*parcels, manifest) if target.stands(parcel)}
    if len(stands) == len(parcels) + 1:
        return Delivered((), tuple(parcel.name for parcel in (*parcels, manifest)))
    target.withdraw(MANIFEST)
    missing = [parcel for parcel in parcels if parcel.name not in stands]
    for parcel in (*missing, manifest):
        target.send(parcel)
    written = tuple(parcel.name for parcel in (*missing, manifest))
    return Delivered(written, tuple(parcel.name for parcel in parcels if parcel.name in stands))
