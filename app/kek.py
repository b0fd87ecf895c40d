"""The key that wraps meter keys: from a file, an environment variable or a command such as a vault's client.

It is read when it is needed, kept in memory only, hidden (`ingest.hidden`), and appears in no message. No function
that may raise holds what a source gave in the open.
"""

import fcntl
import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from app.files import naming, output_folder, read_bytes
from ingest.hidden import Hidden, Kek
from ingest.key_files import parse_wrapped_parts, render_wrapped
from ingest.key_rows import KeyRows
from schemas.errors import ContractError

_OCTETS: Final = (16, 24, 32)
_PART_OCTETS: Final = 1 << 26
_COMMAND_SECONDS: Final = 30
"""A vault that does not answer in half a minute is away."""


def load_kek(file: Path | None = None, variable: str | None = None, command: Sequence[str] | None = None) -> Hidden:
    """The key-encrypting key of the one source that is given.

    Args:
        file: Its content, as hexadecimal text or 16, 24 or 32 raw octets.
        variable: Environment variable that holds it in hexadecimal.
        command: Program and arguments; prints it in hexadecimal.

    Raises:
        ContractError: No source or several, an empty command, a source that fails, or what it gives is no such key.
    """
    sources = [source for source in (file, variable, command) if source is not None]
    if len(sources) != 1:
        raise ContractError("the key-encrypting key: exactly one of a file, a variable and a command")
    if file is not None:
        return _checked(_of_file(Hidden(read_bytes(file))), f"{file}")
    if variable is not None:
        text = Hidden(os.environ.get(variable, "").encode())
        return _checked(_of_text(text), f"environment variable {variable}")
    if not command:
        raise ContractError("the key-encrypting key: the command is empty")
    return _checked(_of_text(_run(list(command))), "the command")


def load_book(file: Path, kek: Kek, *, sealed: bool = True) -> KeyRows:
    """The rows of a wrapped key file, read in parts.

    Raises:
        ContractError: It cannot be read, ends within a line, is no such file under this key, or is not as it was
            sealed (`ingest.key_seal`); one that is not `sealed` yet may be read all the same.
    """
    try:
        with file.open("rb") as opened, naming(file):
            return parse_wrapped_parts(_parts(opened, file), kek, sealed=sealed)
    except OSError as error:
        raise ContractError(f"{file}: {error.strerror or error}") from error


def write_book(file: Path, rows: KeyRows, kek: Kek) -> None:
    """The book stands under its name, sealed, readable by its owner alone; whoever loses power has the one before.

    Raises:
        ContractError: It cannot be written; the book before stays.
    """
    file = _true_name(file)
    folder = output_folder(file.parent)
    part = folder / f".{file.name}.{os.getpid()}.part"
    try:
        part.unlink(missing_ok=True)
        with os.fdopen(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600), "w") as opened:
            opened.write(render_wrapped(rows, kek))
            opened.flush()
            os.fsync(opened.fileno())
        part.replace(file)
        _sync_folder(folder)
    except OSError as error:
        raise ContractError(f"{file}: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


def _true_name(file: Path) -> Path:
    """The name of the file itself where this one is a link to it: of one book there is one lock, and one text."""
    return Path(os.path.realpath(file)) if file.is_symlink() else file


def _sync_folder(folder: Path) -> None:
    """The name of a file is in its folder, which is written to disk by itself."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


@contextmanager
def held_book(file: Path) -> Iterator[Path]:
    """Nobody else changes the key file meanwhile: of two that read it and write it back one would lose its keys.

    Held by a lock on a file beside it, which stays; a process that dies lets go.

    Yields:
        The file's own name: what a link named while the lock was taken.

    Raises:
        ContractError: The file beside it cannot be made.
    """
    file = _true_name(file)
    output_folder(file.parent)
    try:
        lock = os.open(file.parent / f".{file.name}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ContractError(f"{file}: {error.strerror or error}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield file
    finally:
        os.close(lock)


def _parts(opened: BinaryIO, file: Path) -> Iterator[bytes]:
    """Parts of whole lines. A file that was cut short ends in the middle of one, and an empty one has no header."""
    last = b""
    while part := opened.read(_PART_OCTETS):
        last = part + opened.readline()
        yield last
    if not last.endswith(b"\n"):
        raise ContractError(f"{file}: cut short, its last line has no end")


def _run(command: list[str]) -> Hidden:
    name = command[0]
    ended, said = _output(command)
    if isinstance(ended, str):
        raise ContractError(f"the key-encrypting key: command {name!r} failed: {ended}")
    if ended:
        raise ContractError(f"the key-encrypting key: command {name!r} ended with {ended}")
    return said


def _output(command: list[str]) -> tuple[int | str, Hidden]:
    """How a command ended (its code, or the name of the error) and what it said: one that fails may have said the
    key."""
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=_COMMAND_SECONDS)
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        return type(error).__name__, Hidden(b"")
    return done.returncode, Hidden(done.stdout)


def _of_file(content: Hidden) -> Hidden:
    """The key in a file, raw or as text. The text of a key of 16 octets is as long as a raw one of 32: what is all
    digits is text."""
    is_text = re.fullmatch(rb"\s*[0-9A-Fa-f]+\s*", content.reveal()) is not None
    return _of_text(content) if is_text or len(content) not in _OCTETS else content


def _of_text(text: Hidden) -> Hidden:
    """The key that hexadecimal text holds; nothing where it is none."""
    try:
        return Hidden(bytes.fromhex(text.reveal().decode("ascii").strip()))
    except (UnicodeDecodeError, ValueError):
        return Hidden(b"")


def _checked(kek: Hidden, source: str) -> Hidden:
    if len(kek) not in _OCTETS:
        # without the text: what stands there may be a key with a typing error
        raise ContractError(f"the key-encrypting key: {source} does not hold 16, 24 or 32 octets in hexadecimal")
    return kek
