"""Key files: `KEYS.csv` in clear for development, and the wrapped file that a utility keeps.

Both are read as columns. A message of an error names the line and the field, never what stands there, and no frame of
its traceback holds it.
"""

import binascii
import io
from collections.abc import Iterable, Iterator
from typing import Final, NoReturn

import numpy as np
import numpy.typing as npt
import polars as pl

from ingest.hidden import Hidden, Kek, hidden, hidden_text, sheltered
from ingest.key_rows import KIND_NAMES, UNICAST, KeyRows, Octets, join_rows
from ingest.key_seal import BookSeal, count_of, without_seal
from ingest.key_wrap import unwrap_keys, wrap_keys
from ingest.signers import PUBLIC_KEY
from ingest.spans import Spans
from ingest.titles import octets_to_hex, titles_to_hex
from schemas.errors import ContractError

CLEAR_COLUMNS: Final = ("system_title", "ek", "ak")
WRAPPED_COLUMNS: Final = ("system_title", "kind", "version", "status", "ek_wrapped", "ak_wrapped")
_KIND_CODES: Final = {name: kind for kind, name in enumerate(KIND_NAMES)}
KIND_ORDER: Final = pl.col("kind").replace_strict(_KIND_CODES)
_TITLE_OCTETS: Final = 8
_KEY_OCTETS: Final = (16, 32)
_KEY_WANTED: Final = "16 or 32 octets in hex"
_HEX_ALONE: Final = "^[0-9a-fA-F]*$"
_SEALED_AT_ONCE: Final = 1 << 24
_VERSIONS: Final = tuple(map(str, range(1, 10_000)))


def parse_clear(text: str | Hidden) -> KeyRows:
    """The rows of a `KEYS.csv`: `system_title,ek,ak` in hex, `ak` may be empty; version 1, unicast.

    A row with a `public_key` (see `ingest.signers`) needs no `ek`: it is no key of this kind then.

    Raises:
        ContractError: An unknown or absent column, or a field that is not hex of the right length.
    """
    text = hidden_text(text)
    return sheltered(_clear_rows, text)


def _clear_rows(text: Hidden) -> KeyRows:
    rows = _read(text.reveal(), (*CLEAR_COLUMNS, PUBLIC_KEY), required=("system_title", "ek"))
    if PUBLIC_KEY in rows.columns:
        rows = rows.filter(pl.col("ek").is_not_null() | pl.col(PUBLIC_KEY).is_null())
    if "ak" not in rows.columns:
        rows = rows.with_columns(pl.lit(None, pl.String).alias("ak"))
    rows = rows.with_columns(kind=pl.lit(KIND_NAMES[UNICAST]), version=pl.lit("1"), status=pl.lit("active"))
    return _columns(rows, "ek", "ak", None)


def public_rows(text: str | Hidden) -> tuple[int, int]:
    """How many rows of a `KEYS.csv` have a public key, and how many of those no `ek`: `parse_clear` passes these over.

    Raises:
        ContractError: An unknown or absent column.
    """
    text = hidden_text(text)
    return sheltered(_public_rows, text)


def _public_rows(text: Hidden) -> tuple[int, int]:
    rows = _read(text.reveal(), (*CLEAR_COLUMNS, PUBLIC_KEY), required=("system_title", "ek"))
    if PUBLIC_KEY not in rows.columns:
        return 0, 0
    public = rows.filter(pl.col(PUBLIC_KEY).is_not_null())
    return public.height, public["ek"].null_count()


def parse_wrapped(text: str, kek: Kek) -> KeyRows:
    """The rows of a wrapped key file, unwrapped under the KEK.

    Args:
        text: `system_title,kind,version,status,ek_wrapped,ak_wrapped`; kind `guek`, `gbek` or `kek`, status `active` or
            `revoked`; wrapped keys in hex, 8 octets longer than the keys; the last line its seal (`key_seal`).
        kek: Key-encrypting key.

    Raises:
        ContractError: A bad field, a key that was not wrapped under this KEK, or a book that is not as it was sealed.
    """
    kek = hidden(kek)
    return parse_wrapped_parts((text.encode(),), kek)


def parse_wrapped_parts(parts: Iterable[bytes], kek: Kek, *, sealed: bool = True) -> KeyRows:
    """The rows of a wrapped key file that comes in parts, each of whole lines, the header in the first.

    Ten million keys are then never in memory as text, nor twice as numbers but once. What is not `sealed` yet has no
    last line.

    Raises:
        ContractError: As `parse_wrapped`; lines are counted in the file.
    """
    kek = hidden(kek)
    return sheltered(join_rows, _parts(parts, kek, sealed=sealed))


def _parts(parts: Iterable[bytes], kek: Kek, *, sealed: bool) -> Iterator[KeyRows]:
    header = ",".join(WRAPPED_COLUMNS).encode() + b"\n"
    lines, begun, seal, last = 0, False, BookSeal(kek), b""
    for part in parts:
        if last:
            raise ContractError("keys: the book goes on behind its seal")
        body, last = without_seal(part)
        seal.add(body)
        if body or not begun:
            rows = _read(header + body if begun else body, WRAPPED_COLUMNS, required=WRAPPED_COLUMNS)
            yield _columns(rows, "ek_wrapped", "ak_wrapped", kek, lines)
            lines, begun = lines + rows.height, True
    if sealed or last:
        seal.check(last)


def parse_statuses(text: str) -> pl.DataFrame:
    """`system_title`, `kind`, `version` and `status` of a wrapped key file, which needs no KEK; sealed or not.

    Raises:
        ContractError: Not such a file, or it does not hold as many keys as its seal says.
    """
    lines, seal = without_seal(text.encode())
    rows = _read(lines, WRAPPED_COLUMNS, required=WRAPPED_COLUMNS)
    if seal and count_of(seal) != rows.height:
        raise ContractError(f"keys: the book holds {rows.height} keys, and its seal speaks of {count_of(seal)}")
    _check_names(rows, 0)
    _titles(rows, 0)
    return rows.select("system_title", "kind", pl.col("version").cast(pl.Int64), "status")


def has_seal(text: str) -> bool:
    """The file ends with a seal, true or not: without one nothing says how many keys it held."""
    return bool(without_seal(text.encode()).seal)


def parse_titles(text: str) -> npt.NDArray[np.uint64]:
    """The system titles of a table with a column `system_title`, whatever else it holds.

    Raises:
        ContractError: No such column, or a field that is no system title.
    """
    try:
        rows = pl.read_csv(io.BytesIO(text.encode()), infer_schema=False, null_values="", columns=["system_title"])
    except pl.exceptions.PolarsError:
        raise ContractError("titles: not a table with a column 'system_title'") from None
    return _titles(rows, 0)


def render_wrapped(rows: KeyRows, kek: Kek) -> str:
    """The wrapped key file of these rows, sealed, ascending by title and kind, the newest version first."""
    lines, seal = render_lines(rows, kek), BookSeal(kek)
    for at in range(0, len(lines), _SEALED_AT_ONCE):
        seal.add(lines[at : at + _SEALED_AT_ONCE].encode())
    return lines + seal.line().decode()


def render_lines(rows: KeyRows, kek: Kek) -> str:
    """The same without its seal."""
    half = rows.material.shape[1] // 2
    fields = pl.DataFrame(
        {
            "system_title": titles_to_hex(rows.titles),
            "kind": pl.Series(KIND_NAMES, dtype=pl.String).gather(rows.kinds),
            "version": pl.Series(rows.versions.astype(np.int64)),
            "status": pl.Series(["active", "revoked"], dtype=pl.String).gather(rows.revoked.astype(np.uint8)),
            "ek_wrapped": _wrapped(rows.material[:, :half], rows.sizes, kek),
            "ak_wrapped": _wrapped(rows.material[:, half:], np.where(rows.has_ak, rows.sizes, 0), kek),
        }
    )
    return fields.sort("system_title", KIND_ORDER, "version", descending=[False, False, True]).write_csv()


def _wrapped(keys: Octets, sizes: Octets | npt.NDArray[np.int64], kek: Kek) -> pl.Series:
    texts = pl.repeat(None, len(keys), dtype=pl.String, eager=True)
    for size in _KEY_OCTETS:
        rows = np.flatnonzero(sizes == size)
        if len(rows):
            wrapped = octets_to_hex(wrap_keys(keys[rows, :size], kek))
            texts = wrapped if len(rows) == len(keys) else texts.scatter(rows, wrapped)
    return texts


def _read(text: bytes, columns: tuple[str, ...], required: tuple[str, ...]) -> pl.DataFrame:
    try:
        rows = pl.read_csv(io.BytesIO(text), infer_schema=False, null_values="")
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


def _columns(rows: pl.DataFrame, ek: str, ak: str, kek: Kek | None, before: int = 0) -> KeyRows:
    """The rows as columns; `before`: rows of the file that stand above these."""
    longer = 0 if kek is None else 8
    _check_names(rows, before)
    titles = _titles(rows, before)
    sizes = _sizes(rows, ek, longer, before)
    has_ak = rows[ak].is_not_null().to_numpy()
    other = rows[ak].str.len_bytes().fill_null(0).to_numpy() != np.where(has_ak, 2 * (sizes + longer), 0)
    if other.any():
        _refuse(int(other.argmax()), ak, "as long as the other", before)
    half = int(sizes.max(initial=16))
    material = np.zeros((rows.height, 2 * half), np.uint8)
    for column, at in ((ek, 0), (ak, half)):
        _fill(material[:, at : at + half], rows[column], kek, before)
    return KeyRows(
        titles,
        rows["kind"].replace_strict(_KIND_CODES, return_dtype=pl.UInt8).to_numpy(),
        rows["version"].cast(pl.UInt16).to_numpy(),
        (rows["status"] == "revoked").to_numpy(),
        has_ak,
        sizes.astype(np.uint8),
        material,
    )


def _check_names(rows: pl.DataFrame, before: int) -> None:
    _check(rows, "kind", KIND_NAMES, ", ".join(KIND_NAMES), before)
    _check(rows, "version", _VERSIONS, "1 to 9999", before)
    _check(rows, "status", ("active", "revoked"), "active or revoked", before)


def _check(rows: pl.DataFrame, name: str, known: Iterable[str], wanted: str, before: int) -> None:
    """The few texts of such a column are looked at once each; the line is looked for only where one is wrong."""
    unknown = set(rows[name].unique().to_list()).difference(known)
    if unknown:
        bad = rows[name].is_in(list(unknown), nulls_equal=True)
        _refuse(bad.arg_max() or 0, name, wanted, before)


def _titles(rows: pl.DataFrame, before: int) -> npt.NDArray[np.uint64]:
    texts = rows["system_title"]
    wrong = (texts.str.len_bytes().fill_null(0) != 2 * _TITLE_OCTETS).to_numpy()
    if wrong.any():
        _refuse(int(wrong.argmax()), "system_title", "16 hex digits", before)
    octets = _octets(texts, _TITLE_OCTETS, "16 hex digits", np.arange(before, before + rows.height))
    return octets.view(">u8").reshape(-1).astype(np.uint64)


def _sizes(rows: pl.DataFrame, name: str, longer: int, before: int) -> npt.NDArray[np.int64]:
    """Octets of each key, by the length of its text."""
    octets = rows[name].str.len_bytes().fill_null(0).to_numpy().astype(np.int64) - 2 * longer
    wrong = ~np.isin(octets, [2 * size for size in _KEY_OCTETS])
    if wrong.any():
        _refuse(int(wrong.argmax()), name, _KEY_WANTED, before)
    return octets // 2


def _fill(target: Octets, texts: pl.Series, kek: Kek | None, before: int) -> None:
    lengths = texts.str.len_bytes().fill_null(0).to_numpy() // 2
    longer = 0 if kek is None else 8
    for size in _KEY_OCTETS:
        rows = np.flatnonzero(lengths == size + longer)
        if not len(rows):
            continue
        whole = len(rows) == len(texts)
        octets = _octets(texts if whole else texts.gather(rows), size + longer, _KEY_WANTED, rows + before)
        keys = octets if kek is None else unwrap_keys(octets, kek, rows + before + 2)
        if whole:
            target[:, :size] = keys
        else:
            target[rows, :size] = keys


def _octets(texts: pl.Series, size: int, wanted: str, rows: npt.NDArray[np.int64]) -> Octets:
    """Hex texts of one length as a matrix; `rows` of the file, for the error."""
    digits = Spans.of_column(texts.cast(pl.Binary)).octets[: 2 * size * len(texts)]
    try:
        octets = binascii.unhexlify(digits.data)
    except binascii.Error:
        bad = ~texts.str.contains(_HEX_ALONE)
        _refuse(int(rows[bad.arg_max() or 0]), texts.name, wanted, 0)
    return np.frombuffer(octets, np.uint8).reshape(len(texts), size)


def _refuse(row: int, name: str, wanted: str, before: int) -> NoReturn:
    raise ContractError(f"keys: line {before + row + 2}, field {name!r}: not {wanted}") from None
