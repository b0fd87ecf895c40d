"""Key files: `KEYS.csv` in clear for development, and the wrapped file that a utility keeps.

Both are read as columns. A message of an error names the line and the field, never what stands there.
"""

import io
from collections.abc import Iterable
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from ingest.key_rows import KIND_NAMES, UNICAST, KeyRows, Octets, join_rows
from ingest.key_wrap import unwrap_keys, wrap_keys
from ingest.signers import PUBLIC_KEY
from schemas.errors import ContractError

CLEAR_COLUMNS: Final = ("system_title", "ek", "ak")
WRAPPED_COLUMNS: Final = ("system_title", "kind", "version", "status", "ek_wrapped", "ak_wrapped")
KIND_ORDER: Final = pl.col("kind").replace_strict({name: kind for kind, name in enumerate(KIND_NAMES)})
_TITLE_HEX: Final = "^[0-9a-fA-F]{16}$"
_KEY_HEX: Final = {16: "^([0-9a-fA-F]{32}|[0-9a-fA-F]{64})$", 24: "^([0-9a-fA-F]{48}|[0-9a-fA-F]{80})$"}


def parse_clear(text: str) -> KeyRows:
    """The rows of a `KEYS.csv`: `system_title,ek,ak` in hex, `ak` may be empty; version 1, unicast.

    A row with a `public_key` (see `ingest.signers`) needs no `ek`: it is no key of this kind then.

    Raises:
        ContractError: An unknown or absent column, or a field that is not hex of the right length.
    """
    rows = _read(text, (*CLEAR_COLUMNS, PUBLIC_KEY), required=("system_title", "ek"))
    if PUBLIC_KEY in rows.columns:
        rows = rows.filter(pl.col("ek").is_not_null() | pl.col(PUBLIC_KEY).is_null())
    if "ak" not in rows.columns:
        rows = rows.with_columns(pl.lit(None, pl.String).alias("ak"))
    rows = rows.with_columns(kind=pl.lit(KIND_NAMES[UNICAST]), version=pl.lit("1"), status=pl.lit("active"))
    return _columns(rows, "ek", "ak", None)


def parse_wrapped(text: str, kek: bytes) -> KeyRows:
    """The rows of a wrapped key file, unwrapped under the KEK.

    Args:
        text: `system_title,kind,version,status,ek_wrapped,ak_wrapped`; kind `guek` or `gbek`, status `active` or
            `revoked`; wrapped keys in hex, 8 octets longer than the keys.
        kek: Key-encrypting key.

    Raises:
        ContractError: A bad field, or a key that was not wrapped under this KEK.
    """
    return _columns(_read(text, WRAPPED_COLUMNS, required=WRAPPED_COLUMNS), "ek_wrapped", "ak_wrapped", kek)


def parse_wrapped_parts(lines: Iterable[bytes], kek: bytes) -> KeyRows:
    """The rows of a wrapped key file that comes in parts, each of whole lines, the header in the first.

    Ten million keys are then never in memory as text, nor twice as numbers but once.

    Raises:
        ContractError: As `parse_wrapped`; lines are counted within their part.
    """
    header = ",".join(WRAPPED_COLUMNS) + "\n"
    parts = []
    for number, part in enumerate(lines):
        text = part.decode("utf-8", "replace")
        parts.append(parse_wrapped(text if not number else header + text, kek))
    return join_rows(parts)


def parse_statuses(text: str) -> pl.DataFrame:
    """`system_title`, `kind`, `version` and `status` of a wrapped key file, which needs no KEK.

    Raises:
        ContractError: Not such a file.
    """
    rows = _read(text, WRAPPED_COLUMNS, required=WRAPPED_COLUMNS)
    _check_names(rows)
    return rows.select("system_title", "kind", pl.col("version").cast(pl.Int64), "status")


def render_wrapped(rows: KeyRows, kek: bytes) -> str:
    """The wrapped key file of these rows, ascending by title and kind, the newest version first."""
    half = rows.material.shape[1] // 2
    fields = pl.DataFrame(
        {
            "system_title": pl.Series([f"{title:016x}" for title in rows.titles.tolist()], dtype=pl.String),
            "kind": pl.Series([KIND_NAMES[kind] for kind in rows.kinds.tolist()], dtype=pl.String),
            "version": pl.Series(rows.versions.astype(np.int64)),
            "status": pl.Series(np.where(rows.revoked, "revoked", "active").tolist(), dtype=pl.String),
            "ek_wrapped": _wrapped(rows.material[:, :half], rows.sizes, kek),
            "ak_wrapped": _wrapped(rows.material[:, half:], np.where(rows.has_ak, rows.sizes, 0), kek),
        }
    )
    return fields.sort("system_title", KIND_ORDER, "version", descending=[False, False, True]).write_csv()


def _wrapped(keys: Octets, sizes: Octets | npt.NDArray[np.int64], kek: bytes) -> pl.Series:
    texts = np.full(len(keys), None, dtype=object)
    for size in (16, 32):
        chosen = sizes == size
        if chosen.any():
            wrapped = wrap_keys(keys[chosen, :size], kek)
            texts[chosen] = [row.tobytes().hex() for row in wrapped]
    return pl.Series(texts.tolist(), dtype=pl.String)


def _read(text: str, columns: tuple[str, ...], required: tuple[str, ...]) -> pl.DataFrame:
    try:
        rows = pl.read_csv(io.BytesIO(text.encode()), infer_schema=False, null_values="")
    except pl.exceptions.PolarsError:
        # from None: the parser's own message quotes the line, and the line holds a key
        raise ContractError(f"keys: not a table with the columns {','.join(columns)}") from None
    unknown = [name for name in rows.columns if name not in columns]
    if unknown:
        raise ContractError(f"keys: a column that is not one of {','.join(columns)}")
    absent = [name for name in required if name not in rows.columns]
    if absent:
        raise ContractError(f"keys: column {absent[0]!r} is absent")
    return rows


def _columns(rows: pl.DataFrame, ek: str, ak: str, kek: bytes | None) -> KeyRows:
    longer = 0 if kek is None else 8
    key_hex = _KEY_HEX[16 + longer]
    _check_names(rows)
    _check(rows, ek, pl.col(ek).str.contains(key_hex), "16 or 32 octets in hex")
    same_size = pl.col(ak).str.len_bytes() == pl.col(ek).str.len_bytes()
    _check(rows, ak, pl.col(ak).is_null() | (pl.col(ak).str.contains(key_hex) & same_size), "as long as the other")
    titles = _octets(rows["system_title"], 8).view(">u8").reshape(-1).astype(np.uint64)
    sizes = (rows[ek].str.len_bytes().to_numpy() // 2 - longer).astype(np.uint8)
    half = int(sizes.max(initial=16))
    material = np.zeros((rows.height, 2 * half), np.uint8)
    for column, at in ((ek, 0), (ak, half)):
        _fill(material[:, at : at + half], rows[column], kek)
    return KeyRows(
        titles,
        (rows["kind"] == KIND_NAMES[1]).to_numpy().astype(np.uint8),
        rows["version"].cast(pl.UInt16).to_numpy(),
        (rows["status"] == "revoked").to_numpy(),
        rows[ak].is_not_null().to_numpy(),
        sizes,
        material,
    )


def _check_names(rows: pl.DataFrame) -> None:
    _check(rows, "system_title", pl.col("system_title").str.contains(_TITLE_HEX), "16 hex digits")
    _check(rows, "kind", pl.col("kind").is_in(KIND_NAMES), "guek or gbek")
    _check(rows, "version", pl.col("version").str.contains("^[1-9][0-9]{0,3}$"), "1 to 9999")
    _check(rows, "status", pl.col("status").is_in(["active", "revoked"]), "active or revoked")


def _fill(target: Octets, texts: pl.Series, kek: bytes | None) -> None:
    lengths = texts.str.len_bytes().fill_null(0).to_numpy() // 2
    longer = 0 if kek is None else 8
    for size in (16, 32):
        chosen = lengths == size + longer
        if chosen.any():
            octets = _octets(texts.filter(pl.Series(chosen)), size + longer)
            target[chosen, :size] = octets if kek is None else unwrap_keys(octets, kek)


def _octets(texts: pl.Series, size: int) -> Octets:
    """Hex texts of one length as a matrix."""
    joined = texts.str.to_lowercase().str.join("").item() if len(texts) else ""
    return np.frombuffer(bytes.fromhex(joined), np.uint8).reshape(len(texts), size)


def _check(rows: pl.DataFrame, name: str, good: pl.Expr, wanted: str) -> None:
    bad = ~rows.select(good.fill_null(False)).to_series()
    if bad.any():
        raise ContractError(f"keys: line {(bad.arg_max() or 0) + 2}, field {name!r}: not {wanted}")
