"""`ami meters publish`: the registry, or what has changed in it, for the workers to follow."""

from pathlib import Path
from typing import Annotated

import polars as pl
import typer

from app import doors
from app.commands.services import ConfigFile, settings_of
from app.inputs import load_meters, load_types
from app.messages import to_messages
from app.meter_states import METERS_TOPIC
from app.options import Json
from app.summary import say
from ingest.kafka.compacted import CompactedTopic


def register(ami: typer.Typer) -> None:
    """Add the verb."""
    meters = typer.Typer(no_args_is_help=True, help="The registry of meters on its topic.")
    ami.add_typer(meters, name="meters")

    @meters.command()
    def publish(
        file: Annotated[Path, typer.Argument(metavar="METERS.csv", help="One row per installation, all of a meter.")],
        config: ConfigFile = None,
        remove: Annotated[bool, typer.Option("--remove", help="Also take away meters that the file lacks.")] = False,
        json: Json = False,
    ) -> None:
        """Publish each meter whose state differs from the topic's; workers take it up within seconds."""
        settings = settings_of(config)
        types = load_types(None if settings.meters.types_file is None else Path(settings.meters.types_file))
        wanted = load_meters(file, types)
        there = CompactedTopic(settings.kafka, METERS_TOPIC)
        try:
            known = {key: newest.value for key, newest in there.changes().items()}
        finally:
            there.close()
        changed = changed_states(wanted, known, remove=remove)
        publisher = doors.open_publisher(settings)
        try:
            publisher.publish(METERS_TOPIC, changed)
            publisher.flush()
        finally:
            publisher.close()
        said = changed["value"].null_count()
        say(
            {"meters": wanted["meter_id"].n_unique(), "published": changed.height - said, "removed": said}, as_json=json
        )


def changed_states(wanted: pl.DataFrame, known: dict[bytes, bytes | None], *, remove: bool) -> pl.DataFrame:
    """Messages (`key`, `value`) of the meters whose state is another than the one known.

    Args:
        wanted: METERS.
        known: The newest value of each key; none where the meter was taken away.
        remove: A message without a value for each meter that is known and not wanted.
    """
    states = to_messages(wanted.sort("meter_id", "installed_at"), wanted.sort("meter_id", "installed_at")["meter_id"])
    known_states = pl.DataFrame(
        {"key": [key.decode() for key in known], "known": list(known.values())},
        schema={"key": pl.String(), "known": pl.Binary()},
    )
    compared = states.join(known_states, on="key", how="left", maintain_order="left")
    changed = compared.filter(pl.col("known").is_null() | (pl.col("known") != pl.col("value"))).select("key", "value")
    gone = known_states.join(states, on="key", how="anti").filter(pl.col("known").is_not_null())
    tombstones = gone.select("key", value=pl.lit(None, pl.Binary)).sort("key")
    return pl.concat([changed, tombstones]) if remove else changed
