"""V13 by per cent, V31 against a net channel, V32 by EN 50160 and by ANSI C84.1: limits by hand."""

from datetime import timedelta

import polars as pl
import pytest
from vee_made import DELIVERED, MONDAY, failed, found, intervals, meters, params, reads, unjudged, vee

from schemas import frames
from schemas.codes import Severity
from validation.rules.files import parse_rule_sets
from validation.vee import Vee

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
RECEIVED = "energy_received"


def rules(text: str) -> dict[str, object]:
    return {"rule_sets": parse_rule_sets(f"[[rule_set]]\nname = 't'\n[rule_set.rules.{text}")}


# V13. The register stands at 1 000 000 and moves by 24 000 a day; the second day moves it by a fifth of its value.
def leap(advance: int, percent: int = 20, skip: tuple[int, ...] = ()) -> Vee:
    values = (976_000, 1_000_000, 1_000_000 + advance, 1_024_000 + advance)
    registers = reads({MONDAY + k * DAY: value for k, value in enumerate(values)})
    settings = params(**rules(f"register_delta]\npercent_per_day = {percent}\n"))
    return vee(settings, intervals=intervals([1_000] * 72, skip=skip), reads=registers)


def test_a_register_that_moves_by_more_of_its_value_a_day_than_the_rule_set_allows_is_a_warning() -> None:
    """20 % of 1 250 000 is 250 000: it passes; a thousandth of a Wh more does not."""
    assert failed(leap(250_000), "register_delta") == []
    beyond = leap(250_001)
    assert failed(beyond, "register_delta") == list(range(24, 48))
    assert found(beyond, "register_delta")["severity"].to_list() == ["warning"]
    assert set(beyond.finals["quality"]) == {"valid"}, "the values pass with a flag"
    assert failed(leap(250_001, percent=0), "register_delta") == []
    assert len(unjudged(leap(250_001, percent=0), "register_delta")) == 72, "neither fuse nor per cent is known"
    assert unjudged(beyond, "register_delta") == []


def test_nothing_is_anchored_to_a_register_that_moved_too_far_and_the_next_day_is() -> None:
    """Hour 30 lies in the leap and takes nothing of it; hour 50 follows it, and is what its register leaves."""
    result = leap(250_001, skip=(30, 50))
    assert result.finals["value_milli"].to_list() == [1_000] * 72
    assert set(range(24, 48)) <= set(unjudged(result, "sum_check"))
    passes = leap(250_000, skip=(30,))
    assert passes.finals["value_milli"][30] == 250_000 - 23_000


def test_the_per_cent_is_of_a_day_whatever_lies_between_two_reads() -> None:
    """In six hours a quarter of the day's: 5 % of 1 000 000."""
    for moved, where in ((50_000, []), (50_001, [0, 1, 2, 3, 4, 5])):
        registers = reads({MONDAY: 1_000_000 - moved, MONDAY + 6 * HOUR: 1_000_000, MONDAY + 12 * HOUR: 1_006_000})
        settings = params(**rules("register_delta]\npercent_per_day = 20\n"))
        result = vee(settings, intervals=intervals([1_000] * 12), reads=registers)
        assert failed(result, "register_delta") == where


# V31. 100 delivered, 700 received: the meter counts -600 itself.
def net(value: int, *, obis: str = "1-0:16.8.0.255", der: bool | None = True, multiplier: int = 1000) -> Vee:
    counted = intervals([value], channel="other", start=MONDAY + 12 * HOUR).with_columns(obis=pl.lit(obis))
    noon = {"start": MONDAY + 11 * HOUR}
    rows = [intervals([100_000] * 3, **noon), intervals([700_000] * 3, channel=RECEIVED, **noon), counted]
    one = {"channels": [DELIVERED, RECEIVED, "other"], "has_der": der, "multiplier": multiplier}
    return vee(intervals=pl.concat(rows), meters=meters(one))


def received(result: Vee, column: str) -> list[int]:
    mine = result.finals.filter(pl.col("channel") == RECEIVED)
    return [at for at, bits in enumerate(mine[column]) if bits & (1 << 30)]


@pytest.mark.parametrize(("value", "where"), [(-598_000, []), (-597_999, [1]), (-602_000, []), (-602_001, [1])])
def test_net_is_delivered_less_received_within_the_tolerance(value: int, where: list[int]) -> None:
    result = net(value)
    assert received(result, "failed") == where
    assert received(result, "unjudged") == []
    assert received(net(value, obis="1-0:16.29.0.255"), "failed") == where
    assert received(net(value, obis="1-0:15.8.0.255"), "failed") == [], "the sum of both directions is no net"
    told = net(value, der=None)
    assert received(told, "failed") == where
    assert received(told, "unjudged") == sorted({0, 1, 2} - set(where)), "whether it may receive nobody knows"


def test_net_counts_the_multiplier_once() -> None:
    assert received(net(-600_000, multiplier=40_000), "failed") == []
    assert received(net(-600_000 + 51, multiplier=40_000), "failed") == [1]


def test_of_two_net_values_of_an_interval_the_last_counts() -> None:
    rows = [intervals([100_000]), intervals([700_000], channel=RECEIVED)]
    both = [
        intervals([value], channel="other", received_at=MONDAY + k * DAY).with_columns(obis=pl.lit("1-0:16.8.0.255"))
        for k, value in enumerate((0, -600_000))
    ]
    one = meters({"channels": [DELIVERED, RECEIVED, "other"], "has_der": True})
    for order in (both, both[::-1]):
        night = vee(intervals=pl.concat([*rows, *order]), meters=one)
        assert found(night, "net_and_received").height == 1, "received at midnight, and nothing else"
        assert received(vee(intervals=pl.concat([*rows, order[0]]), meters=one), "failed") == [0]


# V14. An inverter of 3 kW gives 3 000 Wh an hour, 750 Wh a quarter.
NEGATIVE = 1 << 13


def exported(
    value: int, *, net: int | None = None, size: int | None = 3_000, step_s: int = 3600, multiplier: int = 1000,
    text: str = "",
) -> Vee:  # fmt: skip
    """Three values received from noon on, the second as given, perhaps with net energy counted beside it."""
    noon = {"start": MONDAY + 12 * HOUR, "step_s": step_s}
    around = 500_000 // (multiplier // 1000)
    rows = [intervals([0] * 3, **noon), intervals([around, value, around], channel=RECEIVED, **noon)]
    if net is not None:
        counted = intervals([0, net, 0], channel="other", **noon).with_columns(obis=pl.lit("1-0:16.29.0.255"))
        rows.append(counted)
    one = {
        "channels": [DELIVERED, RECEIVED, "other"], "has_der": True, "inverter_w": size, "interval_s": step_s,
        "multiplier": multiplier,
    }  # fmt: skip
    settings = params(**rules(f"negative]\n{text}")) if text else params()
    return vee(settings, intervals=pl.concat(rows), meters=meters(one))


def beyond(result: Vee, column: str = "failed") -> list[int]:
    mine = result.finals.filter(pl.col("channel") == RECEIVED)
    return [at for at, bits in enumerate(mine[column]) if bits & NEGATIVE]


@pytest.mark.parametrize(
    ("result", "where"),
    [
        (exported(3_000_000), []),
        (exported(3_000_001), [1]),
        (exported(750_000, step_s=900), []),
        (exported(750_001, step_s=900), [1]),
        (exported(100_000, net=-3_000_000), []),
        (exported(100_000, net=-3_000_001), [1]),
        (exported(3_000_001, net=-100), [1]),
        (exported(100_000, net=3_000_001), []),
        (exported(75_000, multiplier=40_000), []),
        (exported(75_001, multiplier=40_000), [1]),
        (exported(3_300_000, text="inverter_percent = 110\n"), []),
        (exported(3_300_001, text="inverter_percent = 110\n"), [1]),
        (exported(9_000_000, size=None), []),
        (exported(9_000_000, size=0), []),
        (exported(-1, size=None), [1]),
    ],
)
def test_nobody_exports_more_than_his_inverter_gives(result: Vee, where: list[int]) -> None:
    assert beyond(result) == where
    assert beyond(result, "unjudged") == []


def test_export_beyond_the_inverter_is_told_with_both_numbers_and_replaced() -> None:
    result = exported(4_000_000)
    told = found(result, "negative").select("channel", "first_interval", "severity", "measured_milli", "limit_milli")
    assert told.rows() == [(RECEIVED, MONDAY + 13 * HOUR, "error", 4_000_000, 3_000_000)]
    mine = result.finals.filter(pl.col("channel") == RECEIVED)
    assert mine.select("value_milli", "quality").row(1) == (500_000, "estimated")
    both = found(exported(-5, net=-3_000_001), "negative")
    assert sorted(both.select("measured_milli", "limit_milli").rows()) == [(-5, 0), (3_000_001, 3_000_000)]


def test_net_energy_of_an_inverter_of_unknown_size_is_unjudged() -> None:
    assert beyond(exported(100_000, net=-1, size=None), "unjudged") == [0, 1, 2]
    assert beyond(exported(100_000, size=None), "unjudged") == []


# V32. 100 hourly means of 230 V on five days, some of them at 206 V.
def volts(low: int, text: str = "", *, value: int = 206_000, hours: int = 100, as_reads: bool = False) -> Vee:
    values = [value] * low + [230_000] * (hours - low)
    home = {"voltage_v": 230, "phase": "A"}
    settings = params(**rules(f"voltage_range]\n{text}")) if text else params()
    if as_reads:
        told = reads({MONDAY + (k + 1) * HOUR: one for k, one in enumerate(values)}, channel="voltage_l1")
        return vee(settings, intervals=intervals([500 + k % 2 for k in range(hours)]), reads=told, meters=meters(home))
    one = meters({**home, "channels": ["voltage_l1"]})
    return vee(settings, intervals=intervals(values, channel="voltage_l1"), meters=one)


@pytest.mark.parametrize("as_reads", [False, True])
def test_of_the_means_of_a_week_a_twentieth_may_lie_outside(as_reads: bool) -> None:
    """The last day counts 100 means: five outside pass, six do not; of the first day's 24 they are more anyway."""
    assert failed(volts(1, as_reads=as_reads), "voltage_range") == [], "1 of 24"
    assert failed(volts(2, as_reads=as_reads), "voltage_range") == [0, 1], "2 of 24 are more than 5 %"
    late = [230_000] * 95 + [206_000] * 5
    for low, where in ((5, []), (6, list(range(94, 100)))):
        late = [230_000] * (100 - low) + [206_000] * low
        home = {"voltage_v": 230, "phase": "A"}
        if as_reads:
            told = reads({MONDAY + (k + 1) * HOUR: one for k, one in enumerate(late)}, channel="voltage_l1")
            result = vee(intervals=intervals([500] * 100), reads=told, meters=meters(home))
            # What lies on the day before is one of 96 there.
            assert failed(result, "voltage_range") == [at for at in where if at >= 96]
        else:
            one = meters({**home, "channels": ["voltage_l1"]})
            result = vee(intervals=intervals(late, channel="voltage_l1"), meters=one)
            assert failed(result, "voltage_range") == [at for at in where if at >= 96]
        assert {str(one) for one in found(result, "voltage_range")["severity"]} <= {Severity.INFO.value}


def test_a_week_that_is_over_does_not_excuse_what_lies_outside_now() -> None:
    """Ten days: of the 168 means that end with the last day nine are outside, 5.4 %; of all 240 it is 3.8 %."""
    values = [230_000] * 231 + [206_000] * 9
    one = meters({"voltage_v": 230, "phase": "A", "channels": ["voltage_l1"]})
    assert failed(vee(intervals=intervals(values, channel="voltage_l1"), meters=one), "voltage_range") == list(
        range(231, 240)
    )
    longer = params(**rules("voltage_range]\nshare_days = 10\n"))
    assert failed(vee(longer, intervals=intervals(values, channel="voltage_l1"), meters=one), "voltage_range") == []


@pytest.mark.parametrize(
    ("text", "passes", "fails"),
    [
        ("low_permille = 50\nhigh_permille = 50\nshare_percent = 100\n", (218_500, 241_500), (218_499, 241_501)),
        ("low_permille = 83\nhigh_permille = 58\nshare_percent = 100\n", (210_910, 243_340), (210_909, 243_341)),
    ],
    ids=["ANSI C84.1 range A", "ANSI C84.1 range B"],
)
def test_the_bands_of_ansi_hold_for_each_mean(text: str, passes: tuple[int, int], fails: tuple[int, int]) -> None:
    """Of 230 V: -5 % 218.5, +5 % 241.5; -8.3 % 210.91, +5.8 % 243.34."""
    for value in passes:
        assert failed(volts(1, text, value=value), "voltage_range") == []
    for value in fails:
        assert failed(volts(1, text, value=value), "voltage_range") == [0]
        assert failed(volts(1, text, value=value, as_reads=True), "voltage_range") == [0]


def test_without_a_voltage_or_a_nominal_one_nothing_is_judged() -> None:
    plain = vee(intervals=intervals([500] * 24), meters=meters({"voltage_v": 230, "phase": "A"}))
    assert unjudged(plain, "voltage_range") == list(range(24))
    nameless = vee(intervals=intervals([230_000] * 3, channel="voltage_l1"), meters=frames.METERS.empty())
    assert unjudged(nameless, "voltage_range") == [0, 1, 2]
