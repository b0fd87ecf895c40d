"""Files at the edge: inputs read and checked whole before any work, outputs put in place together or not at all."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime
from itertools import chain
from pathlib import Path

import polars as pl

from schemas.errors import ContractError
from schemas.frames import Frame, conform


def read_bytes(path: Path) -> bytes:
    """The file's bytes.

    Raises:
        ContractError: It cannot be read; the message names the path and why.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ContractError(f"{path}: {error.strerror or error}") from error


def read_text(path: Path) -> str:
    """The file's text, UTF-8, a byte order mark dropped.

    Raises:
        ContractError: It cannot be read or is not UTF-8.
    """
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        at = error.start
    # not from that error, which holds the file: it may be one of keys
    raise ContractError(f"{path}: not UTF-8 text at byte {at}")


@contextmanager
def naming(file: Path) -> Iterator[None]:
    """What is wrong with the content of a file is said with its name."""
    try:
        yield
    except ContractError as error:
        text = str(error)
        raise ContractError(text if text.startswith(str(file)) else f"{file}: {text}") from error


def read_frame(path: Path, frame: Frame) -> pl.DataFrame:
    """A Parquet file as rows of that frame.

    Raises:
        ContractError: Not readable, not Parquet, or its columns are not the frame's; names the file and the column.
    """
    data = read_bytes(path)
    try:
        rows = pl.read_parquet(data)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise ContractError(f"{path}: not a Parquet file") from error
    try:
        return conform(rows, frame)
    except ContractError as error:
        raise ContractError(f"{path}: {error}") from error


def digest_of(path: Path | None) -> str | None:
    """SHA-256 of a file in hex, by which its version is named; null where none is given."""
    return None if path is None else hashlib.sha256(read_bytes(path)).hexdigest()


def parse_instant(text: str, name: str) -> datetime:
    """An ISO 8601 instant; without an offset it is UTC.

    Raises:
        ContractError: Not such a text; names the option.
    """
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        raise ContractError(f"{name}: {text!r} is not an ISO 8601 time, such as 2026-03-01T00:00:00Z") from error
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)


def parse_day(text: str, name: str) -> date:
    """A calendar day, YYYY-MM-DD.

    Raises:
        ContractError: Not such a text; names the option.
    """
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ContractError(f"{name}: {text!r} is not a day, such as 2026-03-01") from error


def output_folder(path: Path) -> Path:
    """The folder, made where it was absent.

    Raises:
        ContractError: The name is taken by something that is no folder, or it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ContractError(f"--out {path}: {error.strerror or error}") from error
    return path


def write_outputs(folder: Path, outputs: Mapping[str, pl.DataFrame | bytes | str]) -> None:
    """Every output stands in the folder under its name, whole: written aside first, then renamed.

    Args:
        folder: Where to; made where absent.
        outputs: File name -> a frame (written as Parquet), bytes or text.

    Raises:
        ContractError: The folder cannot be written; no output carries its final name then.
    """
    output_folder(folder)
    aside = {folder / name: folder / f".{name}.{os.getpid()}.part" for name in outputs}
    try:
        for (target, part), content in zip(aside.items(), outputs.values(), strict=True):
            target.parent.mkdir(parents=True, exist_ok=True)
            _write(part, content)
        for target, part in aside.items():
            part.replace(target)
    except OSError as error:
        raise ContractError(f"--out {folder}: {error.strerror or error}") from error
    finally:
        for part in aside.values():
            part.unlink(missing_ok=True)


def write_in_parts(folder: Path, parts: Iterable[Mapping[str, pl.DataFrame]]) -> None:
    """Tables that come in parts stand in the folder under their names, whole; one part at a time is in memory.

    Args:
        folder: Where to; made where absent.
        parts: File name -> the next rows of that table, the same names and columns each time; at least one part.

    Raises:
        ContractError: The folder cannot be written; no table carries its final name then.
    """
    output_folder(folder)
    aside: dict[str, list[Path]] = {}
    try:
        for number, tables in enumerate(parts):
            for name, rows in tables.items():
                part = folder / f".{name}.{os.getpid()}.{number}.part"
                aside.setdefault(name, []).append(part)
                rows.write_parquet(part)
        for name, written in aside.items():
            if len(written) > 1:
                whole = folder / f".{name}.{os.getpid()}.part"
                written.append(whole)
                pl.scan_parquet(written[:-1], glob=False).sink_parquet(whole)
        for name, written in aside.items():
            written[-1].replace(folder / name)
    except OSError as error:
        raise ContractError(f"--out {folder}: {error.strerror or error}") from error
    finally:
        for part in chain.from_iterable(aside.values()):
            part.unlink(missing_ok=True)


def _write(path: Path, content: pl.DataFrame | bytes | str) -> None:
    if isinstance(content, pl.DataFrame):
        content.write_parquet(path)
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content, encoding="utf-8", newline="")
