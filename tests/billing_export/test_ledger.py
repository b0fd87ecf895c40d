"""The ledger: append only, and always the sum of its lines is the latest bill."""

import json
import uuid
from datetime import UTC, date, datetime, timedelta
from random import Random

import msgspec
import polars as pl
import pytest
from billing_rows import TARIFFS, build_finals, build_meters, build_reads
from hypothesis import given, settings
from hypothesis import strategies as st

from billing_export.batches import acknowledge, advance, read_acknowledgement, silent
from billing_export.determinants import compute_determinants
from billing_export.ledger import KEY, balance, post
from billing_export.pieces import ExportInputs, ExportParams
from billing_export.reentry import Books, open_refusals
from billing_export.run import BillRun, bill_run
from billing_export.spans import DeterminantParams
from billing_export.tariffs import parse_tariffs
from schemas.errors import ContractError
from schemas.frames import BILLING_BATCHES, DETERMINANTS, conform
from schemas.timegrid import day_bounds

MONDAY = date(2026, 7, 27)
START = day_bounds(MONDAY, "Europe/Berlin")[0]
ASKED = DeterminantParams(date_from=MONDAY, date_to=MONDAY + timedelta(days=1), consumer="billing", cycle="2026-07")
NOON = datetime(2026, 8, 1, 12, tzinfo=UTC)


def bill(values: list[int], version: int = 1, **kinds: dict[int, tuple[str, str | None]]) -> pl.DataFrame:
    rows = build_finals(START, list(values), version=version, **kinds)
    return compute_determinants(rows, build_meters(), build_reads({}), parse_tariffs(TARIFFS), ASKED).determinants


def values_of(rows: pl.DataFrame) -> dict[tuple[object, ...], int | None]:
    return {row[:-1]: row[-1] for row in rows.select(*KEY, "value_milli").rows()}


def test_a_first_posting_is_the_bill_and_a_second_adds_nothing() -> None:
    latest = bill([1_000] * 96)
    first = post(DETERMINANTS.empty(), latest, ASKED)
    assert values_of(first.lines) == values_of(latest)
    assert set(first.lines["sign"]) == {1}
    again = post(first.lines, latest, ASKED)
    assert again.lines.is_empty()
    assert again.unchanged == latest.height


def test_a_correction_is_a_reversal_and_a_new_line_that_name_the_old_one() -> None:
    old = post(DETERMINANTS.empty(), bill([1_000] * 96), ASKED).lines
    new = post(old, bill([1_000] * 95 + [3_000], version=2), ASKED).lines
    total = new.filter(pl.col("determinant") == "energy_total").sort("sign")
    was = old.filter(pl.col("determinant") == "energy_total").row(0, named=True)
    link = f"{was['batch_id']}/{was['line_no']}"
    assert total["sign"].to_list() == [-1, 1]
    assert total["value_milli"].to_list() == [96_000, 98_000]
    assert total["supersedes"].to_list() == [link, link]
    assert total["determinant_revision"].to_list() == [1, 2]
    assert set(new["batch_id"]) != set(old["batch_id"])
    # Reversal and new line together are the difference.
    assert sum(sign * value for sign, value in total.select("sign", "value_milli").rows()) == 2_000


def test_only_what_changed_is_corrected() -> None:
    old = post(DETERMINANTS.empty(), bill([1_000] * 96), ASKED).lines
    new = post(old, bill([1_000] * 95 + [900], version=2), ASKED).lines
    assert "energy_tou_peak" not in new["determinant"].to_list()  # the last quarter of the day is off-peak
    assert "energy_tou_off_peak" in new["determinant"].to_list()


def test_what_a_consumer_was_told_is_corrected_even_where_the_value_is_the_same() -> None:
    latest = bill([1_000] * 96)
    old = post(DETERMINANTS.empty(), latest, ASKED).lines
    peak = pl.col("determinant") == "demand_max"
    later = pl.when(peak).then(pl.col("occurred_at") + timedelta(hours=1)).otherwise(pl.col("occurred_at"))
    assert post(old, latest.with_columns(occurred_at=later), ASKED).lines["determinant"].to_list() == ["demand_max"] * 2
    for column in ("account_id", "timezone", "tou_calendar", "tou_version"):
        told = post(old, latest.with_columns(pl.lit("other").alias(column)), ASKED).lines
        assert told.height == 2 * latest.height, column
    counts = latest.with_columns(n_actual=pl.col("n_actual") - 1, n_outage=pl.col("n_outage") + 1)
    assert post(old, counts, ASKED).lines.is_empty()  # counts alone are no news


def test_whoever_stops_half_way_has_taken_back_before_he_charges_again() -> None:
    old = post(DETERMINANTS.empty(), bill([1_000] * 96), ASKED).lines
    new = post(old, bill([2_000] * 96, version=2), ASKED).lines.sort("line_no")
    by_determinant = new.group_by(KEY, maintain_order=True).agg("sign")
    assert by_determinant.height > 5
    assert all(signs == [-1, 1] for signs in by_determinant["sign"].to_list() if len(signs) == 2)


def test_a_batch_is_named_by_consumer_cycle_period_and_what_it_rests_on() -> None:
    values = {"consumer": "other", "cycle": "other", "date_from": MONDAY - timedelta(days=1),
              "date_to": MONDAY + timedelta(days=2)}  # fmt: skip
    lines = bill([1_000] * 96)
    ids = {str(post(DETERMINANTS.empty(), lines, ASKED).lines["batch_id"][0])}
    for name, value in values.items():
        asked = msgspec.structs.replace(ASKED, **{name: value})
        ids.add(str(post(DETERMINANTS.empty(), lines, asked).lines["batch_id"][0]))
    ids.add(str(post(DETERMINANTS.empty(), bill([1_000] * 96, version=2), ASKED).lines["batch_id"][0]))
    assert len(ids) == 6
    assert {uuid.UUID(one).version for one in ids} == {5}
    again = post(DETERMINANTS.empty(), lines, ASKED).lines["batch_id"][0]
    assert again in ids


@settings(max_examples=8, deadline=None)
@given(
    updates=st.lists(st.tuples(st.integers(0, 95), st.integers(0, 10**9)), min_size=1, max_size=4),
    seed=st.integers(0, 10**6),
)
def test_any_order_of_late_reads_ends_in_the_same_sums(updates: list[tuple[int, int]], seed: int) -> None:
    # Each interval has its final value; late reads bring them in any order, each followed by a posting.
    final = dict(updates)
    sums = []
    for order in (sorted(final), Random(seed).sample(sorted(final), len(final))):
        values = [500] * 96
        ledger = post(DETERMINANTS.empty(), bill(values), ASKED).lines
        for version, place in enumerate(order, 2):
            values[place] = final[place]
            ledger = pl.concat([ledger, post(ledger, bill(values, version=version), ASKED).lines])
        standing = balance(ledger)
        assert set(standing["lines"]) == {1}
        assert values_of(standing) == {key: value or 0 for key, value in values_of(bill(values)).items()}
        sums.append(values_of(standing))
    assert sums[0] == sums[1]


def test_a_bill_from_older_finals_that_comes_late_changes_nothing() -> None:
    old, new = bill([1_000] * 96, version=1), bill([1_200] * 96, version=2)
    ledger = post(DETERMINANTS.empty(), new, ASKED).lines
    late = post(ledger, old, ASKED)
    assert late.lines.filter(pl.col("source_revision").is_not_null()).is_empty()
    assert late.stale > 0


def test_a_withdrawal_leaves_nothing_and_can_be_billed_again() -> None:
    ledger = post(DETERMINANTS.empty(), bill([1_000] * 96), ASKED).lines
    ledger = pl.concat([ledger, post(ledger, ledger.clear(), ASKED, ledger).lines])
    assert set(balance(ledger)["lines"]) == {0}
    assert not any(balance(ledger)["value_milli"])
    again = post(ledger, bill([1_000] * 96), ASKED).lines
    ledger = pl.concat([ledger, again])
    assert set(balance(ledger)["lines"]) == {1}
    assert post(ledger, bill([1_000] * 96), ASKED).lines.is_empty()


def test_a_posting_keeps_the_contract_and_is_equal_to_the_byte_again() -> None:
    old = post(DETERMINANTS.empty(), bill([1_000] * 96), ASKED).lines
    once, again = (post(old, bill([7] * 96, version=2), ASKED).lines for _ in range(2))
    assert conform(once, DETERMINANTS).equals(again)
    assert once["line_no"].to_list() == list(range(1, once.height + 1))


# Batches -------------------------------------------------------------------------------------------------------------


def batch(state: str, lines: pl.DataFrame, step: int = 0) -> pl.DataFrame:
    manifest = json.dumps({"files": [{"name": "determinants.csv", "sha256": "ab" * 32}]})
    rows = {
        "batch_id": lines["batch_id"][0], "step": step, "state": state, "consumer": "billing", "format": "determinants",
        "cycle": "2026-07", "period_start": START, "period_end": START + timedelta(days=1), "manifest": manifest,
        "reason": None, "updated_at": NOON,
    }  # fmt: skip
    return conform(pl.DataFrame([rows], schema=BILLING_BATCHES.schema), BILLING_BATCHES)


def answer(lines: pl.DataFrame, *rows: str, sha256: str = "ab" * 32) -> str:
    head = "batch_id,file,sha256,line_no,status,reason\n"
    return head + "".join(f"{lines['batch_id'][0]},determinants.csv,{sha256},{row}\n" for row in rows)


def test_states_follow_one_another_and_no_other_way() -> None:
    lines = bill([1] * 96)
    steps = batch("planned", lines)
    for state in ("written", "delivered", "acknowledged"):
        steps = pl.concat([steps, advance(steps, lines["batch_id"][0], state, NOON)])
    assert steps["step"].to_list() == [0, 1, 2, 3]
    for state in ("planned", "written", "delivered", "rejected"):
        with pytest.raises(ContractError, match="does not become"):
            advance(steps, lines["batch_id"][0], state, NOON)
    with pytest.raises(ContractError, match="unknown"):
        advance(steps, "none", "written", NOON)


def test_an_answer_is_taken_once() -> None:
    lines = bill([1] * 96)
    steps = batch("delivered", lines)
    said = read_acknowledgement(answer(lines, ",accepted,"))
    first = acknowledge(Books(lines, steps), said, NOON)
    assert first.step["state"].to_list() == ["acknowledged"]
    second = acknowledge(Books(lines, pl.concat([steps, first.step])), said, NOON)
    assert second.step.is_empty()


def test_refused_lines_come_back_with_their_reason() -> None:
    lines = bill([1] * 96)
    said = read_acknowledgement(answer(lines, "2,rejected,account closed", "3,accepted,"))
    found = acknowledge(Books(lines, batch("delivered", lines)), said, NOON)
    assert found.step["state"].to_list() == ["partly_rejected"]
    assert found.refused["line_no"].to_list() == [2]
    assert found.refused["reason"].to_list() == ["account closed"]


def test_a_file_refused_as_a_whole_refuses_every_line() -> None:
    lines = bill([1] * 96)
    found = acknowledge(
        Books(lines, batch("delivered", lines)), read_acknowledgement(answer(lines, ",rejected,bad file")), NOON
    )
    assert found.step["state"].to_list() == ["rejected"]
    assert found.refused.height == lines.height


def test_an_answer_to_another_file_counts_for_nothing() -> None:
    lines = bill([1] * 96)
    said = read_acknowledgement(answer(lines, ",accepted,", sha256="cd" * 32))
    found = acknowledge(Books(lines, batch("delivered", lines)), said, NOON)
    assert found.step.is_empty()
    assert [finding.reason for finding in found.findings] == ["file_hash"]


@pytest.mark.parametrize(
    "text",
    [
        "", "a,b\n1,2\n", "batch_id,file,sha256,line_no,status,reason\n", answer(bill([1] * 96), "1,perhaps,"),
        answer(bill([1] * 96), ",accepted,") + f"another,determinants.csv,{'ab' * 32},,accepted,\n",
    ],
)  # fmt: skip
def test_an_answer_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(ContractError, match="acknowledgement"):
        read_acknowledgement(text)


def test_silence_past_the_limit_is_found() -> None:
    lines = bill([1] * 96)
    steps = batch("delivered", lines)
    assert silent(steps, NOON + timedelta(hours=25), timedelta(days=1)).height == 1
    assert silent(steps, NOON + timedelta(hours=24), timedelta(days=1)).is_empty()  # not longer than the limit
    answered = pl.concat([steps, batch("acknowledged", lines, 1)])
    assert silent(answered, NOON + timedelta(hours=25), timedelta(days=1)).is_empty()


def test_a_receiver_may_refuse_line_by_line_and_says_each_line_once() -> None:
    lines = bill([1] * 96)
    steps = batch("delivered", lines)
    for rows, state, refused in (
        (["2,rejected,a"], "partly_rejected", [2]),
        (["2,rejected,a"], None, []),
        (["2,rejected,a", "4,rejected,b"], "partly_rejected", [4]),
        ([",rejected,all of it"], "rejected", [n for n in lines["line_no"] if n not in (2, 4)]),
    ):
        found = acknowledge(Books(lines, steps), read_acknowledgement(answer(lines, *rows)), NOON)
        assert found.step["state"].to_list() == ([state] if state else [])
        assert found.refused["line_no"].to_list() == refused
        steps = pl.concat([steps, found.step])
    waiting = open_refusals(Books(lines, steps))
    assert waiting["line_no"].to_list() == lines["line_no"].to_list()


def test_an_acknowledged_batch_is_locked() -> None:
    lines = bill([1] * 96)
    found = acknowledge(
        Books(lines, batch("acknowledged", lines)), read_acknowledgement(answer(lines, "2,rejected,x")), NOON
    )
    assert found.step.is_empty()
    assert [finding.reason for finding in found.findings] == ["locked"]


# Refused lines go out again -----------------------------------------------------------------------------------------


class Receiver:
    """Books what he is sent and did not refuse: Σ sign × value by determinant."""

    def __init__(self) -> None:
        self.held: dict[tuple[object, ...], int] = {}
        self.lines: dict[tuple[object, ...], int] = {}

    def take(self, sent: pl.DataFrame, refused: set[int]) -> None:
        for *key, sign, value, number in sent.select(*KEY, "sign", "value_milli", "line_no").rows():
            if number not in refused:
                self.held[tuple(key)] = self.held.get(tuple(key), 0) + sign * (value or 0)
                self.lines[tuple(key)] = self.lines.get(tuple(key), 0) + sign


def posted(books: Books, values: list[int], version: int) -> tuple[BillRun, Books]:
    rows = build_finals(START, list(values), version=version)
    inputs = ExportInputs(rows, build_meters(), build_reads({}), parse_tariffs(TARIFFS))
    params = ExportParams(("determinants",), MONDAY, MONDAY + timedelta(days=1), receiver="billing", cycle="2026-07")
    run = bill_run(books, inputs, params, NOON)
    if run.export is None:
        return run, books
    steps = pl.concat([books.batches, run.steps])
    steps = pl.concat([steps, advance(steps, run.lines["batch_id"][0], "delivered", NOON)])
    return run, Books(pl.concat([books.lines, run.lines]), steps)


def answered(books: Books, run: BillRun, refused: set[int]) -> Books:
    manifest = json.loads(run.export.manifest)
    file = next(one for one in manifest["files"] if one["name"] == "determinants.csv")
    rows = [f"{n},rejected,because" for n in sorted(refused)] or [",accepted,"]
    head = "batch_id,file,sha256,line_no,status,reason\n"
    text = head + "".join(f"{manifest['batch_id']},{file['name']},{file['sha256']},{row}\n" for row in rows)
    found = acknowledge(books, read_acknowledgement(text), NOON)
    assert found.findings == []
    return Books(books.lines, pl.concat([books.batches, found.step]))


@settings(max_examples=8, deadline=None)
@given(
    rounds=st.lists(
        st.tuples(st.lists(st.tuples(st.integers(0, 95), st.integers(0, 10**9)), max_size=2), st.integers(0, 2**40)),
        min_size=1, max_size=4,
    ),
)  # fmt: skip
def test_whatever_is_refused_the_receiver_ends_with_what_the_ledger_says(rounds) -> None:
    books, receiver, values = Books(DETERMINANTS.empty(), BILLING_BATCHES.empty()), Receiver(), [500] * 96
    for version, (late, mask) in enumerate([*rounds, ([], 0), ([], 0)], 1):
        for place, value in late:
            values[place] = value
        run, books = posted(books, values, version)
        latest = values_of(bill(values))
        standing = balance(books.lines)
        assert set(standing["lines"]) == {1}
        assert values_of(standing) == {key: value or 0 for key, value in latest.items()}
        if run.export is None:
            continue
        sent = pl.read_parquet(run.export.files[0].content)
        assert sent["line_no"].to_list() == list(range(1, sent.height + 1))
        refused = {n for n in sent["line_no"].to_list() if mask >> (n % 40) & 1}
        receiver.take(sent, refused)
        books = answered(books, run, refused)
    assert set(receiver.lines.values()) == {1}
    assert receiver.held == {key: value or 0 for key, value in latest.items()}
    assert open_refusals(books).is_empty()


def test_a_refused_line_goes_out_again_alone_and_once() -> None:
    run, books = posted(Books(DETERMINANTS.empty(), BILLING_BATCHES.empty()), [500] * 96, 1)
    books = answered(books, run, {2})
    again, books = posted(books, [500] * 96, 1)
    sent = pl.read_parquet(again.export.files[0].content)
    first = run.lines.filter(pl.col("line_no") == 2)
    assert (again.reentered, sent.height, again.lines.height) == (1, 1, 2)
    assert sent.select("determinant", "value_milli", "sign", "supersedes").rows() == [
        (first["determinant"][0], first["value_milli"][0], 1, f"{first['batch_id'][0]}/2")
    ]
    assert again.lines["batch_id"].n_unique() == 1 and again.lines["batch_id"][0] != first["batch_id"][0]
    assert posted(books, [500] * 96, 1)[0].export is None


def test_the_correction_of_a_refused_line_does_not_take_back_what_was_never_booked() -> None:
    run, books = posted(Books(DETERMINANTS.empty(), BILLING_BATCHES.empty()), [500] * 96, 1)
    books = answered(books, run, set(run.lines["line_no"]))
    new, books = posted(books, [500] * 95 + [600], 2)
    sent = pl.read_parquet(new.export.files[0].content)
    assert set(sent["sign"]) == {1}
    assert values_of(sent) == values_of(bill([500] * 95 + [600]))
    assert open_refusals(books).is_empty()


class Correspondence:
    """Batches on their way to a receiver, and answers on their way back, in any order."""

    def __init__(self, chance: Random) -> None:
        self.books, self.receiver, self.chance = (
            Books(DETERMINANTS.empty(), BILLING_BATCHES.empty()),
            Receiver(),
            chance,
        )
        self.unanswered: list[tuple[BillRun, pl.DataFrame, set[int]]] = []

    def send(self, values: list[int], version: int, refused_share: float) -> bool:
        run, self.books = posted(self.books, values, version)
        if run.export is None:
            return False
        sent = pl.read_parquet(run.export.files[0].content)
        refused = {n for n in sent["line_no"].to_list() if self.chance.random() < refused_share}
        self.unanswered.append((run, sent, refused))
        return True

    def answer(self, place: int) -> None:
        run, sent, refused = self.unanswered.pop(place)
        self.receiver.take(sent, refused)
        self.books = answered(self.books, run, refused)

    def settle(self, values: list[int], version: int) -> None:
        for _ in range(5):
            while self.unanswered:
                self.answer(0)
            if not self.send(values, version, 0):
                return


@settings(max_examples=6, deadline=None)
@given(chance=st.randoms(use_true_random=False))
def test_answers_that_come_late_and_in_any_order_end_with_what_the_ledger_says(chance: Random) -> None:
    # A delta may leave before the batch that it corrects is answered: its reversal, too, may be refused or accepted.
    post_office, values = Correspondence(chance), [500] * 96
    for version in range(1, 5):
        values[chance.randrange(96)] = chance.randrange(10**9)
        post_office.send(values, version, chance.choice((0, 0.3, 1)))
        if post_office.unanswered and chance.random() < 0.5:
            post_office.answer(chance.randrange(len(post_office.unanswered)))
    post_office.settle(values, 5)
    latest = {key: value or 0 for key, value in values_of(bill(values)).items()}
    assert values_of(balance(post_office.books.lines)) == latest
    assert post_office.receiver.held == latest
    assert set(post_office.receiver.lines.values()) == {1}
    assert open_refusals(post_office.books).is_empty()


@pytest.mark.parametrize("reversal_too", [True, False])
def test_a_line_refused_after_its_correction_was_sent_is_settled_whether_the_reversal_was_taken_or_not(
    reversal_too: bool,
) -> None:
    first, books = posted(Books(DETERMINANTS.empty(), BILLING_BATCHES.empty()), [500] * 96, 1)
    second, books = posted(books, [500] * 95 + [600], 2)
    receiver, refused = Receiver(), set(first.lines["line_no"])
    receiver.take(first.lines, refused)
    books = answered(books, first, refused)
    back = set(second.lines.filter(pl.col("sign") < 0)["line_no"]) if reversal_too else set()
    receiver.take(second.lines, back)
    books = answered(books, second, back)
    third, books = posted(books, [500] * 95 + [600], 2)
    sent = pl.read_parquet(third.export.files[0].content)
    receiver.take(sent, set())
    latest = bill([500] * 95 + [600])
    assert receiver.held == {key: value or 0 for key, value in values_of(latest).items()}
    # Of what was corrected nothing is owed where neither the line nor its reversal was booked; else the line is.
    corrected = set(second.lines["determinant"])
    again = sent.filter(pl.col("determinant").is_in(list(corrected)))
    assert again.height == (0 if reversal_too else len(corrected))
    assert posted(books, [500] * 95 + [600], 2)[0].export is None


def test_a_reversal_that_was_refused_goes_out_again_as_long_as_the_receiver_has_its_line() -> None:
    first, books = posted(Books(DETERMINANTS.empty(), BILLING_BATCHES.empty()), [500] * 96, 1)
    receiver = Receiver()
    receiver.take(first.lines, set())
    second, books = posted(books, [500] * 95 + [600], 2)
    back = second.lines.filter(pl.col("sign") < 0)
    receiver.take(second.lines, set(back["line_no"]))
    books = answered(books, second, set(back["line_no"]))
    third, books = posted(books, [500] * 95 + [600], 2)
    sent = pl.read_parquet(third.export.files[0].content)
    assert sent.select("determinant", "sign", "supersedes").rows() == back.select(
        "determinant", "sign", "supersedes").rows()  # fmt: skip
    receiver.take(sent, set())
    assert receiver.held == {key: value or 0 for key, value in values_of(bill([500] * 95 + [600])).items()}
    assert values_of(balance(books.lines)) == receiver.held
    assert posted(books, [500] * 95 + [600], 2)[0].export is None
