"""One file a format; `FORMATS` is the only list of them."""

from typing import Final

from billing_export.formats import determinants, nem12
from billing_export.pieces import Format

FORMATS: Final[dict[str, Format]] = {form.name: form for form in (determinants.FORMAT, nem12.FORMAT)}
"""Formats by the name that `ami export --format` takes."""
