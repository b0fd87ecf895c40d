"""The order of estimation as a page: `python -m validation.estimation_document > docs/vee-estimation.md`."""

import sys
from typing import Final, NamedTuple

from schemas.codes import Method
from validation.leaps import BEYOND_BEST, DAYS_SHOWN
from validation.params import Estimation


class Step(NamedTuple):
    """One estimator, as `validation.estimate.estimate` tries it."""

    method: Method
    clause: str
    where: str
    what: str


_LIMITS: Final = Estimation()
_SHORT: Final = f"{_LIMITS.linear_limit_s // 3600} h"
ORDER: Final = (
    Step(Method.CHECK_METER, "E1", "a check meter measured the interval", "its value"),
    Step(Method.LINEAR, "E2", "one interval, both neighbours serve", "straight line between them"),
    Step(
        Method.BLEND,
        "E2, E3",
        f"up to {_SHORT}, {_LIMITS.like_days} like days of the same type",
        "like days, with the line and the level at the edges by distance to the nearest good value",
    ),
    Step(Method.MEAN_LIKE_DAY, "E3", f"beyond {_SHORT}, {_LIMITS.like_days} like days of the same type", "the same"),
    Step(Method.LINEAR, "E2", f"up to {_SHORT}, both neighbours serve", "straight line between them"),
    Step(Method.LIKE_DAY, "E4", "one day of the same type serves", "the same slot of it"),
    Step(
        Method.MEAN_LIKE_DAY,
        "E3",
        "days of the same type serve",
        f"mean of the same slot on the {_LIMITS.like_days} nearest",
    ),
    Step(Method.LIKE_DAY, "E4", "one day of another type serves", "the same slot of it"),
    Step(
        Method.MEAN_LIKE_DAY,
        "E3",
        "days of other types serve",
        f"mean of the same slot on the {_LIMITS.like_days} nearest",
    ),
    Step(Method.PROFILE, "E7", "the rate class has a profile", "its shape times the series' own use"),
    Step(Method.FLAT, "E8", "the series has a serving value", "its average"),
)
"""Tried from the first to the last; what one gave no later one touches."""


def render_order() -> str:
    """The page, in Markdown. Limits are those of `validation.params.Estimation`."""
    rows = [f"| {at} | `{one.method}` | {one.clause} | {one.where} | {one.what} |" for at, one in enumerate(ORDER, 1)]
    return "\n".join([*_HEAD, *rows, "", *_TAIL]) + "\n"


_HEAD: Final = (
    "# Estimation",
    "",
    "Made by `python -m validation.estimation_document`; do not edit.",
    "",
    "The order is one and the same for every rate class and meter. It depends on the length of a gap and on the inputs",
    "at hand, never on how well an estimator did on the meter's own history. What differs by rate class is given: its",
    "profile and its time-of-use calendar (`--estimation`, `vee.estimation_file`), and which values a rule set lets",
    "serve. Constants of the blend differ by interval length alone (`validation/params.py`).",
    "",
    "An estimator draws on serving values: measured, not suspect, outside of outages and of the first interval after",
    "one, never estimated, edited or in test mode. A holiday is a Sunday; days without the slot of the clock do not",
    "serve.",
    "",
    "| order | method | clause | tried where | gives |",
    "|---|---|---|---|---|",
)
_TAIL: Final = (
    f"- Before all of them an interval within a known outage is 0 (`{Method.ZERO}`, E9), and an edit stands as its",
    f"  person set it (`{Method.MANUAL}`).",
    f"- Estimates after the last measured value that no register meets are marked `{Method.FORWARD}` (E13).",
    "- Then each stretch between consecutive usable reads is scaled to the advance of its register (E10), by",
    "  time-of-use register where a calendar is given, exact to 1 mWh and never negative; the method stays. Where no",
    f"  estimator had an input the rest of the register is shared evenly as `{Method.FLAT}`; estimates that are all 0",
    "  take equal shares too, with a finding. What is less than nothing left scales none, with a finding that blocks.",
    "- A read is usable if it was measured on the grid, its clock is valid, its register can show it, and it passed",
    "  V13 and V22. Where fuse or voltage are unknown, a stretch whose holes would each hold more than",
    f"  {BEYOND_BEST} times the highest value of a series of {DAYS_SHOWN} days or more is no stretch.",
    "- The rules of reasonableness judge the result again.",
    "- Before a market's deadline (`--final-before`, `vee.final_after_days`) estimates are replaced as better inputs",
    "  come; behind it they are final (E14): only a person replaces them, by a measured value too.",
)


if __name__ == "__main__":
    sys.stdout.write(render_order())
