"""XML of others, opened safely: no document type, no encoding in which one could hide."""

from xml.etree import ElementTree

from billing_export.findings import Finding


def xml_root(data: bytes) -> ElementTree.Element | Finding:
    """The root of a document, or why there is none: `document_type` (refused unread: entities can be made to grow
    without bound) or `not_xml`."""
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        return Finding(0, "document_type", "a document type or entity is declared")
    if b"\0" in data:
        return Finding(0, "not_xml", "a NUL byte: an encoding other than UTF-8 and its subsets")
    try:
        return ElementTree.fromstring(data)
    except (ElementTree.ParseError, LookupError, ValueError) as error:  # an unknown encoding is a LookupError
        return Finding(0, "not_xml", str(error))
