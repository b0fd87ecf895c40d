"""What a validation rule is: a definition as data, and a check over a block of series.

How a severity acts (vee.md section 1, CONTRACTS "Rules on holes"), in one place:

* `info`: the bit is set and an exception written; the value is `valid`.
* `warning`: the same: the value passes with a flag, and is billed.
* `error`, where the check points at the very interval that is wrong: the value is not used. A substitute takes its
  place (`estimated`), the raw value stays in the raw tables.
* The same, where the value is out of the ordinary but possible (spike): a register that confirms it keeps it `valid`.
* `error`, where the check sees that something in a stretch is wrong and not what (sum check): the values are kept and
  marked `suspect`.
* `error`, where a register read is wrong: the read is not used; the intervals beside it carry the bit and are kept.
* `blocking` about a period as a whole (billing gate): the period waits in a queue; its values keep their quality.
* `blocking`: the values are kept, `suspect`, for a person.

A check that lacks an input returns its series or intervals as unjudged: it neither passes nor fails.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Final, NamedTuple

import numpy as np

from schemas.codes import RULE_BIT, Channel, Rule, Severity, Unit
from schemas.codes import UNIT_OF_CHANNEL as UNIT
from validation.block import ABSENT, NO_RUNS, Block, Ints, Mask, Runs


class Effect(StrEnum):
    """What becomes of a value that fails."""

    FLAG = "flag"
    SUBSTITUTE = "substitute"
    SUSPECT = "suspect"


class Subject(StrEnum):
    """What a failing check points at."""

    INTERVAL = "interval"
    """The very interval that is wrong."""
    STRETCH = "stretch"
    """Something between two reads; it cannot say which interval."""
    READ = "read"
    """A register read, which then is not used; the intervals beside it are only flagged."""
    PERIOD = "period"
    """A period as a whole: it is held back, its values keep their quality."""


class Need(StrEnum):
    """An input whose absence makes a rule unjudged; the word is the one that the run's report uses."""

    BOUNDS = "bounds"
    CALENDAR = "calendar"
    CHECK_METER = "check_meter"
    CHANNELS = "channels"
    CLOCK_REFERENCE = "reference clock (time of reception)"
    DER = "has_der"
    DIGITS = "register_digits"
    EVENTS = "events"
    FUSE = "fuse_a, voltage_v, phase (or a year of history)"
    HISTORY = "history"
    INSTALLATION = "installed_at"
    INVERTER = "inverter_w (beside net energy)"
    LIKE_DAYS = "like_days"
    METERS = "meters"
    MULTIPLIER = "multiplier"
    OUTAGES = "outages"
    PREVIOUS = "finals"
    REACTIVE = "reactive_channel"
    READS = "reads"
    SERVICE_STATE = "service_state"
    TARIFF = "tariff"
    TOU_REGISTERS = "tou_registers"
    VALUE_BEFORE = "value_before"
    VOLTAGE = "voltage_reads"
    WHOLE_DAY = "whole_day"
    WHOLE_RUN = "no_hole (in a run)"
    ZONE = "timezone"


BOUNDS: Final = {"%": (0, 1_000_000), "1/1000": (0, 1_000_000), "%/d": (0, 1_000_000), "h": (0, 8_760), "d": (1, 3_700)}
"""Least and most of a threshold by its unit: days are at least one, times at most what a run may span (ten years)."""
MOST: Final = 10**15
"""Of any other threshold: a product with a per cent still fits into 64 bits."""


class Parameter(NamedTuple):
    """A threshold: whole numbers only, so that comparisons are exact."""

    name: str
    default: int
    unit: str
    meaning: str
    range: tuple[int, int] | None = None
    """Least and most that a rule set may give it; None: those of its unit."""

    @property
    def bounds(self) -> tuple[int, int]:
        """Least and most that a rule set may give it."""
        return self.range or BOUNDS.get(self.unit, (0, MOST))


class Findings(NamedTuple):
    """What a check found in a block."""

    runs: Runs = NO_RUNS
    measured: Ints = NO_RUNS.row
    """One a run, thousandths; ABSENT where there is none."""
    limit: Ints = NO_RUNS.row
    unjudged: Mask = np.zeros((1, 1), dtype=np.bool_)
    """(1, 1), (series, 1) or (series, intervals): where an input was lacking."""


Settings = Mapping[str, int]
Check = Callable[[Block, Settings], Findings]


class Definition(NamedTuple):
    """One rule. `check` is None where another stage of the run finds it while it places, estimates or versions."""

    rule: Rule
    severity: Severity
    clause: str
    formula: str
    channels: frozenset[Channel]
    check: Check | None
    needs: tuple[Need, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    subject: Subject = Subject.INTERVAL
    repeats: bool = False
    """A reasonableness rule, judged again on the result of estimation."""
    doubts: bool = False
    """The value may be right: it is kept where a register confirms it (`validation.corroborate`)."""
    beside: bool = False
    """It holds a value against others of its series, which must not be ones that another rule rejects."""
    whole: bool = False
    """Unjudged on a stretch with holes, and judged there again once they are filled (CONTRACTS, Rules on holes)."""
    on: bool = True

    @property
    def bit(self) -> np.uint64:
        """The rule's bit of `failed` and `unjudged`."""
        return np.uint64(1) << np.uint64(RULE_BIT[self.rule])

    def effect(self, severity: Severity) -> Effect:
        """What a failure does to the value at that severity."""
        if severity in (Severity.INFO, Severity.WARNING) or self.subject in (Subject.READ, Subject.PERIOD):
            return Effect.FLAG
        if severity is Severity.ERROR and self.subject is Subject.INTERVAL:
            return Effect.SUBSTITUTE
        return Effect.SUSPECT


EVERY_CHANNEL: Final = frozenset(Channel)
ACCUMULATED: Final = frozenset(
    channel for channel, unit in UNIT.items() if unit in (Unit.WH, Unit.VARH, Unit.VAH, Unit.M3)
)
"""Quantities that add up over time and have registers; power, voltage and current do not."""
ENERGY: Final = frozenset(channel for channel in ACCUMULATED if UNIT[channel] is Unit.WH)
DELIVERED: Final = frozenset({Channel.ENERGY_DELIVERED})


def nothing(*, unjudged: Mask | None = None) -> Findings:
    """No finding; the given series or intervals are unjudged."""
    return Findings() if unjudged is None else Findings(unjudged=unjudged)


def found(
    runs: Runs, measured: Ints | int = ABSENT, limit: Ints | int = ABSENT, unjudged: Mask | None = None
) -> Findings:
    """Findings with a number a run, or one number for all of them."""
    size = len(runs.row)
    return Findings(
        runs,
        np.broadcast_to(np.asarray(measured, dtype=np.int64), (size,)),
        np.broadcast_to(np.asarray(limit, dtype=np.int64), (size,)),
        Findings().unjudged if unjudged is None else unjudged,
    )
