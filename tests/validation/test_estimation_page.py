"""The page of the order of estimation is fresh, and tells the order that the estimators are tried in."""

import inspect
import re
from pathlib import Path

from schemas.codes import Method
from validation import estimate
from validation.estimation_document import ORDER, render_order


def test_the_page_of_the_order_is_fresh() -> None:
    page = Path(__file__).parents[2] / "docs" / "vee-estimation.md"
    assert page.read_text() == render_order(), "run python -m validation.estimation_document > docs/vee-estimation.md"


def test_every_method_is_on_the_page() -> None:
    assert all(f"`{method}`" in render_order() for method in Method)


def test_the_page_tells_the_order_of_the_estimators() -> None:
    """The two estimators of like days run twice: with days of the same type, then with those of others."""
    tried = re.findall(r"_fill\(.*Method\.(\w+)\)", inspect.getsource(estimate.estimate))
    days = tried.index("LIKE_DAY")
    assert tried[days : days + 2] == ["LIKE_DAY", "MEAN_LIKE_DAY"]
    tried[days : days + 2] *= 2
    assert [step.method.name for step in ORDER] == tried
