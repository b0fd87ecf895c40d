"""One file a format; `FORMATS` is the only list of them."""

from typing import Final

from billing_export.formats import (
    asexml,
    cmep,
    cmep02,
    determinants,
    espi,
    iec61968,
    mscons,
    nem12,
    nem13,
    oracle_ccb,
    sap_isu,
    x12_867,
)
from billing_export.pieces import Format

_ALL: Final = (
    determinants.FORMAT,
    nem12.FORMAT,
    nem13.FORMAT,
    asexml.NEM12,
    asexml.NEM13,
    cmep.FORMAT,
    cmep02.FORMAT,
    espi.FORMAT,
    mscons.FORMAT,
    iec61968.FORMAT,
    x12_867.FORMAT,
    sap_isu.FORMAT,
    oracle_ccb.FORMAT,
)

FORMATS: Final[dict[str, Format]] = {form.name: form for form in _ALL}
"""Formats by the name that `ami export --format` takes."""
