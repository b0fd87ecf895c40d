"""All 36 rules, one by one: what lies on the limit passes, what lies beyond fails, a lacking input is unjudged.

A case is a run and the positions that shall fail in its finals; for rules that make no bit (V24) and stray rows, the
findings. A rule whose inputs are part of every row cannot lack them: it says so here, and needs nothing.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import polars as pl
import pytest
from test_limits_of_the_reference import exported
from test_rules import KWH, day_with, pair
from test_vee_cases import TOU, check_pair, switched, tou_reads
from vee_made import DELIVERED, MONDAY, failed, found, intervals, meters, of, params, reads, unjudged, vee

from schemas import frames
from schemas.codes import Rule, Status
from validation.rules.catalogue import RULES
from validation.rules.files import parse_rule_sets
from validation.vee import Vee

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
ALL = list(range(24))
FUSED = {"fuse_a": 63, "voltage_v": 230, "phase": "A"}
LATE = datetime(2025, 7, 1, tzinfo=UTC)

Run = Callable[[], Vee]


class Case(NamedTuple):
    passes: Run
    fails: Run
    where: list[int]
    """Positions in the finals of `fails` that carry the bit; empty: the rule makes findings alone."""
    unjudged: Run | None
    """A run in which some final is left unjudged; None for a rule that needs nothing but the row itself."""


def flags(*bits: Status) -> Vee:
    return vee(intervals=intervals([10] * 6, status=[0, 0, sum(int(bit) for bit in bits), 0, 0, 0]))


def plain() -> Vee:
    return vee(intervals=intervals([10] * 24))


def of_day(advance: int) -> Vee:
    return vee(intervals=intervals([100] * 24), reads=reads({MONDAY: 0, MONDAY + DAY: advance}))


def registers(*values: int, **master: object) -> Vee:
    """Registers at the midnights from Monday on, of a meter that uses 1 000 an hour."""
    at = {MONDAY + k * DAY: value for k, value in enumerate(values)}
    hours = 24 * (len(values) - 1)
    return vee(intervals=intervals([1_000] * hours), reads=reads(at), meters=meters(master))


def with_rules(text: str, values: list[int], **given: object) -> Vee:
    sets = parse_rule_sets(f'[[rule_set]]\nname = "t"\n[rule_set.rules.{text}')
    return vee(params(rule_sets=sets), intervals=intervals(values, **given))


def hampel(value: int, days: int = 21) -> Vee:
    values = [100] * 24 * days
    values[240 if days > 10 else -1] = value
    return with_rules("robust_outlier]\non = true\nfloor_milli = 10\n", values)


def formula(value: int, skip: tuple[int, ...] = ()) -> Vee:
    return with_rules(
        "user_formula]\non = true\nstatistic = 2\nhigh_milli = 500\n", [value, *[100] * 23], skip=skip
    )  # fmt: skip


def replaced(value: int) -> Vee:
    first = vee(intervals=intervals([100_000] * 6))
    late = intervals([value], start=MONDAY + 2 * HOUR, received_at=LATE)
    sets = parse_rule_sets('[[rule_set]]\nname = "t"\n[rule_set.rules.replacement]\nthreshold_milli = 500\n')
    rows = pl.concat([intervals([100_000] * 6), late])
    return vee(params(rule_sets=sets), intervals=rows, finals=first.finals)


def siblings(skip: list[int], *, known: bool = True) -> Vee:
    rows = pl.concat([intervals([500] * 6), intervals([700] * 6, channel="energy_received", skip=skip)])
    return vee(
        intervals=rows, meters=meters({"channels": [DELIVERED, "energy_received"]}) if known else frames.METERS.empty()
    )


def exchange(until: datetime | None, *, dated: bool = True) -> Vee:
    noon = MONDAY + 12 * HOUR
    old = {"meter_id": "A", "service_point_id": "SP", "installed_at": MONDAY - DAY, "removed_at": until}
    new = {"meter_id": "B", "service_point_id": "SP", "installed_at": noon}
    if not dated:
        old, new = ({"meter_id": name, "service_point_id": "SP"} for name in "AB")
    hours = 24 if until is None else (until - MONDAY) // HOUR
    rows = pl.concat([intervals([5] * hours, meter="A"), intervals([5] * 12, meter="B", start=noon)])
    return vee(params(grid_from=MONDAY, grid_to=MONDAY + DAY), intervals=rows, meters=meters(old, new))


def howe(step_s: int) -> Vee:
    day = datetime(2025, 4, 5, 13, tzinfo=UTC)
    rows = intervals([100] * (49 * 1800 // step_s), start=day, step_s=step_s)
    return vee(intervals=rows, meters=meters({"timezone": "Australia/Lord_Howe", "interval_s": step_s}))


def lost(days: int) -> Vee:
    return vee(intervals=pl.concat([intervals([5] * 48), intervals([5] * 48, start=MONDAY + (2 + days) * DAY)]))


def sun(value: int, **master: object) -> Vee:
    one = meters({"channels": ["energy_received"], **master})
    return vee(intervals=intervals([value, *[0] * 23], channel="energy_received"), meters=one)


def volts(value: int) -> Vee:
    return vee(
        intervals=intervals([500] * 24), reads=reads({MONDAY + 5 * HOUR: value}, channel="voltage_l1"),
        meters=meters({"voltage_v": 230, "phase": "A"}),
    )  # fmt: skip


def gate(kept: int, tariff: str | None = "home") -> Vee:
    bounds = params(grid_from=MONDAY, grid_to=MONDAY + DAY)
    return vee(bounds, intervals=intervals([100] * 24, skip=range(kept, 24)), meters=meters({"tariff": tariff}))


def weeks(mean: int) -> Vee:
    return vee(intervals=intervals([level + 1 - 2 * (k % 2) for level in (100, mean) for k in range(168)]))


def peaks(peak: int) -> Vee:
    values = [1_000 - k % 2 for k in range(336)]
    values[200] = peak
    return vee(intervals=intervals(values))


def reactive(hours: int) -> Vee:
    other = [200_000] * 5 + [0] * hours + [200_000] * 5
    rows = pl.concat([intervals([KWH] * len(other)), intervals(other, channel="reactive_delivered")])
    return vee(intervals=rows, meters=meters({"channels": [DELIVERED, "reactive_delivered"]}))


def zeros(count: int) -> Vee:
    return vee(intervals=intervals([5, *[0] * count, 5]), events=pair(MONDAY - 2 * DAY, MONDAY - DAY, meter="OTHER"))


def on_disconnected(value: int) -> Vee:
    off = of(frames.EVENTS, switched("disconnected", MONDAY - HOUR))
    return vee(intervals=intervals([value, *[0] * 23]), events=off)


def between_reads(last: int) -> Vee:
    at = {MONDAY: 0, MONDAY + DAY: 2_400, MONDAY + last * DAY: last * 2_400}
    return vee(intervals=intervals([100] * 24 * last), reads=reads(at))


# 63 A at 230 V with a quarter more is 18 112.5 W; in 24 hours 434.7 kWh, and a resolution an hour.
DAY_LIMIT = 24 * (63 * 230_000 * 125 // 100 + 1)

CASES: dict[Rule, Case] = {
    Rule.CLOCK: Case(lambda: flags(Status.CLOCK_DOUBTFUL), lambda: flags(Status.CLOCK_INVALID), [2], plain),
    Rule.IDENTITY: Case(
        lambda: vee(intervals=intervals([1, 2]), meters=meters({})),
        lambda: vee(intervals=pl.concat([intervals([1, 2]), intervals([9], step_s=900)]), meters=meters({})),
        [], plain,
    ),
    Rule.MISSING_INTERVAL: Case(plain, lambda: vee(intervals=intervals([5] * 6, skip=[3])), [3], None),
    Rule.MISSING_READ: Case(lambda: between_reads(3), lambda: between_reads(4), list(range(72, 96)), plain),
    Rule.DUPLICATE: Case(
        lambda: vee(intervals=pl.concat([intervals([5] * 3), intervals([5] * 3, received_at=LATE)])),
        lambda: vee(intervals=pl.concat([intervals([5] * 3), intervals([5, 6, 5], received_at=LATE)])), [1], None,
    ),
    Rule.SUM_CHECK: Case(lambda: of_day(2_402), lambda: of_day(2_403), ALL, plain),
    Rule.SPIKE: Case(
        lambda: vee(intervals=intervals(day_with(2_800_000))), lambda: vee(intervals=intervals(day_with(2_800_001))),
        [18], lambda: vee(intervals=intervals(day_with(3 * KWH), skip=[2])),
    ),
    Rule.STEP_CHANGE: Case(
        lambda: vee(intervals=intervals([KWH, 6 * KWH])), lambda: vee(intervals=intervals([KWH, 6 * KWH + 1])), [1],
        lambda: vee(intervals=intervals([KWH, 0, 9 * KWH], skip=[1])),
    ),
    Rule.ABSOLUTE_LIMIT: Case(
        lambda: vee(intervals=intervals([5, 23_000 * 1250]), meters=meters({**FUSED, "fuse_a": 100})),
        lambda: vee(intervals=intervals([5, 23_000 * 1250 + 1]), meters=meters({**FUSED, "fuse_a": 100})), [1], plain,
    ),
    Rule.PEAK_AGAINST_PREVIOUS: Case(lambda: peaks(3_000), lambda: peaks(3_001), [200], plain),
    Rule.HIGH_LOW_USAGE: Case(lambda: weeks(200), lambda: weeks(201), list(range(168, 336)), plain),
    Rule.TOU_SUM: Case(
        lambda: vee(params(tou=TOU), intervals=intervals([100] * 24), reads=tou_reads(2_400, 1_200, 1_202)),
        lambda: vee(params(tou=TOU), intervals=intervals([100] * 24), reads=tou_reads(2_400, 1_200, 1_203)),
        ALL, lambda: of_day(2_400),
    ),
    Rule.REGISTER_DELTA: Case(
        lambda: registers(0, DAY_LIMIT, DAY_LIMIT + 24_000, **FUSED),
        lambda: registers(0, DAY_LIMIT + 1, DAY_LIMIT + 24_000, **FUSED), [23], lambda: registers(0, 24_000),
    ),
    Rule.NEGATIVE: Case(
        lambda: vee(intervals=intervals([9, 0, 9])), lambda: vee(intervals=intervals([9, -1, 9])), [1],
        lambda: exported(100_000, net=-1, size=None),
    ),
    Rule.ZERO_ON_ACTIVE: Case(lambda: zeros(71), lambda: zeros(72), list(range(1, 73)), plain),
    Rule.USAGE_ON_INACTIVE: Case(lambda: on_disconnected(500_000), lambda: on_disconnected(500_001), ALL, plain),
    Rule.FLAT_LINE: Case(
        lambda: vee(intervals=intervals([1, *[7] * 24, 2])), lambda: vee(intervals=intervals([1, *[7] * 25, 2])),
        list(range(1, 26)), lambda: vee(intervals=intervals([1, *[7] * 25, 2], skip=[5])),
    ),
    Rule.TEST_MODE: Case(lambda: flags(Status.POWER_FAIL), lambda: flags(Status.TEST_MODE), [2], None),
    Rule.OVERFLOW: Case(lambda: flags(Status.POWER_FAIL), lambda: flags(Status.OVERFLOW), [2], None),
    Rule.PARTIAL_INTERVAL: Case(
        lambda: flags(Status.PARTIAL, Status.POWER_FAIL), lambda: flags(Status.PARTIAL), [2], None,
    ),
    Rule.REACTIVE_CHECK: Case(lambda: reactive(23), lambda: reactive(24), list(range(5, 29)), plain),
    # Without a fuse a fall from the last tenth of the register to its first is a rollover, any other is a reset.
    Rule.ROLLOVER_OR_RESET: Case(
        lambda: registers(9_000_000, 1_000_000, 1_024_000, register_digits=4),
        lambda: registers(8_999_999, 1_000_000, 1_024_000, register_digits=4), ALL, lambda: registers(0, 24_000),
    ),
    Rule.MULTIPLIER: Case(lambda: of_day(2_448), lambda: of_day(2_449), ALL, plain),
    Rule.REPLACEMENT: Case(lambda: replaced(100_500), lambda: replaced(100_501), [], None),
    Rule.SIBLING_CHANNELS: Case(lambda: siblings([]), lambda: siblings([3]), [9], lambda: siblings([], known=False)),
    Rule.METER_EXCHANGE: Case(
        lambda: exchange(MONDAY + 12 * HOUR), lambda: exchange(MONDAY + 13 * HOUR), [12, 13],
        lambda: exchange(None, dated=False),
    ),
    Rule.DAY_LENGTH: Case(lambda: howe(1800), lambda: howe(3600), ALL, plain),
    Rule.CLOCK_SET: Case(lambda: flags(Status.POWER_FAIL), lambda: flags(Status.CLOCK_SET), [2], None),
    Rule.LONG_ESTIMATION: Case(lambda: lost(60), lambda: lost(61), list(range(48 + 1440, 48 + 1464)), None),
    Rule.OUTAGE_ZERO: Case(
        lambda: vee(intervals=intervals([5, 0, 5]), events=pair(MONDAY + HOUR, MONDAY + 2 * HOUR)),
        lambda: vee(intervals=intervals([5, 0, 0]), events=pair(MONDAY + HOUR, MONDAY + 2 * HOUR)), [2], plain,
    ),
    Rule.NET_AND_RECEIVED: Case(
        lambda: sun(100_000, has_der=False), lambda: sun(100_001, has_der=False), [0], lambda: sun(9),
    ),
    Rule.VOLTAGE_RANGE: Case(lambda: volts(207_000), lambda: volts(206_999), [4], plain),
    Rule.MAIN_AGAINST_CHECK: Case(
        lambda: check_pair([10_150] * 24, [10_000] * 24, []), lambda: check_pair([10_151] * 24, [10_000] * 24, []),
        list(range(24, 48)), plain,
    ),
    Rule.USER_FORMULA: Case(lambda: formula(500), lambda: formula(501), ALL, lambda: formula(500, skip=(4,))),
    Rule.ROBUST_OUTLIER: Case(lambda: hampel(160), lambda: hampel(161), [240], lambda: hampel(100, days=2)),
    Rule.BILLING_GATE: Case(lambda: gate(12), lambda: gate(11), ALL, lambda: gate(24, tariff=None)),
}  # fmt: skip


def test_every_rule_has_its_pair_and_a_rule_without_an_unjudged_case_needs_nothing_that_can_lack() -> None:
    assert set(CASES) == {rule.rule for rule in RULES}
    free = {rule.rule for rule in RULES if CASES[rule.rule].unjudged is None}
    # The grid has bounds, given or those of the data; a replacement is looked for only where a version is stored.
    assert free - {Rule.MISSING_INTERVAL, Rule.REPLACEMENT} == {rule.rule for rule in RULES if not rule.needs}


@pytest.mark.parametrize("rule", list(CASES))
def test_on_the_limit_a_value_passes_and_beyond_it_fails(rule: Rule) -> None:
    case = CASES[rule]
    inside, beyond = case.passes(), case.fails()
    severe = pl.col("severity") != "info" if rule is Rule.DUPLICATE else pl.lit(value=True)
    assert failed(inside, rule) == []
    assert found(inside, rule).filter(severe).height == 0
    assert failed(beyond, rule) == case.where
    assert found(beyond, rule).height >= 1
    assert not set(case.where) & set(unjudged(beyond, rule)), "a value that fails was judged"


@pytest.mark.parametrize("rule", [rule for rule, case in CASES.items() if case.unjudged])
def test_where_an_input_lacks_a_rule_neither_passes_nor_fails_and_the_run_says_what_lacked(rule: Rule) -> None:
    run = CASES[rule].unjudged
    assert run is not None
    result = run()
    marked = unjudged(result, rule)
    assert marked
    assert not set(marked) & set(failed(result, rule))
    report = result.unjudged.filter(pl.col("rule").cast(pl.String) == rule.value)
    assert report["intervals"].to_list() == [len(marked)]
    assert report["needs"].to_list() == [", ".join(next(one.needs for one in RULES if one.rule is rule))]


@pytest.mark.parametrize(
    ("statistic", "inside", "beyond", "dark"),
    [(6, 2, 1, (5, 7)), (7, 240, 239, None)],
    ids=["outage_count", "deviation"],
)
def test_a_formula_counts_hours_without_supply_and_tells_how_far_an_interval_lies_from_the_mean(
    statistic: int, inside: int, beyond: int, dark: tuple[int, int] | None
) -> None:
    """Two hours without supply; or 24 hours of 100 but one of 350: the mean is 110 (2 650 // 24), 240 away."""
    values = [100] * 24 if dark else [350, *[100] * 23]
    skip = range(*dark) if dark else ()
    events = pair(MONDAY + dark[0] * HOUR, MONDAY + dark[1] * HOUR) if dark else frames.EVENTS.empty()
    for limit, where in ((inside, []), (beyond, ALL)):
        text = f"[[rule_set]]\nname = 't'\n[rule_set.rules.user_formula]\non = true\nstatistic = {statistic}\n"
        sets = parse_rule_sets(text + f"high_milli = {limit}\n")
        result = vee(params(rule_sets=sets), intervals=intervals(values, skip=list(skip)), events=events)
        assert failed(result, Rule.USER_FORMULA) == where
        assert unjudged(result, Rule.USER_FORMULA) == []


def test_a_fall_is_a_step_too_where_the_percentage_lets_it_be_one() -> None:
    for value, where in ((2 * KWH, []), (2 * KWH - 1, [1])):
        result = with_rules("step_change]\npercent = 50\n", [4 * KWH, value])
        assert failed(result, Rule.STEP_CHANGE) == where
    told = found(result, Rule.STEP_CHANGE).select("measured_milli", "limit_milli").rows()
    assert told == [(2 * KWH - 1, 2 * KWH)]
    assert failed(vee(intervals=intervals([4 * KWH, KWH])), Rule.STEP_CHANGE) == []
