"""Event codes, alarm bits and status words through `decode_frames`: the same number by each companion standard."""

from datetime import timedelta

import pytest

from ingest.decode import Decoded
from ingest.dlms.cosem import parse_obis
from ingest.dlms.data import Data, Tag
from ingest.event_tables import STANDARDS
from ingest.meter_types import BUILT_IN, parse_types
from tests.ingest.fleet import (
    NAME,
    START,
    body_of,
    decode,
    device_name,
    enrolled,
    event,
    meters,
    notification,
    reasons,
    register_rows,
    sealed,
    stamp,
)

MARK_OF = {"generic": "generic", "idis": "idis", "dsmr": "smr5", "is15959": "is15959"}
"""A built-in meter type of each companion standard."""

CODES = {
    # supply and clock: alike everywhere but in India, whose list is another (below)
    1: ("power_down", "power_down", "power_down"),
    2: ("power_up", "power_up", "power_up"),
    3: ("clock_changed", "clock_changed", "clock_changed"),
    4: ("clock_set_old", "clock_set_old", "clock_set_old"),
    5: ("clock_set_new", "clock_set_new", "clock_set_new"),
    6: ("clock_invalid", "clock_invalid", "clock_invalid"),
    # device
    7: ("other", "battery", "battery"),
    8: ("other", "battery", "battery"),
    9: ("other", "tariff_activated", "tariff_activated"),
    10: ("other", "error_register_cleared", "error_register_cleared"),
    11: ("other", "alarm_register_cleared", "alarm_register_cleared"),
    12: ("other", "memory_fault", "memory_fault"),
    13: ("other", "memory_fault", "memory_fault"),
    14: ("other", "memory_fault", "memory_fault"),
    15: ("other", "watchdog", "watchdog"),
    16: ("other", "measurement_fault", "measurement_fault"),
    17: ("other", "firmware_ready", "firmware_ready"),
    18: ("other", "firmware_activated", "firmware_activated"),
    # 25: a metrology mode in IDIS, a test in DSMR
    25: ("other", "other", "last_gasp_test"),
    # tamper
    40: ("other", "cover_opened", "cover_opened"),
    41: ("other", "cover_closed", "cover_closed"),
    42: ("other", "magnetic_field_on", "magnetic_field_on"),
    43: ("other", "magnetic_field_off", "magnetic_field_off"),
    44: ("other", "cover_opened", "cover_opened"),
    45: ("other", "cover_closed", "cover_closed"),
    46: ("other", "other", "login_failed"),
    47: ("other", "configuration_changed", "configuration_changed"),
    48: ("other", "keys_changed", "cover_opened"),
    50: ("other", "replay_attack", "other"),
    # disconnector and limiter
    59: ("other", "disconnector_ready", "other"),
    60: ("other", "disconnected", "other"),
    61: ("other", "connected", "other"),
    62: ("other", "disconnected", "other"),
    63: ("other", "connected", "other"),
    64: ("other", "disconnected", "other"),
    65: ("other", "limiter_exceeded", "other"),
    69: ("other", "connected", "other"),
    # voltage: where the two lists contradict each other
    76: ("other", "voltage_sag", "other"),
    77: ("other", "voltage_sag", "voltage_sag"),
    78: ("other", "voltage_sag", "voltage_sag"),
    79: ("other", "voltage_swell", "voltage_sag"),
    80: ("other", "voltage_swell", "voltage_swell"),
    81: ("other", "voltage_swell", "voltage_swell"),
    82: ("other", "phase_lost_l1", "voltage_swell"),
    83: ("other", "phase_lost_l2", "voltage_normal"),
    84: ("other", "phase_lost_l3", "voltage_normal"),
    85: ("other", "voltage_normal", "voltage_normal"),
    86: ("other", "voltage_normal", "phase_lost_l1"),
    87: ("other", "voltage_normal", "phase_lost_l2"),
    88: ("other", "phase_sequence", "phase_lost_l3"),
    90: ("other", "other", "phase_returned_l1"),
    91: ("other", "other", "phase_returned_l2"),
    92: ("other", "quality_bad", "phase_returned_l3"),
    93: ("other", "quality_bad", "voltage_sag"),
    94: ("other", "quality_bad", "voltage_sag"),
    95: ("other", "other", "voltage_sag"),
    96: ("other", "other", "voltage_swell"),
    97: ("other", "other", "voltage_swell"),
    98: ("other", "other", "voltage_swell"),
    99: ("last_gasp", "other", "last_gasp"),
    # ends and logs
    223: ("other", "phase_returned_l1", "other"),
    224: ("other", "phase_returned_l2", "other"),
    225: ("other", "phase_returned_l3", "other"),
    254: ("other", "log_cleared", "other"),
    255: ("other", "log_cleared", "log_cleared"),
}
"""Code -> event by generic, IDIS-style list, DSMR/SMR5: written here from the published lists, not from the tables."""

INDIAN = {
    # voltage of a phase missing and back, over and low voltage and back
    1: "phase_lost_l1", 2: "phase_returned_l1", 3: "phase_lost_l2", 4: "phase_returned_l2", 5: "phase_lost_l3",
    6: "phase_returned_l3", 7: "voltage_swell", 8: "voltage_normal", 9: "voltage_sag", 10: "voltage_normal",
    # current reversed, a transformer open, bypassed
    **dict.fromkeys((51, 53, 55, 57, 59, 61, 65), "tamper"),
    101: "power_down", 102: "power_up",
    # transactions
    151: "clock_changed", **dict.fromkeys((152, 153, 154, 155, 165), "configuration_changed"),
    157: "firmware_activated", **dict.fromkeys((161, 162, 163, 164), "keys_changed"),
    # magnet, neutral, modem, modes of payment and of counting, overload, cover, load switch
    201: "magnetic_field_on", 202: "magnetic_field_off", **dict.fromkeys((203, 207, 209), "tamper"),
    **dict.fromkeys((211, 212, 213, 214), "configuration_changed"), 215: "limiter_exceeded",
    251: "cover_opened", 301: "disconnected", 302: "connected",
}  # fmt: skip
"""IS 15959, Parts 1 and 2, as its users list them."""

DSMR_ALARMS = {
    1: {
        0: "clock_invalid", 1: "battery", 2: "power_up", 4: "configuration_changed", 8: "memory_fault",
        9: "memory_fault", 10: "memory_fault", 11: "measurement_fault", 12: "watchdog", 13: "tamper",
        **dict.fromkeys(range(16, 20), "mbus_device"), **dict.fromkeys(range(20, 24), "tamper"),
        **dict.fromkeys(range(24, 28), "mbus_device"),
        28: "phase_lost_l1", 29: "phase_lost_l2", 30: "phase_lost_l3",
    },
    2: {
        **dict.fromkeys(range(3), "voltage_sag"), **dict.fromkeys(range(3, 6), "voltage_swell"),
        **dict.fromkeys(range(8, 14), "quality_bad"),
    },
    3: {0: "last_gasp", 1: "last_gasp_test"},
}  # fmt: skip
IDIS_ALARMS = {
    1: {0: "clock_invalid", 1: "battery"},
    2: {0: "power_down", 1: "power_up", 2: "phase_lost_l1", 3: "phase_lost_l2", 4: "phase_lost_l3"},
    3: {},
}
GENERIC_ALARMS = {1: {0: "power_down", 1: "power_up"}, 2: {}, 3: {0: "last_gasp", 1: "last_gasp_test"}}
ALARMS = {"dsmr": DSMR_ALARMS, "idis": IDIS_ALARMS, "generic": GENERIC_ALARMS}


def told(standard: str, *messages: bytes) -> list[tuple[str, int]]:
    registry = meters(enrolled(meter_type=MARK_OF[standard]))
    sent = [sealed(message, counter) for counter, message in enumerate(messages, 1)]
    decoded = decode(*sent, registry=registry)
    assert decoded.rejects.is_empty()
    return decoded.events.select("event", "code").rows()


def test_every_standard_has_a_meter_type() -> None:
    assert set(MARK_OF) == set(STANDARDS)
    assert {name: BUILT_IN.by_name[kind].events for name, kind in MARK_OF.items()} == {name: name for name in MARK_OF}


@pytest.mark.parametrize(("place", "standard"), [(0, "generic"), (1, "idis"), (2, "dsmr")])
def test_event_codes_mean_what_their_companion_standard_says(place: int, standard: str) -> None:
    pushed = [event("0.0.96.11.0.255", Data(Tag.UINT16, code)) for code in CODES]
    assert told(standard, *pushed) == [(kinds[place], code) for code, kinds in CODES.items()]


def test_no_code_of_a_table_is_untested() -> None:
    for standard, table in STANDARDS.items():
        assert set(table.codes) <= set(INDIAN if standard == "is15959" else CODES), standard


def test_indian_event_codes_mean_what_their_list_says_and_what_it_lacks_stays_other() -> None:
    wanted = INDIAN | dict.fromkeys((11, 52, 66, 67, 158, 205, 999), "other")
    pushed = [event("0.0.96.11.2.255", Data(Tag.UINT16, code)) for code in wanted]
    assert told("is15959", *pushed) == [(kind, code) for code, kind in wanted.items()]


@pytest.mark.parametrize("standard", sorted(ALARMS))
@pytest.mark.parametrize("register", [1, 2, 3])
@pytest.mark.parametrize("descriptor", [0, 20])
def test_each_bit_of_an_alarm_register_is_the_event_of_its_standard(
    standard: str, register: int, descriptor: int
) -> None:
    bits = ALARMS[standard][register]
    name = f"0.0.97.98.{descriptor + register - 1}.255"
    messages = [event(name, Data(Tag.UINT32, 1 << bit)) for bit in range(32)]
    found = [(kind, code % 2**32) for kind, code in told(standard, *messages)]  # EVENTS.code is Int32: bit 31 its sign
    assert found == [(bits.get(bit, "other"), 1 << bit) for bit in range(32)]


def test_no_alarm_bit_of_a_table_is_untested() -> None:
    for standard, wanted in ALARMS.items():
        assert {register: dict(bits) for register, bits in STANDARDS[standard].alarms.items()} == {
            register: bits for register, bits in wanted.items() if bits
        }, standard


def test_several_bits_are_several_events_and_what_no_table_knows_is_one_other() -> None:
    push = event("0.0.97.98.1.255", Data(Tag.UINT32, 0b11 | 1 << 30 | 1 << 31))
    raised = 0b11 | 1 << 30 | 1 << 31
    assert [(kind, code % 2**32) for kind, code in told("idis", push)] == [
        ("power_down", raised), ("power_up", raised), ("other", raised)
    ]  # fmt: skip


def test_bits_of_one_kind_are_one_event_whose_code_names_them_all() -> None:
    """Two would be of one identity: meter, event, time, code and place are all that a store tells events by."""
    memory, fraud = 1 << 8 | 1 << 9 | 1 << 10, 1 << 13
    push = event("0.0.97.98.0.255", Data(Tag.UINT32, memory | fraud | 1 << 5 | 1 << 6))
    raised = memory | fraud | 1 << 5 | 1 << 6
    assert {bit: STANDARDS["dsmr"].alarms[1][bit] for bit in (8, 9, 10)} == dict.fromkeys((8, 9, 10), "memory_fault")
    found = told("dsmr", push)
    assert len(found) == len(set(found))
    assert sorted(found) == sorted(
        [("memory_fault", raised), (STANDARDS["dsmr"].alarms[1][13], raised), ("other", raised)]
    )


@pytest.mark.parametrize("name", ["0.0.97.98.0.255", "0.0.97.98.21.255", "0.0.96.11.0.255"])
@pytest.mark.parametrize("number", [2**32, 2**32 + 2, 2**40 | 1 << 13, 9_223_372_036_854_775])
def test_a_number_too_wide_for_a_code_is_a_read_too(name: str, number: int) -> None:
    registry = meters(enrolled(meter_type=MARK_OF["dsmr"]))
    pushes = [event(name, Data(Tag.UINT64, each)) for each in (number, 1, number)]
    decoded = decode(*(sealed(push, counter) for counter, push in enumerate(pushes, 1)), registry=registry)
    assert reasons(decoded) == []
    kept = ("other", f"0-0:{name.removeprefix('0.0.')}", number * 1000)
    assert decoded.reads.select("channel", "obis", "value_milli").rows() == [kept, kept]
    assert decoded.events["code"].null_count() >= 2 and 1 in decoded.events["code"].to_list()


def test_a_number_too_wide_for_a_read_is_a_reject() -> None:
    registry = meters(enrolled(meter_type=MARK_OF["dsmr"]))
    decoded = decode(sealed(event("0.0.97.98.0.255", Data(Tag.UINT64, 2**64 - 1)), 1), registry=registry)
    assert reasons(decoded) == ["scaling"] and decoded.reads.is_empty() and decoded.events.height > 1


def test_bits_of_the_indian_status_word_are_events() -> None:
    """A cover bit that stays set for good must not turn each later gasp into tampering: states are no events."""
    bits = {84: "disconnected", 85: "last_gasp", 86: "first_breath"}
    word = event("0.0.94.91.18.255", Data(Tag.BIT_STRING, "1" * 128))
    found = told("is15959", word)
    assert sorted(found, key=lambda each: each[1]) == [(bits.get(bit, "other"), bit) for bit in range(128)]


def test_a_numbered_event_object_of_each_log_is_a_code() -> None:
    for log in range(6):
        assert told("idis", event(f"0.0.96.11.{log}.255", Data(Tag.UINT8, 48))) == [("keys_changed", 48)]


LISTS = parse_types("""
[[meter_type]]
name = "words"
events = "is15959"
list = [{ values = ["meter_id", "clock", "0-0:94.91.18.255"] }]
[[meter_type]]
name = "codes"
events = "idis"
list = [{ values = ["meter_id", "clock", "0-0:96.11.0.255", "0-0:97.98.0.255"] }]
""")
SENDER = Data(Tag.OCTET_STRING, NAME.encode())
GASP = Data(Tag.BIT_STRING, "0" * 85 + "1" + "0" * 42)
QUIET = Data(Tag.BIT_STRING, "0" * 128)


def listed(kind: str, *items: Data) -> Decoded:
    """A push of a meter of this type, whose items have no names."""
    body = notification(Data(Tag.STRUCTURE, (SENDER, *items)))
    return decode(sealed(body), registry=meters(enrolled(meter_type=kind)), types=LISTS)


def test_places_of_a_list_that_are_event_objects_tell_events() -> None:
    found = listed("codes", stamp(START), Data(Tag.UINT8, 1), Data(Tag.UINT32, 1))
    told = sorted(found.events.select("event", "code", "occurred_at").rows())
    assert told == [("clock_invalid", 1, START), ("power_down", 1, START)] and reasons(found) == []
    assert found.reads.height == 0
    # A quiet alarm register is a read of zero, as where its name is sent.
    found = listed("codes", stamp(START), Data(Tag.UINT8, 1), Data(Tag.UINT32, 0))
    assert found.events["event"].to_list() == ["power_down"]
    assert found.reads.select("channel", "obis", "value_milli").rows() == [("other", "0-0:97.98.0.255", 0)]
    found = listed("words", stamp(START), GASP)
    assert found.events.select("event", "code", "occurred_at").rows() == [("last_gasp", 85, START)]


def test_a_status_word_behind_the_push_setup_of_alarms_needs_no_name() -> None:
    setup = Data(Tag.OCTET_STRING, parse_obis("0-4:25.9.0.255"))
    found = listed("is15959", setup, stamp(START), GASP)
    assert found.events.select("event", "code", "occurred_at").rows() == [("last_gasp", 85, START)]
    other = Data(Tag.OCTET_STRING, parse_obis("0-5:25.9.0.255"))
    assert reasons(listed("is15959", other, stamp(START), GASP)) == ["layout_unknown"]


def test_a_status_word_without_a_bit_is_understood_and_says_that_nothing_has_happened() -> None:
    found = listed("words", stamp(START), QUIET)
    assert (found.events.height, reasons(found)) == (0, [])
    assert found.counts == (1, 1, 0, 0, 0)


def test_status_words_of_a_fleet_are_one_layout_and_a_longer_bit_string_is_none() -> None:
    """A bit string of 129 bits is no word of the standard: what it says is not known, so the message is a reject."""

    def word(number: int, bits: int = 128) -> bytes:
        return event("0.0.94.91.18.255", Data(Tag.BIT_STRING, f"{number:0{bits}b}"))

    registry = meters(enrolled(meter_type="is15959"))
    words = [1 << at | 1 << 127 - 85 for at in range(128)]
    decoded = decode(*(sealed(word(each), at) for at, each in enumerate(words, 1)), registry=registry)
    by_offset = decoded.events.group_by("offset").agg("code").sort("offset")["code"].to_list()
    assert [sorted(codes) for codes in by_offset] == [sorted({127 - at, 85}) for at in range(128)]
    assert sum(len(each) for each in decoded.learned.by_shape.values()) == 1
    long = decode(sealed(word(1, 129), 1), registry=registry)
    assert long.events.is_empty() and long.rejects["reason"].to_list() == ["layout_unknown"]


def logged(*rows: tuple[Data, ...]) -> Data:
    return Data(Tag.ARRAY, tuple(Data(Tag.STRUCTURE, row) for row in rows))


TWO = (START, START + timedelta(minutes=5))
DOWN, UP = Data(Tag.UINT8, 1), Data(Tag.UINT8, 2)


@pytest.mark.parametrize(
    "rows",
    [
        logged((stamp(TWO[0]), DOWN), (stamp(TWO[1]), UP)),
        logged((DOWN, stamp(TWO[0])), (UP, stamp(TWO[1]))),
    ],
)
def test_each_code_happened_when_the_clock_beside_it_says(rows: Data) -> None:
    code, body = parse_obis("0-0:96.11.0.255"), (device_name()[1],)
    pushed = Data(Tag.STRUCTURE, (*body, Data(Tag.OCTET_STRING, code), rows))
    for message in (event("0.0.96.11.0.255", rows), notification(pushed)):
        decoded = decode(sealed(message))
        assert decoded.events.select("event", "occurred_at").rows() == [("power_down", TWO[0]), ("power_up", TWO[1])]
        assert reasons(decoded) == []


@pytest.mark.parametrize("log", ["0-0:99.98.0.255", "0-1:99.98.4.255"])
def test_rows_of_an_event_log_are_events_at_their_own_times(log: str) -> None:
    rows = logged((stamp(TWO[0]), DOWN), (stamp(TWO[1]), UP))
    by_name = Data(Tag.ARRAY, (Data(Tag.STRUCTURE, (Data(Tag.OCTET_STRING, parse_obis(log)), rows)),))
    for body in (by_name, body_of(rows, push_object=log)):
        decoded = decode(sealed(notification(body)))
        assert decoded.events.select("event", "code", "occurred_at").rows() == [
            ("power_down", 1, TWO[0]), ("power_up", 2, TWO[1])
        ]  # fmt: skip
        assert decoded.reads.is_empty() and reasons(decoded) == []


def test_events_of_a_file_were_received_when_the_newest_of_them_happened() -> None:
    rows = logged((stamp(TWO[1]), UP), (stamp(TWO[0]), DOWN))
    decoded = decode(sealed(notification(body_of(rows, push_object="0-0:99.98.0.255"))), received=None)
    assert decoded.events["received_at"].to_list() == [TWO[1], TWO[1]]


def test_what_else_a_log_s_row_holds_is_no_code_and_does_not_vanish() -> None:
    rows = logged((stamp(TWO[0]), DOWN, Data(Tag.UINT16, 230)), (stamp(TWO[1]), UP, Data(Tag.UINT16, 231)))
    decoded = decode(sealed(event("0.0.99.98.4.255", rows)))
    assert decoded.events["code"].to_list() == [1, 2]
    assert decoded.reads.is_empty(), "the header's time is not the row's"
    assert decoded.rejects["detail"].to_list() == ["2 values: a number beside the code in a row of an event log"]


def test_equal_events_of_a_message_are_one_row() -> None:
    """An alarm's register and its descriptor say the same; so does a code that stands twice beside one clock."""
    both = [(f"0-0:97.98.{at}.255", Data(Tag.UINT32, 1), None) for at in (0, 20)]
    other = ("0-0:97.98.1.255", Data(Tag.UINT32, 1), None)
    push = sealed(notification(register_rows([device_name(), *both, other]), START))
    found = decode(push, registry=meters(enrolled(meter_type="idis")))
    assert sorted(found.events["event"].to_list()) == ["clock_invalid", "power_down"] and reasons(found) == []
    assert found.reads.height == 0


def test_quiet_alarm_registers_of_one_name_are_one_read() -> None:
    setup = Data(Tag.OCTET_STRING, parse_obis("0-1:25.9.0.255"))
    for registers, zeros in (((0, 0, 0), 1), ((0, 0, 1), 1), ((2, 2, 1), 0)):
        words = [Data(Tag.UINT32, register) for register in registers]
        body = notification(Data(Tag.STRUCTURE, (SENDER, setup, *words)), START)
        found = decode(sealed(body), registry=meters(enrolled(meter_type="smr5")))
        assert found.reads.height == zeros and reasons(found) == []
        assert found.events.height == sum(register > 0 for register in registers)
