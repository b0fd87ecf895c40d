"""A billing run in parts says what a run of the whole says: the same batch, files, lines and steps, byte for byte."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from billing_rows import TARIFFS, build_finals, build_meters, build_reads

import billing_export.delivery.folder as delivery
from billing_export.batches import AcknowledgedLine, Acknowledgement, acknowledge, advance
from billing_export.export import MANIFEST
from billing_export.pieces import ExportInputs, ExportParams
from billing_export.reentry import Books
from billing_export.run import BillRun, bill_run
from billing_export.run_stream import StreamedRun, bill_parts
from billing_export.stream import Parts, parquet_parts
from billing_export.tariffs import parse_tariffs
from schemas.errors import TransientError
from schemas.frames import BILLING_BATCHES, DETERMINANTS, FINALS, READS
from schemas.timegrid import day_bounds

MONDAY, TUESDAY = date(2026, 7, 27), date(2026, 7, 28)
START, END = day_bounds(MONDAY, "Europe/Berlin")
NOON = datetime(2026, 8, 2, 12, tzinfo=UTC)
FLEET = {"M1": "NEM1200003", "M2": "NEM1200001", "M3": "NEM1200002", "M4": "NEM1200001"}  # M2 and M4: one point
BOOK = parse_tariffs(TARIFFS + '[[virtual]]\nmeter = "V"\nterm = [{meter = "M1"}, {meter = "M3"}]\n')
ASKED = ExportParams(("nem12", "cmep", "espi", "x12_867"), MONDAY, TUESDAY, receiver="billing", cycle="2026-07")
EMPTY = Books(DETERMINANTS.empty(), BILLING_BATCHES.empty())


def fleet(value: int, version: int) -> ExportInputs:
    rows = [
        build_finals(START, [value * n + q for q in range(96)], meter=name, version=version)
        for n, name in enumerate(FLEET, 1)
    ]
    rows.append(build_finals(START, [7, None] * 48, meter="M2", channel="energy_received"))  # held
    shown = [build_reads({START: 5, END: 9_000_000}, meter=name) for name in FLEET]
    registry = build_meters([{"meter_id": name, "nmi": nmi, "service_point_id": nmi} for name, nmi in FLEET.items()])
    return ExportInputs(pl.concat(rows).sample(fraction=1, shuffle=True, seed=3), registry, pl.concat(shown), BOOK)


def in_parts(inputs: ExportInputs, folder: Path, size: int) -> Parts:
    """The inputs as files; the first half of the finals in one, the rest in another."""
    (folder / "finals").mkdir(parents=True)
    half = inputs.finals.height // 2
    inputs.finals.head(half).write_parquet(folder / "finals" / "a.parquet")
    inputs.finals.tail(-half).write_parquet(folder / "finals" / "b.parquet")
    inputs.reads.write_parquet(folder / "reads.parquet")
    rest = inputs._replace(finals=FINALS.empty(), reads=READS.empty())
    return parquet_parts(folder / "finals", rest, size, folder / "reads.parquet")


def assert_same(whole: BillRun, streamed: StreamedRun, out: Path) -> None:
    assert whole.export is not None and streamed.batch_id is not None
    folder = out / streamed.batch_id
    assert (folder / MANIFEST).read_bytes() == whole.export.manifest
    for file in whole.export.files:
        assert (folder / file.name).read_bytes() == file.content, file.name
    assert len(list(folder.iterdir())) == len(whole.export.files) + 1
    assert streamed.lines.equals(whole.lines)
    assert streamed.steps.equals(whole.steps)
    assert streamed.findings.sort(pl.all()).equals(whole.findings.sort(pl.all()))
    assert (streamed.unchanged, streamed.reentered) == (whole.unchanged, whole.reentered)
    assert {file.name: file.records for file in streamed.files} == {f.name: f.records for f in whole.export.files}


def refused(whole: BillRun) -> Books:
    """The books after the receiver refused the first line of a delivered batch."""
    batch_id = str(whole.lines["batch_id"][0])
    steps = pl.concat([whole.steps, advance(whole.steps, batch_id, "delivered", NOON)])
    books = Books(whole.lines, steps)
    assert whole.export is not None
    file = next(one for one in json.loads(whole.export.manifest)["files"] if one["name"] == "determinants.csv")
    row = AcknowledgedLine(file["name"], file["sha256"], 1, "rejected", "closed")
    return Books(books.lines, pl.concat([steps, acknowledge(books, Acknowledgement(batch_id, (row,)), NOON).step]))


@pytest.mark.parametrize("size", [1, 2, 100])
def test_a_run_in_parts_gives_the_bytes_of_a_run_of_the_whole_corrections_and_refusals_too(
    size: int, tmp_path: Path
) -> None:
    first, second = fleet(1_000, 1), fleet(2_000, 2)
    whole = bill_run(EMPTY, first, ASKED, NOON)
    assert_same(whole, bill_parts(EMPTY, in_parts(first, tmp_path / "1", size), ASKED, NOON, tmp_path), tmp_path)
    books = refused(whole)
    assert whole.export is not None
    sent = {file.name: file.content for file in whole.export.files}
    for number, (inputs, again) in enumerate(((first, 1), (second, 0)), 2):
        corrected = bill_run(books, inputs, ASKED, NOON, sent)
        assert corrected.reentered == again
        parts = in_parts(inputs, tmp_path / str(number), size)
        assert_same(corrected, bill_parts(books, parts, ASKED, NOON, tmp_path), tmp_path)


def test_a_run_in_parts_in_which_nothing_changed_makes_no_folder(tmp_path: Path) -> None:
    inputs = fleet(1_000, 1)
    whole = bill_run(EMPTY, inputs, ASKED, NOON)
    books = Books(whole.lines, whole.steps)
    again = bill_parts(books, in_parts(inputs, tmp_path / "in", 1), ASKED, NOON, tmp_path / "out")
    assert (again.batch_id, again.files, again.lines.height) == (None, [], 0)
    assert again.unchanged == whole.lines.height
    assert not (tmp_path / "out").exists()


def test_a_run_in_parts_that_breaks_off_is_repeated_with_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs, out = fleet(1_000, 1), tmp_path / "out"
    parts, left = in_parts(inputs, tmp_path / "in", 1), [3]

    def fails(_handle: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(delivery.os, "fsync", fails)
    with pytest.raises(TransientError, match="No space left"):
        bill_parts(EMPTY, parts, ASKED, NOON, out)
    assert not list(out.glob("*/manifest.json"))
    monkeypatch.undo()
    assert_same(bill_run(EMPTY, inputs, ASKED, NOON), bill_parts(EMPTY, parts, ASKED, NOON, out), out)


def test_every_part_is_asked_for_once_a_walk_and_no_service_point_is_cut(tmp_path: Path) -> None:
    inner = in_parts(fleet(1_000, 1), tmp_path / "in", 1)
    walks: list[int] = []

    def counted(*, resting: bool = False) -> Iterator[ExportInputs]:
        walks.append(0)
        for part in inner(resting=resting):
            walks[-1] += 1
            assert part.finals["meter_id"].n_unique() <= 2  # a service point is never cut
            yield part

    bill_parts(EMPTY, counted, ASKED, NOON, tmp_path / "out")
    assert walks == [4] * 5  # M1, M2 with M4, M3, V: once for the lines, once for each market format


def test_finals_after_the_period_do_not_reach_its_bill(tmp_path: Path) -> None:
    inputs = fleet(1_000, 1)
    wide = inputs._replace(finals=pl.concat([inputs.finals, build_finals(END + timedelta(hours=1), [9] * 4)]))
    made = bill_parts(EMPTY, in_parts(wide, tmp_path / "in", 1), ASKED, NOON, tmp_path / "out")
    assert made.lines.equals(bill_run(EMPTY, wide, ASKED, NOON).lines)
