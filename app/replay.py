"""Decoding again what stands in the store or on a topic: rejects after their cause was mended, and ranges of a topic.

Rows keep the place of the message they come from, so what was there already collapses and what is new is told apart.
"""

from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from typing import Final, NamedTuple

import polars as pl

from app.workers import IngestWork, Registry
from ingest.decode import Decoded, decode_frames
from ingest.replay import Windows
from schemas.codes import RejectReason
from schemas.errors import ContractError
from schemas.frames import RAW_FRAMES, REJECTS
from storage.store import ReadingStore

PLACE: Final = ("topic", "partition", "offset", "frame")
NEVER: Final = (
    RejectReason.REPLAY,
    RejectReason.NONCE_REUSE,
    RejectReason.QUARANTINED,
    RejectReason.KEYS_EXHAUSTED,
    RejectReason.NO_ROWS,
)
"""Rejected for what was seen before them: read again without it they would pass, which is what an attacker wants; and
what is no frame."""
REPLAYABLE: Final = tuple(reason.value for reason in RejectReason if reason not in NEVER)


class Policy(StrEnum):
    """What happens to a message that still cannot be decoded."""

    STOP = "stop"
    """Nothing from the first of them on is stored."""
    REINSERT = "reinsert"
    """It goes back to the rejects, with the reason that it has now."""
    DROP = "drop"
    """It stays in the rejects, resolved as dropped."""


class Replayed(NamedTuple):
    """What became of the messages."""

    messages: int
    mended: int
    failing: int
    stopped_at: str | None


def replay_rejects(
    store: ReadingStore, work: IngestWork, registry: Registry, rejects: pl.DataFrame, policy: Policy, at: datetime
) -> Replayed:
    """Open rejects are decoded again and resolved; their rows are stored and published as those of any batch.

    Args:
        store: Where the rejects come from and go.
        work: Delivers a batch, and publishes what comes of it whatever its lane: nobody else does.
        registry: Keys, meters and types as they are now.
        rejects: As loaded by `load_open_rejects`.
        policy: For those that still fail.
        at: When they count as resolved.
    """
    known = rejects.select(*RAW_FRAMES.schema.names(), sender="system_title")
    messages = known.unique(PLACE, keep="first").sort(PLACE)
    decoded = _decode(store, registry, messages)
    failing = decoded.rejects.select(PLACE).unique().sort(PLACE)
    stopped_at = None
    if policy is Policy.STOP and failing.height:
        stopped_at = "/".join(str(part) for part in failing.row(0))
        messages = _before(messages, failing.row(0))
        rejects = rejects.join(messages, on=PLACE, how="semi")
        decoded = _decode(store, registry, messages)
    token = f"replay {at.isoformat()}"
    kept = decoded.rejects if policy is Policy.REINSERT else REJECTS.empty()
    # The store may refuse rows of what decodes now: such a message is not mended either.
    still = pl.concat([decoded.rejects, work.carry_out(decoded._replace(rejects=kept), token)])
    _resolve(store, rejects, still, policy, at)
    left = still.select(PLACE).unique()
    failing = pl.concat([failing, left]).unique()
    return Replayed(messages.height, messages.height - left.height, failing.height, stopped_at)


def replay_range(work: IngestWork, parts: Iterator[pl.DataFrame], token: str) -> Iterator[Decoded]:
    """Parts of a topic are decoded in order and delivered; the work's windows stand before the first of them.

    Yields:
        What each part decoded to, after it was delivered.
    """
    for number, frames in enumerate(parts):
        decoded = work.prepare(frames)
        work.deliver(decoded, f"{token} {number}")
        yield decoded


def check_reasons(reasons: tuple[str, ...]) -> tuple[str, ...]:
    """The reasons asked for, or all that can be replayed.

    Raises:
        ContractError: An unknown reason, or one whose messages must not be read again.
    """
    for reason in reasons:
        if reason not in REPLAYABLE:
            known = reason in {one.value for one in NEVER}
            raise ContractError(f"--reason {reason}: " + ("never read again" if known else "unknown"))
    return reasons or REPLAYABLE


def _decode(store: ReadingStore, registry: Registry, messages: pl.DataFrame) -> Decoded:
    """Decoded with the windows of each partition as they stood before its first message."""
    firsts = messages.group_by("topic", "partition").agg(pl.col("offset").min()).sort("topic", "partition")
    windows = Windows.from_frame(store.load_windows(firsts.rows()))
    return decode_frames(messages, registry.keyring, windows, registry.enrolment, registry.types)


def _before(messages: pl.DataFrame, place: tuple[object, ...]) -> pl.DataFrame:
    here = pl.all_horizontal(pl.col(name) == part for name, part in zip(PLACE, place, strict=True))
    return messages.head(int(messages.select(here.arg_true().first()).item()))


def _resolve(store: ReadingStore, old: pl.DataFrame, new: pl.DataFrame, policy: Policy, at: datetime) -> None:
    """Each old reject says what became of it; one that is rejected again as it was stays open."""
    still = old.join(new.select(PLACE).unique(), on=PLACE, how="semi")
    mended = old.join(still, on=PLACE, how="anti")
    same = [*PLACE, "at", "reason"]
    word = "dropped" if policy is Policy.DROP else "superseded"
    changed = still if policy is Policy.DROP else still.join(new, on=same, how="anti")
    for rows, resolution in ((mended, "reinserted"), (changed, word)):
        told = rows.with_columns(resolution=pl.lit(resolution), resolved_at=pl.lit(at).cast(pl.Datetime("us", "UTC")))
        store.append("rejects", told, f"replay {at.isoformat()} {resolution}")
