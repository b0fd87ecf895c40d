"""One file a verb; each registers itself on the command."""

from collections.abc import Callable
from typing import Final

import typer

REGISTER: Final[tuple[Callable[[typer.Typer], None], ...]] = ()
