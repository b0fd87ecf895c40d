"""Which partitions are ours, and in which term: what a member of a group is told, kept until somebody asks."""

from collections.abc import Iterable
from typing import Any

from kafka import ConsumerRebalanceListener


class Ownership(ConsumerRebalanceListener):  # type: ignore[misc]
    """Which partitions are ours, and in which term. Called from inside the client: it only takes notes."""

    def __init__(self) -> None:
        self.terms: dict[tuple[str, int], int] = {}
        self.positions: dict[Any, int] = {}
        self.committed: dict[Any, int] = {}
        """The next offset of each of ours, as far as it is known: all from there on waits."""
        self._next_term = 0
        self._revoked: set[tuple[str, int]] = set()
        self.assigned: set[Any] = set()
        """Of which nobody was told yet."""

    def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        """Each is ours in a new term."""
        for place in assigned:
            self.terms[tuple(place)] = self._next_term
            self.assigned.add(place)
            self._next_term += 1

    def on_partitions_revoked(self, revoked: Iterable[Any]) -> None:
        """None of them is ours any more; what was polled of them may not be committed."""
        for place in revoked:
            self.terms.pop(tuple(place), None)
            self.positions.pop(place, None)
            self.committed.pop(place, None)
            self.assigned.discard(place)
            self._revoked.add(tuple(place))

    on_partitions_lost = on_partitions_revoked

    def term(self, place: tuple[str, int]) -> int | None:
        """The present term of a partition; none where it is not ours."""
        return self.terms.get(place)

    def told(self) -> frozenset[tuple[str, int]]:
        """What was revoked since the last call; of that and of what was assigned somebody was told."""
        revoked = frozenset(self._revoked)
        self._revoked, self.assigned = set(), set()
        return revoked
