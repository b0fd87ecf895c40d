"""`decode_frames`: rows, rejects and counts of messages built by hand."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from ingest.dlms.data import Data, Tag
from ingest.dlms.framing import wrap_wpdu
from ingest.meter_names import MeterNames
from ingest.meter_types import parse_types
from schemas.codes import Status
from schemas.errors import ContractError
from schemas.frames import EVENTS, INTERVALS, READS, REJECTS, conform
from tests.ingest.fleet import (
    NAME,
    OTHER_NAME,
    OTHER_TITLE,
    RECEIVED,
    START,
    TITLE,
    body_of,
    decode,
    device_name,
    enrolled,
    event,
    interval_rows,
    meters,
    notification,
    reasons,
    register_rows,
    sealed,
    stamp,
    usual_rows,
)

QUARTER = timedelta(minutes=15)


def u32(value: int) -> Data:
    return Data(Tag.UINT32, value)


def test_the_clock_of_an_interval_push_is_the_end_of_the_interval():
    decoded = decode(sealed(notification(interval_rows(usual_rows(2)))))
    assert decoded.intervals.select("meter_id", "channel", "interval_start", "interval_s", "value_milli").rows() == [
        (NAME, "energy_delivered", START, 900, 100_000),
        (NAME, "energy_received", START, 900, 7_000),
        (NAME, "energy_delivered", START + QUARTER, 900, 101_000),
        (NAME, "energy_received", START + QUARTER, 900, 8_000),
    ]
    assert decoded.intervals["obis"].null_count() == 4
    assert decoded.counts[:4] == (1, 1, 0, 0)


def test_every_frame_keeps_its_contract():
    decoded = decode(
        sealed(notification(interval_rows(usual_rows()))), sealed(event("0.0.96.11.0.255", u32(1)), 2), b"rubbish"
    )
    for rows, frame in (
        (decoded.intervals, INTERVALS), (decoded.reads, READS), (decoded.events, EVENTS), (decoded.rejects, REJECTS)
    ):  # fmt: skip
        assert conform(rows, frame).equals(rows)


def test_the_status_octet_and_the_dst_bit_become_our_bits():
    rows = [(stamp(datetime(2026, 7, 1, 12, 15, tzinfo=UTC), -120, 0x80), 0b0010_0100, [1, 2])]
    decoded = decode(sealed(notification(interval_rows(rows))))
    assert decoded.intervals["interval_start"].to_list() == [datetime(2026, 7, 1, 12, 0, tzinfo=UTC)] * 2
    assert decoded.intervals["status"].to_list() == [Status.PARTIAL | Status.POWER_FAIL | Status.DST_ACTIVE] * 2


def test_the_interval_length_is_that_of_meters_else_of_the_type_else_of_the_step():
    no_length = meters(enrolled(interval_s=None))
    assert (
        decode(sealed(notification(interval_rows(usual_rows(2)))), registry=no_length).intervals["interval_s"].to_list()
        == [900] * 4
    )
    alone = decode(sealed(notification(interval_rows(usual_rows(1)))), registry=no_length)
    assert reasons(alone) == ["layout_unknown"]
    typed = parse_types(
        '[[meter_type]]\nname = "half"\ninterval_s = 1800\n[[meter_type.push]]\nobject = "*"\nrows = "intervals"'
    )
    by_type = decode(
        sealed(notification(interval_rows(usual_rows(1)))),
        registry=meters(enrolled(interval_s=None, meter_type="half")),
        types=typed,
    )
    assert by_type.intervals["interval_start"].to_list() == [START - QUARTER] * 2


def test_null_clocks_and_null_values_repeat_what_the_profile_rule_says():
    first = Data(Tag.STRUCTURE, (stamp(START + QUARTER), Data(Tag.UINT8, 4), u32(10), u32(20)))
    second = Data(Tag.STRUCTURE, (Data(Tag.NULL, None), Data(Tag.NULL, None), u32(11), Data(Tag.NULL, None)))
    third = Data(Tag.STRUCTURE, (Data(Tag.NULL, None), Data(Tag.UINT8, 0), Data(Tag.DELTA_INT8, -1)))
    decoded = decode(sealed(notification(body_of(Data(Tag.ARRAY, (first, second, third))))))
    assert decoded.intervals.select("interval_start", "value_milli", "status").rows() == [
        (START, 10_000, Status.PARTIAL),
        (START, 20_000, Status.PARTIAL),
        (START + QUARTER, 11_000, Status.PARTIAL),
        (START + QUARTER, 20_000, Status.PARTIAL),
        (START + 2 * QUARTER, 10_000, 0),
        (START + 2 * QUARTER, 20_000, 0),
    ]


def test_a_null_in_the_first_row_cannot_be_known_and_stays_null():
    row = Data(Tag.STRUCTURE, (stamp(START + QUARTER), Data(Tag.UINT8, 0), Data(Tag.NULL, None), u32(0)))
    decoded = decode(sealed(notification(body_of(Data(Tag.ARRAY, (row,))))))
    assert decoded.intervals["value_milli"].to_list() == [None, 0]


def test_an_invalid_clock_never_places_an_interval_and_flags_a_read():
    for status in (0x01, 0x08):
        rows = [(stamp(START + QUARTER, 0, status), 0, [1, 2]), (stamp(START + 2 * QUARTER), 0, [3, 4])]
        decoded = decode(sealed(notification(interval_rows(rows))))
        assert decoded.intervals["value_milli"].to_list() == [3_000, 4_000]
        assert reasons(decoded) == ["date_time"] and decoded.counts[:4] == (1, 1, 0, 0)
        body = register_rows(
            [device_name(), ("0-0:1.0.0.255", stamp(START, 0, status), None), ("1-0:1.8.0.255", u32(5), (0, 30))]
        )
        read = decode(sealed(notification(body))).reads
        assert read.select("read_at", "status").rows() == [(RECEIVED, Status.CLOCK_INVALID)]


def test_a_clock_status_of_ff_means_that_nothing_is_known():
    decoded = decode(sealed(notification(interval_rows([(stamp(START + QUARTER, 0, 0xFF), 0, [1, 2])]))))
    assert decoded.intervals["status"].to_list() == [0, 0]


def test_an_unspecified_deviation_takes_the_zone_of_the_meter_else_refuses_intervals_and_flags_reads():
    naive = datetime(2026, 7, 1, 12, 15)
    push = sealed(notification(interval_rows([(stamp(naive, None), 0, [1, 2])])))
    assert decode(push).intervals["interval_start"].to_list() == [datetime(2026, 7, 1, 10, 0, tzinfo=UTC)] * 2
    assert reasons(decode(push, registry=meters(enrolled(timezone=None)))) == ["date_time"]
    body = register_rows(
        [device_name(), ("0-0:1.0.0.255", stamp(naive, None), None), ("1-0:1.8.0.255", u32(5), (0, 30))]
    )
    read = decode(sealed(notification(body)), registry=meters(enrolled(timezone=None))).reads
    assert read.select("read_at", "status").rows() == [(RECEIVED, Status.CLOCK_DOUBTFUL)]


def test_a_repeated_local_hour_is_told_apart_by_the_dst_bit():
    naive = datetime(2026, 10, 25, 2, 30)
    starts = [
        decode(sealed(notification(interval_rows([(stamp(naive, None, status), 0, [1, 2])])))).intervals[
            "interval_start"
        ][0]
        for status in (0x80, 0x00)
    ]
    assert starts == [datetime(2026, 10, 25, 0, 15, tzinfo=UTC), datetime(2026, 10, 25, 1, 15, tzinfo=UTC)]


def test_reads_believe_the_body_clock_then_the_header_then_reception():
    value = ("1-0:1.8.0.255", u32(5), (0, 30))
    clocked = register_rows([device_name(), ("0-0:1.0.0.255", stamp(START), None), value])
    bare = register_rows([device_name(), value])
    header = START + timedelta(minutes=3)
    decoded = decode(
        sealed(notification(clocked, header), 1), sealed(notification(bare, header), 2), sealed(notification(bare), 3)
    )
    assert decoded.reads.sort("offset").select("read_at", "status").rows() == [
        (START, 0), (header, 0), (RECEIVED, Status.CLOCK_DOUBTFUL)
    ]  # fmt: skip


def test_a_file_without_reception_times_lends_rows_the_message_s_own_time():
    value = ("1-0:1.8.0.255", u32(5), (0, 30))
    header = START + timedelta(minutes=3)
    decoded = decode(
        sealed(notification(interval_rows(usual_rows())), 1),
        sealed(notification(register_rows([device_name(), value]), header), 2),
        sealed(notification(register_rows([device_name(), value])), 3),
        received=None,
    )
    assert decoded.intervals["received_at"].unique().to_list() == [START + 4 * QUARTER]
    assert decoded.reads["received_at"].to_list() == [header]
    assert reasons(decoded) == ["date_time"] and decoded.rejects["received_at"].to_list() == [None]


def test_scaling_is_exact_or_a_reject():
    body = register_rows(
        [
            device_name(),
            ("1-0:1.8.0.255", u32(12), (1, 30)),
            ("1-0:2.8.0.255", u32(1235), (-4, 30)),
            ("1-0:3.8.0.255", u32(1230), (-4, 32)),
            ("1-0:4.8.0.255", Data(Tag.UINT64, 2**63), (0, 32)),
            ("1-0:1.7.0.255", Data(Tag.INT32, -5), (-3, 27)),
        ]
    )
    decoded = decode(sealed(notification(body)))
    assert decoded.reads.select("channel", "value_milli").rows() == [
        ("energy_delivered", 120_000), ("reactive_delivered", 123), ("power_delivered", -5)
    ]  # fmt: skip
    assert reasons(decoded) == ["scaling"] and "2 values" in decoded.rejects["detail"][0]


def test_every_number_of_a_push_becomes_a_row_or_is_counted_in_a_reject():
    body = Data(
        Tag.STRUCTURE,
        (
            *(
                register_rows(
                    [device_name(), ("1-0:1.8.0.255", u32(12), (0, 30)), ("0-0:96.3.10.255", u32(1), None)]
                ).items
                or ()
            ),
            u32(99),
            Data(Tag.STRUCTURE, (Data(Tag.OCTET_STRING, bytes.fromhex("0100490700FF")), u32(7))),
        ),
    )
    decoded = decode(sealed(notification(body)))
    assert decoded.reads.select("channel", "obis", "value_milli").rows() == [
        ("energy_delivered", "1-0:1.8.0.255", 12_000), ("other", "0-0:96.3.10.255", 1_000)
    ]  # fmt: skip
    assert sorted(reasons(decoded)) == ["layout_unknown", "scaling"]


def test_a_unit_that_is_not_the_channel_s_makes_the_value_other():
    body = register_rows([device_name(), ("1-0:1.8.0.255", u32(12), (0, 32))])
    assert decode(sealed(notification(body))).reads.select("channel", "value_milli").rows() == [("other", 12_000)]


@pytest.mark.parametrize("control", [0x00, 0x10, 0x20])
def test_less_protection_than_the_meter_owes_is_a_downgrade(control):
    apdu = notification(interval_rows(usual_rows()))
    message = wrap_wpdu(apdu) if control == 0x00 else sealed(apdu, control=control)
    assert reasons(decode(message)) == ["downgrade"]
    assert decode(message, registry=meters(enrolled(security_min=control))).counts[:4] == (1, 1, 0, 0)


def test_encryption_does_not_make_up_for_authentication():
    apdu = notification(interval_rows(usual_rows()))
    assert reasons(decode(sealed(apdu, control=0x20), registry=meters(enrolled(security_min=0x10)))) == ["downgrade"]


def test_a_meter_without_key_may_push_in_the_clear():
    apdu = wrap_wpdu(notification(interval_rows(usual_rows())))
    assert decode(apdu, registry=meters(enrolled(system_title=None))).counts[:4] == (1, 1, 0, 0)


def test_a_known_title_whose_body_names_another_meter_is_refused():
    apdu = notification(interval_rows(usual_rows(), name=OTHER_NAME))
    other = enrolled(meter_id=OTHER_NAME, system_title=OTHER_TITLE.hex())
    assert reasons(decode(sealed(apdu), registry=meters(enrolled(), other))) == ["identity"]
    assert reasons(decode(sealed(apdu))) == ["identity"]
    stranger = sealed(notification(interval_rows(usual_rows())), title=OTHER_TITLE)
    assert reasons(decode(stranger)) == ["identity"]


def test_a_part_s_serial_number_does_not_speak_against_the_title():
    serial = ("0-0:96.1.0.255", Data(Tag.OCTET_STRING, b"84895126"), None)
    body = register_rows([serial, ("1-0:1.8.0.255", u32(12), (0, 30))])
    assert decode(sealed(notification(body))).reads["meter_id"].to_list() == [NAME]


def test_each_forgery_has_its_own_reason():
    good = sealed(notification(interval_rows(usual_rows())))
    flipped_tag = good[:-1] + bytes((good[-1] ^ 1,))
    flipped_text = good[:60] + bytes((good[60] ^ 1,)) + good[61:]
    truncated = wrap_wpdu(good[8:-1])
    unknown = sealed(notification(interval_rows(usual_rows())), title=b"UNKNOWN!")
    compressed = sealed(notification(interval_rows(usual_rows())), control=0x30)
    packed = compressed[:20] + bytes((0xB0,)) + compressed[21:]
    assert packed[20] == 0xB0 and compressed[20] == 0x30
    decoded = decode(flipped_tag, flipped_text, truncated, unknown, packed, b"rubbish")
    assert reasons(decoded) == [
        "tag_mismatch", "tag_mismatch", "axdr_truncated", "key_unknown", "compression_unsupported", "not_dlms"
    ]  # fmt: skip
    assert decoded.counts[:4] == (6, 0, 6, 0) and decoded.intervals.is_empty()
    assert decoded.rejects["payload"].to_list()[0] == flipped_tag
    assert decoded.rejects["system_title"].to_list()[0] == TITLE.hex()


def test_only_rejects_that_no_outsider_can_make_count_for_the_fuse():
    good = sealed(notification(interval_rows(usual_rows())))
    unreadable = sealed(notification(Data(Tag.STRUCTURE, (u32(1),))), counter=2)
    decoded = decode(good[:-1] + bytes((good[-1] ^ 1,)), b"rubbish", unreadable)
    assert decoded.counts.rejected == 3 and decoded.fusible_by == {reasons(decoded)[-1]: 1}


def test_what_a_counter_refuses_does_not_count_for_the_fuse():
    """Last gasps that overtook each other, a recording, messages of a key in quarantine: the worker goes on."""
    apdu = notification(interval_rows(usual_rows()))
    first = decode(sealed(apdu, 100))
    gasps = [sealed(event("0.0.96.11.0.255", u32(1)), counter) for counter in (99, 98, 97)]
    played_again = sealed(apdu, 3)
    again = decode(*gasps, played_again, windows=first.windows)
    assert reasons(again) == ["replay"] * 4 and again.counts.fusible == 0
    reused = decode(sealed(notification(interval_rows(usual_rows(values=(1, 1)))), 100), windows=first.windows)
    assert reasons(reused) == ["nonce_reuse"] and reused.counts.fusible == 1
    held = decode(sealed(apdu, 101), played_again, windows=reused.windows)
    assert reasons(held) == ["quarantined"] * 2 and held.counts.fusible == 0


def test_a_copy_is_counted_a_reuse_and_a_replay_are_alarmed_and_a_late_reading_is_taken():
    apdu = notification(interval_rows(usual_rows()))
    first = decode(sealed(apdu, 100))
    again = decode(
        sealed(apdu, 100),
        sealed(apdu, 99),
        sealed(event("0.0.96.11.0.255", u32(1)), 98),
        sealed(apdu, 3),
        sealed(notification(interval_rows(usual_rows(values=(1, 1)))), 100),
        windows=first.windows,
    )
    assert reasons(again) == ["replay", "replay", "nonce_reuse"]
    assert again.counts[:4] == (5, 1, 3, 1)
    assert again.rejects["key_id"].to_list() == ["guek/1"] * 3


def test_of_a_late_message_its_event_is_refused_and_its_readings_are_taken():
    alarm = notification(
        register_rows([device_name(), ("0-0:97.98.0.255", u32(2), None), ("1-0:1.8.0.255", u32(500), (0, 30))]), START
    )
    quiet = notification(register_rows([device_name(), ("0-0:97.98.0.255", u32(0), None)]), START)
    lone = notification(register_rows([device_name(), ("0-0:97.98.0.255", u32(2), None)]), START)
    decoded = decode(sealed(quiet, 100), sealed(alarm, 99), sealed(lone, 98), sealed(alarm, 101))
    assert decoded.counts[:4] == (4, 3, 1, 0) and decoded.counts.fusible == 0
    assert decoded.events["offset"].to_list() == [3] and decoded.events["authenticated"].all()
    assert decoded.reads.filter(pl.col("channel") == "energy_delivered")["offset"].to_list() == [1, 3]
    refused = decoded.rejects.select("offset", "reason", "detail").rows()
    assert refused == [
        (1, "replay", "1 values: an event with a lower counter"),
        (2, "replay", "an event with a lower counter"),
    ]


def test_a_forged_high_counter_locks_nobody_out():
    forged = sealed(notification(interval_rows(usual_rows())), 0xFFFFFFF0)
    forged = forged[:-1] + bytes((forged[-1] ^ 1,))
    decoded = decode(forged, sealed(notification(interval_rows(usual_rows())), 5))
    assert reasons(decoded) == ["tag_mismatch"] and decoded.counts.decoded == 1


def test_a_redelivery_after_a_crash_meets_the_window_as_it_was():
    batch = [sealed(notification(interval_rows(usual_rows())), counter) for counter in (5, 6, 7)]
    before = decode(*batch[:1]).windows
    crashed = decode(*batch[1:], windows=before)
    redelivered = decode(*batch[1:], windows=before)
    assert redelivered.intervals.equals(crashed.intervals) and redelivered.counts.duplicates == 0
    assert redelivered.windows == crashed.windows


def test_encryption_without_a_tag_moves_no_counter_and_proves_nothing():
    registry = meters(enrolled(security_min=0x20))
    decoded = decode(sealed(event("0.0.96.11.0.255", u32(1)), 900, control=0x20), registry=registry)
    assert decoded.events["authenticated"].to_list() == [False]
    assert decoded.windows.to_frame().is_empty() and decoded.seen.is_empty()


def test_events_take_their_meaning_from_the_companion_standard():
    pushed = {"generic": "other", "idis": "keys_changed", "smr5": "cover_opened"}
    for meter_type, kind in pushed.items():
        registry = meters(enrolled(meter_type=meter_type))
        decoded = decode(sealed(event("0.0.96.11.0.255", Data(Tag.UINT16, 48))), registry=registry)
        assert decoded.events.select("event", "code", "origin", "occurred_at", "sequence").rows() == [
            (kind, 48, "meter", START, 1)
        ]


def test_a_radio_s_last_gasp_names_its_meter_and_its_origin():
    message = wrap_wpdu(event("128.128.128.128.128.0", Data(Tag.OCTET_STRING, NAME.encode())))
    decoded = decode(message, registry=meters(enrolled(system_title=None)))
    assert decoded.events.select("meter_id", "event", "code", "origin", "authenticated").rows() == [
        (NAME, "last_gasp", None, "nic", False)
    ]


def test_a_pushed_event_list_carries_its_own_clock():
    pair = Data(Tag.STRUCTURE, (stamp(START + QUARTER), Data(Tag.UINT8, 2)))
    name = Data(Tag.OCTET_STRING, NAME.encode())
    obis = Data(Tag.OCTET_STRING, bytes.fromhex("0000600B00FF"))
    decoded = decode(sealed(notification(Data(Tag.STRUCTURE, (name, obis, pair)))))
    assert decoded.events.select("event", "code", "occurred_at").rows() == [("power_up", 2, START + QUARTER)]


def test_alarm_bits_are_events_each_and_a_quiet_register_is_a_read():
    registry = meters(enrolled(meter_type="smr5"))
    alarm = event("0.0.97.98.22.255", u32(0b11))
    quiet = event("0.0.97.98.0.255", u32(0))
    decoded = decode(sealed(alarm, 1), sealed(quiet, 2), registry=registry)
    assert decoded.events.select("event", "code").rows() == [("last_gasp", 3), ("last_gasp_test", 3)]
    assert decoded.reads.select("channel", "obis", "value_milli").rows() == [("other", "0-0:97.98.0.255", 0)]
    assert decoded.counts[:4] == (2, 2, 0, 0)


def test_a_message_without_number_and_event_is_a_reject():
    decoded = decode(sealed(notification(register_rows([device_name()]))))
    assert reasons(decoded) == ["layout_unknown"] and decoded.counts[:4] == (1, 0, 1, 0)


def test_life_and_dirty_days_follow_from_the_rows():
    evening = datetime(2026, 3, 2, 22, 0, tzinfo=UTC)  # 23:00 in Berlin: the push runs into the next local day
    decoded = decode(sealed(notification(interval_rows(usual_rows(8, evening)))))
    assert decoded.heard.rows() == [(NAME, evening + 8 * QUARTER)]
    assert decoded.dirty_days["day"].to_list() == [datetime(2026, 3, 2).date(), datetime(2026, 3, 3).date()]


@pytest.mark.parametrize(
    ("at", "days"),
    [
        (datetime(2026, 3, 2, 23, tzinfo=UTC), [2, 3]),
        (datetime(2026, 3, 2, 23, 0, 1, tzinfo=UTC), [3]),
        (datetime(2026, 3, 2, 22, 59, 59, tzinfo=UTC), [2]),
        (datetime(2026, 3, 3, 0, tzinfo=UTC), [3]),
    ],
    ids=["midnight in Berlin", "a second after", "a second before", "midnight in UTC"],
)
def test_a_read_at_local_midnight_makes_the_day_that_it_ends_dirty_too(at, days):
    read = register_rows([device_name(), ("1-0:1.8.0.255", Data(Tag.UINT32, 77), (0, 30))])
    decoded = decode(sealed(notification(read, at)))
    assert decoded.reads["read_at"].to_list() == [at]
    assert decoded.dirty_days["day"].to_list() == [datetime(2026, 3, day).date() for day in days]


def test_the_counters_of_a_batch_rebuild_its_windows():
    from ingest.replay import Windows

    decoded = decode(*[sealed(notification(interval_rows(usual_rows())), counter) for counter in (3, 5, 4, 90)])
    assert Windows.from_frame(decoded.seen) == decoded.windows
    assert decoded.messages["counter"].to_list() == [3, 5, 4, 90]
    assert decoded.messages["system_title"].unique().to_list() == [TITLE.hex()]


def test_a_meter_type_that_does_not_exist_is_named():
    with pytest.raises(ContractError, match="no_such_type"):
        decode(registry=meters(enrolled(meter_type="no_such_type")))


def test_no_row_of_a_rejected_message_survives():
    decoded = decode(sealed(notification(interval_rows(usual_rows(), name=OTHER_NAME))))
    assert decoded.intervals.is_empty() and decoded.heard.is_empty() and decoded.dirty_days.is_empty()
    assert isinstance(decoded.rejects, pl.DataFrame)


def test_a_clock_in_an_event_is_no_name_and_a_name_of_its_length_is_one():
    clock = stamp(START)
    name = "GASP00000042"
    registry = meters(enrolled(), enrolled(meter_id=name, system_title=None))

    def gasp(*values):
        return event("128.128.128.128.128.0", Data(Tag.STRUCTURE, values) if len(values) > 1 else values[0])

    text = Data(Tag.OCTET_STRING, name.encode())
    ciphered = [sealed(gasp(clock), 1), sealed(gasp(clock, clock), 2), sealed(gasp(stamp(START, 60), clock), 3)]
    plain = [wrap_wpdu(gasp(*values)) for values in ((text,), (clock, text), (text, clock), (clock,), (clock, clock))]
    decoded = decode(*ciphered, *plain, registry=registry)
    assert decoded.events.select("offset", "meter_id").rows() == [
        (0, NAME), (1, NAME), (2, NAME), (3, name), (4, name), (5, name)
    ]  # fmt: skip
    assert decoded.rejects.select("offset", "reason").rows() == [(6, "identity"), (7, "identity")]


def test_names_are_asked_of_two_columns_as_of_one():
    names = MeterNames(pl.Series(["a", "b", "c"]), pl.Series(["x", "y"]), 3)
    places = np.array([4, 0, 3, 2, 0, 3])
    assert names.taken(places).to_list() == ["y", "a", "x", "c", "a", "x"]
    assert names._replace(others=names.others.clear()).taken(places[[1, 3]]).to_list() == ["a", "c"]


def test_a_meter_is_heard_once_with_its_newest_instant_enrolled_or_not():
    """Two enrolled meters whose messages are interleaved, older ones last, and one that METERS lacks."""
    registry = meters(*(enrolled(meter_id=name, system_title=None, security_min=0) for name in (NAME, OTHER_NAME)))
    known = [
        notification(interval_rows(usual_rows(first=START + timedelta(hours=hour)), name=name))
        for hour, name in ((3, OTHER_NAME), (5, NAME), (4, OTHER_NAME), (1, NAME))
    ]
    body = register_rows([device_name("ELSEWHERE"), ("1-0:1.8.0.255", u32(12), (0, 30))])
    apdus = [*known, *(notification(body, at=START + timedelta(hours=hour)) for hour in (2, 1))]
    heard = decode(*map(wrap_wpdu, apdus), registry=registry).heard
    assert heard["meter_id"].to_list() == [NAME, OTHER_NAME, "ELSEWHERE"]
    assert heard["read_at"].to_list() == [START + timedelta(hours=hour + 1) for hour in (5, 4, 1)]
