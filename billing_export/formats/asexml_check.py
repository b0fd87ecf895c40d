"""Strict check of an aseXML message around NEM12 or NEM13, as we write it, and the CSV files out of it."""

from collections.abc import Iterator
from datetime import datetime
from typing import Final, NamedTuple
from xml.etree import ElementTree

from billing_export.findings import Finding
from billing_export.formats import nem12_check, nem13_check
from billing_export.formats.asexml import CONTENT, GROUP, MARKET, NAMESPACE
from billing_export.formats.xml_root import xml_root

_HEADER: Final = ("From", "To", "MessageID", "MessageDate", "TransactionGroup", "Priority", "Market")
_CHECKS: Final = {"nem12": nem12_check.check, "nem13": nem13_check.check}


class Message(NamedTuple):
    """What a file holds."""

    root: ElementTree.Element | None
    findings: list[Finding]


def read_message(data: bytes) -> Message:
    """The message; findings of this level: `document_type` (refused unread), `not_xml`, `root`."""
    root = xml_root(data)
    if isinstance(root, Finding):
        return Message(None, [root])
    if root.tag != f"{{{NAMESPACE}}}aseXML" or [child.tag for child in root] != ["Header", "Transactions"]:
        return Message(None, [Finding(0, "root", f"not aseXML {NAMESPACE} of Header and Transactions")])
    return Message(root, [])


def contents(data: bytes) -> list[tuple[str, bytes]]:
    """Format and bytes of the CSV file of each transaction that holds one; empty where the message cannot be read."""
    root = read_message(data).root
    found = [] if root is None else [(form, root.iterfind(f".//{name}")) for form, name in CONTENT.items()]
    return [(form, (one.text or "").encode()) for form, elements in found for one in elements]


def check(data: bytes) -> list[Finding]:
    """Every breach, by number of the transaction; 0 is the message.

    Findings: those of `read_message`, `header` (an element absent, empty, out of order, of another group or market),
    `participant`, `date_time`, `no_transactions`, `transaction_id`, `transaction_twice`, `content` (not one count and
    one CSV), `record_count`, `parties` (the CSV is between others), and all that the strict check of the CSV finds.
    """
    root, found = read_message(data)
    if root is None:
        return found
    header = root[0]
    found += _header(header)
    seen: set[str] = set()
    for number, transaction in enumerate(root[1], 1):
        identity = transaction.get("transactionID", "")
        if not 0 < len(identity) <= 36 or not _is_time(transaction.get("transactionDate", "")):
            found.append(Finding(number, "transaction_id", "no id of 1 to 36 characters, or no date"))
        if identity in seen:
            found.append(Finding(number, "transaction_twice", "the id is another transaction's"))
        seen.add(identity)
        found += _content(number, transaction, [header.findtext("From", ""), header.findtext("To", "")])
    if not seen:
        found.append(Finding(0, "no_transactions", "the message says nothing"))
    return sorted(set(found))


def _header(header: ElementTree.Element) -> Iterator[Finding]:
    if tuple(child.tag for child in header) != _HEADER or not all(child.text for child in header):
        yield Finding(0, "header", f"not {', '.join(_HEADER)}, each with its text")
        return
    if (header.findtext("TransactionGroup"), header.findtext("Market")) != (GROUP, MARKET):
        yield Finding(0, "header", f"not of group {GROUP} in market {MARKET}")
    if any(len(header.findtext(name, "")) > 10 for name in ("From", "To")):
        yield Finding(0, "participant", "longer than 10 characters")
    if not _is_time(header.findtext("MessageDate", "")):
        yield Finding(0, "date_time", "MessageDate is no time with its offset")


def _content(number: int, transaction: ElementTree.Element, parties: list[str]) -> Iterator[Finding]:
    holders = {name: form for form, name in CONTENT.items()}
    body = [child.tag for notification in transaction for child in notification]
    if [child.tag for child in transaction] != ["MeterDataNotification"] or len(body) != 2 or body[1] not in holders:
        yield Finding(number, "content", "not one MeterDataNotification of a count and a CSV")
        return
    count, csv = transaction[0]
    text = csv.text or ""
    if count.tag != "RecordCount" or (count.text or "") != str(text.count("\n")):
        yield Finding(number, "record_count", f"{(count.text or '')[:9]} for {text.count(chr(10))}")
    if text.split("\r\n", 1)[0].split(",")[3:5] != parties:
        yield Finding(number, "parties", "the CSV is between others than the message")
    for one in _CHECKS[holders[csv.tag]](text.encode()):
        yield Finding(number, one.reason, f"line {one.line}: {one.detail}")


def _is_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False
