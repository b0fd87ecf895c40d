"""Answers of receivers in their own formats: CONTRL, APERAK, 997; and cancellations of what was sent."""

import json
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from billing_rows import TARIFFS, build_finals, build_meters, build_reads
from pydifact.segmentcollection import Interchange

from billing_export.answers import Delivery, Matched, match_answer, read_answer
from billing_export.batches import acknowledge
from billing_export.check import check_file
from billing_export.formats.cancel import cancel_867, cancel_mscons
from billing_export.pieces import ExportInputs, ExportParams
from billing_export.reentry import Books, open_refusals
from billing_export.run import BillRun, bill_run
from billing_export.tariffs import parse_tariffs
from schemas.errors import ContractError
from schemas.frames import BILLING_BATCHES, DETERMINANTS
from schemas.timegrid import day_bounds

DAY = date(2026, 7, 27)
START = day_bounds(DAY, "Europe/Berlin")[0]
NOON = datetime(2026, 8, 2, 12, tzinfo=UTC)
MELO = "DE000145599290000000000000000000{}"
CODES = {"sender": "9903000000001", "receiver": "9903000000002"}
METERS = build_meters(
    [
        {"meter_id": "M1", "service_point_id": MELO.format(1)},
        {"meter_id": "M2", "nmi": MELO.format(2), "service_point_id": "SP2"},
    ]
)


def billed(form: str) -> tuple[BillRun, Books, Delivery, str]:
    """A delivered batch of two meters, one of them told by its NMI field, the first with both directions."""
    rows = pl.concat(
        [
            build_finals(START, [250_000] * 96),
            build_finals(START, [20_000] * 96, channel="energy_received"),
            build_finals(START, [99_000] * 96, meter="M2"),
        ]
    )
    inputs = ExportInputs(rows, METERS, build_reads({}), parse_tariffs(TARIFFS))
    asked = ExportParams((form,), DAY, DAY + timedelta(days=1), **(CODES if form == "mscons" else {}))
    run = bill_run(Books(DETERMINANTS.empty(), BILLING_BATCHES.empty()), inputs, asked, NOON)
    steps = pl.concat([run.steps, run.steps.tail(1).with_columns(step=pl.lit(2, pl.Int32), state=pl.lit("delivered"))])
    files = {file.name: file.content for file in run.export.files}
    (name,) = (one["name"] for one in json.loads(run.export.manifest)["files"] if one["format"] == form)
    return run, Books(run.lines, steps), Delivery(run.export.manifest, files), name


def edifact(*segments: str) -> bytes:
    body = "'".join(segments)
    return f"UNB+UNOC:3+9903000000002:500+9903000000001:500+260802:1200+ANSWER1'{body}'UNZ+1+ANSWER1'".encode()


def contrl(*segments: str) -> bytes:
    return edifact("UNH+1+CONTRL:D:3:UN:2.0b", *segments, f"UNT+{len(segments) + 2}+1")


def aperak(code: str, *segments: str) -> bytes:
    return edifact(
        "UNH+1+APERAK:D:07B:UN:2.1i", f"BGM+{code}+AFBM1", "DTM+137:202608021200?+00:303", *segments,
        f"UNT+{len(segments) + 4}+1",
    )  # fmt: skip


def references(delivery: Delivery, name: str) -> dict[str, str]:
    """By what a receiver may name them: the interchange, and each message's document by location and direction."""
    found, document, place = {}, "", ""
    for segment in delivery.files[name].decode("latin-1").split("'"):
        parts = segment.split("+")
        if parts[0] == "UNB":
            found["interchange"] = parts[5]
        elif parts[0] == "UNH":
            reference = parts[1]
        elif parts[0] == "BGM":
            document = parts[2]
        elif parts[0] == "LOC":
            place = parts[2]
        elif parts[0] == "PIA":
            found[f"{place} {parts[2][:7]}"] = document
            found[f"message {place} {parts[2][:7]}"] = reference
    return found


def matched(data: bytes, form: str = "mscons", *, syntax_suffices: bool = False) -> tuple[Matched, Books]:
    _, books, delivery, _ = billed(form)
    return match_answer(read_answer(data), delivery, books, METERS, syntax_suffices=syntax_suffices), books


def refused_by(data: bytes, form: str = "mscons") -> tuple[str, set[tuple[str, str | None]], set[str]]:
    """State, refused (meter, channel) and reasons."""
    found, books = matched(data, form)
    assert found.said is not None, found.findings
    done = acknowledge(books, found.said, NOON)
    assert done.findings == []
    refused = done.refused
    after = Books(books.lines, pl.concat([books.batches, done.step]))
    assert open_refusals(after)["line_no"].to_list() == refused["line_no"].to_list()
    keys = set(refused.select("meter_id", pl.col("channel").cast(pl.String)).rows())
    return done.step["state"][0], keys, set(refused["reason"])


def mscons_references() -> dict[str, str]:
    _, _, delivery, name = billed("mscons")
    return references(delivery, name)


def test_an_accepted_syntax_alone_acknowledges_nothing_unless_the_market_sends_no_more() -> None:
    data = contrl(f"UCI+{mscons_references()['interchange']}+9903000000001:500+9903000000002:500+7")
    assert matched(data)[0] == Matched(None, [])
    found, books = matched(data, syntax_suffices=True)
    assert acknowledge(books, found.said, NOON).step["state"].to_list() == ["acknowledged"]


@pytest.mark.filterwarnings("error:Comparisons with None")
def test_a_rejected_interchange_refuses_every_line() -> None:
    named = mscons_references()["interchange"]
    state, keys, reasons = refused_by(contrl(f"UCI+{named}+9903000000001:500+9903000000002:500+4+18+UNB"))
    assert state == "rejected"
    assert ("M1", "energy_delivered") in keys and ("M2", "energy_delivered") in keys
    assert reasons == {"syntax error 18"}


def test_a_rejected_message_refuses_the_lines_of_its_location_and_channel() -> None:
    named = mscons_references()
    message = named[f"message {MELO.format(1)} 1-1?:2."]
    answer = contrl(
        f"UCI+{named['interchange']}+9903000000001:500+9903000000002:500+7",
        f"UCM+{message}+MSCONS:D:04B:UN:2.4c+4+13", "UCS+12+35",
    )  # fmt: skip
    state, keys, reasons = refused_by(answer)
    assert (state, keys) == ("partly_rejected", {("M1", "energy_received")})
    assert reasons == {"syntax error 13 segment 12 error 35"}


def test_an_aperak_names_the_document_and_its_error_becomes_the_reason() -> None:
    named = mscons_references()
    answer = aperak(
        "313", f"RFF+ACE:{named['interchange']}", "NAD+MS+9903000000002::293", "NAD+MR+9903000000001::293", "ERC+Z10",
        "FTX+ABO+++unknown location", f"RFF+ACW:{named[f'message {MELO.format(2)} 1-1?:1.']}",
        f"RFF+AGO:{named[f'{MELO.format(2)} 1-1?:1.']}",
    )  # fmt: skip
    state, keys, reasons = refused_by(answer)
    assert (state, keys) == ("partly_rejected", {("M2", "energy_delivered")})
    assert reasons == {"Z10 unknown location"}


def test_an_accepting_aperak_acknowledges() -> None:
    found, books = matched(aperak("312", f"RFF+ACE:{mscons_references()['interchange']}"))
    assert acknowledge(books, found.said, NOON).step["state"].to_list() == ["acknowledged"]


def test_an_answer_to_what_was_never_sent_counts_for_nothing() -> None:
    found, _ = matched(aperak("313", "ERC+Z10", "RFF+ACE:SOMETHING"))
    assert found.said is None
    assert [one.reason for one in found.findings] == ["reference_unknown"]


def test_an_answer_counts_only_for_the_file_that_was_delivered() -> None:
    _, books, delivery, name = billed("mscons")
    said = read_answer(contrl("UCI+1+a+b+4"))
    other = delivery._replace(files={**delivery.files, name: b"UNA:+.? '"})
    assert [one.reason for one in match_answer(said, other, books, METERS).findings] == ["file_hash"]
    assert [one.reason for one in match_answer(said, delivery._replace(files={}), books, METERS).findings] == [
        "file_unknown"
    ]


@pytest.mark.parametrize(
    "data",
    [b"", b"hello", b"UNB+UNOC:3", edifact("UNH+1+INVOIC:D:01B:UN", "UNT+2+1"), contrl(), aperak("313"), b"ISA*00",
     edifact("UNH+1+CONTRL:D:3:UN:2.0b", "UCI+1+a+b+7", "UNT+3+1", "UNH+2+APERAK:D:07B:UN:2.1i", "UNT+2+2")],
)  # fmt: skip
def test_what_is_no_answer_is_refused(data: bytes) -> None:
    with pytest.raises(ContractError, match="answer"):
        read_answer(data)


# X12 997 -------------------------------------------------------------------------------------------------------------


def x12_997(*segments: str, element: str = "*", ending: str = "~\n") -> bytes:
    isa = f"ISA*00*{'':10}*00*{'':10}*ZZ*{'RECEIVER':15}*ZZ*{'AMIHEADEND':15}*260802*1200*U*00401*000000007*0*P*>"
    lines = [isa, "GS*FA*RECEIVER*AMIHEADEND*20260802*1200*7*X*004010", "ST*997*0001", "AK1*PT*1", *segments,
             "SE*9*0001", "GE*1*7", "IEA*1*000000007"]  # fmt: skip
    return "".join(line.replace("*", element) + ending for line in lines).encode()


@pytest.mark.parametrize(("element", "ending"), [("*", "~"), ("|", "\n")])
def test_a_997_refuses_the_set_it_names(element: str, ending: str) -> None:
    answer = x12_997(
        "AK2*867*0001", "AK5*A", "AK2*867*0002", "AK3*QTY*9**8", "AK4*2*380*7*x", "AK5*R*5", "AK9*P*2*2*1",
        element=element, ending=ending,
    )  # fmt: skip
    state, keys, reasons = refused_by(answer, "x12_867")
    assert state == "partly_rejected"
    assert {meter for meter, _ in keys} == {"M1"}  # its set is the second
    assert reasons == {"AK5 R 5 AK3 QTY 9 8 AK4 2 380 7 x"}


def test_a_997_accepts_or_refuses_the_group() -> None:
    found, books = matched(x12_997("AK9*A*2*2*2"), "x12_867")
    assert acknowledge(books, found.said, NOON).step["state"].to_list() == ["acknowledged"]
    assert refused_by(x12_997("AK2*867*0001", "AK5*A", "AK9*R*2*2*0"), "x12_867")[0] == "rejected"


# Cancellations -------------------------------------------------------------------------------------------------------


def test_a_cancellation_names_the_documents_it_takes_back_and_passes_the_strict_check() -> None:
    _, _, delivery, name = billed("mscons")
    cancelled = cancel_mscons(delivery.files[name], None, NOON)
    assert check_file("x.txt", cancelled).findings == []
    messages = list(Interchange.from_str(cancelled.decode("latin-1")).get_messages())
    documents = {value for key, value in references(delivery, name).items() if key.startswith("DE")}
    told = [{one.tag + str(one.elements[0][:1]): one.elements for one in message.segments} for message in messages]
    assert {elements[0][1] for one in told for key, elements in one.items() if "ACW" in key} == documents
    assert len(messages) == 3
    assert all(b"+1'" in part for part in cancelled.split(b"UNH+")[1:])
    assert b"QTY" not in cancelled
    assert cancel_mscons(delivery.files[name], None, NOON) == cancelled


def test_only_the_chosen_location_is_cancelled_and_a_stranger_is_refused() -> None:
    _, _, delivery, name = billed("mscons")
    assert cancel_mscons(delivery.files[name], [MELO.format(2)], NOON).count(b"UNH+") == 1
    for wrong in (delivery.files[name][:-5], b"x", cancel_mscons(delivery.files[name], None, NOON)):
        with pytest.raises(ContractError, match="MSCONS"):
            cancel_mscons(wrong, None, NOON)
    with pytest.raises(ContractError, match="no original message"):
        cancel_mscons(delivery.files[name], ["DE0"], NOON)


def test_a_cancellation_without_its_document_is_found() -> None:
    _, _, delivery, name = billed("mscons")
    cancelled = cancel_mscons(delivery.files[name], None, NOON)
    broken = cancelled.replace(b"RFF+ACW:", b"RFF+ACE:", 1)
    assert "cancellation" in {finding.reason for finding in check_file("x.txt", broken).findings}


def test_an_867_cancellation_names_its_original() -> None:
    _, _, delivery, name = billed("x12_867")
    cancelled = cancel_867(delivery.files[name], ["SP2"], NOON)
    assert check_file("x.edi", cancelled).findings == []
    assert cancelled.count(b"BPT*01") == 1 and b"REF*Q5**SP2~" in cancelled and b"QTY" not in cancelled
    assert "cancellation" in {
        finding.reason for finding in check_file("x.edi", cancelled.replace(b"REF*TN*", b"REF*ZZ*")).findings
    }
    with pytest.raises(ContractError, match="867"):
        cancel_867(delivery.files[name], ["SP9"], NOON)
