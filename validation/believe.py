"""Which reads of one register can be believed: rollovers, resets, momentary values and registers that were stuck.

One backward or impossible value is never a new base: a second read confirms it first (V13, V22), and no later one
takes that back: a fault may last for several reads.
"""

from typing import Final, NamedTuple

from validation.block import ABSENT

LONGEST_FAULT: Final = 96
"""Reads of a wrong course after which a register is no more believed to return to its old one."""
FAR: Final = 10


class Register(NamedTuple):
    """The reads of one register in time order."""

    at: list[int]
    """Boundaries of the grid."""
    value: list[int]
    limit: int
    """Most that supply and fuse let through in an interval (V9); ABSENT where one of them is unknown."""
    wrap: int
    """Value at which the register starts again at 0; ABSENT where unknown."""

    def moved(self, one: int, other: int) -> int | None:
        """Advance from one read to another, over a rollover if that is plausible; None if it cannot be believed.

        Without a limit every advance is believed, and a fall is a rollover from the last tenth of the register to its
        first.
        """
        ahead = self.value[other] - self.value[one]
        if self.limit == ABSENT:
            if ahead >= 0:
                return ahead
            rolled = self.wrap != ABSENT and 10 * self.value[one] >= 9 * self.wrap >= 90 * self.value[other]
            return ahead + self.wrap if rolled else None
        if ahead < 0 and self.wrap != ABSENT:
            ahead += self.wrap
        return ahead if 0 <= ahead <= self.limit * (self.at[other] - self.at[one]) else None


class Believed(NamedTuple):
    """What a walk over a register's reads found; triples and pairs of grid boundaries."""

    links: list[tuple[int, int, int]]
    """From, to, advance."""
    broken: list[tuple[int, int]]
    """Where the register went back (V22): the interval before the read, or the stretch if it stayed there."""
    jumps: list[tuple[int, int]]
    """Where it moved too far (V13)."""


def believe(register: Register) -> Believed:
    """Walk one register's reads, for the few registers that went back or leapt."""
    links: list[tuple[int, int]] = []
    broken: list[tuple[int, int]] = []
    jumps: list[tuple[int, int]] = []
    last = 0
    for here in range(1, len(register.at)):
        if register.moved(last, here) is not None:
            if register.value[here] < register.value[last]:
                if _taken_back(register, last, here):
                    broken.append((register.at[here] - 1, register.at[here]))
                    continue
                since = _before_leap(register, links, last, here)
                if since is not None:
                    broken.append((register.at[since], register.at[here]))
                    links[-1] = (since, here)
                    last = here
                    continue
            links.append((last, here))
            last = here
            continue
        findings = broken if register.value[here] < register.value[last] else jumps
        since = _base(register, links, last, here)
        if since is None and not _confirmed(register, last, here):
            findings.append((register.at[here] - 1, register.at[here]))
            continue
        findings.append((register.at[last if since is None else since], register.at[here]))
        if since is not None:
            links = [link for link in links if link[1] <= since]
            links.append((since, here))
        last = here
    ends = [(register.at[one], register.at[other], register.moved(one, other) or 0) for one, other in links]
    return Believed(ends, broken, jumps)


def _taken_back(register: Register, last: int, here: int) -> bool:
    """A later read stands above the one before a rollover, by a plausible step from there and an odd one from its own
    predecessor: the register never rolled over, and what looks like it was wrong."""
    return any(
        register.value[back] >= register.value[last]
        and register.moved(last, back) is not None
        and _leaves(register, last, back)
        for back in range(here + 1, min(here + 1 + LONGEST_FAULT, len(register.at)))
    )


def _before_leap(register: Register, links: list[tuple[int, int]], last: int, here: int) -> int | None:
    """The read before one that leapt near the end of the register, if this one follows it: nothing rolled over."""
    if not links or links[-1][1] != last:
        return None
    before = links[-1][0]
    up, left = (register.value[one] - register.value[before] for one in (last, here))
    leapt = left >= 0 and register.moved(before, here) is not None and up > FAR * max(left, 1)
    return before if leapt else None


def _base(register: Register, links: list[tuple[int, int]], last: int, here: int) -> int | None:
    """The earlier read from which the register came after all, if what lies between was wrong; None otherwise."""
    stuck = _stuck_since(register, links, last, here)
    if stuck is not None or not links or links[-1][1] != last:
        return stuck
    before = links[-1][0]
    # The last read leapt up for a moment: without it the register never went back.
    returned = (
        register.value[before] <= register.value[here] < register.value[last]
        and register.moved(before, here) is not None
        and (_followed(register, last, here) or _far_up(register, before, last, here))
    )
    return before if returned else None


def _followed(register: Register, last: int, here: int) -> bool:
    """The next read follows this one, below the last believed one."""
    after = here + 1
    return (
        after < len(register.at)
        and register.moved(here, after) is not None
        and register.value[after] < register.value[last]
    )


def _far_up(register: Register, before: int, last: int, here: int) -> bool:
    """The last two reads known went up and came back: up by ten times what is left of it. A 0 comes back to nothing."""
    up, left = (register.value[one] - register.value[before] for one in (last, here))
    ends = here + 1 == len(register.at)
    return ends and register.limit == ABSENT and register.value[here] > 0 and up > FAR * max(left, 1)


def _stuck_since(register: Register, links: list[tuple[int, int]], last: int, here: int) -> int | None:
    """First read of a flat run that ends in a leap, if the leap is plausible over the whole run; None otherwise.

    A register that stood still and then caught up: the advance belongs to all the time since it stopped.
    """
    since = last
    for one, other in reversed(links):
        if other != since or register.value[one] != register.value[other]:
            break
        since = one
    return since if since != last and register.moved(since, here) is not None else None


def _confirmed(register: Register, last: int, here: int) -> bool:
    """The next read follows this one and not the last believed one, and the register stays on its new course."""
    after = here + 1
    return (
        after < len(register.at)
        and register.moved(last, after) is None
        and register.moved(here, after) is not None
        and not _returns(register, last, here)
    )


def _returns(register: Register, last: int, here: int) -> bool:
    """A later read leaves the course of this one for that of the last believed one, and the read after it follows."""
    return any(
        register.moved(last, back) is not None
        and _leaves(register, last, back)
        and register.moved(back, back + 1) is not None
        for back in range(here + 2, min(here + 2 + LONGEST_FAULT, len(register.at) - 1))
    )


def _leaves(register: Register, last: int, back: int) -> bool:
    """The step to a read is none that this register makes: it can only have been on another course before."""
    before = back - 1
    if register.moved(before, back) is None:
        return True
    # Without a limit, or with one beyond the register's range, any step is believed: one is odd that the course of the
    # last believed read makes ten times less.
    step, course = register.value[back] - register.value[before], register.value[back] - register.value[last]
    far = register.limit == ABSENT or register.value[before] < register.value[last] <= register.value[back]
    return far and step > FAR * max(course, 1)
