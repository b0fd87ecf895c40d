"""`ami keys`: the wrapped key file made, renewed, listed and verified. No verb prints a key."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from app.files import naming, read_text
from app.kek import held_book, load_book, load_kek, write_book
from app.options import Json
from app.summary import counts, say
from ingest.hidden import Hidden, hidden_text
from ingest.key_book import import_keys, list_keys, of_kind, revoke_keys, rotate_keys
from ingest.key_files import has_seal, parse_clear, parse_statuses, parse_titles, public_rows
from ingest.key_rows import KIND_NAMES, NO_KEYS, KeyRows
from ingest.keyring import Keyring
from schemas.errors import ContractError

Parsed = TypeVar("Parsed")
Book = Annotated[Path, typer.Option("--book", metavar="F", help="The wrapped key file.")]
KekFile = Annotated[Path | None, typer.Option("--kek-file", metavar="F", help="File with the key-encrypting key.")]
KekEnv = Annotated[str | None, typer.Option("--kek-env", metavar="NAME", help="Environment variable that holds it.")]
KekCommand = Annotated[str | None, typer.Option("--kek-command", metavar="CMD", help="Command that prints it.")]
Kind = Annotated[str, typer.Option("--kind", help="guek (unicast) or gbek (broadcast).")]
Clear = Annotated[Path, typer.Argument(metavar="KEYS.csv", help="system_title,ek,ak in clear.")]


def register(ami: typer.Typer) -> None:
    """Add the verbs."""
    keys = typer.Typer(no_args_is_help=True, help="Meter keys at rest: only ever wrapped.")
    ami.add_typer(keys, name="keys")

    @keys.command("import")
    def import_(
        clear: Clear,
        book: Book,
        kind: Kind = KIND_NAMES[0],
        kek_file: KekFile = None,
        kek_env: KekEnv = None,
        kek_command: KekCommand = None,
        json: Json = False,
    ) -> None:
        """Add keys of new meters to the book, which is made where it is absent."""
        kek = _kek(kek_file, kek_env, kek_command)
        new, left_out = _clear(clear, kind)
        _change(book, kek, lambda before: import_keys(before, new), as_json=json, new=True, told=left_out)

    @keys.command("rotate")
    def rotate(
        clear: Clear,
        book: Book,
        revoke_old: Annotated[bool, typer.Option("--revoke-old", help="Refuse the older versions at once.")] = False,
        kind: Kind = KIND_NAMES[0],
        kek_file: KekFile = None,
        kek_env: KekEnv = None,
        kek_command: KekCommand = None,
        json: Json = False,
    ) -> None:
        """Add a newer version of keys; both versions are valid until the old one is revoked."""
        kek = _kek(kek_file, kek_env, kek_command)
        new, left_out = _clear(clear, kind)
        _change(
            book, kek, lambda before: rotate_keys(before, new, revoking_old=revoke_old), as_json=json, told=left_out
        )

    @keys.command("revoke")
    def revoke(
        titles: Annotated[Path, typer.Argument(metavar="METERS.csv", help="A table with a column system_title.")],
        book: Book,
        newest_too: Annotated[
            bool, typer.Option("--newest-too", help="Revoke the newest version as well: the key is lost.")
        ] = False,
        kind: Kind = KIND_NAMES[0],
        kek_file: KekFile = None,
        kek_env: KekEnv = None,
        kek_command: KekCommand = None,
        json: Json = False,
    ) -> None:
        """End a rotation: refuse the older versions of these meters' keys from now on."""
        kek = _kek(kek_file, kek_env, kek_command)
        known = _known_kind(kind)
        named = _parsed(titles, parse_titles)
        _change(book, kek, lambda before: revoke_keys(before, named, known, newest_too=newest_too), as_json=json)

    @keys.command("list")
    def list_(book: Book, json: Json = False) -> None:
        """Titles, kinds, versions and states; needs no key-encrypting key. Says where the book has no seal."""
        _list(book, as_json=json)

    @keys.command("verify")
    def verify(
        book: Book,
        kek_file: KekFile = None,
        kek_env: KekEnv = None,
        kek_command: KekCommand = None,
        json: Json = False,
    ) -> None:
        """Unwrap every key: the book is whole and lies under this key-encrypting key."""
        rows = load_book(book, _kek(kek_file, kek_env, kek_command))
        say(_summary(rows), as_json=json)

    _register_seal(keys)


def _register_seal(keys: typer.Typer) -> None:
    @keys.command("seal")
    def seal(
        book: Book,
        count: Annotated[
            int | None, typer.Option("--keys", metavar="N", help="Keys it should hold; without it nothing is sealed.")
        ] = None,
        kek_file: KekFile = None,
        kek_env: KekEnv = None,
        kek_command: KekCommand = None,
        json: Json = False,
    ) -> None:
        """Seal a book that was made without: says how many keys it holds, and seals it when told that number."""
        kek = _kek(kek_file, kek_env, kek_command)
        with held_book(book) as held:
            rows = load_book(held, kek, sealed=False)
            if count is None:
                say(_counted(rows) | {"sealed": False}, as_json=json)
                return
            if count != len(rows.titles):
                raise ContractError(f"--keys {count}: the book holds {len(rows.titles)}")
            # Whether a worker may load it is for `verify` to say, and for `rotate` to mend: both want it sealed.
            write_book(held, rows, kek)
            say(_counted(rows), as_json=json)


def _list(book: Path, *, as_json: bool) -> None:
    rows, sealed = _parsed(book, parse_statuses), _parsed(book, has_seal)
    if as_json:
        say({"keys": rows.rows(named=True), "sealed": sealed}, as_json=True)
        return
    if not sealed:
        typer.echo(f"{book}: the book has no seal, so it may lack keys; `ami keys seal` counts them", err=True)
    for row in rows.rows():
        typer.echo("  ".join(str(value) for value in row))


def _kek(file: Path | None, variable: str | None, command: str | None) -> Hidden:
    try:
        words = None if command is None else shlex.split(command)
    except ValueError as error:
        raise ContractError(f"--kek-command: {str(error).lower()}") from None
    return load_kek(file, variable, words)


def _clear(file: Path, kind: str) -> tuple[KeyRows, dict[str, object]]:
    """The keys of a file in clear, and what of it no book holds: public keys, and rows that have nothing else."""
    known = _known_kind(kind)
    rows, (public, alone) = _parsed(file, _with_public)
    if public:
        typer.echo(
            f"{file}: a book keeps no public keys, left out: {public}; rows without another key: {alone}; workers read"
            " public keys from the file of `keys.public_file`",
            err=True,
        )
    return of_kind(rows, known), {"public_keys_left_out": public, "rows_without_key": alone}


def _with_public(text: str | Hidden) -> tuple[KeyRows, tuple[int, int]]:
    text = hidden_text(text)
    return parse_clear(text), public_rows(text)


def _parsed(file: Path, parse: Callable[[str], Parsed]) -> Parsed:
    with naming(file):
        return parse(read_text(file))


def _known_kind(kind: str) -> str:
    if kind not in KIND_NAMES:
        raise ContractError(f"--kind {kind!r}: one of {', '.join(KIND_NAMES)}")
    return kind


def _change(
    book: Path,
    kek: Hidden,
    change: Callable[[KeyRows], KeyRows],
    *,
    as_json: bool,
    new: bool = False,
    told: dict[str, object] | None = None,
) -> None:
    """The book as `change` has it, from what it holds now; where it is `new` it need not be there. `told` is said with
    what it holds then."""
    with held_book(book) as held:
        before = NO_KEYS if new and not held.exists() else load_book(held, kek)
        rows = change(before)
        summary = _summary(rows)  # refuses a book that no worker could load, before it is on disk
        write_book(held, rows, kek)
        say(summary | (told or {}), as_json=as_json)


def _summary(rows: KeyRows) -> dict[str, object]:
    return _counted(rows) | {"megabytes": round(Keyring(rows).nbytes / 1e6, 3)}


def _counted(rows: KeyRows) -> dict[str, object]:
    listed = list_keys(rows)
    return {
        "keys": listed.height,
        "system_titles": listed["system_title"].n_unique(),
        "by_status": counts(listed, "status"),
    }
