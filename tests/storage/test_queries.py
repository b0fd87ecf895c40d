"""SQL as values."""

from datetime import datetime

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from storage_rows import T0, intervals

from schemas.errors import ContractError
from storage.embedded import EmbeddedEngine
from storage.queries import Query, literal, select_current
from storage.tables import TABLES

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)


@settings(max_examples=60, deadline=None)
@given(one=TEXT, many=st.lists(TEXT, max_size=5))
def test_any_text_reaches_the_engine_as_it_is_and_never_as_sql(
    engine: EmbeddedEngine, one: str, many: list[str]
) -> None:
    schema = pl.Schema({"one": pl.String(), "many": pl.List(pl.String())})
    query = Query(
        "SELECT {one:String} AS one, {many:Array(String)} AS many", {"one": one, "many": ("x", *many)}, schema
    )
    assert engine.select(query).rows() == [(one, ["x", *many])]


def test_instants_reach_the_engine_to_the_microsecond(engine: EmbeddedEngine) -> None:
    for instant in (T0, datetime.fromisoformat("1900-01-01T00:00:00.000001+00:00")):
        query = Query("SELECT {at:DateTime64} AS at", {"at": instant}, pl.Schema({"at": pl.Datetime("us", "UTC")}))
        assert engine.select(query).item() == instant


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (1, "String"),
        ("1", "Int64"),
        (True, "Int64"),
        (("a",), "Array(Int64)"),
        (1, "Float64"),
        (datetime.min, "DateTime64"),
    ],
)
def test_a_value_of_another_type_than_its_hole_is_a_contract_error(value: object, kind: str) -> None:
    with pytest.raises(ContractError):
        literal(value, kind)  # type: ignore[arg-type]


def test_a_hole_without_a_value_is_a_contract_error() -> None:
    with pytest.raises(ContractError, match="meter"):
        Query("SELECT {meter:String}", {}, pl.Schema({})).text()


@pytest.mark.parametrize("name", TABLES)
def test_the_view_and_the_query_choose_the_same_newest_rows(engine: EmbeddedEngine, name: str) -> None:
    table = TABLES[name]
    view = engine.select(Query("SELECT create_table_query AS q FROM system.tables WHERE name = {name:String}",
                               {"name": f"{name}_current"}, pl.Schema({"q": pl.String()})))  # fmt: skip
    tail = select_current(table).sql.partition(" FINAL ")[2]
    assert squeeze(tail).removeprefix("order") in squeeze(view.item())


def test_the_view_shows_what_the_store_loads(engine: EmbeddedEngine, store) -> None:
    store.append("intervals", intervals([1, 2, 3], interval_start=T0), "a")
    seen = engine.select(Query("SELECT value_milli FROM intervals_current", {}, pl.Schema({"value_milli": pl.Int64()})))
    assert seen["value_milli"].to_list() == [3]


def squeeze(sql: str) -> str:
    """Without what engines print in their own way: case, blanks, back-quotes, parentheses, ASC."""
    return "".join(c for c in sql.lower().replace(" asc", "") if c not in " `()\n")
