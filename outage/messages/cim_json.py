"""OUTAGES as CIM-shaped JSON, one message per step: what `ami.outages.v1` carries, and the truth inside the house.

The names are CIM's (IEC 61968-3/-9: mRID, `actualPeriod`, `metersAffected`);
the shape is ours and is fixed by `schemas/kafka/outages.v1.json`, which `message_schema` reproduces.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, Final, Literal

import msgspec
import polars as pl

from schemas.codes import IncidentState, NodeKind, Scope
from schemas.errors import ContractError
from schemas.frames import OUTAGES, conform

SCHEMA_ID: Final = "ami.outages.v1"

Instant = Annotated[datetime, msgspec.Meta(tz=True)]
Count = Annotated[int, msgspec.Meta(ge=0)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Id = Annotated[str, msgspec.Meta(min_length=1)]


class Period(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Half open; without `end` it goes on."""

    start: Instant
    end: Instant | None = None


class Node(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The CIM node that is dark."""

    kind: NodeKind
    mRID: Id  # noqa: N815  CIM's spelling


class Evidence(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What the verdict rests on, in meters below the node."""

    metersEligible: Count | None = None  # noqa: N815
    metersHeard: Count | None = None  # noqa: N815
    metersAlive: Count | None = None  # noqa: N815
    metersSilent: Count | None = None  # noqa: N815
    authenticatedShare: Share | None = None  # noqa: N815


class OutageMessage(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One step of one incident. (mRID, step) is its identity, `updatedDateTime` its version."""

    schema: Literal["ami.outages.v1"]
    mRID: Id  # noqa: N815
    step: Count
    status: IncidentState
    scope: Scope
    node: Node
    actualPeriod: Period  # noqa: N815
    metersAffected: Count  # noqa: N815
    customersAffected: Count  # noqa: N815
    confidence: Share
    updatedDateTime: Instant  # noqa: N815
    planned: bool = False
    evidence: Evidence | None = None
    phases: str | None = None
    predictedDevice: str | None = None  # noqa: N815
    cause: str | None = None
    nestedIn: str | None = None  # noqa: N815
    mergedInto: str | None = None  # noqa: N815
    runId: str | None = None  # noqa: N815


def render_cim_json(outages: pl.DataFrame) -> Iterator[bytes]:
    """One JSON object per row of OUTAGES, in the order of the rows; the same rows give the same bytes.

    Raises:
        ContractError: `outages` is not OUTAGES.
    """
    rows = conform(outages, OUTAGES)
    encode = msgspec.json.Encoder(order="deterministic").encode
    for step in rows.rows(named=True):
        yield encode(_message(step))


def render_cim_json_lines(outages: pl.DataFrame) -> bytes:
    """The messages of all steps, one a line."""
    return b"".join(message + b"\n" for message in render_cim_json(outages))


def parse_cim_json(message: bytes) -> OutageMessage:
    """The message as a value.

    Raises:
        ContractError: It does not keep the schema; the text names the field.
    """
    try:
        return msgspec.json.decode(message, type=OutageMessage)
    except msgspec.DecodeError as error:
        raise ContractError(f"{SCHEMA_ID}: {error}") from error


def message_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a message."""
    schema = msgspec.json.schema(OutageMessage)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": SCHEMA_ID, **schema}


def _message(step: dict[str, Any]) -> OutageMessage:
    return OutageMessage(
        schema="ami.outages.v1",
        mRID=step["incident_id"],
        step=step["step"],
        status=IncidentState(step["state"]),
        scope=Scope(step["scope"]),
        node=Node(NodeKind(step["node_kind"]), step["node_id"]),
        actualPeriod=Period(step["started_at"], step["restored_at"]),
        metersAffected=step["meters_out"],
        customersAffected=step["customers_out"],
        confidence=step["confidence"],
        updatedDateTime=step["updated_at"],
        planned=bool(step["planned"]),
        evidence=Evidence(
            step["meters_eligible"],
            step["meters_heard"],
            step["meters_alive"],
            step["meters_silent"],
            step["authenticated_share"],
        ),
        phases=step["phases"],
        predictedDevice=step["predicted_device"],
        cause=step["cause"],
        nestedIn=step["nested_in"],
        mergedInto=step["merged_into"],
        runId=step["run_id"] or None,
    )
