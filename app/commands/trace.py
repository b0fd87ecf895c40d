"""`ami trace`: a value, from the bill back to the bytes of the frame that it came from."""

import json as json_text
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from app.files import parse_instant
from app.inputs import load_keyring
from app.options import Json, KeysFile, StoreFolder
from app.summary import say
from ingest.inspect import inspect_bytes
from ingest.keyring import Keyring
from schemas.errors import ContractError
from storage.embedded import open_embedded
from storage.store import ReadingStore, Scope
from storage.trace import explain

DEFAULT_STORE = Path("demo-out") / "store"


def register(ami: typer.Typer) -> None:
    """Add the verb."""

    @ami.command()
    def trace(
        meter: Annotated[str, typer.Argument(metavar="METER")],
        interval_start: Annotated[str, typer.Argument(metavar="INTERVAL_START", help="ISO 8601; UTC by default.")],
        store: StoreFolder = DEFAULT_STORE,
        keys: KeysFile = None,
        json: Json = False,
    ) -> None:
        """Explain a value: ledger line, finals, raw values, and the message's bytes.

        With keys (those beside a demo's store are taken by themselves) the bytes are deciphered and explained too.
        """
        start = parse_instant(interval_start, "INTERVAL_START")
        folder = store_folder(store)
        keyring = keyring_beside(folder, keys)
        opened = open_embedded(folder)
        try:
            scope = Scope((meter,), start, start + timedelta(microseconds=1))
            evidence = opened.load_evidence(meter, start, _interval_s(opened, scope))
            answer = explain(evidence, meter, start)
        finally:
            opened.close()
        explain_messages(answer, keyring)
        if json:
            say(answer, as_json=True)
        else:
            sys.stdout.write("\n".join([*answer["story"], *bytes_told(answer["messages"])]) + "\n")


def keyring_beside(folder: Path, keys: Path | None) -> Keyring:
    """The keys given, else those beside a demo's store."""
    beside = folder.parent / "keys.csv"
    return load_keyring(keys if keys is not None or not beside.is_file() else beside)


def explain_messages(answer: dict[str, Any], keyring: Keyring) -> None:
    """Each message of the answer gets `explained`: its bytes deciphered and decoded."""
    for message in answer["messages"]:
        payload = bytes.fromhex(message["payload"])
        message["explained"] = inspect_bytes(payload, file=message["topic"], hex_lines=False, keyring=keyring)


def bytes_told(messages: list[dict[str, Any]]) -> Iterator[str]:
    """Each message's place and bytes, and what they say."""
    for message in messages:
        yield f"{message['topic']}/{message['partition']}/{message['offset']}/{message['frame']}: {message['payload']}"
        for one in message["explained"]:
            facts = {name: one[name] for name in ("link", "apdu", "system_title", "invocation_counter", "security")}
            told = one["data"] if "data" in one else one["error"]
            yield f"  {json_text.dumps(facts)} {json_text.dumps(told)}"


def store_folder(given: Path) -> Path:
    """The engine's folder: the one given, or `store` in the folder of a demo."""
    for folder in (given, given / "store"):
        if (folder / "metadata").is_dir():
            return folder
    raise ContractError(f"--store {given}: no store is there; ami demo makes one")


def _interval_s(store: ReadingStore, scope: Scope) -> int:
    for table in ("finals", "intervals"):
        known = store.load_current(table, scope)
        if known.height:
            return int(known["interval_s"][0])
    raise ContractError(f"nothing is stored of meter {scope.meters[0]!r} at {scope.start.isoformat()}")
