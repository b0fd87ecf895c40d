"""`ami check-config` and `ami check`: files that people and other systems write, held to their rules."""

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from app.calendar import load_calendar
from app.commands.simulate import load_params
from app.commands.vee import load_rule_sets
from app.config import masked, parse_config
from app.estimation import load_estimation
from app.files import read_bytes, read_text
from app.inputs import load_meters, load_tariffs, load_types
from app.options import Json
from app.registry import parse_meters
from app.summary import say
from billing_export.check import check_file
from schemas.errors import ContractError
from validation.rules.files import check_rate_classes


class Kind(StrEnum):
    """What a configuration file configures."""

    WORKER = "worker"
    RULES = "rules"
    TARIFFS = "tariffs"
    TYPES = "types"
    CALENDAR = "calendar"
    ESTIMATION = "estimation"
    METERS = "meters"
    SIMULATION = "simulation"


_CHECK: Final[dict[Kind, Callable[[Path], object]]] = {
    Kind.WORKER: lambda file: parse_config(read_text(file), str(file)),
    Kind.RULES: load_rule_sets,
    Kind.TARIFFS: load_tariffs,
    Kind.TYPES: load_types,
    Kind.CALENDAR: load_calendar,
    Kind.ESTIMATION: load_estimation,
    Kind.METERS: lambda file: parse_meters(read_text(file), str(file)),
    Kind.SIMULATION: lambda file: load_params(file, meters=1, days=1, seed=1),
}


def _check_classes(rules: Path, meters: Path) -> None:
    classes = load_meters(meters, load_types(None))["rate_class"].drop_nulls().unique().to_list()
    try:
        check_rate_classes(load_rule_sets(rules), classes)
    except ContractError as error:
        raise ContractError(f"{rules}: {error}") from error


def register(ami: typer.Typer) -> None:
    """Add the verbs."""

    @ami.command("check-config")
    def check_config(
        file: Annotated[Path, typer.Argument(metavar="FILE")],
        kind: Annotated[Kind, typer.Option("--kind", help="What it configures.")] = Kind.WORKER,
        meters: Annotated[
            Path | None, typer.Option("--meters", metavar="F", help="METERS: rate classes that rule sets may name.")
        ] = None,
        json: Json = False,
    ) -> None:
        """Read a configuration strictly; of a worker's, show the settings in force with secrets left closed."""
        _CHECK[kind](file)
        if kind is Kind.RULES and meters is not None:
            _check_classes(file, meters)
        if kind is Kind.WORKER and not json:
            typer.echo(masked(parse_config(read_text(file), str(file))))
            return
        say({"file": str(file), "kind": kind.value, "good": True}, as_json=json)

    @ami.command()
    def check(
        files: Annotated[list[Path], typer.Argument(metavar="FILE...")],
        json: Json = False,
    ) -> None:
        """Hold market files to their format's rules: each finding with line and reason; exit 1 where there is one."""
        findings = []
        for file in files:
            checked = check_file(file.name, read_bytes(file))
            known = {"file": str(file), "format": checked.format}
            findings += [known | {"line": f.line, "reason": f.reason, "detail": f.detail} for f in checked.findings]
        say({"files": len(files), "findings": findings if json else len(findings)}, as_json=json)
        for one in [] if json else findings:
            typer.echo(f"{one['file']}:{one['line']}: {one['reason']}: {one['detail']}")
        if findings:
            raise typer.Exit(1)
