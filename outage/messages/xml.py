"""XML out in a fixed order, XML in without doctypes, entities or surprises of size."""

from datetime import UTC, datetime
from typing import Final
from xml.etree import ElementTree
from xml.parsers import expat

from schemas.codes import RejectReason
from schemas.errors import ProtocolError

LARGEST_BYTES: Final = 4_000_000
"""No message of an outage system comes near: 10,000 events of 300 bytes."""
DEEPEST: Final = 32

Element = ElementTree.Element


def element(name: str, *children: "Element | None", text: str | None = None, **attributes: str | None) -> Element:
    """An element with its children in the given order; what is None is left out."""
    made = Element(name, {key: value for key, value in attributes.items() if value is not None})
    made.text = text
    made.extend(child for child in children if child is not None)
    return made


def leaf(name: str, value: object | None) -> Element | None:
    """`<name>value</name>`, nothing where the value is not known. Instants become UTC, Booleans lower case."""
    if value is None:
        return None
    if isinstance(value, datetime):
        return element(name, text=instant(value))
    return element(name, text=str(value).lower() if isinstance(value, bool) else str(value))


def instant(at: datetime) -> str:
    """xs:dateTime in UTC, with a fraction only where there is one."""
    plain = at.astimezone(UTC).replace(tzinfo=None)
    return plain.isoformat(timespec="milliseconds" if plain.microsecond else "seconds") + "Z"


def render_xml(root: Element) -> bytes:
    """The document as UTF-8 with its declaration; the same tree gives the same bytes."""
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'.encode()


def parse_xml(message: bytes) -> Element:
    """The root element; namespaces in braces.

    Raises:
        ProtocolError: Not well-formed, larger or deeper than any message we know, or with a document type: a
            document type is the door to entities, and no message of ours has one. `at` is the byte where it stopped.
    """
    if len(message) > LARGEST_BYTES:
        raise ProtocolError(RejectReason.WORK, LARGEST_BYTES, "XML message is too large")
    parser = expat.ParserCreate(namespace_separator="}")
    builder = ElementTree.TreeBuilder()
    depth = 0

    def begin(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > DEEPEST:
            raise ProtocolError(RejectReason.DEPTH, parser.CurrentByteIndex, "XML is nested too deeply")
        builder.start(_braced(name), {_braced(key): value for key, value in attributes.items()})

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(_braced(name))

    def refuse(*_: object) -> None:
        raise ProtocolError(RejectReason.APDU_MALFORMED, parser.CurrentByteIndex, "XML has a document type")

    parser.StartElementHandler = begin
    parser.EndElementHandler = end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(message, True)
    except expat.ExpatError as error:
        detail = expat.ErrorString(error.code)
        raise ProtocolError(RejectReason.APDU_MALFORMED, max(parser.ErrorByteIndex, 0), f"XML: {detail}") from error
    return builder.close()


def local(tag: str) -> str:
    """The name without its namespace."""
    return tag.rpartition("}")[2]


def find(parent: Element, name: str) -> Element | None:
    """The first child of that local name."""
    return next((child for child in parent if local(child.tag) == name), None)


def text_of(parent: Element, name: str) -> str | None:
    """The text of the first child of that local name, without blanks around it; None where there is none."""
    child = find(parent, name)
    return child.text.strip() if child is not None and child.text and child.text.strip() else None


def _braced(name: str) -> str:
    return "{" + name if "}" in name else name
