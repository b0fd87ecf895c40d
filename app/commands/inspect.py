"""`ami inspect`: every message explained, as one JSON object a line."""

import json as json_text
import sys

import typer

from app.files import read_bytes
from app.inputs import load_keyring, load_types, parse_sender
from app.options import Files, Json, KeysFile, Sender, TypesFile
from ingest.inspect import inspect_bytes


def register(ami: typer.Typer) -> None:
    """Add the verb."""

    @ami.command()
    def inspect(
        files: Files,
        keys: KeysFile = None,
        types: TypesFile = None,
        sender: Sender = None,
        json: Json = False,  # noqa: ARG001
    ) -> None:
        """Explain messages: link, security, clock, data and values; one JSON object a line, with or without --json."""
        keyring, known, title = load_keyring(keys), load_types(types), parse_sender(sender)
        contents = [(file, read_bytes(file)) for file in files]
        for file, data in contents:
            for message in inspect_bytes(
                data, file=str(file), hex_lines=file.suffix == ".hex", keyring=keyring, types=known, sender=title
            ):
                sys.stdout.write(json_text.dumps(message) + "\n")
