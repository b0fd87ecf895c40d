"""Every code of the house: one enum each, with the codes of other systems beside it.

Sources: Blue Book (units, OBIS), AEMO MDFF (NEM12 flags and methods), IEC 61968-9 (reading quality
`system.category.index`), ESPI 4.0 (QualityOfReading), CMEP MEPMD01 (data quality flag).
"""

from enum import IntFlag, StrEnum
from typing import Final, NamedTuple


class Channel(StrEnum):
    """What a value measures. Delivered = utility to customer, received = customer to utility."""

    ENERGY_DELIVERED = "energy_delivered"
    ENERGY_RECEIVED = "energy_received"
    REACTIVE_DELIVERED = "reactive_delivered"
    REACTIVE_RECEIVED = "reactive_received"
    REACTIVE_Q1 = "reactive_q1"
    REACTIVE_Q2 = "reactive_q2"
    REACTIVE_Q3 = "reactive_q3"
    REACTIVE_Q4 = "reactive_q4"
    APPARENT_DELIVERED = "apparent_delivered"
    POWER_DELIVERED = "power_delivered"
    POWER_RECEIVED = "power_received"
    POWER_DELIVERED_L1 = "power_delivered_l1"
    POWER_DELIVERED_L2 = "power_delivered_l2"
    POWER_DELIVERED_L3 = "power_delivered_l3"
    POWER_RECEIVED_L1 = "power_received_l1"
    POWER_RECEIVED_L2 = "power_received_l2"
    POWER_RECEIVED_L3 = "power_received_l3"
    REACTIVE_POWER_DELIVERED = "reactive_power_delivered"
    REACTIVE_POWER_RECEIVED = "reactive_power_received"
    VOLTAGE_L1 = "voltage_l1"
    VOLTAGE_L2 = "voltage_l2"
    VOLTAGE_L3 = "voltage_l3"
    CURRENT_L1 = "current_l1"
    CURRENT_L2 = "current_l2"
    CURRENT_L3 = "current_l3"
    POWER_FACTOR = "power_factor"
    FREQUENCY = "frequency"
    DEMAND_MAX = "demand_max"
    VOLUME = "volume"
    ENERGY_DELIVERED_T1 = "energy_delivered_t1"
    ENERGY_DELIVERED_T2 = "energy_delivered_t2"
    ENERGY_DELIVERED_T3 = "energy_delivered_t3"
    ENERGY_DELIVERED_T4 = "energy_delivered_t4"
    ENERGY_RECEIVED_T1 = "energy_received_t1"
    ENERGY_RECEIVED_T2 = "energy_received_t2"
    ENERGY_RECEIVED_T3 = "energy_received_t3"
    ENERGY_RECEIVED_T4 = "energy_received_t4"
    OTHER = "other"


class Unit(StrEnum):
    """Base unit of a channel; `value_milli` counts thousandths of it."""

    WH = "Wh"
    VARH = "varh"
    VAH = "VAh"
    W = "W"
    VAR = "var"
    V = "V"
    A = "A"
    HZ = "Hz"
    M3 = "m3"
    ONE = "1"


UNIT_OF_CHANNEL: Final[dict[Channel, Unit]] = {
    **{c: Unit.WH for c in Channel if c.startswith("energy_")},
    **{c: Unit.VARH for c in Channel if c.startswith("reactive_") and not c.startswith("reactive_power_")},
    Channel.APPARENT_DELIVERED: Unit.VAH,
    **{c: Unit.W for c in Channel if c.startswith(("power_delivered", "power_received"))},
    **{c: Unit.VAR for c in Channel if c.startswith("reactive_power_")},
    **{c: Unit.V for c in Channel if c.startswith("voltage_")},
    **{c: Unit.A for c in Channel if c.startswith("current_")},
    Channel.POWER_FACTOR: Unit.ONE,
    Channel.FREQUENCY: Unit.HZ,
    Channel.DEMAND_MAX: Unit.W,
    Channel.VOLUME: Unit.M3,
}
"""Unit of every channel but `other`, whose unit belongs to its OBIS code."""

DLMS_UNIT: Final[dict[int, Unit]] = {
    13: Unit.M3,
    14: Unit.M3,
    27: Unit.W,
    29: Unit.VAR,
    30: Unit.WH,
    31: Unit.VAH,
    32: Unit.VARH,
    33: Unit.A,
    35: Unit.V,
    44: Unit.HZ,
    255: Unit.ONE,
}
"""Blue Book unit code -> our unit, for the units that channels use."""

ESPI_UOM: Final[dict[Unit, int]] = {
    Unit.WH: 72,
    Unit.VARH: 73,
    Unit.VAH: 71,
    Unit.W: 38,
    Unit.VAR: 63,
    Unit.V: 29,
    Unit.A: 5,
}
"""ESPI UomType (schema 4.0)."""


class Status(IntFlag):
    """Normalised status bits of an interval or a read; the meter's own bits are mapped by meter type."""

    CLOCK_INVALID = 1 << 0
    CLOCK_DOUBTFUL = 1 << 1
    PARTIAL = 1 << 2
    LONG = 1 << 3
    SKIPPED = 1 << 4
    POWER_FAIL = 1 << 5
    TEST_MODE = 1 << 6
    OVERFLOW = 1 << 7
    CLOCK_SET = 1 << 8
    RESET_OR_ROLLOVER = 1 << 9
    DST_ACTIVE = 1 << 10
    CONFIGURATION_CHANGED = 1 << 11
    DATA_NOT_VALID = 1 << 12


class Quality(StrEnum):
    """What a final value is worth."""

    VALID = "valid"
    ESTIMATED = "estimated"
    EDITED = "edited"
    SUSPECT = "suspect"
    MISSING = "missing"
    OUTAGE = "outage"


class Method(StrEnum):
    """How a substitute was made; null for measured values."""

    LINEAR = "linear"
    BLEND = "blend"
    LIKE_DAY = "like_day"
    MEAN_LIKE_DAY = "mean_like_day"
    PROFILE = "profile"
    FLAT = "flat"
    ZERO = "zero"
    CHECK_METER = "check_meter"
    FORWARD = "forward"
    MANUAL = "manual"


class QualityCodes(NamedTuple):
    """Codes of one (quality, method) in other systems. `nem12` is flag and method, for meter types 1 to 4."""

    cim: str
    nem12: str
    espi: int | None
    cmep: str


QUALITY_CODES: Final[dict[tuple[Quality, Method | None], QualityCodes]] = {
    (Quality.VALID, None): QualityCodes("3.0.1", "A", 0, ""),
    (Quality.MISSING, None): QualityCodes("3.5.259", "N", None, "N"),
    (Quality.SUSPECT, None): QualityCodes("3.5.258", "A", 10, "R"),
    (Quality.OUTAGE, Method.ZERO): QualityCodes("1.2.32", "S19", 8, "E"),
    (Quality.EDITED, Method.MANUAL): QualityCodes("3.7.0", "S16", 7, "A"),
    (Quality.ESTIMATED, Method.LINEAR): QualityCodes("3.8.0", "S17", 9, "E"),
    (Quality.ESTIMATED, Method.BLEND): QualityCodes("3.8.0", "S15", 8, "E"),
    (Quality.ESTIMATED, Method.LIKE_DAY): QualityCodes("3.8.0", "S14", 8, "E"),
    (Quality.ESTIMATED, Method.MEAN_LIKE_DAY): QualityCodes("3.8.0", "S15", 8, "E"),
    (Quality.ESTIMATED, Method.PROFILE): QualityCodes("3.8.0", "S57", 8, "E"),
    (Quality.ESTIMATED, Method.FLAT): QualityCodes("3.8.0", "S18", 8, "E"),
    (Quality.ESTIMATED, Method.ZERO): QualityCodes("3.8.0", "S19", 8, "E"),
    (Quality.ESTIMATED, Method.CHECK_METER): QualityCodes("3.8.0", "S11", 8, "E"),
    (Quality.ESTIMATED, Method.FORWARD): QualityCodes("3.12.0", "E52", 12, "E"),
    (Quality.ESTIMATED, Method.MANUAL): QualityCodes("3.8.0", "S16", 8, "E"),
}
"""The one table of quality codes (vee.md section 5).

A suspect value that is kept was measured but failed a check; NEM12 has no such flag: an actual, with a reason text.
`is_final_estimate` turns the S of an estimate into F.
"""


class EventKind(StrEnum):
    """What happened, whatever number the meter gave it; the number as sent stays in `EVENTS.code`."""

    POWER_DOWN = "power_down"
    POWER_UP = "power_up"
    LAST_GASP = "last_gasp"
    LAST_GASP_TEST = "last_gasp_test"
    FIRST_BREATH = "first_breath"
    PHASE_LOST_L1 = "phase_lost_l1"
    PHASE_LOST_L2 = "phase_lost_l2"
    PHASE_LOST_L3 = "phase_lost_l3"
    PHASE_RETURNED_L1 = "phase_returned_l1"
    PHASE_RETURNED_L2 = "phase_returned_l2"
    PHASE_RETURNED_L3 = "phase_returned_l3"
    VOLTAGE_SAG = "voltage_sag"
    VOLTAGE_SWELL = "voltage_swell"
    VOLTAGE_NORMAL = "voltage_normal"
    PHASE_SEQUENCE = "phase_sequence"
    CLOCK_CHANGED = "clock_changed"
    CLOCK_SET_OLD = "clock_set_old"
    CLOCK_SET_NEW = "clock_set_new"
    CLOCK_INVALID = "clock_invalid"
    BATTERY = "battery"
    TARIFF_ACTIVATED = "tariff_activated"
    ERROR_REGISTER_CLEARED = "error_register_cleared"
    ALARM_REGISTER_CLEARED = "alarm_register_cleared"
    MEMORY_FAULT = "memory_fault"
    WATCHDOG = "watchdog"
    MEASUREMENT_FAULT = "measurement_fault"
    FIRMWARE_READY = "firmware_ready"
    FIRMWARE_ACTIVATED = "firmware_activated"
    COVER_OPENED = "cover_opened"
    COVER_CLOSED = "cover_closed"
    MAGNETIC_FIELD_ON = "magnetic_field_on"
    MAGNETIC_FIELD_OFF = "magnetic_field_off"
    TILT = "tilt"
    TAMPER = "tamper"
    LOGIN_FAILED = "login_failed"
    CONFIGURATION_CHANGED = "configuration_changed"
    KEYS_CHANGED = "keys_changed"
    REPLAY_ATTACK = "replay_attack"
    DISCONNECTED = "disconnected"
    CONNECTED = "connected"
    DISCONNECTOR_READY = "disconnector_ready"
    LIMITER_EXCEEDED = "limiter_exceeded"
    QUALITY_BAD = "quality_bad"
    MBUS_DEVICE = "mbus_device"
    WAKE_UP = "wake_up"
    LOG_CLEARED = "log_cleared"
    OTHER = "other"


class Origin(StrEnum):
    """Who reported an event."""

    METER = "meter"
    NIC = "nic"
    CONCENTRATOR = "concentrator"


class RejectReason(StrEnum):
    """Why a message, or a part of one, could not become a row."""

    LINK_LENGTH = "link_length"
    LINK_CHECKSUM = "link_checksum"
    LINK_INCOMPLETE = "link_incomplete"
    NOT_DLMS = "not_dlms"
    UNKNOWN_APDU = "unknown_apdu"
    APDU_UNSUPPORTED = "apdu_unsupported"
    APDU_MALFORMED = "apdu_malformed"
    AXDR_TAG = "axdr_tag"
    AXDR_LENGTH = "axdr_length"
    AXDR_TRUNCATED = "axdr_truncated"
    DEPTH = "depth"
    WORK = "work"
    TRAILING_BYTES = "trailing_bytes"
    DATE_TIME = "date_time"
    SCALING = "scaling"
    BLOCK_TRANSFER_INCOMPLETE = "block_transfer_incomplete"
    SECURITY_UNSUPPORTED = "security_unsupported"
    COMPRESSION_UNSUPPORTED = "compression_unsupported"
    AGREED_KEY_UNSUPPORTED = "agreed_key_unsupported"
    DOWNGRADE = "downgrade"
    IDENTITY = "identity"
    KEY_UNKNOWN = "key_unknown"
    KEY_REVOKED = "key_revoked"
    TAG_MISMATCH = "tag_mismatch"
    SIGNATURE_MISMATCH = "signature_mismatch"
    REPLAY = "replay"
    NONCE_REUSE = "nonce_reuse"
    QUARANTINED = "quarantined"
    LAYOUT_UNKNOWN = "layout_unknown"
    POISON = "poison"
    NO_ROWS = "no_rows"
    """A message of one of our own topics that is no rows of it: no frame."""


class Severity(StrEnum):
    """Effect of a finding: counted, flagged, repaired, or held for a person."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    BLOCKING = "blocking"


class Rule(StrEnum):
    """Validation rules. Vn of the reference is bit n - 1 of `FINALS.failed` and `FINALS.unjudged`."""

    CLOCK = "clock"
    IDENTITY = "identity"
    MISSING_INTERVAL = "missing_interval"
    MISSING_READ = "missing_read"
    DUPLICATE = "duplicate"
    SUM_CHECK = "sum_check"
    SPIKE = "spike"
    STEP_CHANGE = "step_change"
    ABSOLUTE_LIMIT = "absolute_limit"
    PEAK_AGAINST_PREVIOUS = "peak_against_previous"
    HIGH_LOW_USAGE = "high_low_usage"
    TOU_SUM = "tou_sum"
    REGISTER_DELTA = "register_delta"
    NEGATIVE = "negative"
    ZERO_ON_ACTIVE = "zero_on_active"
    USAGE_ON_INACTIVE = "usage_on_inactive"
    FLAT_LINE = "flat_line"
    TEST_MODE = "test_mode"
    OVERFLOW = "overflow"
    PARTIAL_INTERVAL = "partial_interval"
    REACTIVE_CHECK = "reactive_check"
    ROLLOVER_OR_RESET = "rollover_or_reset"
    MULTIPLIER = "multiplier"
    REPLACEMENT = "replacement"
    SIBLING_CHANNELS = "sibling_channels"
    METER_EXCHANGE = "meter_exchange"
    DAY_LENGTH = "day_length"
    CLOCK_SET = "clock_set"
    LONG_ESTIMATION = "long_estimation"
    OUTAGE_ZERO = "outage_zero"
    NET_AND_RECEIVED = "net_and_received"
    VOLTAGE_RANGE = "voltage_range"
    MAIN_AGAINST_CHECK = "main_against_check"
    USER_FORMULA = "user_formula"
    ROBUST_OUTLIER = "robust_outlier"
    BILLING_GATE = "billing_gate"
    # Findings of estimation, which are no rules and have no bit:
    ANCHOR_ZERO_PROFILE = "anchor_zero_profile"
    ANCHOR_NEGATIVE_REMAINDER = "anchor_negative_remainder"
    NO_ESTIMATE = "no_estimate"
    EDIT_NOT_APPLIED = "edit_not_applied"
    ESTIMATION_WAITS = "estimation_waits"
    # Of versions, neither:
    HELD_CORRECTION = "held_correction"


RULES_WITH_BIT: Final = 36
RULE_BIT: Final[dict[Rule, int]] = {rule: bit for bit, rule in enumerate(list(Rule)[:RULES_WITH_BIT])}


class EditAction(StrEnum):
    """What an edit does to the finals between its bounds."""

    SET = "set"
    SCALE = "scale"
    SHIFT = "shift"
    ACCEPT = "accept"
    REJECT = "reject"
    RE_ESTIMATE = "re_estimate"


class Scope(StrEnum):
    """How far an outage reaches: one service point, a transformer or lateral, a feeder and above."""

    INDIVIDUAL = "individual"
    STREET = "street"
    ZONAL = "zonal"


class IncidentState(StrEnum):
    """State of an incident after a step."""

    CANDIDATE = "candidate"
    REPORTED = "reported"
    CONFIRMED = "confirmed"
    PARTIALLY_RESTORED = "partially_restored"
    RESTORED = "restored"
    CLOSED = "closed"
    CANCELLED = "cancelled"
    MERGED = "merged"


class NodeKind(StrEnum):
    """Kind of a node of the supply tree, from the leaf up; `group` is several nodes without a common device."""

    METER = "meter"
    SERVICE_POINT = "service_point"
    TRANSFORMER = "transformer"
    LATERAL = "lateral"
    FEEDER = "feeder"
    SUBSTATION = "substation"
    GROUP = "group"


class QualityClass(StrEnum):
    """What a determinant rests on."""

    ACTUAL = "actual"
    ESTIMATED = "estimated"
    MIXED = "mixed"
    UNBILLABLE = "unbillable"


class Uom(StrEnum):
    """Unit in which a determinant is rendered."""

    KWH = "kWh"
    KW = "kW"
    KVA = "kVA"
    KVARH = "kvarh"
    ONE = "1"
