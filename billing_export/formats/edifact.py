"""EDIFACT syntax: segments, elements, components and their escapes (ISO 9735, as BDEW uses it)."""

from typing import Final, NamedTuple

from billing_export.findings import Finding

ADVICE: Final = "UNA:+.? '"
_RELEASE: Final = "?"
_SPECIAL: Final = "?:+'"


class Segment(NamedTuple):
    """One segment, unescaped."""

    number: int
    """From 1; the UNA is not counted."""
    tag: str
    elements: list[list[str]]

    def value(self, element: int, component: int = 0) -> str:
        """A component, empty where it is absent; elements count from 0 after the tag."""
        if element >= len(self.elements) or component >= len(self.elements[element]):
            return ""
        return self.elements[element][component]


def escaped(text: str) -> str:
    """Text as a component: the release character before what would end it."""
    return "".join(f"{_RELEASE}{character}" if character in _SPECIAL else character for character in text)


def segment(tag: str, *elements: str | tuple[str, ...]) -> str:
    """One segment; a tuple is an element of several components. Empty ones at the end are left out."""
    written = [
        ":".join(escaped(component) for component in element) if isinstance(element, tuple) else escaped(element)
        for element in elements
    ]
    return "+".join([tag, *written]) + "'"


def read_segments(data: bytes) -> tuple[list[Segment], list[Finding]]:
    """Every segment; findings `not_text`, `no_advice` (no UNA, or other separators), `cut_short`."""
    try:
        text = data.decode("latin-1" if data.startswith(b"UNA") else "ascii")
    except UnicodeDecodeError as error:
        return [], [Finding(0, "not_text", f"byte {error.start}")]
    if not text.startswith(ADVICE):
        return [], [Finding(0, "no_advice", "no UNA with the usual separators")]
    parts = _split(text[len(ADVICE) :].strip("\r\n"), "'")
    found = [] if parts and not parts[-1].strip() else [Finding(0, "cut_short", "the last segment does not end")]
    segments = []
    for number, part in enumerate(parts[:-1], 1):
        tag, *elements = _split(part.strip("\r\n"), "+")
        segments.append(
            Segment(number, tag, [[_plain(component) for component in _split(one, ":")] for one in elements])
        )
    return segments, found


def _split(text: str, separator: str) -> list[str]:
    parts, start, at = [], 0, 0
    while at < len(text):
        if text[at] == _RELEASE:
            at += 1
        elif text[at] == separator:
            parts.append(text[start:at])
            start = at + 1
        at += 1
    return [*parts, text[start:]]


def _plain(text: str) -> str:
    kept, at = [], 0
    while at < len(text):
        if text[at] == _RELEASE:
            at += 1
        kept.append(text[at : at + 1])
        at += 1
    return "".join(kept)
