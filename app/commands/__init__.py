"""One file a verb; each registers itself on the command."""

from collections.abc import Callable
from typing import Final

import typer

from app.commands import (
    bill,
    check,
    decode,
    demo,
    doctor,
    edit,
    export,
    finals,
    gateway,
    indices,
    inspect,
    keys,
    meters,
    outages,
    reconcile,
    replay,
    services,
    simulate,
    trace,
    vee,
    worker,
)

REGISTER: Final[tuple[Callable[[typer.Typer], None], ...]] = (
    demo.register,
    simulate.register,
    inspect.register,
    decode.register,
    vee.register,
    finals.register,
    outages.register,
    indices.register,
    export.register,
    bill.register,
    reconcile.register,
    trace.register,
    check.register,
    services.register,
    doctor.register,
    edit.register,
    worker.register,
    gateway.register,
    replay.register,
    keys.register,
    meters.register,
)
"""In the order in which `ami --help` lists them."""
