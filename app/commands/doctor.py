"""`ami doctor`: what this installation has and can reach, one line a check; exit 1 where one fails."""

import platform
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, Final, NamedTuple

import polars as pl
import typer

from app.commands.services import ConfigFile, settings_of
from app.config import Config
from app.inputs import configured_keyring, load_meters, load_types
from app.options import Json
from app.stores import open_engine
from app.summary import say
from ingest.kafka.topics import apply_topics, packaged_topics
from schemas.errors import AmiError
from storage.migrations import packaged_migrations
from storage.queries import Query

PACKAGES: Final = ("ami-headend", "polars", "pyarrow", "cryptography", "kafka-python", "clickhouse-driver", "chdb")


class Check(NamedTuple):
    """One thing looked at."""

    name: str
    good: bool
    found: str


def register(ami: typer.Typer) -> None:
    """Add the verb."""

    @ami.command()
    def doctor(config: ConfigFile = None, json: Json = False) -> None:
        """Look at this installation and the services it is configured for."""
        settings = settings_of(config)
        checks = list(_checks(settings, with_broker=config is not None))
        if json:
            say({check.name: {"good": check.good, "found": check.found} for check in checks}, as_json=True)
        else:
            for check in checks:
                typer.echo(f"{'ok  ' if check.good else 'FAIL'} {check.name}: {check.found}")
        if not all(check.good for check in checks):
            raise typer.Exit(1)


def _checks(settings: Config, *, with_broker: bool) -> Iterator[Check]:
    yield Check("python", good=True, found=platform.python_version())
    for package in PACKAGES:
        yield _package(package)
    yield _tried("meters", lambda: _files(settings))
    yield from _store(settings)
    if with_broker:
        yield _tried("topics", lambda: _topics(settings))


def _package(name: str) -> Check:
    try:
        return Check(name, good=True, found=metadata.version(name))
    except metadata.PackageNotFoundError:
        return Check(name, good=name == "chdb", found="not installed")


def _files(settings: Config) -> str:
    types = load_types(None if settings.meters.types_file is None else Path(settings.meters.types_file))
    meters = load_meters(None if settings.meters.file is None else Path(settings.meters.file), types)
    keys = configured_keyring(settings.keys)
    return f"{meters.height} installations, {len(keys)} keys"


def _store(settings: Config) -> Iterator[Check]:
    if settings.clickhouse is None:
        yield Check("store", good=True, found=f"embedded, in {settings.embedded.path}")
        return
    yield _tried("store", lambda: _asked(settings, lambda engine: "ClickHouse {}.{}".format(*engine.version())))
    yield _tried("migrations", lambda: _asked(settings, _migrations))
    yield _tried("insert deduplication window", lambda: _asked(settings, _window))


def _asked(settings: Config, ask: Callable[[Any], str]) -> str:
    engine = open_engine(settings)
    try:
        return ask(engine)
    finally:
        engine.close()


def _migrations(engine: Any) -> str:
    done = engine.select(Query("SELECT number FROM migrations FINAL WHERE status = 'done'", {}, _NUMBER))
    known = {one.number for one in packaged_migrations()}
    missing = sorted(known - set(done["number"].to_list()))
    if missing:
        raise AmiError(f"{len(missing)} pending: run ami migrate")
    return f"{len(known)} applied"


def _window(engine: Any) -> str:
    asked = "SELECT value FROM system.merge_tree_settings WHERE name = 'non_replicated_deduplication_window'"
    rows = engine.select(Query(asked, {}, _VALUE))
    return str(rows["value"][0]) if rows.height else "not known to this server"


def _topics(settings: Config) -> str:
    plan = apply_topics(settings.kafka, packaged_topics(), dry_run=True)
    if plan.missing:
        raise AmiError(f"{', '.join(topic.name for topic in plan.missing)} missing: run ami topics")
    otherwise = "".join(f"; {d.topic} has {d.setting} = {d.has}, not {d.wanted}" for d in plan.differ)
    return f"all {len(packaged_topics())} there{otherwise}"


def _tried(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, good=True, found=look())
    except AmiError as error:
        return Check(name, good=False, found=str(error))


_NUMBER: Final = pl.Schema({"number": pl.Int32()})
_VALUE: Final = pl.Schema({"value": pl.String()})
