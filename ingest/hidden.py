"""A secret that does not show itself: not as text, not among the locals of a traceback, not in a pickle.

Whoever needs its octets asks for them where they are used, and keeps them in no variable.
"""

from collections.abc import Callable
from typing import Self, TypeAlias, TypeVar

from schemas.errors import ContractError

Given = TypeVar("Given")
Made = TypeVar("Made")


class Hidden:
    """Octets nobody sees. `repr`, `str` and `format` say how many there are."""

    __slots__ = ("_octets",)

    def __init__(self, octets: bytes) -> None:
        self._octets = octets

    def __repr__(self) -> str:
        return f"Hidden({len(self._octets)} octets)"

    def __len__(self) -> int:
        return len(self._octets)

    def __reduce__(self) -> str:
        raise ContractError("a hidden value is not pickled: it stays in this process")

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return self

    def reveal(self) -> bytes:
        """The octets themselves."""
        return self._octets


Kek: TypeAlias = Hidden | bytes
"""A key-encrypting key: hidden, as every process of ours holds it. Bytes are hidden where they come in."""


def hidden(kek: Kek) -> Hidden:
    """The key, hidden."""
    return kek if isinstance(kek, Hidden) else Hidden(kek)


def hidden_text(text: str | Hidden) -> Hidden:
    """The text, hidden."""
    return text if isinstance(text, Hidden) else Hidden(text.encode())


def sheltered(work: Callable[[Given], Made], given: Given) -> Made:
    """What the work makes of what is given. Its error is raised without the frames it came through and without what
    led to it: tables and octets of keys stand among their locals.

    Raises:
        ContractError: As the work does.
        OSError: As the work does.
    """
    try:
        return work(given)
    except (ContractError, OSError) as error:
        told = error.with_traceback(None)
        told.__cause__ = told.__context__ = None
    raise told
