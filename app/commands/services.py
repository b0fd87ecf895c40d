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
from storage.migrations import apply_migrations, packaged_migrations, render_statements
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
        if dry_run:
            statements = [sql for one in packaged_migrations() for sql in render_statements(one, cluster)]
            typer.echo(";\n\n".join(statements) + ";")
            return
        engine = open_engine(settings)
        try:
            applied = apply_migrations(engine, cluster=cluster)
        finally:
            engine.close()
        say({"applied": [f"{one.number:03d}_{one.name}" for one in applied]}, as_json=json)

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
        """Create the topics that are missing; name those that have too few partitions."""
        plan = apply_topics(settings_of(config).kafka, packaged_topics(), replication=replication, dry_run=dry_run)
        say(
            {
                "would_create" if dry_run else "created": [topic.name for topic in plan.missing],
                "too_few_partitions": [topic.name for topic in plan.grow],
            },
            as_json=json,
        )


def settings_of(config: Path | None) -> Config:
    return Config() if config is None else parse_config(read_text(config), str(config))
