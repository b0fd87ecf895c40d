"""Resources of an ESPI feed, read once: for the strict check and for the import."""

from typing import Final, NamedTuple
from xml.etree import ElementTree

from billing_export.findings import Finding
from billing_export.formats.xml_root import xml_root

ATOM: Final = "{http://www.w3.org/2005/Atom}"
ESPI: Final = "{http://naesb.org/espi}"
MAX_BYTES: Final = 1 << 30
"""A year of quarter hours of a thousand customers stays below; more is no feed that a person asked for."""


class Entry(NamedTuple):
    """One Atom entry."""

    number: int
    """From 1, in the order of the feed."""
    identity: str
    kind: str
    """Name of its resource: UsagePoint, MeterReading …"""
    links: list[tuple[str, str, str]]
    """(rel, href, type)."""
    updated: str
    resource: ElementTree.Element

    def link(self, rel: str, ending: str = "") -> str | None:
        """First href of that relation whose type ends so."""
        return next((href for name, href, kind in self.links if name == rel and kind.endswith(ending)), None)


class Feed(NamedTuple):
    """What a file holds."""

    entries: list[Entry]
    findings: list[Finding]


def read_feed(data: bytes) -> Feed:
    """Every entry that holds one ESPI resource; findings (line = number of the entry, 0 the feed) name the others.

    Findings of this level: `not_xml`, `document_type`, `too_large`, `not_a_feed`, `no_content`, `no_id`.
    """
    if len(data) > MAX_BYTES:
        return Feed([], [Finding(0, "too_large", f"{len(data)} bytes")])
    root = xml_root(data)
    if isinstance(root, Finding):
        return Feed([], [root])
    if root.tag != f"{ATOM}feed":
        return Feed([], [Finding(0, "not_a_feed", f"root is {root.tag[-40:]!r}")])
    entries: list[Entry] = []
    found: list[Finding] = []
    for number, element in enumerate(root.iter(f"{ATOM}entry"), 1):
        content = element.find(f"{ATOM}content")
        resource = next(iter(content), None) if content is not None else None
        if resource is None or not resource.tag.startswith(ESPI):
            found.append(Finding(number, "no_content", "the entry holds no ESPI resource"))
            continue
        identity = element.findtext(f"{ATOM}id", "")
        if not identity:
            found.append(Finding(number, "no_id", "the entry has no id"))
        links = [
            (link.get("rel", ""), link.get("href", ""), link.get("type", "")) for link in element.findall(f"{ATOM}link")
        ]
        updated = element.findtext(f"{ATOM}updated", "")
        entries.append(Entry(number, identity, resource.tag.removeprefix(ESPI), links, updated, resource))
    return Feed(entries, found)


def number_of(element: ElementTree.Element, path: str) -> int | None:
    """An integer below an element, `a/b` without namespaces; null where it is absent or none."""
    text = element.findtext("/".join(f"{ESPI}{name}" for name in path.split("/")))
    try:
        return int(text) if text is not None else None
    except ValueError:
        return None
