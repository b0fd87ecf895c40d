"""Layouts that were learned, with their meaning and plans: a value that saves learning them again in the next batch.

It changes no result: what it holds is a function of the layout, the meter types and the kind of meter alone, and a
layout is verified byte for byte in every message to which it is applied.
"""

from collections.abc import Iterable
from itertools import accumulate, takewhile
from typing import Final, NamedTuple, TypeAlias

from ingest.dlms.cursor import MAX_ELEMENTS
from ingest.dlms.layout import Layout
from ingest.enrolment import MeterKind
from ingest.meaning import Meaning, Name, find_name, understand
from ingest.meter_types import Manner, MeterType, MeterTypes
from ingest.plans import Plan, make_plan
from schemas.codes import Channel

_LAYOUTS_A_SHAPE: Final = 8
"""Layouts kept of one length: more than a vendor sends, few enough to be compared with every message."""
_SHAPES: Final = 1024
_VALUES: Final = 2 * MAX_ELEMENTS
"""Values of all layouts kept: each takes half a kilobyte, so these and their plans take some 200 MB at most."""
_OCTETS_A_VALUE: Final = 32
"""Octets of a layout that take as much memory as a value."""

Shape: TypeAlias = tuple[int, Manner]
"""Length of the APDU, and how it was read."""
_KindKey: TypeAlias = tuple[str | None, tuple[Channel, ...], int | None]


class Known(NamedTuple):
    """A layout, what it says to anyone, and what it is for each kind of meter seen so far."""

    layout: Layout
    manner: Manner
    meaning: Meaning
    plans: dict[_KindKey, Plan]
    names: dict[str, Name | None]  # by meter type: where the message names its meter

    @property
    def weight(self) -> int:
        """The values whose memory it takes."""
        return len(self.layout.located.nodes) + self.layout.length // _OCTETS_A_VALUE

    def name_for(self, meter_type: MeterType) -> tuple[Name | None, "Known"]:
        """Where messages of this layout name their meter, and this layout with that known."""
        if meter_type.name in self.names:
            return self.names[meter_type.name], self
        name = find_name(self.meaning, meter_type)
        return name, self._replace(names={**self.names, meter_type.name: name})

    def plan_for(self, kind: MeterKind, types: MeterTypes) -> tuple[Plan, "Known"]:
        """The plan for meters of a kind, and this layout with that plan known."""
        key = (None if kind.meter_type is None else kind.meter_type.name, kind.channels, kind.interval_s)
        plan = self.plans.get(key)
        if plan is not None:
            return plan, self
        plan = make_plan(self.meaning, kind, types)
        return plan, self._replace(plans={**self.plans, key: plan})


class Learned(NamedTuple):
    """Layouts by shape, the latest used first. They are of one set of meter types and are forgotten with it."""

    types: MeterTypes | None
    by_shape: dict[Shape, tuple[Known, ...]]

    @classmethod
    def nothing(cls) -> "Learned":
        """Nothing is known yet."""
        return cls(None, {})

    def of_types(self, types: MeterTypes) -> "Learned":
        """What was learned with these meter types; nothing where they are others."""
        return self if self.types is types else Learned(types, {})

    def layouts(self, shape: Shape) -> tuple[Layout, ...]:
        """Known layouts of a shape."""
        return tuple(known.layout for known in self.by_shape.get(shape, ()))

    def of_layout(self, layout: Layout, manner: Manner, types: MeterTypes) -> Known:
        """What is known of a layout; a new one is understood now."""
        for known in self.by_shape.get((layout.length, manner), ()):
            if known.layout is layout:
                return known
        return Known(layout, manner, understand(layout, types), {}, {})

    def with_used(self, used: Iterable[Known]) -> "Learned":
        """The same, these layouts first, the least recently used beyond the bounds forgotten."""
        used = tuple(used)
        if 2 * len(self.by_shape) <= _SHAPES and all(self._stands_first(known) for known in used):
            return self  # nobody is forgotten soon, so in what order the shapes were used does not matter
        by_shape = dict(self.by_shape)
        for known in used:
            shape = (known.layout.length, known.manner)
            others = tuple(each for each in by_shape.pop(shape, ()) if each.layout is not known.layout)
            by_shape[shape] = (known, *others)[:_LAYOUTS_A_SHAPE]
        return Learned(self.types, _within_bounds(by_shape))

    def _stands_first(self, known: Known) -> bool:
        layouts = self.by_shape.get((known.layout.length, known.manner))
        return layouts is not None and layouts[0] is known


def _within_bounds(by_shape: dict[Shape, tuple[Known, ...]]) -> dict[Shape, tuple[Known, ...]]:
    """The shapes used last, and of them the layouts whose values are not too many together."""
    values = 0
    kept: list[tuple[Shape, tuple[Known, ...]]] = []
    for shape in list(by_shape)[: -_SHAPES - 1 : -1]:
        weights = accumulate((known.weight for known in by_shape[shape]), initial=values)
        *fitting, values = takewhile(lambda weight: weight <= _VALUES, weights)
        if not fitting:
            break
        kept.append((shape, by_shape[shape][: len(fitting)]))
    return dict(reversed(kept))


class Used:
    """The layouts that a batch used, the latest last; those used before are forgotten beyond a bound."""

    __slots__ = ("_known", "_values")

    def __init__(self) -> None:
        self._known: dict[int, Known] = {}
        self._values = 0

    def add(self, known: Known) -> None:
        """It was used just now; what is known of its layout is what stands here."""
        self._forget(id(known.layout))
        self._known[id(known.layout)] = known
        self._values += known.weight
        while self._values > _VALUES and len(self._known) > 1:
            self._forget(next(iter(self._known)))

    def layouts(self) -> tuple[Known, ...]:
        """All that are not forgotten."""
        return tuple(self._known.values())

    def _forget(self, key: int) -> None:
        known = self._known.pop(key, None)
        if known is not None:
            self._values -= known.weight
