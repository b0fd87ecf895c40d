"""`ami edit`: edits of persons into the cluster."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from app import doors, stores
from app.commands.services import ConfigFile, settings_of
from app.commands.worker import registry_of
from app.edits import check_edits, enter_edits
from app.files import read_frame
from app.options import Json
from app.summary import counts, say
from schemas.frames import EDITS


def register(ami: typer.Typer) -> None:
    """Add the verb."""

    @ami.command()
    def edit(
        edits: Annotated[Path, typer.Argument(metavar="EDITS.parquet", help="One row an instruction of a person.")],
        config: ConfigFile = None,
        json: Json = False,
    ) -> None:
        """Store edits, single ones or groups, and have the VEE worker judge the days they touch."""
        settings = settings_of(config)
        rows = read_frame(edits, EDITS)
        meters = registry_of(settings).meters
        now = datetime.now(UTC)
        check_edits(rows, meters, now)
        dirty = enter_edits(stores.open_store(settings), doors.open_publisher(settings), rows, meters, now)
        say({"edits": rows.height, "action": counts(rows, "action"), "dirty_days": dirty.height}, as_json=json)
