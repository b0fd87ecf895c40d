"""Door: an export into a folder, so that whoever sees the manifest sees every file whole.

Each file is written under a temporary name, flushed and synced, and renamed; the manifest comes last. A delivery that
was cut short is taken up by doing it again: what already stands there, byte for byte, is left alone.
"""

import hashlib
import os
import shutil
from pathlib import Path
from typing import Final, NamedTuple

from billing_export.export import MANIFEST, Export
from billing_export.manifest import FileEntry
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
        written = [name for name, content in steps if _place(folder / name, content)]
    except OSError as error:
        raise TransientError(f"{folder}: {error.strerror or error}") from error
    return Delivered(tuple(written), tuple(name for name, _ in steps if name not in written))


def settle(finished: list[tuple[Path, FileEntry]], manifest: bytes, folder: Path) -> Delivered:
    """Temporary files, whole and synced, take their names in the folder; the manifest comes last.

    Where the same manifest and the same files stand already, the temporary files go and nothing changes.

    Raises:
        OSError: The folder cannot be written.
    """
    same = _stands(folder / MANIFEST, manifest) and all(
        stands_there(folder / entry.name, entry.size, entry.sha256) for _, entry in finished
    )
    names = [entry.name for _, entry in finished]
    if same:
        for path, _ in finished:
            path.unlink()
        return Delivered((), (*names, MANIFEST))
    (folder / MANIFEST).unlink(missing_ok=True)
    _sync_folder(folder)
    for path, entry in finished:
        path.replace(folder / entry.name)
    _sync_folder(folder)
    _write(folder / MANIFEST, manifest)
    return Delivered((*names, MANIFEST), ())


def place_file(target: Path, source: Path) -> None:
    """A copy of the source stands under the target's name, whole and synced.

    Raises:
        OSError: The folder cannot be written.
    """
    temporary = target.with_name(f".{target.name}.part")
    with source.open("rb") as given, temporary.open("wb") as out:
        shutil.copyfileobj(given, out, _BLOCK)
        out.flush()
        os.fsync(out.fileno())
    temporary.replace(target)
    _sync_folder(target.parent)


def stands_there(target: Path, size: int, sha256: str) -> bool:
    """Whether the file is there with exactly these bytes."""
    if not target.is_file() or target.stat().st_size != size:
        return False
    digest = hashlib.sha256()
    with target.open("rb") as there:
        while block := there.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest() == sha256


def _write(target: Path, content: bytes) -> None:
    temporary = target.with_name(f".{target.name}.part")
    with temporary.open("wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    temporary.replace(target)
    _sync_folder(target.parent)


def _place(target: Path, content: bytes) -> bool:
    if _stands(target, content):
        return False
    _write(target, content)
    return True


def _stands(target: Path, content: bytes) -> bool:
    return stands_there(target, len(content), hashlib.sha256(content).hexdigest())


def _sync_folder(folder: Path) -> None:
    # The rename itself must survive a power cut, not only the bytes.
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
