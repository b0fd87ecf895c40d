"""aseXML around NEM12 and NEM13: a `MeterDataNotification` for every NMI, as the Australian market exchanges files.

Header and transactions follow the market's documents as generally known: no schema of it is at hand. Names, order and
the record count are to be held against the schema release of the market before the first exchange.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final
from xml.sax.saxutils import escape

from billing_export.formats import nem12, nem13
from billing_export.pieces import ExportInputs, ExportParams, Format, Heading, Piece
from billing_export.render import stamp
from schemas.timegrid import NEM_TIMEZONE, zone

NAMESPACE: Final = "urn:aseXML:r38"
GROUP, MARKET = "MTRD", "NEM"
CONTENT: Final = {"nem12": "CSVIntervalData", "nem13": "CSVConsumptionData"}
"""Element that holds the CSV of each format."""

_END: Final = b"900\r\n"
_ID_LENGTH: Final = 24
_BLOCK: Final = re.compile(r"^(?=(?:200|250),)", re.MULTILINE)


def wrapped(inner: Format) -> Format:
    """The format `<name>_asexml`: each transaction holds a whole file of the inner format, 100 to 900, of one NMI."""

    def render(parts: Iterable[ExportInputs], heading: Heading) -> Iterator[Piece]:
        part, number = f"{inner.name}_asexml", 0
        pieces = inner.render(parts, heading)
        header = next(pieces).content.decode()
        yield Piece(part, _opening(heading).encode(), 0)
        for piece in pieces:
            if piece.content == _END:
                continue
            texts = []
            for block in _by_nmi(piece.content.decode()):
                number += 1
                texts.append(_transaction(number, f"{header}{block}{_END.decode()}", inner.name, heading))
            yield Piece(part, "".join(texts).encode(), piece.records + 2 * len(texts), piece.tally)
        yield Piece(part, b"</Transactions>\n</ase:aseXML>\n", 0)

    def file_names(batch_id: str, params: ExportParams) -> dict[str, str]:
        (name,) = inner.file_names(batch_id, params).values()
        return {f"{inner.name}_asexml": name.removesuffix(".csv") + ".xml"}

    return Format(f"{inner.name}_asexml", f"{NAMESPACE} {inner.version}", inner.timezone, render, file_names)


def _by_nmi(text: str) -> Iterator[str]:
    """Blocks of the same NMI, which follow one another."""
    before, block = "", ""
    for stream in _BLOCK.split(text)[1:]:
        nmi = stream.split(",", 2)[1]
        if nmi != before and block:
            yield block
            block = ""
        before, block = nmi, block + stream
    if block:
        yield block


def _opening(heading: Heading) -> str:
    params = heading.params
    fields = {
        "From": params.sender, "To": params.receiver, "MessageID": f"MSG-{_short(heading)}",
        "MessageDate": _time(heading), "TransactionGroup": GROUP, "Priority": "Medium", "Market": MARKET,
    }  # fmt: skip
    lines = [f"<{name}>{escape(value)}</{name}>\n" for name, value in fields.items()]
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<ase:aseXML xmlns:ase="{NAMESPACE}">\n'
        f"<Header>\n{''.join(lines)}</Header>\n<Transactions>\n"
    )


def _transaction(number: int, csv: str, form: str, heading: Heading) -> str:
    # A reader of XML turns a carriage return of the text into nothing: as a reference it stays.
    content = escape(csv).replace("\r", "&#13;")
    return (
        f'<Transaction transactionID="TNS-{_short(heading)}-{number}" transactionDate="{_time(heading)}">\n'
        f"<MeterDataNotification>\n<RecordCount>{csv.count(chr(10))}</RecordCount>\n"
        f"<{CONTENT[form]}>{content}</{CONTENT[form]}>\n</MeterDataNotification>\n</Transaction>\n"
    )


def _short(heading: Heading) -> str:
    return heading.batch_id.replace("-", "")[:_ID_LENGTH]


def _time(heading: Heading) -> str:
    return stamp(heading.created, zone(NEM_TIMEZONE), "%Y-%m-%dT%H:%M:%S") + "+10:00"


NEM12: Final = wrapped(nem12.FORMAT)
NEM13: Final = wrapped(nem13.FORMAT)
