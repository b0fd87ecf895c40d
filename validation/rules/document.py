"""The catalogue of rules as a page: `python -m validation.rules.document > docs/vee-rules.md`."""

import sys

from schemas.codes import RULE_BIT, Channel, Severity
from validation.rules.catalogue import RULES
from validation.rules.definition import EVERY_CHANNEL, Definition, Effect, Subject

_EFFECT = {
    Effect.FLAG: "flagged; the value is kept and billed",
    Effect.SUBSTITUTE: "the value is not used: a substitute takes its place",
    Effect.SUSPECT: "the value is kept, marked `suspect`",
}


def render_rules() -> str:
    """The page, in Markdown. It follows from the definitions alone."""
    lines = [
        "# Validation rules",
        "",
        "Made from the definitions by `python -m validation.rules.document`; do not edit.",
        "",
        "Rule Vn is bit n - 1 of `FINALS.failed` and `FINALS.unjudged`. A rule that lacks an input is unjudged, never",
        "passed in silence. Severities, thresholds and whether a rule is on may be changed by rule sets (TOML, by rate",
        "class, channel and date; see `validation/rules/sets.py`). All thresholds are whole numbers.",
        "",
        "| bit | rule | clause | severity | what a failure does | needs |",
        "|---|---|---|---|---|---|",
    ]
    lines += [_row(rule) for rule in RULES]
    for rule in RULES:
        lines += ["", *_section(rule)]
    return "\n".join(lines) + "\n"


def _row(rule: Definition) -> str:
    needs = ", ".join(rule.needs) or "-"
    off = "" if rule.on else " (off by default)"
    cells = (RULE_BIT[rule.rule], f"`{rule.rule}`{off}", rule.clause, rule.severity, _what(rule), needs)
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def _what(rule: Definition) -> str:
    if rule.doubts:
        return _EFFECT[Effect.SUBSTITUTE] + ", unless a register confirms it"
    if rule.subject is Subject.READ and rule.severity is not Severity.INFO:
        return "the read is not used; the values beside it are flagged"
    if rule.subject is Subject.PERIOD and rule.severity is Severity.BLOCKING:
        return "the period waits for a person; its values keep their quality"
    return _EFFECT[rule.effect(rule.severity)]


def _section(rule: Definition) -> list[str]:
    lines = [f"## {rule.clause} (`{rule.rule}`)", "", f"- Formula: {rule.formula}", f"- Channels: {_channels(rule)}"]
    lines.append(f"- Points at: {rule.subject}")
    if rule.whole:
        lines.append("- Unjudged on a stretch with holes, judged again once they are filled")
    if rule.repeats:
        lines.append("- Judged again on estimates")
    if rule.parameters:
        lines += ["", "| threshold | default | unit | least, most | meaning |", "|---|---|---|---|---|"]
        lines += [
            f"| `{one.name}` | {one.default} | {one.unit} | {one.bounds[0]}, {one.bounds[1]} | {one.meaning} |"
            for one in rule.parameters
        ]
    return lines


def _channels(rule: Definition) -> str:
    if rule.channels == EVERY_CHANNEL:
        return "every channel"
    return ", ".join(f"`{channel}`" for channel in Channel if channel in rule.channels)


if __name__ == "__main__":
    sys.stdout.write(render_rules())
