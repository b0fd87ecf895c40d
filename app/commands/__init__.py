"""One file a verb; each registers itself on the command."""

from collections.abc import Callable
from typing import Final

import typer

from app.commands import decode, demo, export, inspect, outages, simulate, trace, vee

REGISTER: Final[tuple[Callable[[typer.Typer], None], ...]] = (
    demo.register,
    simulate.register,
    inspect.register,
    decode.register,
    vee.register,
    outages.register,
    export.register,
    trace.register,
)
"""In the order in which `ami --help` lists them."""
