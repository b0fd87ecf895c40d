"""Findings as EXCEPTIONS rows: one a run of intervals, clipped to what was asked for."""

from typing import Final

import numpy as np
import polars as pl

from schemas.codes import Rule, Severity
from schemas.frames import CHANNEL, EXCEPTIONS, RULE, SEVERITY, UTC_US
from validation.block import ABSENT, Block, Ints, Runs
from validation.repair import FINDING_SEVERITY, Repaired
from validation.rules.catalogue import RULES
from validation.rules.definition import Findings

_RULE_CODE: Final = {rule: number for number, rule in enumerate(Rule)}
_SEVERITY_CODE: Final = {severity: number for number, severity in enumerate(Severity)}
_CHANNEL_CODE: Final = {name: number for number, name in enumerate(CHANNEL.categories)}


def exceptions_of(block: Block, repaired: Repaired, bounds: tuple[Ints, Ints]) -> list[pl.DataFrame]:
    """Findings of a block, one frame a rule, with `install` in place of the meter and run.

    Args:
        block: The block.
        repaired: Its findings.
        bounds: First and last wanted interval of each series, half open; a run outside of them is no exception.
    """
    rows = [
        _rows(block, item.rule.definition.rule, item.rule.severity, item.findings, bounds) for item in repaired.found
    ]
    rows += [_rows(block, rule, FINDING_SEVERITY[rule], findings, bounds) for rule, findings in repaired.other]
    return [frame for frame in rows if frame.height]


def _rows(block: Block, rule: Rule, severity: Severity, findings: Findings, bounds: tuple[Ints, Ints]) -> pl.DataFrame:
    row, start, stop = findings.runs
    start, stop = np.maximum(start, bounds[0][row]), np.minimum(stop, bounds[1][row])
    kept = stop > start
    runs = Runs(row[kept], start[kept], stop[kept])
    size = len(runs.row)
    return pl.DataFrame(
        {
            "install": block.master.install[runs.row],
            "channel": np.full(size, _CHANNEL_CODE[block.channel.value], dtype=np.uint8),
            "rule": np.full(size, _RULE_CODE[rule], dtype=np.uint8),
            "severity": np.full(size, _SEVERITY_CODE[severity], dtype=np.uint8),
            "first_interval": block.begins_us(runs.row, runs.start),
            "intervals": runs.length.astype(np.int32),
            "measured_milli": findings.measured[kept],
            "limit_milli": findings.limit[kept],
        }
    )


def as_frame(rows: list[pl.DataFrame], placed: list[pl.DataFrame], installs: pl.DataFrame, run_id: str) -> pl.DataFrame:
    """All findings as one EXCEPTIONS frame, sorted by meter, channel, time and rule.

    Args:
        rows: Frames of `exceptions_of`.
        placed: Findings with `meter_id`, `channel`, `rule`, `first_interval`, `intervals` and perhaps numbers; a
            severity that is absent is that of the catalogue.
        installs: Installations, for the meters of `rows`.
        run_id: Of the run.
    """
    names = EXCEPTIONS.schema.names()
    severities = {rule.rule.value: rule.severity.value for rule in RULES}
    frames = [EXCEPTIONS.empty()]
    for frame in placed:
        severity = pl.col("rule").cast(pl.String).replace_strict(severities, default=None, return_dtype=SEVERITY)
        full = pl.concat([EXCEPTIONS.empty(), frame], how="diagonal")
        frames.append(full.with_columns(severity=pl.coalesce("severity", severity), run_id=pl.lit(run_id)))
    if rows:
        found = pl.concat(rows)
        whole = found.with_columns(
            installs["meter_id"].gather(found["install"]).alias("meter_id"),
            pl.col("channel").cat.to(CHANNEL),
            pl.col("rule").cat.to(RULE),
            pl.col("severity").cat.to(SEVERITY),
            pl.col("first_interval").cast(UTC_US),
            pl.col("measured_milli", "limit_milli").replace(ABSENT, None),
            run_id=pl.lit(run_id),
        )
        frames.append(whole.select(names))
    # What holds of an estimate as of the value that it replaced is found twice and said once.
    return (
        pl.concat(frames)
        .unique()
        .sort("meter_id", "channel", "first_interval", "rule", "intervals", "measured_milli", "limit_milli", "severity")
    )
