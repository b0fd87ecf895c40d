"""The picture of one simulated night, as the control room sees it at half past ten: docs/outage-night.svg.

`python benchmarks/outage_picture.py` draws it anew; `ami outages EVENTS.parquet --map` draws any other night.
"""

import sys
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    # `benchmarks/outage.py` bears the name of a room: the folder above comes first.
    sys.path[0] = str(ROOT)

import numpy as np  # noqa: E402

from benchmarks.outage_nights import Chances, draw_faults, grow, play  # noqa: E402
from outage.detect import detect_outages  # noqa: E402
from outage.map import render_map  # noqa: E402
from outage.params import DetectParams  # noqa: E402

PICTURE = ROOT / "docs" / "outage-night.svg"
UNTIL = datetime(2026, 1, 10, 22, 30, tzinfo=UTC)


def draw() -> str:
    """A feeder, three laterals, six transformers and ten single points fall dark; four of five gasps are heard."""
    tree, rng = grow(4), np.random.default_rng(7)
    faults = draw_faults(rng, tree, {"feeder": 1, "lateral": 3, "transformer": 6, "service_point": 10}, 1.0)
    night = play(rng, tree, faults, Chances(p=0.8, up=0.8))
    found = detect_outages(night.events, tree.meters, night.heard, DetectParams(until=UNTIL))
    return render_map(found.outages, tree.meters, "Outages of a simulated night")


if __name__ == "__main__":
    PICTURE.write_text(draw())
    print(PICTURE)
