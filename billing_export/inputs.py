"""Frames as every format takes them."""

import msgspec

from billing_export.located import newest
from billing_export.pieces import ExportInputs
from billing_export.virtual import with_virtual
from schemas.frames import FINALS, METERS, READS, conform


def checked_inputs(inputs: ExportInputs) -> ExportInputs:
    """The same inputs as every format takes them: contracts kept, virtual meters added, newest versions in order.

    Raises:
        ContractError: A frame of another shape.
    """
    finals = newest(with_virtual(conform(inputs.finals, FINALS), inputs.tariffs.summed_in_order()))
    return inputs._replace(
        finals=finals,
        tariffs=msgspec.structs.replace(inputs.tariffs, virtual=()),  # they are in the finals now, once
        meters=conform(inputs.meters, METERS),
        reads=conform(inputs.reads, READS),
    )
