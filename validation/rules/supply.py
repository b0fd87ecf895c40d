"""Rules about supply and service: zeros with and without an outage, use without a connection (V15, V16, V30)."""

from typing import Final

import numpy as np

from schemas.codes import Rule, Severity
from validation.block import Block, Mask, Runs, find_runs, sums_of
from validation.bridges import beside, over_holes
from validation.rules.definition import (
    DELIVERED,
    ENERGY,
    Definition,
    Findings,
    Need,
    Parameter,
    Settings,
    found,
    nothing,
)

SECONDS_A_DAY: Final = 86_400


def zero_on_active(block: Block, settings: Settings) -> Findings:
    """V15: nothing used for days on end, without an outage; unjudged where nothing is known of outages, or of
    disconnections, and where it is days only with the holes in them.
    """
    known = block.supply.known & block.around.service_known
    zero = _zero_outside_outage(block) & known
    runs = find_runs(zero)
    runs = runs.pick(runs.length * block.step_s >= settings["days"] * SECONDS_A_DAY)
    open_runs = over_holes(block, zero, -(-settings["days"] * SECONDS_A_DAY // block.step_s))
    return found(runs, 0, 0, ~known | beside(open_runs, runs))


def outage_zero(block: Block, settings: Settings) -> Findings:
    """V30: a zero outside of any known outage is a finding; inside one it is an `outage` value and passes.

    Behind a generator a zero of delivered energy is normal, and is not counted.
    """
    zero = _zero_outside_outage(block) & (block.master.has_der != 1)[:, None]
    runs = find_runs(zero)
    return found(runs.pick(runs.length >= settings["intervals"]), 0, 0, ~block.supply.known)


def _zero_outside_outage(block: Block) -> Mask:
    zero: Mask = (block.value == 0) & ~block.supply.touched & block.supply.known & ~block.around.inactive
    return zero


def usage_on_inactive(block: Block, settings: Settings) -> Findings:
    """V16: more energy than the limit in a local day on a disconnected meter; unjudged without any events."""
    unjudged = ~block.around.service_known
    if not block.around.inactive.any():
        return nothing(unjudged=unjudged)
    used = np.where(block.present & block.around.inactive, block.value, 0)
    spans = find_runs(used > 0)
    days = _by_day(block, spans)
    total = sums_of(used, days)
    over = total > settings["limit_milli"]
    return found(days.pick(over), total[over], settings["limit_milli"], unjudged)


def _by_day(block: Block, runs: Runs) -> Runs:
    """The local days that the runs touch, each once."""
    day = np.unique(
        np.stack([np.append(runs.row, runs.row), block.days.of[np.append(runs.start, runs.stop - 1)]]), axis=1
    )
    return Runs(day[0], block.days.first[day[1]], block.days.first[day[1] + 1])


SUPPLY_RULES: Final = (
    Definition(
        Rule.ZERO_ON_ACTIVE,
        Severity.WARNING,
        "V15 zero on active",
        "sum x = 0 for 3 days without an outage or a disconnection",
        DELIVERED,
        zero_on_active,
        (Need.OUTAGES, Need.SERVICE_STATE, Need.WHOLE_RUN),
        (Parameter("days", 3, "d", "shortest run that counts"),),
        beside=True,
    ),
    Definition(
        Rule.USAGE_ON_INACTIVE,
        Severity.BLOCKING,
        "V16 usage on inactive",
        "use of a local day on a disconnected meter > 0.5 kWh",
        ENERGY,
        usage_on_inactive,
        (Need.SERVICE_STATE,),
        (Parameter("limit_milli", 500_000, "mWh", "use of a day that passes"),),
        beside=True,
    ),
    Definition(
        Rule.OUTAGE_ZERO,
        Severity.INFO,
        "V30 outage-aware zero",
        "a zero inside [out, restored] passes as outage; a zero outside is a finding",
        DELIVERED,
        outage_zero,
        (Need.OUTAGES,),
        (Parameter("intervals", 1, "1", "shortest run that counts", (1, 1_000_000)),),
    ),
)
