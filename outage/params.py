"""What an operator may turn in outage detection, with defaults, units and reasons."""

from datetime import datetime

import msgspec

from outage.circumstances import Storm


class DetectParams(msgspec.Struct, frozen=True, kw_only=True):
    """Parameters of `detect_outages`. Times in seconds, shares as whole tenths so that ⌈r·n⌉ stays in integers."""

    until: datetime | None = None
    """State as of this instant (UTC): later evidence is left out. None: as of the newest evidence."""
    run_id: str = ""
    sustained_s: int = 300
    """An interruption is sustained when longer: 5 min (IEEE 1366), 3 min (GB, AU)."""
    declaration_s: int = 0
    """How long a meter waits before it speaks; taken off `sustained_s`. 0: not known."""
    share_tenths: int = 3
    """r: a node is out when max(2, ⌈r·n⌉) of its n eligible meters report it and none lives."""
    restored_tenths: int = 5
    """r₂: a node is restored when this share of its meters has shown life."""
    fresh_s: int = 300
    """Power-downs of one node that start within this long of each other are one onset."""
    clock_tolerance_s: int = 30
    """A read counts as life only this long after the power-down: meters' clocks differ."""
    late_s: int = 3600
    """Event time is believed no further than this before its reception ..."""
    early_s: int = 120
    """... and no further than this after it; otherwise the reception time stands."""
    heard_within_s: int = 86_400
    """A meter silent for longer before an onset is not eligible (judged only where the reads reach back so far)."""
    settle_s: int = 600
    """Restorations of one node that lie within this long of each other are one block."""
    zonal_needs_authenticated: bool = True
    """Feeder and above are reported only on authenticated power-downs; clear ones alone could be forged."""
    unauthenticated_confidence: float = 0.4
    """Highest confidence of an incident known from clear-text events alone."""

    close_after_s: int | None = None
    """An incident closes this long after its restoration, once every meter of it has shown life. None: never."""
    keep_s: int = 86_400
    """How far back a state remembers evidence and restored incidents; open ones are kept whatever their age."""
    storm: Storm = Storm.AUTO
    """Storm mode: node incidents and bellwethers only. By rate, or by hand."""
    storm_enter_per_min: int = 2000
    """Power-downs received in one minute that begin a storm."""
    storm_leave_per_min: int = 200
    """A storm ends after `storm_calm_s` with fewer per minute."""
    storm_calm_s: int = 1800
    pings_per_node: int = 5
    """Most meters to ask at one node where evidence is thin."""
    ping_again_s: int = 300
    """A meter is not asked again sooner."""
    ping_within_s: int = 7200
    """Onsets and restorations older than this are not asked about."""
    risk_window_s: int = 86_400
    risk_momentaries: int = 3
    """Momentary events of one node within `risk_window_s` that are worth a warning."""
    risk_sags: int = 5
    """Voltage sags of one node within `risk_window_s` that are worth a warning."""

    def sustained_after_us(self) -> int:
        """Longest observed duration, in microseconds, that is still momentary."""
        return max(0, self.sustained_s - self.declaration_s) * 1_000_000
