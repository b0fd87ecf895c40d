"""Steps of incidents as they stand on their topic, back as OUTAGES: for the store, and for whoever reads the topic."""

from collections.abc import Iterable

import polars as pl

from outage.messages.cim_json import Evidence, OutageMessage, parse_cim_json
from schemas.errors import ContractError
from schemas.frames import OUTAGES, conform

_NONE = Evidence()


def said_steps(values: Iterable[bytes]) -> pl.DataFrame:
    """OUTAGES, one row a message, in their order; a step said again stands there in each of its versions.

    Raises:
        ContractError: A message does not keep the schema.
    """
    rows = [_row(parse_cim_json(value)) for value in values]
    try:
        return conform(pl.DataFrame(rows, schema=OUTAGES.schema, orient="row"), OUTAGES)
    except pl.exceptions.PolarsError as error:
        raise ContractError("ami.outages.v1: a number that no row holds") from error


def _row(step: OutageMessage) -> tuple[object, ...]:
    evidence = step.evidence or _NONE
    return (
        step.mRID,
        step.step,
        step.status.value,
        step.scope.value,
        step.node.kind.value,
        step.node.mRID,
        step.actualPeriod.start,
        step.actualPeriod.end,
        step.metersAffected,
        step.customersAffected,
        step.confidence,
        step.nestedIn,
        step.mergedInto,
        step.updatedDateTime,
        step.phases,
        evidence.metersEligible,
        evidence.metersHeard,
        evidence.metersAlive,
        evidence.metersSilent,
        evidence.authenticatedShare,
        step.predictedDevice,
        step.planned,
        step.cause,
        step.runId or "",
    )
