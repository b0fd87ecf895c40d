"""What others tell the outage worker on its way: planned work, orders, confirmations, bellwethers, storms by hand.

One row of NOTES is one statement. A later statement about the same thing replaces the earlier one; a window that ends
where it begins is taken back. That a node is restored ends planned work on it and the disconnection of a meter.
"""

from enum import StrEnum
from typing import Final

import polars as pl

from outage.circumstances import (
    BELLWETHERS,
    CONFIRMED,
    ORDERS,
    PLANNED,
    RESTORED,
    Circumstances,
    OrderKind,
    Storm,
    circumstances,
)
from schemas.codes import NodeKind
from schemas.frames import NODE_KIND, UTC_US, Frame


class NoteKind(StrEnum):
    """What a note says of its node, between `from` and `to`."""

    PLANNED = "planned"
    DISCONNECT = "disconnect"
    EXCHANGE = "exchange"
    REMOVAL = "removal"
    FIRMWARE = "firmware"
    CONFIRMED = "confirmed"
    RESTORED = "restored"
    """At that instant the supply was back: what had been ordered or planned there is over."""
    BELLWETHER = "bellwether"
    STORM_ON = "storm_on"
    STORM_OFF = "storm_off"


NOTES: Final = Frame(
    "NOTES",
    pl.Schema(
        {
            "note": pl.Enum([kind.value for kind in NoteKind]),
            "node_kind": NODE_KIND,  # null: the whole fleet, for the storm's notes
            "node_id": pl.String(),
            "from": UTC_US,
            "to": UTC_US,  # null: open
            "said_by": pl.String(),  # who answers for it: a counterparty's or a person's name
            "said_at": UTC_US,
        }
    ),
    frozenset({"node_kind", "node_id", "to"}),
)
"""One row is one statement of an outage system, of the works office, or of a person."""

_SAME: Final = ("note", "node_kind", "node_id", "from")
_ORDERS: Final = [kind.value for kind in OrderKind]
_INSTANTS: Final = [NoteKind.CONFIRMED.value, NoteKind.RESTORED.value]
_ENDED: Final = [NoteKind.PLANNED.value, NoteKind.DISCONNECT.value]
"""What the restoration of its node ends; meters are exchanged and radios restarted under supply."""


def standing(notes: pl.DataFrame, since_us: int) -> pl.DataFrame:
    """NOTES that still say something: of each thing the last word, unless it ended before that instant.

    Args:
        notes: NOTES, in any order, repeats among them.
        since_us: Microseconds; a note without an end stands for ever, a confirmation for its instant.
    """
    newest = _newest(_newest(notes).pipe(_ended))
    instant = pl.col("note").is_in(_INSTANTS)
    end = pl.when(instant).then("from").otherwise("to").to_physical()
    return newest.filter(end.is_null() | (end > since_us)).sort(*_SAME)


def _newest(notes: pl.DataFrame) -> pl.DataFrame:
    return notes.sort("said_at", *_SAME, "to", nulls_last=True).unique(_SAME, keep="last", maintain_order=True)


def _ended(notes: pl.DataFrame) -> pl.DataFrame:
    """The notes, and anew, as of the restoration of their node, those that it ends."""
    restored = notes.filter(pl.col("note") == NoteKind.RESTORED.value)
    if restored.is_empty():
        return notes
    over = (
        notes.filter(pl.col("note").is_in(_ENDED))
        .join(
            restored.select("node_kind", "node_id", back="from", by="said_by", when="said_at"),
            on=["node_kind", "node_id"],
        )
        .filter(
            pl.col("from") <= pl.col("back"),
            pl.col("to").is_null() | (pl.col("to") > pl.col("back")),
            pl.col("said_at") <= pl.col("when"),
        )
        # The first of several restorations ends it.
        .sort("back", descending=True)
        .with_columns(to="back", said_by="by", said_at="when")
    )
    first = over.unique(_SAME, keep="last", maintain_order=True).select(notes.columns)
    return pl.concat([notes.join(first, on=_SAME, how="anti"), first])


def circumstances_of(notes: pl.DataFrame, pings: pl.DataFrame) -> Circumstances:
    """What the notes say, as inference takes it.

    Args:
        notes: NOTES as `standing` leaves them.
        pings: `PINGS`.
    """
    real = notes.filter(pl.col("to").is_null() | (pl.col("to") > pl.col("from")))
    about = {kind: real.filter(pl.col("note") == kind.value) for kind in NoteKind}
    orders = real.filter(pl.col("note").is_in(_ORDERS), pl.col("node_kind") == NodeKind.METER.value)
    return circumstances(
        planned=about[NoteKind.PLANNED].filter(pl.col("to").is_not_null()).select(*PLANNED),
        orders=orders.select("from", "to", meter_id="node_id", kind=pl.col("note").cast(pl.String)).select(*ORDERS),
        pings=pings,
        confirmed=about[NoteKind.CONFIRMED].select("node_kind", "node_id", at="from").select(*CONFIRMED),
        restored=about[NoteKind.RESTORED].select("node_kind", "node_id", at="from").select(*RESTORED),
        bellwethers=about[NoteKind.BELLWETHER].select(meter_id="node_id").select(*BELLWETHERS),
    )


def storm_by_hand(notes: pl.DataFrame, at_us: int, otherwise: Storm) -> Storm:
    """Storm mode as the last person to speak of it wants it at that instant; `otherwise` where nobody did."""
    from_, to = pl.col("from").to_physical(), pl.col("to").to_physical()
    said = notes.filter(
        pl.col("note").is_in([NoteKind.STORM_ON.value, NoteKind.STORM_OFF.value]),
        from_ <= at_us,
        to.is_null() | (to > at_us),
    ).sort("said_at")
    if said.is_empty():
        return otherwise
    return Storm.ON if said["note"][-1] == NoteKind.STORM_ON.value else Storm.OFF
