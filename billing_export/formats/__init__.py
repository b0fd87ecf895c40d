"""One file a format; `FORMATS` is the only list of them."""

from typing import Final

from billing_export.formats import cmep, determinants, espi, mscons, nem12, nem13
from billing_export.pieces import Format

_ALL: Final = (determinants.FORMAT, nem12.FORMAT, cmep.FORMAT, espi.FORMAT, mscons.FORMAT, nem13.FORMAT)

FORMATS: Final[dict[str, Format]] = {form.name: form for form in _ALL}
"""Formats by the name that `ami export --format` takes."""
