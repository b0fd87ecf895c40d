"""Rejects as metrics: each once, by the topic that it came from, when it is stored."""

from typing import Final

import polars as pl

from app.telemetry import DECODE_ERRORS, REJECTS, SECURITY_REJECTS
from schemas.codes import RejectReason

SECURITY_REASONS: Final = frozenset(
    reason.value
    for reason in (
        RejectReason.DOWNGRADE, RejectReason.IDENTITY, RejectReason.KEY_UNKNOWN, RejectReason.KEY_REVOKED,
        RejectReason.TAG_MISMATCH, RejectReason.SIGNATURE_MISMATCH, RejectReason.REPLAY, RejectReason.NONCE_REUSE,
        RejectReason.QUARANTINED,
    )
)  # fmt: skip


def count_rejects(rejects: pl.DataFrame) -> None:
    """REJECTS that were stored; those of the decoder are decode errors too (`poison` is the store's)."""
    by = rejects.group_by("topic", pl.col("reason").cast(pl.String)).len()
    for topic, reason, number in by.rows():
        REJECTS.labels(topic=topic or "", reason=reason).inc(number)
        if reason != RejectReason.POISON.value:
            DECODE_ERRORS.labels(reason=reason).inc(number)
        if reason in SECURITY_REASONS:
            SECURITY_REJECTS.labels(reason=reason).inc(number)
