"""What a soak is judged by: the age of the oldest message that waits, memory, how long batches of VEE take. Pure."""

import json
import statistics
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

MEMORY_GROWTH: Final = 1.10
"""Memory of the last third may lie so much above that of the middle one: an allocator is never quite still."""
AGE_GROWTH_S: Final = 30.0
"""Ages of the last third may exceed those of the middle one by so much: batches are a saw, VEE's of half a minute."""
BATCH_GROWTH: Final = 1.5
"""A batch of VEE of the last third may take so many times what one of the first took."""
LEAST_BATCHES: Final = 2
"""Batches of a third below which their time says nothing."""

Place = tuple[str, int]


class Ends:
    """Where partitions ended, look by look: tells how old the message at an offset can be at most."""

    def __init__(self) -> None:
        self._looked_at: float | None = None
        self._seen: dict[Place, tuple[list[int], list[float]]] = {}

    def look(self, at: float, ends: Mapping[Place, int]) -> None:
        """Partitions ended there at that time. Looks come in order of time."""
        before = at if self._looked_at is None else self._looked_at
        for place, end in ends.items():
            offsets, since = self._seen.setdefault(place, ([], []))
            if not offsets or end > offsets[-1]:
                offsets.append(end)
                since.append(before)
        self._looked_at = at

    def age_s(self, at: float, committed: Mapping[Place, int]) -> float:
        """Seconds since the oldest message was written that is not committed, at most; 0.0 where none waits.

        Args:
            at: Now.
            committed: The next offset of each partition to be read; a partition that is not named is at its start.
        """
        ages = [0.0]
        for place, (offsets, since) in self._seen.items():
            number = bisect_right(offsets, committed.get(place, 0))
            if number < len(offsets):
                ages.append(at - since[number])
        return max(ages)


class Sample(NamedTuple):
    """What was seen at once, by role."""

    at: float
    age_s: dict[str, float]
    """Of the oldest message that the role has not committed."""
    memory: dict[str, int]
    """Octets."""


class Verdict(NamedTuple):
    """What is said of one thing that must not grow."""

    what: str
    before: float
    after: float
    good: bool


def judge_samples(samples: Sequence[Sample], roles: Iterable[str]) -> list[Verdict]:
    """Age and memory of each role: the median of the last third against that of the middle one.

    Nothing is said of fewer than three samples.
    """
    third = len(samples) // 3
    if not third:
        return []
    parts = (samples[third:-third], samples[-third:])
    verdicts = []
    for role in roles:
        ages = [statistics.median(one.age_s[role] for one in part) for part in parts]
        held = [statistics.median(one.memory[role] for one in part) for part in parts]
        verdicts.append(Verdict(f"{role} lag s", *ages, good=ages[1] <= ages[0] + AGE_GROWTH_S))
        verdicts.append(Verdict(f"{role} MB", *(one / 1e6 for one in held), good=held[1] <= MEMORY_GROWTH * held[0]))
    return verdicts


def judge_batches(seconds: Sequence[float]) -> list[Verdict]:
    """Times of batches in their order: the median of the last third against that of the first.

    Nothing is said where a third has fewer than `LEAST_BATCHES`.
    """
    third = len(seconds) // 3
    if third < LEAST_BATCHES:
        return []
    first, last = statistics.median(seconds[:third]), statistics.median(seconds[-third:])
    return [Verdict("vee batch s", first, last, good=last <= BATCH_GROWTH * first)]


def batch_seconds(lines: Iterable[str], topic: str) -> list[float]:
    """How long each batch of a topic took that was delivered, out of the log of a worker.

    Args:
        lines: JSON objects, a line each; lines of anything else are left out.
        topic: With it the name of a batch begins.
    """
    found = []
    for line in lines:
        if not line.startswith("{"):
            continue
        told = json.loads(line)
        if told.get("message") == "delivered" and told["outcome"] == "done" and told["batch"].startswith(f"{topic}/"):
            found.append(told["ms"] / 1000)
    return found
