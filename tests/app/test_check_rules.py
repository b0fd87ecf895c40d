"""`ami check-config --kind rules`: a wrong rule set is refused in one line with what, where and what to do."""

import json
from pathlib import Path

import pytest

from app.cli import main

SET = "[[rule_set]]\nname = 'shops'\n"
SPIKE = "[rule_set.rules.spike]\n"
GOOD = SET + "from = 2026-03-01\nrate_class = 'shop'\nchannel = 'energy_delivered'\n" + SPIKE + "percent = 400\n"

WRONG = {
    "no TOML": ("[[rule_set]\n", ["not TOML", "line 1"]),
    "another table": ("[[rule_sets]]\nname = 'a'\n", ["'rule_sets'", "[[rule_set]]"]),
    "a single table": ("[rule_set]\nname = 'a'\n", ["rule_set is one table", "[[rule_set]]"]),
    "no name": ("[[rule_set]]\n" + SPIKE + "on = false\n", ["rule_set[1]", "name", "needs one"]),
    "two of a name": (GOOD + GOOD.replace("400", "500"), ["rule_set[1] 'shops'", "2 sets", "a name of its own"]),
    "an unknown field": (SET + "colour = 1\n" + SPIKE + "on = false\n", ["'shops': colour", "known: name"]),
    "an end": (SET + "until = 2026-05-01\n" + SPIKE + "on = false\n", ["'shops': until", "until a later set"]),
    "a day in quotes": (SET + "from = '2026-03-01'\n" + SPIKE + "on = false\n", ["from: '2026-03-01'", "out quotes"]),
    "an instant": (SET + "from = 2026-03-01T00:00:00Z\n" + SPIKE + "on = false\n", ["from:", "no local day"]),
    "a day that is none": (SET + "from = 2026-02-30\n" + SPIKE + "on = false\n", ["not TOML", "line 3"]),
    "an unknown channel": (SET + "channel = 'steam'\n" + SPIKE + "on = false\n", ["'shops'", "steam", "$.channel"]),
    "an empty class": (SET + "rate_class = ' '\n" + SPIKE + "on = false\n", ["rate_class: empty", "leave it out"]),
    "nothing changed": (SET, ["'shops': changes nothing", "[rule_set.rules.spike]"]),
    "an unknown rule": (SET + "[rule_set.rules.spikes]\non = false\n", ["rules.spikes: no such rule", "known: clock"]),
    "an unknown threshold": (SET + SPIKE + "kwh = 3\n", ["rules.spike.kwh: no such setting", "known: on, severity"]),
    "a unit": (SET + SPIKE + "percent = '400 %'\n", ["rules.spike.percent: '400 %'", "its unit is %"]),
    "a fraction": (SET + SPIKE + "percent = 1.5\n", ["rules.spike.percent: 1.5", "whole number"]),
    "a truth": (SET + SPIKE + "percent = true\n", ["rules.spike.percent: True", "whole number"]),
    "below nothing": (SET + SPIKE + "percent = -1\n", ["rules.spike.percent: -1", "between 0 and 1000000 (%)"]),
    "beyond measure": (SET + SPIKE + f"percent = {2**70}\n", ["rules.spike.percent", "between 0 and 1000000"]),
    "a share above all": (
        SET + "[rule_set.rules.billing_gate]\nmissing_percent = 101\n", ["missing_percent: 101", "0 and 100 (%)"],
    ),
    "no day": (SET + "[rule_set.rules.high_low_usage]\nperiod_days = 0\n", ["period_days: 0", "1 and 3700 (d)"]),
    "low above high": (
        SET + "[rule_set.rules.high_low_usage]\nlow_percent = 250\n", ["low_percent 250 lies above high_percent 200"],
    ),
    "an unknown statistic": (SET + "[rule_set.rules.user_formula]\nstatistic = 8\n", ["statistic: 8", "0 and 7"]),
    "an unknown severity": (SET + SPIKE + "severity = 'fatal'\n", ["severity: 'fatal'", "info, warning, error"]),
    "neither on nor off": (SET + SPIKE + "on = 'no'\n", ["rules.spike.on: 'no'", "neither true nor false"]),
    "a rule that is no table": (SET + "[rule_set.rules]\nspike = 400\n", ["rules.spike: 400 is no table"]),
    "a channel that the rule does not judge": (
        SET + "channel = 'voltage_l1'\n" + SPIKE + "on = false\n", ["rules.spike: this rule does not judge voltage_l1"],
    ),
    "two that contradict each other": (
        GOOD + GOOD.replace("shops", "shops too").replace("400", "500"),
        ["rule_set[2] 'shops too'", "500 from 2026-03-01 on, and 400", "rule_set[1] 'shops'", "keep one"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", list(WRONG))
def test_a_wrong_rule_set_is_refused_with_what_where_and_what_to_do(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, words = WRONG[kind]
    file = tmp_path / "rules.toml"
    file.write_text(text)
    assert main(["check-config", str(file), "--kind", "rules"]) == 2
    told = capsys.readouterr().err.strip()
    assert len(told.splitlines()) == 1
    for word in (str(file), *words):
        assert word in told


GOOD_SETS = {
    "one": GOOD,
    "two of one series on other days": GOOD + GOOD.replace("shops", "later").replace("03-01", "04-01"),
    "two of other classes on one day": GOOD + GOOD.replace("shop'", "office'").replace("shops", "offices"),
    "two that say the same": GOOD + GOOD.replace("shops", "again"),
    "two on one day of other settings": GOOD
    + GOOD.replace("shops", "b").replace("percent = 400", "on = false"),
    "limits": SET + "[rule_set.rules.user_formula]\non = true\nlow_milli = -5\nhigh_milli = -4\n",
    "no rule set at all": "",
}


@pytest.mark.parametrize("kind", list(GOOD_SETS))
def test_a_good_rule_set_is_taken(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "rules.toml"
    file.write_text(GOOD_SETS[kind])
    assert main(["check-config", str(file), "--kind", "rules", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["good"] is True


def test_a_rate_class_that_no_meter_has_is_refused_where_the_meters_are_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rules, meters = tmp_path / "rules.toml", tmp_path / "meters.csv"
    rules.write_text(GOOD)
    meters.write_text("meter_id,rate_class\nMTR1,home\nMTR2,shop\n")
    asked = ["check-config", str(rules), "--kind", "rules", "--meters", str(meters)]
    assert main(asked) == 0
    capsys.readouterr()
    rules.write_text(GOOD.replace("'shop'", "'shopp'"))
    assert main(asked) == 2
    told = capsys.readouterr().err.strip()
    assert "rule_set[1] 'shops': rate_class: no meter has 'shopp'" in told
    assert "home, shop" in told
    assert len(told.splitlines()) == 1
