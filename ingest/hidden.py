"""A secret that does not show itself: not as text, not among the locals of a traceback, not in a pickle.

Whoever needs its octets asks for them where they are used, and keeps them in no variable.
"""

from typing import Self, TypeAlias

from schemas.errors import ContractError


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
