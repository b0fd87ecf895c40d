"""What a fleet is like and what befalls it: parameters with defaults, strict when read from TOML.

The defaults give a plausible utility of a rich kind: every layout, every fault, outages of every scope.
"""

import datetime
from typing import Annotated, Literal

import msgspec

from schemas.errors import ContractError
from schemas.timegrid import zone

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Positive = Annotated[float, msgspec.Meta(gt=0)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]
Count = Annotated[int, msgspec.Meta(ge=1)]


class Layouts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Weights of the push layouts; all that matters is their ratio."""

    generic: NotNegative = 0.40
    profile_cumulative: NotNegative = 0.24
    obis_rows: NotNegative = 0.10
    obis_pairs: NotNegative = 0.14
    interval_milli: NotNegative = 0.12

    def __post_init__(self) -> None:
        if not any(getattr(self, name) for name in self.__struct_fields__):
            raise ValueError("every weight is 0")


class Customers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Weights of the kinds of customer."""

    household: NotNegative = 0.72
    household_pv: NotNegative = 0.14
    shop: NotNegative = 0.11
    factory: NotNegative = 0.03

    def __post_init__(self) -> None:
        if not any(getattr(self, name) for name in self.__struct_fields__):
            raise ValueError("every weight is 0")


class Topology(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Mean number of children of each node of the supply tree."""

    meters_per_transformer: Count = 10
    transformers_per_lateral: Count = 4
    laterals_per_feeder: Count = 3
    feeders_per_substation: Count = 4


class Faults(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What goes wrong between the load and the head end. Shares are of pushes, or of meters where they say so."""

    loss: Share = 0.01
    """Share of pushes lost, in whole stretches of time of a few meters."""
    lossless_meters: Share = 0.3
    """Share of meters that never lose anything."""
    late: Share = 0.01
    late_max_h: Positive = 20
    duplicated: Share = 0.005
    reordered: Share = 0.005
    drift_meters: Share = 0.01
    drift_max_s: NotNegative = 240
    spikes: Share = 0.00002
    """Share of interval values beyond what the service could carry."""
    stuck_meters: Share = 0.001
    rollover_meters: Share = 0.01
    exchange_meters: Share = 0.002
    """Share of meters that are replaced at midday of a day of the run."""
    test_mode_meters: Share = 0.001


class Incident(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An outage that is ordered: which node, when, how long."""

    node_kind: Literal["service_point", "transformer", "lateral", "feeder", "substation"]
    after_h: NotNegative
    """Hours from the beginning of the first local day."""
    duration_s: Count
    node_id: str | None = None
    """None: a node of that kind, drawn by the seed."""


class Outages(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How often supply fails, and how much of it is heard. Rates are per node and day."""

    at_least_one_each: bool = True
    """A run has an outage of a service point, a transformer and (two feeders or more) a feeder, whatever the rates."""
    individual_rate: NotNegative = 0.0004
    transformer_rate: NotNegative = 0.002
    lateral_rate: NotNegative = 0.002
    feeder_rate: NotNegative = 0.01
    momentary_rate: NotNegative = 0.06
    """Interruptions of 3 to 170 s of laterals."""
    nested_share: Share = 0.5
    """Share of feeder outages after which one transformer stays dark."""
    heard: Share = 0.8
    """Probability that the last gasps of a meter arrive."""
    power_up_heard: Share = 0.95
    log_sent: Share = 0.8
    """Probability that a meter sends its own log of the outage after its return."""
    radio_meters: Share = 0.5
    """Share of meters whose gasp is the radio's; the others send an event code."""
    plc_meters: Share = 0.0
    """Share of meters on power line carrier: they cannot gasp."""
    declaration_s: NotNegative = 30
    """A meter speaks when it has been dark for so long."""
    repeats: Annotated[int, msgspec.Meta(ge=1, le=6)] = 3
    """At most so many gasps per outage."""
    incidents: tuple[Incident, ...] = ()


class SimulatorParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A fleet and its days. Same parameters, same bytes."""

    meters: Count = 2000
    """Meters, replacements included."""
    days: Count = 3
    """Local days."""
    seed: Annotated[int, msgspec.Meta(ge=0)] = 1
    start: datetime.date = datetime.date(2026, 3, 2)
    """First local day."""
    timezone: str = "Europe/Berlin"
    ciphered_meters: Share = 1.0
    daily_meters: Share = 0.5
    """Share of profile meters that push once a day; the others push every hour."""
    partitions: Count = 4
    layouts: Layouts = Layouts()
    customers: Customers = Customers()
    topology: Topology = Topology()
    faults: Faults = Faults()
    outages: Outages = Outages()

    def __post_init__(self) -> None:
        try:
            zone(self.timezone)
        except ContractError as error:
            raise ValueError(str(error)) from error


NO_FAULTS = Faults(
    loss=0, late=0, duplicated=0, reordered=0, drift_meters=0, spikes=0, stuck_meters=0, rollover_meters=0,
    exchange_meters=0, test_mode_meters=0,
)  # fmt: skip
NO_OUTAGES = Outages(
    at_least_one_each=False, individual_rate=0, transformer_rate=0, lateral_rate=0, feeder_rate=0, momentary_rate=0
)


def parse_params(text: str) -> SimulatorParams:
    """Parameters from a TOML text; what it does not say keeps its default.

    Raises:
        ContractError: Not TOML, an unknown key, a wrong type, a value out of range; the message names the path.
    """
    try:
        return msgspec.toml.decode(text, type=SimulatorParams)
    except msgspec.ValidationError as error:
        raise ContractError(f"simulation: {error}") from error
    except msgspec.DecodeError as error:
        raise ContractError(f"simulation: not TOML: {error}") from error


def checked(params: SimulatorParams) -> SimulatorParams:
    """The same parameters, every bound checked (a struct built in code is not).

    Raises:
        ContractError: A value out of range; the message names it.
    """
    try:
        return msgspec.convert(msgspec.to_builtins(params), SimulatorParams)
    except msgspec.ValidationError as error:
        raise ContractError(f"simulation: {error}") from error
