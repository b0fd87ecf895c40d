"""What verbs take from files: frames, keys, meters and meter types, each read whole and checked before any work."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import polars as pl

from app.config import Keys
from app.files import naming, read_bytes, read_text
from app.kek import load_book, load_kek
from app.registry import parse_meters
from billing_export.tariffs import TariffBook, parse_tariffs
from ingest import meter_types, sources
from ingest.keyring import Keyring
from ingest.meter_types import MeterTypes
from ingest.signers import NO_SIGNERS, parse_signers
from schemas.errors import ContractError
from schemas.frames import METERS, RAW_FRAMES, UTC_US

_NO_LANE: Final = ""
"""Where messages of files are judged of whose reception nothing is known: together, whatever file they are in."""
SIDECAR: Final = pl.Schema({"topic": pl.String(), "received_at": UTC_US})
"""Columns of `NAME.received.parquet`, which keeps for each frame of `NAME.bin` where and when it was received."""


def load_frames(files: Sequence[Path]) -> pl.DataFrame:
    """RAW_FRAMES of all files, in the order given, with the `lane` of each message (`decode_frames`).

    `*.hex` is text, one link-layer frame a line; anything else is bytes end to end. `topic` is the file's name,
    `frame` the ordinal of the message in the file; a sidecar gives topic and `received_at` where there is one. The
    lane is the topic that a sidecar gives, or gives the same bytes in another of the files; else one of all files.

    Raises:
        ContractError: A file cannot be read, or its sidecar does not fit it.
    """
    return _in_lanes(pl.concat([_laned(RAW_FRAMES.empty()), *map(_load_frames, files)]))


def _in_lanes(frames: pl.DataFrame) -> pl.DataFrame:
    """Null lanes filled; what has one keeps it."""
    known = frames["lane"].is_not_null()
    if known.any() and not known.all():
        recorded = frames.filter(known).select("payload", recorded="lane").unique("payload", keep="first")
        frames = frames.join(recorded, on="payload", how="left", maintain_order="left")
        frames = frames.with_columns(lane=pl.coalesce("lane", "recorded")).drop("recorded")
    return frames.with_columns(pl.col("lane").fill_null(_NO_LANE))


def load_keyring(file: Path | None) -> Keyring:
    """The keys of a KEYS.csv; an empty ring without one."""
    if file is None:
        return Keyring.empty()
    with naming(file):
        return Keyring.from_csv(read_text(file))


def configured_keyring(keys: Keys) -> Keyring:
    """The keys that a worker is configured for: wrapped at rest; in clear (development) where no key wraps them."""
    sources = (keys.kek_file, keys.kek_env, keys.kek_command)
    if keys.file is None or all(source is None for source in sources):
        return load_keyring(None if keys.file is None else Path(keys.file))
    kek = load_kek(None if keys.kek_file is None else Path(keys.kek_file), keys.kek_env, keys.kek_command)
    return Keyring(load_book(Path(keys.file), kek), _signers(keys))


def _signers(keys: Keys) -> Mapping[bytes, bytes]:
    if keys.public_file is None:
        return NO_SIGNERS
    file = Path(keys.public_file)
    with naming(file):
        return parse_signers(read_text(file))


def parse_sender(text: str | None) -> bytes | None:
    """The system title of `--sender`.

    Raises:
        ContractError: Not 16 hexadecimal digits.
    """
    if text is None:
        return None
    if len(text) != 16 or not set(text) <= set("0123456789abcdefABCDEF"):
        raise ContractError(f"--sender {text}: a system title has 16 hexadecimal digits")
    return bytes.fromhex(text)


def load_types(file: Path | None) -> MeterTypes:
    """The built-in meter types, and those of a file beside and before them."""
    if file is None:
        return meter_types.BUILT_IN
    with naming(file):
        return meter_types.parse_types(read_text(file))


def load_meters(file: Path | None, types: MeterTypes) -> pl.DataFrame:
    """METERS of a METERS.csv with the profile of each meter's type; empty without one."""
    if file is None:
        return METERS.empty()
    return with_profiles(parse_meters(read_text(file), str(file)), types)


def with_profiles(meters: pl.DataFrame, types: MeterTypes) -> pl.DataFrame:
    """METERS with `profile` (interval or cumulative) as the meter's type says; null where the type does not say."""
    profiles = meter_types.profiles(types)
    profile = pl.col("meter_type").replace_strict(profiles, default=None, return_dtype=pl.String)
    return meters.with_columns(profile=profile)


def _laned(frames: pl.DataFrame) -> pl.DataFrame:
    return frames.with_columns(lane=pl.lit(None, pl.String))


def _load_frames(file: Path) -> pl.DataFrame:
    """RAW_FRAMES of one file with its lanes, null where no sidecar tells them."""
    if file.suffix == ".hex":
        return _laned(sources.cut_hex(read_bytes(file), file.name))
    frames = sources.cut_bin(read_bytes(file), file.name)
    sidecar = file.with_name(f"{file.stem}.received.parquet")
    if not sidecar.exists():
        return _laned(frames)
    try:
        received = pl.read_parquet(sidecar).select([pl.col(name).cast(dtype) for name, dtype in SIDECAR.items()])
    except pl.exceptions.PolarsError as error:
        raise ContractError(f"{sidecar}: not a table of {', '.join(SIDECAR)}") from error
    if received.height != frames.height:
        raise ContractError(f"{sidecar}: {received.height} rows for the {frames.height} frames of {file.name}")
    return frames.with_columns(received["topic"], received["received_at"], lane=received["topic"])


def load_tariffs(file: Path | None) -> TariffBook:
    """The tariffs of a TARIFFS.toml; none without one."""
    if file is None:
        return TariffBook()
    try:
        return parse_tariffs(read_text(file))
    except ContractError as error:
        raise ContractError(f"{file}: {error}") from error
