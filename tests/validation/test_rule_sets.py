"""Rule sets: strict as files, effective by date, rate class and channel; the catalogue and its page."""

from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest
from test_rules import KWH, day_with
from vee_made import MONDAY, failed, found, intervals, meters, params, unjudged, vee

from schemas.codes import RULE_BIT, Channel, Rule
from schemas.errors import ContractError
from validation.dry_run import dry_run
from validation.explain import explain
from validation.rules.catalogue import RULES
from validation.rules.definition import Subject
from validation.rules.document import render_rules
from validation.rules.files import parse_rule_sets
from validation.rules.sets import rules_in_force
from validation.vee import VeeInputs

DAY = timedelta(days=1)


def sets(text: str) -> object:
    return parse_rule_sets(text)


def test_there_are_36_rules_and_each_has_its_bit_its_clause_and_a_formula() -> None:
    assert [rule.rule for rule in RULES] == [rule for rule in Rule if rule in RULE_BIT]
    assert len(RULES) == 36
    for number, rule in enumerate(RULES, start=1):
        assert rule.bit == 1 << (number - 1)
        assert rule.clause.startswith(f"V{number} ")
        assert rule.formula
        assert not rule.beside or rule.subject is Subject.INTERVAL
        assert all(isinstance(one.default, int) and one.unit and one.meaning for one in rule.parameters)
    assert {rule.rule for rule in RULES if not rule.on} == {Rule.USER_FORMULA, Rule.ROBUST_OUTLIER}


def test_the_page_of_the_catalogue_is_fresh() -> None:
    page = Path(__file__).parents[2] / "docs" / "vee-rules.md"
    assert page.read_text() == render_rules(), "run python -m validation.rules.document > docs/vee-rules.md"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[[rule_set]]\nname = 1", "name: every rule set needs one"),
        ('[[rule_set]]\nname = "a"\ncolour = 1', "colour"),
        ('[[rule_set]]\nname = "a"\n[rule_set.rules.spikes]\non = true', "rules.spikes"),
        ('[[rule_set]]\nname = "a"\n[rule_set.rules.spike]\nlimit = 3', "rules.spike.limit"),
        ('[[rule_set]]\nname = "a"\n[rule_set.rules.spike]\npercent = "3"', "rules.spike.percent"),
        ('[[rule_set]]\nname = "a"\n[rule_set.rules.spike]\nseverity = "bad"', "rules.spike.severity"),
        ('[[rule_set]]\nname = "a"\n[rule_set.rules.spike]\non = 1', "rules.spike.on"),
        ('[[rule_set]]\nname = "a"\nchannel = "steam"', "channel"),
        ("rule_set = ", "rule sets"),
    ],
)
def test_a_rule_set_with_an_unknown_word_is_refused_with_its_place(text: str, place: str) -> None:
    with pytest.raises(ContractError, match=place):
        parse_rule_sets(text)


def test_later_sets_change_only_what_they_name_and_only_for_whom() -> None:
    given = parse_rule_sets(
        '[[rule_set]]\nname = "b"\nfrom = 2025-05-01\n[rule_set.rules.spike]\nseverity = "warning"\n'
        '[[rule_set]]\nname = "a"\nrate_class = "shop"\n[rule_set.rules.spike]\npercent = 400\n'
    )

    def spike(rate_class: str | None, day: date) -> tuple[str, int]:
        rules = rules_in_force(given, rate_class, Channel.ENERGY_DELIVERED, day)
        one = next(rule for rule in rules if rule.definition.rule is Rule.SPIKE)
        return one.severity.value, one.settings["percent"]

    assert spike(None, date(2025, 4, 30)) == ("error", 180)
    assert spike("shop", date(2025, 4, 30)) == ("error", 400)
    assert spike("shop", date(2025, 5, 1)) == ("warning", 400)


def test_the_rules_of_a_day_judge_that_day() -> None:
    given = parse_rule_sets('[[rule_set]]\nname = "b"\nfrom = 2025-03-04\n[rule_set.rules.spike]\npercent = 250\n')
    result = vee(params(rule_sets=given), intervals=intervals(day_with(3 * KWH) * 2))
    assert failed(result, "spike") == [18]


def test_a_severity_decides_what_becomes_of_a_value() -> None:
    for severity, quality in (("info", "valid"), ("warning", "valid"), ("error", "estimated"), ("blocking", "suspect")):
        given = parse_rule_sets(f'[[rule_set]]\nname = "b"\n[rule_set.rules.spike]\nseverity = "{severity}"\n')
        result = vee(params(rule_sets=given), intervals=intervals(day_with(3 * KWH)))
        assert result.finals["quality"][18] == quality
        assert failed(result, "spike") == [18]
        assert found(result, "spike")["severity"].to_list() == [severity]


def test_a_rule_that_is_off_leaves_no_bit() -> None:
    given = parse_rule_sets('[[rule_set]]\nname = "b"\n[rule_set.rules.absolute_limit]\non = false\n')
    result = vee(params(rule_sets=given), intervals=intervals([1, 2]))
    assert unjudged(result, "absolute_limit") == []
    assert "absolute_limit" not in result.unjudged["rule"].cast(pl.String).to_list()


def test_a_run_says_which_rules_had_no_input() -> None:
    result = vee(intervals=intervals([5] * 24))
    lacking = dict(zip(result.unjudged["rule"].cast(pl.String), result.unjudged["needs"], strict=True))
    assert lacking["sum_check"] == "reads, multiplier"
    assert lacking["absolute_limit"] == "fuse_a, voltage_v, phase (or a year of history)"
    assert lacking["outage_zero"] == "outages"
    assert "spike" not in lacking
    counted = dict(zip(result.unjudged["rule"].cast(pl.String), result.unjudged["intervals"], strict=True))
    assert counted.pop("step_change") == 1, "before the first value there is none"
    assert set(counted.values()) == {24}


def test_a_dry_run_shows_what_other_rules_would_change() -> None:
    inputs = VeeInputs(*(one for one in _inputs(intervals(day_with(3 * KWH)))))
    wider = parse_rule_sets('[[rule_set]]\nname = "b"\n[rule_set.rules.spike]\npercent = 200\n')
    changes = dry_run(inputs, params(), wider)
    assert changes.finals.select("value_milli", "value_milli_new", "quality", "quality_new").rows() == [
        (500_000, 3_000_000, "estimated", "valid")
    ]
    assert changes.rules.rows() == [("spike", 1, 0)]
    assert changes.energy_milli == 2_500_000
    assert dry_run(inputs, params(), ()).finals.height == 0


def test_a_value_is_explained_by_what_it_is_and_what_the_rules_found() -> None:
    rows = intervals(day_with(3 * KWH))
    home = meters({"timezone": "UTC"})
    told = explain(_inputs(rows)._replace(meters=home), params(), "MTR1", date(2025, 3, 3))
    assert told.lines.height == 24
    assert told.lines["why"][0].startswith("measured and used as it came")
    assert told.lines["why"][18].startswith("estimated: on the straight line between its measured neighbours; gap of 1")
    assert told.lines["why"][18].endswith("failed V7 spike")
    assert told.lines["sent_milli"][18] == 3 * KWH
    assert "V6 sum check" in told.lines["unjudged"][0]
    assert told.findings.filter(pl.col("rule") == "spike")["limit_milli"].to_list() == [2_800_000]


def test_every_default_rule_is_judged_again_or_says_why_not_on_estimates() -> None:
    # An anchored estimate above what the fuse lets through fails V9 and stays an estimate.
    from vee_made import reads

    home = meters({"fuse_a": 1, "voltage_v": 230, "phase": "A"})
    register = reads({MONDAY: 0, MONDAY + DAY: 23 * 1_000 + 300_000})
    result = vee(intervals=intervals([1_000] * 24, skip=[5]), reads=register, meters=home)
    assert result.finals["value_milli"][5] == 300_000
    assert failed(result, "absolute_limit") == [5]
    assert result.finals["quality"][5] == "estimated"


def _inputs(rows: pl.DataFrame) -> VeeInputs:
    from schemas import frames

    return VeeInputs(
        rows, frames.READS.empty(), frames.EVENTS.empty(), frames.OUTAGES.empty(), frames.METERS.empty(),
        frames.EDITS.empty(), frames.FINALS.empty(),
    )  # fmt: skip


def test_a_rule_set_decides_how_grave_a_row_without_a_place_is_and_whether_it_is_told() -> None:
    # An hourly meter sends a quarter of an hour (V2), and its first hour twice (V5).
    rows = pl.concat([intervals([100] * 24), intervals([100]), intervals([25], step_s=900)])
    usual = vee(intervals=rows, meters=meters({}))
    assert found(usual, "identity").select("severity", "intervals").rows() == [("blocking", 1)]
    assert found(usual, "duplicate").select("severity", "intervals").rows() == [("info", 1)]
    sets = parse_rule_sets(
        '[[rule_set]]\nname = "mild"\n[rule_set.rules.identity]\nseverity = "warning"\n'
        "[rule_set.rules.duplicate]\non = false\n"
    )
    mild = vee(params(rule_sets=sets), intervals=rows, meters=meters({}))
    assert found(mild, "identity").select("severity", "intervals").rows() == [("warning", 1)]
    assert found(mild, "duplicate").height == 0
