"""Numbers of settings, each with its bounds: what no machine can do is refused where it is read."""

from typing import Annotated

from msgspec import Meta

DAY_S = 86_400.0
TOPIC_OCTETS = 1_000_000
"""Of one message: a topic takes 1,048,576 with what stands around it."""

Port = Annotated[int, Meta(ge=1, le=65_535)]
ListenPort = Annotated[int, Meta(ge=0, le=65_535)]
"""0 takes a free one."""
Pause = Annotated[float, Meta(gt=0, le=DAY_S)]
"""Seconds, never none."""
Wait = Annotated[float, Meta(ge=0, le=DAY_S)]
"""Seconds, or none."""
Hours = Annotated[float, Meta(gt=0, le=10 * 365 * 24)]
Milliseconds = Annotated[int, Meta(ge=100, le=86_400_000)]
Count = Annotated[int, Meta(ge=1, le=1_000_000_000)]
Octets = Annotated[int, Meta(ge=1, le=1 << 40)]
MessageOctets = Annotated[int, Meta(ge=1, le=TOPIC_OCTETS)]
