"""What a check of a file says: where, which rule, in a few words."""

from typing import NamedTuple


class Finding(NamedTuple):
    """One thing that is wrong with a file."""

    line: int
    """Line or segment from 1; 0 is the file as a whole."""
    reason: str
    """Name of the rule, stable, for programs."""
    detail: str
    """For a person; holds nothing of the file beyond the field in question."""
