"""Decoding again what stands in the store or on a topic: rejects after their cause was mended, and ranges of a topic.

Rows keep the place of the message they come from, so what was there already collapses and what is new is told apart.
"""

import sys
from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from typing import Final, NamedTuple

import polars as pl

from app.workers import IngestWork, Registry
from ingest.decode import Decoded, decode_frames
from ingest.lanes import FRAMES_TOPIC, LAST_GASP_TOPIC
from ingest.replay import Windows
from schemas.codes import RejectReason
from schemas.errors import ContractError
from schemas.frames import RAW_FRAMES, REJECTS
from storage.queries import Place
from storage.store import ReadingStore

PAGE_REJECTS: Final = 1_000
"""Rejects in memory at once: of frames of 64 KiB, the longest that a wrapper takes, 64 MiB."""
FRAME_TOPICS: Final = (FRAMES_TOPIC, LAST_GASP_TOPIC)
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


class Asked(NamedTuple):
    """Which open rejects are replayed."""

    reasons: tuple[str, ...]
    limit: int
    """At most so many."""
    after: Place | None = None
    """Only those behind this place, and before that one."""
    before: Place | None = None


class Replayed(NamedTuple):
    """What became of the messages."""

    messages: int
    mended: int
    failing: int
    stopped_at: str | None


def replay_open(
    store: ReadingStore, work: IngestWork, registry: Registry, asked: Asked, policy: Policy, at: datetime
) -> Replayed:
    """Open rejects, replayed page by page: no more of them are in memory than a page holds. See `replay_rejects`.

    With `Policy.STOP` the pages before the first message that fails are stored.
    """
    total = Replayed(0, 0, 0, None)
    for page in open_rejects(store, asked):
        done = replay_rejects(store, work, registry, page, policy, at)
        messages, mended, failing = (have + more for have, more in zip(total[:3], done[:3], strict=True))
        total = Replayed(messages, mended, failing, done.stopped_at)
        if done.stopped_at is not None:
            break
    return total


def open_rejects(store: ReadingStore, asked: Asked) -> Iterator[pl.DataFrame]:
    """Open rejects by place, a page at a time; those of one message are never parted, but by the limit's end.

    What is resolved or rejected anew while the pages are read changes none of those that follow.
    """
    after, left, size = asked.after, asked.limit, PAGE_REJECTS
    while left > 0:
        found = store.load_open_rejects(asked.reasons, min(size, left), after, asked.before)
        if found.is_empty():
            return
        last = found.select(PLACE).row(-1)
        whole = found.filter(~_at(last)) if found.height == size < left else found
        if whole.is_empty():
            size *= 2  # one message fills the page
            continue
        yield whole
        after, left, size = whole.select(PLACE).row(-1), left - whole.height, PAGE_REJECTS


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
    token = _token(at, messages)
    kept = decoded.rejects if policy is Policy.REINSERT else REJECTS.empty()
    # The store may refuse rows of what decodes now: such a message is not mended either.
    still = pl.concat([decoded.rejects, work.carry_out(decoded._replace(rejects=kept), token)])
    _resolve(store, rejects, still, policy, at)
    left = still.select(PLACE).unique()
    failing = pl.concat([failing, left]).unique()
    return Replayed(messages.height, messages.height - left.height, failing.height, stopped_at)


def replay_range(
    store: ReadingStore, work: IngestWork, parts: Iterator[pl.DataFrame], at: datetime
) -> Iterator[tuple[Decoded, int]]:
    """Parts of a topic are decoded in order and delivered; the work's windows stand before the first of them.

    Open rejects of their messages are resolved as `replay_rejects` resolves them, but those that must not be read again
    (`NEVER`): what is seen of them is for a person.

    Yields:
        What each part decoded to, after it was delivered, and how many open rejects it mended.
    """
    for number, frames in enumerate(parts):
        decoded = work.prepare(frames)
        rejects = work.carry_out(decoded, f"{_token(at, frames)} {number}")
        yield decoded, _resolve_part(store, decoded.messages, rejects, at)


def _resolve_part(store: ReadingStore, messages: pl.DataFrame, rejects: pl.DataFrame, at: datetime) -> int:
    """What was open of a part and is mended, or rejected otherwise, is resolved; the number of those mended."""
    places = messages.select(PLACE).sort(PLACE)
    if places.is_empty():
        return 0
    topic, partition, offset, frame = places.row(0)
    behind = places.row(-1)
    asked = Asked(REPLAYABLE, sys.maxsize, (topic, partition, offset, frame - 1), (*behind[:3], behind[3] + 1))
    mended = 0
    for page in open_rejects(store, asked):
        mine = page.join(places, on=PLACE, how="semi")
        _resolve(store, mine, rejects, Policy.REINSERT, at)
        mended += mine.join(rejects.select(PLACE).unique(), on=PLACE, how="anti").height
    return mended


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


def check_range(topic: str, first: int, after: int) -> None:
    """Offsets [first, after) of a topic of frames.

    Raises:
        ContractError: Another topic, whose messages would all become open rejects, or no offset between the two.
    """
    if topic not in FRAME_TOPICS:
        raise ContractError(f"--topic {topic}: holds no frames: one of {', '.join(FRAME_TOPICS)}")
    if not first < after:
        raise ContractError(f"--first {first} --after {after}: no message lies between")


def _decode(store: ReadingStore, registry: Registry, messages: pl.DataFrame) -> Decoded:
    """Decoded with the windows of each partition as they stood before its first message."""
    firsts = messages.group_by("topic", "partition", maintain_order=True).first().select(PLACE)
    windows = Windows.from_frame(store.load_windows(firsts.drop("frame").rows()))
    # Windows are kept by offset. Of the Kafka message in which a page begins, what stands before it has been seen too:
    # without that a copy of it would pass.
    seen = store.load_messages(firsts.with_columns(frame=pl.int_ranges("frame")).explode("frame").drop_nulls())
    for frames in (seen, messages):
        decoded = decode_frames(frames, registry.keyring, windows, registry.enrolment, registry.types)
        windows = decoded.windows
    return decoded


def _before(messages: pl.DataFrame, place: tuple[object, ...]) -> pl.DataFrame:
    return messages.head(int(messages.select(_at(place).arg_true().first()).item()))


def _at(place: tuple[object, ...]) -> pl.Expr:
    return pl.all_horizontal(pl.col(name) == part for name, part in zip(PLACE, place, strict=True))


def _token(at: datetime, messages: pl.DataFrame) -> str:
    """Names a run and where in it: pages and parts of one size are no copies of each other."""
    return f"replay {at.isoformat()} {messages.select(PLACE).row(0) if messages.height else ''}"


def _resolve(store: ReadingStore, old: pl.DataFrame, new: pl.DataFrame, policy: Policy, at: datetime) -> None:
    """Each old reject says what became of it; one that is rejected again as it was stays open."""
    still = old.join(new.select(PLACE).unique(), on=PLACE, how="semi")
    mended = old.join(still, on=PLACE, how="anti")
    same = [*PLACE, "at", "reason"]
    word = "dropped" if policy is Policy.DROP else "superseded"
    changed = still if policy is Policy.DROP else still.join(new, on=same, how="anti")
    for rows, resolution in ((mended, "reinserted"), (changed, word)):
        told = rows.with_columns(resolution=pl.lit(resolution), resolved_at=pl.lit(at).cast(pl.Datetime("us", "UTC")))
        store.append("rejects", told, f"{_token(at, told)} {resolution}")
