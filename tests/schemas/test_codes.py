import re

from schemas import codes


def test_every_channel_but_other_has_a_unit():
    assert set(codes.Channel) - set(codes.UNIT_OF_CHANNEL) == {codes.Channel.OTHER}
    assert codes.UNIT_OF_CHANNEL[codes.Channel.REACTIVE_Q1] == codes.Unit.VARH
    assert codes.UNIT_OF_CHANNEL[codes.Channel.REACTIVE_POWER_DELIVERED] == codes.Unit.VAR
    assert codes.UNIT_OF_CHANNEL[codes.Channel.POWER_FACTOR] == codes.Unit.ONE


def test_rule_n_is_bit_n_minus_1():
    assert len(codes.RULE_BIT) == 36
    assert codes.RULE_BIT[codes.Rule.CLOCK] == 0
    assert codes.RULE_BIT[codes.Rule.SUM_CHECK] == 5
    assert codes.RULE_BIT[codes.Rule.SPIKE] == 6
    assert codes.RULE_BIT[codes.Rule.NEGATIVE] == 13
    assert codes.RULE_BIT[codes.Rule.ROLLOVER_OR_RESET] == 21
    assert codes.RULE_BIT[codes.Rule.OUTAGE_ZERO] == 29
    assert codes.RULE_BIT[codes.Rule.BILLING_GATE] == 35


def test_every_estimate_has_its_codes_in_every_system():
    for method in codes.Method:
        assert (codes.Quality.ESTIMATED, method) in codes.QUALITY_CODES
    for entry in codes.QUALITY_CODES.values():
        assert re.fullmatch(r"\d\.\d+\.\d+", entry.cim)
        assert re.fullmatch(r"A|N|[SEF]\d\d", entry.nem12)
        assert entry.cmep in {"", "E", "A", "N", "R"}


def test_nem12_codes_are_those_of_the_market():
    of = codes.QUALITY_CODES
    assert of[codes.Quality.OUTAGE, codes.Method.ZERO].nem12 == "S19"
    assert of[codes.Quality.EDITED, codes.Method.MANUAL].nem12 == "S16"
    assert of[codes.Quality.ESTIMATED, codes.Method.LINEAR].nem12 == "S17"
    assert of[codes.Quality.ESTIMATED, codes.Method.BLEND].nem12 == "S15"
    assert of[codes.Quality.ESTIMATED, codes.Method.LIKE_DAY].nem12 == "S14"
    assert of[codes.Quality.ESTIMATED, codes.Method.PROFILE].nem12 == "S57"
    assert of[codes.Quality.ESTIMATED, codes.Method.CHECK_METER].nem12 == "S11"


def test_status_bits_are_those_of_the_contract():
    assert [int(bit).bit_length() - 1 for bit in codes.Status] == list(range(13))
    assert codes.Status.POWER_FAIL == 32
    assert codes.Status.DATA_NOT_VALID == 4096
