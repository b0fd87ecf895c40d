"""Door: an export into a folder, so that whoever sees the manifest sees every file whole.

Each file is written under a temporary name, flushed and synced, and renamed; the manifest comes last. A delivery that
was cut short is taken up by doing it again: what already stands there, byte for byte, is left alone.
"""

import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, NamedTuple

from billing_export.export import MANIFEST, Export
from schemas.errors import TransientError

_BLOCK: Final = 1 << 20


class Delivered(NamedTuple):
    """What stands in the folder afterwards."""

    written: tuple[str, ...]
    kept: tuple[str, ...]
    """Files that already stood there with the same bytes."""


def deliver(export: Export, folder: Path) -> Delivered:
    """Files and manifest of an export stand in the folder, the manifest last.

    An older manifest with other content is taken away before the first file changes: while files change there is no
    manifest. Safe to repeat after a crash at any step.

    Raises:
        TransientError: The folder cannot be written; nothing that a manifest names is half written.
    """
    steps = [(file.name, file.content) for file in export.files] + [(MANIFEST, export.manifest)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not _stands(folder / MANIFEST, export.manifest):
            (folder / MANIFEST).unlink(missing_ok=True)
            _sync_folder(folder)
        written = [name for name, content in steps if _place(folder / name, [content])]
    except OSError as error:
        raise TransientError(f"{folder}: {error.strerror or error}") from error
    return Delivered(tuple(written), tuple(name for name, _ in steps if name not in written))


def place(target: Path, blocks: Iterable[bytes], seen: Callable[[bytes], None]) -> None:
    """A file of these blocks stands at `target`, whole or not at all; `seen` is told every block (to hash it)."""
    temporary = target.with_name(f".{target.name}.part")
    with temporary.open("wb") as out:
        for block in blocks:
            seen(block)
            out.write(block)
        out.flush()
        os.fsync(out.fileno())
    temporary.replace(target)
    _sync_folder(target.parent)


def _place(target: Path, blocks: list[bytes]) -> bool:
    if _stands(target, b"".join(blocks)):
        return False
    place(target, blocks, lambda _block: None)
    return True


def _stands(target: Path, content: bytes) -> bool:
    if not target.is_file() or target.stat().st_size != len(content):
        return False
    digest = hashlib.sha256()
    with target.open("rb") as there:
        while block := there.read(_BLOCK):
            digest.update(block)
    return digest.digest() == hashlib.sha256(content).digest()


def _sync_folder(folder: Path) -> None:
    # The rename itself must survive a power cut, not only the bytes.
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
