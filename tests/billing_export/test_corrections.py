"""A correction for a receiver who does not replace: what he holds is cancelled, nothing else, and then sent anew."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import msgspec
import polars as pl
import pytest
from billing_rows import TARIFFS, build_finals, build_meters, build_reads

from billing_export.batches import AcknowledgedLine, Acknowledgement, acknowledge, advance
from billing_export.check import check_file
from billing_export.formats.edifact import read_segments
from billing_export.pieces import ExportInputs, ExportParams
from billing_export.reentry import Books, sent_lines
from billing_export.run_stream import bill_parts
from billing_export.stream import Parts
from billing_export.tariffs import parse_tariffs
from schemas.errors import ContractError
from schemas.frames import BILLING_BATCHES, DETERMINANTS
from schemas.timegrid import day_bounds

DAY = date(2026, 7, 27)
NOON = datetime(2026, 8, 2, 12, tzinfo=UTC)
MELO = "DE000145599290000000000000000000{}"
CODES = {"sender": "9903000000001", "receiver": "9903000000002"}
FORMS = pytest.mark.parametrize("form", ["mscons", "x12_867"])


def asked(form: str) -> ExportParams:
    return ExportParams((form,), DAY, DAY + timedelta(days=1), cycle="c", **(CODES if form == "mscons" else {}))


def parts(value: int, version: int, params: ExportParams) -> Parts:
    """Two meters, one told by its NMI field, over the days asked for; judged a second later with each version."""
    start, count = day_bounds(params.date_from, "Europe/Berlin")[0], 96 * (params.date_to - params.date_from).days
    judged = datetime(2026, 8, 1, 2, 15, version, tzinfo=UTC)
    rows = [
        build_finals(start, [value * number] * count, meter=f"M{number}", version=version, judged_at=judged)
        for number in (1, 2)
    ]
    registry = build_meters(
        [{"meter_id": "M1", "service_point_id": MELO.format(1)}, {"meter_id": "M2", "nmi": MELO.format(2)}]
    )
    inputs = ExportInputs(pl.concat(rows), registry, build_reads({}), parse_tariffs(TARIFFS))

    def once(*, resting: bool = False) -> Iterator[ExportInputs]:
        yield inputs if not resting else inputs._replace(finals=inputs.finals.with_columns(method=None))

    return once


class Desk:
    """A ledger, its folder, and what a receiver holds after every file: documents that no later one cancelled."""

    def __init__(self, form: str, out: Path) -> None:
        self.form, self.out = form, out
        self.books = Books(DETERMINANTS.empty(), BILLING_BATCHES.empty())
        self.held: dict[str, str] = {}
        self.named: set[str] = set()

    def bill(self, value: int, version: int, *, books_it: bool = True, **other: object) -> str:
        """The batch; the receiver takes its files in the order of the manifest. `other`: of the export's parameters."""
        params = msgspec.structs.replace(asked(self.form), **other)
        run = bill_parts(self.books, parts(value, version, params), params, NOON, self.out)
        assert run.batch_id is not None
        steps = advance(run.steps, run.batch_id, "delivered", NOON)
        self.books = Books(pl.concat([self.books.lines, run.lines]), pl.concat([self.books.batches, run.steps, steps]))
        for name in self.market_files(run.batch_id):
            data = (self.out / run.batch_id / name).read_bytes()
            assert check_file(name, data).findings == []
            for document, cancels, text in documents(self.form, data):
                assert document not in self.named  # a number is used once
                self.named.add(document)
                if books_it and cancels:
                    del self.held[cancels]  # KeyError: it cancels what he does not hold
                elif books_it:
                    self.held[document] = text
        return run.batch_id

    def market_files(self, batch: str) -> list[str]:
        listed = json.loads((self.out / batch / "manifest.json").read_text())["files"]
        return [file["name"] for file in listed if file["format"].startswith(self.form)]

    def refuse(self, batch: str, meter: str | None) -> None:
        lines = sent_lines(self.books, batch)
        (file,) = (
            one
            for one in json.loads((self.out / batch / "manifest.json").read_text())["files"]
            if one["format"] == self.form
        )
        numbers = [None] if meter is None else lines.filter(pl.col("meter_id") == meter)["line_no"].to_list()
        rows = tuple(AcknowledgedLine(file["name"], file["sha256"], number, "rejected", "no") for number in numbers)
        done = acknowledge(self.books, Acknowledgement(batch, rows), NOON)
        assert done.findings == []
        self.books = Books(self.books.lines, pl.concat([self.books.batches, done.step]))


def documents(form: str, data: bytes) -> list[tuple[str, str | None, str]]:
    """Document, the one it cancels, and the location and first quantity of every message."""
    if form == "mscons":
        found: list[list[str]] = []
        for one in read_segments(data)[0]:
            if one.tag == "BGM":
                found.append([one.value(1), "", "", one.value(2)])
            elif one.tag == "RFF" and one.value(0) == "ACW":
                found[-1][1] = one.value(0, 1)
            elif one.tag == "LOC" or (one.tag == "QTY" and found[-1][2].count(" ") == 0):
                found[-1][2] += one.value(1) if one.tag == "LOC" else f" {one.value(0, 1)}"
        assert all((kind == "1") == bool(cancels) for _, cancels, _, kind in found)
        return [(document, cancels or None, text) for document, cancels, text, _ in found]
    sets = [[line.split("*") for line in part.split("~\n")] for part in data.decode().split("ST*867*")[1:]]
    made = []
    for lines in sets:
        of = {fields[0] + "*" + fields[1] if fields[0] == "REF" else fields[0]: fields for fields in reversed(lines)}
        text = f"{of['REF*Q5'][3]} {of['QTY'][2]}" if "QTY" in of else of["REF*Q5"][3]
        assert (of["BPT"][1] == "01") == ("REF*TN" in of)
        made.append((of["BPT"][2], of["REF*TN"][2] if "REF*TN" in of else None, text))
    return made


@FORMS
def test_a_correction_cancels_what_the_receiver_holds_before_it_sends_anew(form: str, tmp_path: Path) -> None:
    desk = Desk(form, tmp_path)
    first = desk.bill(1_000, 1)
    assert len(desk.market_files(first)) == 1
    for version in (2, 3):
        batch = desk.bill(1_000 * version, version)
        before, after = desk.market_files(batch)
        assert "_cancel." in before and "_cancel." not in after
        amounts = sorted(text.split()[1] for text in desk.held.values())
        assert amounts == [f"0.00{version}000", f"0.00{2 * version}000"]


@FORMS
def test_a_message_that_was_refused_is_not_cancelled(form: str, tmp_path: Path) -> None:
    desk = Desk(form, tmp_path)
    batch = desk.bill(1_000, 1)
    desk.refuse(batch, "M2")
    desk.held = {document: text for document, text in desk.held.items() if text.endswith("0.001000")}
    desk.bill(2_000, 2)
    assert sorted(text.split()[1] for text in desk.held.values()) == ["0.002000", "0.004000"]


@FORMS
def test_after_a_batch_was_rejected_whole_the_one_before_is_cancelled(form: str, tmp_path: Path) -> None:
    desk = Desk(form, tmp_path)
    desk.bill(1_000, 1)
    desk.refuse(desk.bill(2_000, 2, books_it=False), None)
    desk.bill(3_000, 3)
    assert sorted(text.split()[1] for text in desk.held.values()) == ["0.003000", "0.006000"]
    alone = Desk(form, tmp_path / "alone")
    alone.refuse(alone.bill(1_000, 1, books_it=False), None)
    assert len(alone.market_files(alone.bill(2_000, 2))) == 1  # nothing stands with him


@FORMS
def test_what_is_to_be_cancelled_must_be_the_file_that_was_delivered(form: str, tmp_path: Path) -> None:
    desk = Desk(form, tmp_path)
    batch = desk.bill(1_000, 1)
    (name,) = desk.market_files(batch)
    (tmp_path / batch / name).write_bytes((tmp_path / batch / name).read_bytes().replace(b"0.001", b"0.009", 1))
    with pytest.raises(ContractError, match="not the file that was delivered"):
        desk.bill(2_000, 2)
    (tmp_path / batch / name).unlink()
    with pytest.raises(ContractError, match="to be cancelled before it is sent anew"):
        desk.bill(2_000, 2)


@FORMS
@pytest.mark.parametrize(
    "other",
    [
        {"receiver": "9903000000003"},
        {"cycle": "d"},
        {"date_from": DAY - timedelta(days=1)},
        {"date_to": DAY + timedelta(days=2)},
    ],
    ids=lambda other: next(iter(other)),
)
def test_what_another_receiver_cycle_or_period_holds_is_not_cancelled(
    form: str, other: dict[str, object], tmp_path: Path
) -> None:
    desk = Desk(form, tmp_path)
    desk.bill(1_000, 1)
    batch = desk.bill(2_000, 2, books_it=False, **other)
    assert len(desk.market_files(batch)) == 1
    before, _ = desk.market_files(desk.bill(3_000, 3))
    assert "_cancel." in before
    assert sorted(text.split()[1] for text in desk.held.values()) == ["0.003000", "0.006000"]
