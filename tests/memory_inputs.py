"""Input topics in memory: they are sought as those in Kafka are (inputs_promises), and tell a test where."""

from collections.abc import Mapping

from outage.stream_record import Positions
from schemas.errors import TerminalError


class MemoryInputs:
    """`outage_lane.Reader` over logs of which only the bounds are known.

    Args:
        logs: Of every topic, by partition: the first offset that is kept, and the next one to be written.
    """

    def __init__(self, logs: Mapping[str, Mapping[int, tuple[int, int]]]) -> None:
        self._logs = logs
        self.sought: list[object] = []

    def seek(self, positions: Positions, *, missing_from_start: bool | None) -> Positions:
        """See `outage.stream_inputs.Inputs.seek`."""
        self.sought.append(positions)
        known: Positions = {topic: {} for topic in self._logs}
        for topic, parts in self._logs.items():
            for partition, (first, end) in parts.items():
                at = positions.get(topic, {}).get(partition)
                if at is None and not positions and missing_from_start is None:
                    raise TerminalError(f"no position for {topic}/{partition}")
                if at is None:
                    at = first if positions or missing_from_start else end
                known[topic][partition] = at
        return known

    def rest(self) -> None:
        """See `outage.stream_inputs.Inputs.rest`."""
        self.sought.append("rest")

    def close(self) -> None:
        """Nothing is held open."""
