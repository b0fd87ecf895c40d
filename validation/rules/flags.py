"""Rules that read the meter's own status bits: V1, V18, V19, V20, V28."""

from schemas.codes import Status
from validation.block import Block, find_runs
from validation.rules.definition import Check, Findings, Settings, found, nothing


def duplicate(block: Block, settings: Settings) -> Findings:  # noqa: ARG001  a check takes its settings, even none
    """V5: several raw rows, with different values; the last in raw order was taken."""
    return found(find_runs(block.disputed)) if block.disputed.shape == block.shape else nothing()


def flagged(*bits: Status) -> Check:
    """A check that fails where a received value carries one of the status bits."""
    wanted = sum(int(bit) for bit in bits)

    def check(block: Block, settings: Settings) -> Findings:  # noqa: ARG001  a check takes its settings, even none
        if block.status.shape == (1, 1):
            return nothing()
        return found(find_runs(block.present & ((block.status & wanted) != 0)))

    return check
