"""What becomes known after the bill (exchange, another tariff or service point): the ledger follows in any order."""

import hashlib
from datetime import UTC, date, datetime, timedelta
from itertools import permutations
from typing import NamedTuple

import polars as pl
import pytest
from billing_rows import TARIFFS, build_finals, build_meters, build_reads
from hypothesis import given, settings
from hypothesis import strategies as st

from billing_export.batches import acknowledge, advance, read_acknowledgement
from billing_export.determinants import compute_determinants
from billing_export.ledger import KEY, balance
from billing_export.pieces import ExportInputs, ExportParams
from billing_export.reconcile import reconcile_ledger
from billing_export.reentry import Books, open_refusals
from billing_export.run import BillRun, bill_run
from billing_export.tariffs import parse_tariffs
from schemas.frames import BILLING_BATCHES, DETERMINANTS
from schemas.timegrid import day_bounds

MONDAY = date(2026, 7, 27)
START, END = day_bounds(MONDAY, "Europe/Berlin")
NOON = START + timedelta(hours=12)
AT = datetime(2026, 8, 1, 12, tzinfo=UTC)
ASKED = ExportParams(("determinants",), MONDAY, MONDAY + timedelta(days=1), receiver="billing", cycle="2026-07")
FLAT = """
[[tariff]]
name = "flat"
timezone = "Europe/Berlin"
[[tariff.period]]
name = "day"
"""


class World(NamedTuple):
    """What is known of meters and values at one time."""

    values: tuple[int, ...] = (500,) * 96
    version: int = 1
    exchanged: bool = False
    tariff: str = "tou"
    point: str = "SP1"
    periods: str = "peak"

    def inputs(self) -> ExportInputs:
        """M1 all day, or M1 to noon and M2 from then; reads at the bounds."""
        rows = [build_finals(START, list(self.values), version=self.version)]
        registry: list[dict[str, object]] = [{}]
        if self.exchanged:
            registry = [{"removed_at": NOON}, {"meter_id": "M2", "installed_at": NOON}]
            rows.append(build_finals(NOON, [900] * 48, meter="M2"))
        same = {"tariff": self.tariff, "service_point_id": self.point}
        toml = TARIFFS.replace('"peak"', f'"{self.periods}"') + FLAT
        reads = build_reads({START: 5_000, END: 5_000 + sum(self.values)})
        meters = build_meters([one | same for one in registry])
        return ExportInputs(pl.concat(rows), meters, reads, parse_tariffs(toml))

    def latest(self) -> pl.DataFrame:
        """The determinants of all that is known."""
        given = self.inputs()
        asked = ASKED.determinants()
        return compute_determinants(given.finals, given.meters, given.reads, given.tariffs, asked).determinants


NOTHING = Books(DETERMINANTS.empty(), BILLING_BATCHES.empty())


def billed(books: Books, world: World) -> tuple[BillRun, Books]:
    run = bill_run(books, world.inputs(), ASKED, AT)
    if run.export is None:
        return run, books
    steps = pl.concat([books.batches, run.steps])
    steps = pl.concat([steps, advance(steps, run.lines["batch_id"][0], "delivered", AT)])
    return run, Books(pl.concat([books.lines, run.lines]), steps)


def sums(rows: pl.DataFrame) -> dict[tuple[object, ...], tuple[object, object]]:
    return {row[:-2]: (row[-2] or 0, row[-1] or 0) for row in rows.select(*KEY, "value_milli", "ratio").rows()}


def standing(books: Books) -> dict[tuple[object, ...], tuple[object, object]]:
    whole = balance(books.lines)
    gone = whole.filter(pl.col("lines") == 0)
    assert set(whole["lines"]) <= {0, 1}
    assert not any(gone["value_milli"]) and not any(gone["ratio"])
    return sums(whole.filter(pl.col("lines") == 1))


CHANGES = {
    "exchange": {"exchanged": True},
    "tariff": {"tariff": "flat"},
    "point": {"point": "SP2"},
    "periods": {"periods": "high"},
}


@pytest.mark.parametrize("name", sorted(CHANGES))
def test_what_stands_for_another_span_or_name_is_taken_back_with_the_new_lines(name: str) -> None:
    first, books = billed(NOTHING, World())
    after = World(**CHANGES[name])
    run, books = billed(books, after)
    assert standing(books) == sums(after.latest())
    delivered = balance(books.lines).filter(pl.col("determinant") == "energy_delivered")
    expected = 48 * 500 + 48 * 900 if name == "exchange" else 96 * 500
    assert delivered["value_milli"].sum() == expected  # nobody pays twice
    reversed_ = run.lines.filter(pl.col("sign") < 0)
    links = set(
        first.lines.select(pl.concat_str("batch_id", pl.lit("/"), pl.col("line_no").cast(pl.String))).to_series()
    )
    assert set(reversed_["supersedes"]) <= links
    assert set(reconcile_ledger(books.lines, after.latest())["reason"]) == {None}
    assert billed(books, after)[0].export is None  # and again nothing


@settings(max_examples=3, deadline=None)
@given(
    late=st.lists(st.tuples(st.integers(0, 95), st.integers(0, 10**9)), max_size=2),
    seed=st.randoms(use_true_random=False),
)
def test_any_order_of_late_values_exchange_and_tariff_ends_in_the_latest_bill(late, seed) -> None:
    final = list(World().values)
    for place, value in late:
        final[place] = value
    steps = [*sorted(CHANGES), *(f"late {n}" for n in range(len(late)))]
    end = World(tuple(final), 1 + len(late), True, "flat", "SP2", "high")
    ends = []
    for _ in range(2):
        order = list(steps)
        seed.shuffle(order)
        _, books = billed(NOTHING, World())
        world = World()
        for step in order:
            if step in CHANGES:
                world = world._replace(**CHANGES[step])
            else:
                place, _ = late[int(step[5:])]
                values = list(world.values)
                values[place] = final[place]
                world = world._replace(values=tuple(values), version=world.version + 1)
            _, books = billed(books, world)
            assert standing(books) == sums(world.latest()), order
        ends.append(standing(books))
        assert ends[-1] == sums(end.latest())
    assert ends[0] == ends[1]


def test_a_change_that_is_taken_back_leaves_the_first_bill() -> None:
    for changes in permutations(CHANGES.keys() - {"exchange"}, 2):
        books = NOTHING
        for world in (World(), World(**CHANGES[changes[0]]), World(**CHANGES[changes[1]]), World()):
            _, books = billed(books, world)
        assert standing(books) == sums(World().latest()), changes


def test_what_is_held_takes_nothing_back_and_neither_does_a_run_that_does_not_see_the_meter() -> None:
    _, books = billed(NOTHING, World())
    before = standing(books)
    given_ = World().inputs()
    missing = given_.finals.with_columns(
        value_milli=pl.when(pl.int_range(pl.len()) == 3).then(None).otherwise("value_milli"),
        version=pl.lit(2, pl.Int64),
    )
    unknown = build_meters(tariff="none")
    other = given_.finals.with_columns(meter_id=pl.lit("M9"))
    for changed in (
        given_._replace(finals=missing),
        given_._replace(meters=unknown),
        given_._replace(finals=other, meters=build_meters(meter_id="M9", service_point_id="SP9")),
    ):
        run = bill_run(books, changed, ASKED, AT)
        own = run.lines.filter(pl.col("meter_id") == "M1")
        assert own.is_empty(), run.findings
    assert standing(books) == before


def test_another_period_or_consumer_of_the_same_ledger_is_left_alone() -> None:
    _, books = billed(NOTHING, World())
    week = ExportParams(("determinants",), MONDAY, MONDAY + timedelta(days=2), receiver="billing", cycle="week")
    two = World((500,) * 192)
    run = bill_run(books, two.inputs(), week, AT)
    assert set(run.lines["sign"]) == {1}


def test_a_refused_line_that_is_gone_meanwhile_does_not_go_out_again() -> None:
    run, books = billed(NOTHING, World())
    (name, sha) = ("determinants.csv", next(f.content for f in run.export.files if f.name == "determinants.csv"))
    number = run.lines.filter(pl.col("determinant") == "energy_tou_peak")["line_no"].item()
    head = "batch_id,file,sha256,line_no,status,reason\n"
    row = f"{run.lines['batch_id'][0]},{name},{hashlib.sha256(sha).hexdigest()},{number},rejected,no\n"
    found = acknowledge(books, read_acknowledgement(head + row), AT)
    books = Books(books.lines, pl.concat([books.batches, found.step]))
    after = World(tariff="flat")
    second, books = billed(books, after)
    sent = pl.read_parquet(second.export.files[0].content)
    refused = sent.filter(pl.col("determinant") == "energy_tou_peak")
    assert refused.is_empty()  # never booked: nothing to take back
    assert open_refusals(books).is_empty()
    assert standing(books) == sums(after.latest())
    assert billed(books, after)[0].export is None


def test_a_maximum_or_a_time_of_use_that_can_no_longer_be_told_leaves_the_old_one_standing() -> None:
    hourly = build_finals(START, [2_000] * 24, step=3600)
    given_ = World().inputs()._replace(finals=hourly, reads=build_reads({}))
    wide = parse_tariffs(TARIFFS.replace("window_min = 30", "window_min = 60"))
    run = bill_run(NOTHING, given_._replace(tariffs=wide), ASKED, AT)
    books = Books(run.lines, run.steps)
    assert {"energy_tou_peak", "demand_max_tou_peak", "load_factor"} <= set(run.lines["determinant"])
    # A boundary at half past: an hour belongs to no period.
    narrow = TARIFFS.replace("window_min = 30", "window_min = 60").replace('"07:00"', '"07:30"')
    later = bill_run(books, given_._replace(tariffs=parse_tariffs(narrow)), ASKED, AT)
    assert {"energy_tou", "demand_max_tou"} <= set(later.findings.filter("held")["determinant"])
    assert later.lines.is_empty()
    # All estimated: energy is corrected, and no window gives a maximum.
    kinds = dict.fromkeys(range(24), ("estimated", "linear"))
    guessed = build_finals(START, [3_000] * 24, step=3600, version=2, qualities=kinds)
    last = bill_run(books, given_._replace(finals=guessed, tariffs=wide), ASKED, AT)
    assert "no_complete_window" in set(last.findings.filter("held")["reason"])
    changed = set(last.lines["determinant"])
    assert "energy_total" in changed
    assert not {name for name in changed if name.startswith("demand_") or name == "load_factor"}
