"""`ami migrate` and `ami topics`: what the services must have before a worker starts; `ami trim`: what may go."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from app.config import Config, parse_config
from app.files import read_text
from app.options import Json
from app.stores import open_engine
from app.summary import say
from ingest.kafka.topics import apply_topics, packaged_topics
from storage.migrations import (
    Migration,
    apply_migrations,
    packaged_migrations,
    pending_migrations,
    render_statements,
)
from storage.window_trim import trim_windows

ConfigFile = Annotated[Path | None, typer.Option("--config", metavar="F", help="ami.toml; without one the defaults.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be done.")]


def register(ami: typer.Typer) -> None:
    """Add the verbs."""

    @ami.command()
    def migrate(config: ConfigFile = None, dry_run: DryRun = False, json: Json = False) -> None:
        """Bring the tables to this release: numbered, checksummed, forward only, never two runs at once."""
        settings = settings_of(config)
        cluster = None if settings.clickhouse is None else settings.clickhouse.cluster
        if dry_run and settings.clickhouse is None and not Path(settings.embedded.path).exists():
            _show(packaged_migrations(), cluster, as_json=json)  # to look would make it
            return
        engine = open_engine(settings)
        try:
            if dry_run:
                _show(pending_migrations(engine), cluster, as_json=json)
                return
            applied = apply_migrations(engine, cluster=cluster)
        finally:
            engine.close()
        say({"applied": _names(applied)}, as_json=json)

    @ami.command()
    def trim(config: ConfigFile = None, dry_run: DryRun = False, json: Json = False) -> None:
        """Give up counters below their replay window in months before the last: monthly, beside running workers."""
        engine = open_engine(settings_of(config))
        try:
            told = trim_windows(engine, datetime.now(UTC), dry_run=dry_run)
        finally:
            engine.close()
        months = [str(month) for month in told.months]
        say(
            {"would_drop" if dry_run else "dropped": months, "counters": told.counters, "carried": told.carried},
            as_json=json,
        )

    @ami.command()
    def topics(
        config: ConfigFile = None,
        replication: Annotated[int, typer.Option("--replication", min=1, help="Copies of each partition.")] = 3,
        dry_run: DryRun = False,
        json: Json = False,
    ) -> None:
        """Create the topics that are missing; name those that have too few partitions or are kept otherwise."""
        plan = apply_topics(settings_of(config).kafka, packaged_topics(), replication=replication, dry_run=dry_run)
        say(
            {
                "would_create" if dry_run else "created": [topic.name for topic in plan.missing],
                "too_few_partitions": [topic.name for topic in plan.grow],
                "kept_otherwise": [f"{d.topic} {d.setting} = {d.has}, not {d.wanted}" for d in plan.differ],
            },
            as_json=json,
        )


def _names(migrations: tuple[Migration, ...]) -> list[str]:
    return [f"{one.number:03d}_{one.name}" for one in migrations]


def _show(pending: tuple[Migration, ...], cluster: str | None, *, as_json: bool) -> None:
    """The statements that are still to be run; as JSON the names of their files beside them."""
    statements = [sql for one in pending for sql in render_statements(one, cluster)]
    if as_json:
        say({"would_apply": _names(pending), "statements": statements}, as_json=True)
    elif statements:
        typer.echo(";\n\n".join(statements) + ";")


def settings_of(config: Path | None) -> Config:
    return Config() if config is None else parse_config(read_text(config), str(config))
