"""Every rule, in the order of its bit. The definitions stand beside their checks, by subject."""

from typing import Final

from schemas.codes import RULE_BIT, Rule
from validation.rules.definition import Definition
from validation.rules.flags import FLAG_RULES
from validation.rules.grid import GRID_RULES
from validation.rules.registers import REGISTER_RULES
from validation.rules.siblings import SIBLING_RULES
from validation.rules.statistics import STATISTIC_RULES
from validation.rules.supply import SUPPLY_RULES
from validation.rules.usage import USAGE_RULES
from validation.rules.values import VALUE_RULES

RULES: Final[tuple[Definition, ...]] = tuple(
    sorted(
        (
            *FLAG_RULES, *VALUE_RULES, *REGISTER_RULES, *SIBLING_RULES, *SUPPLY_RULES, *USAGE_RULES, *GRID_RULES,
            *STATISTIC_RULES,
        ),
        key=lambda definition: RULE_BIT[definition.rule],
    )
)  # fmt: skip
DEFINITION: Final[dict[Rule, Definition]] = {definition.rule: definition for definition in RULES}
