"""Tariffs: generous in how days are written, strict in everything else."""

from datetime import date

import pytest

from billing_export.tariffs import parse_tariffs
from schemas.errors import ContractError

HEAD = '[[tariff]]\nname = "t"\ntimezone = "Europe/Berlin"\n'


@pytest.mark.parametrize(
    ("days", "numbers"),
    [
        ('"all"', {1, 2, 3, 4, 5, 6, 7, 8}),
        ('"workday"', {1, 2, 3, 4, 5}),
        ('["Sat", "sunday", "holiday"]', {6, 7, 8}),
        ('"mon-fri"', {1, 2, 3, 4, 5}),
        ('"sat-mon"', {6, 7, 1}),
        ("[1, 7]", {1, 7}),
    ],
)
def test_days_may_be_written_in_several_ways(days: str, numbers: set[int]) -> None:
    book = parse_tariffs(f'{HEAD}[[tariff.period]]\nname = "p"\ndays = {days}\n')
    assert book.tariff[0].period[0].day_numbers() == numbers


def test_times_may_be_text_or_toml_times() -> None:
    book = parse_tariffs(f'{HEAD}[[tariff.period]]\nname = "p"\nstart = 07:30:00\nend = "24:00"\n')
    assert book.tariff[0].period[0].minutes() == (450, 1440)


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("[[tariff", "not TOML"),
        (HEAD + "demand_window_min = 20\n", "demand_window_min"),
        (HEAD + 'zone = "x"\n', "zone"),
        (HEAD.replace("Berlin", "Atlantis"), "Atlantis"),
        (f'{HEAD}[[tariff.period]]\nname = "p"\ndays = "someday"\n', "someday"),
        (f'{HEAD}[[tariff.period]]\nname = "p"\nstart = "25:00"\n', "25:00"),
        (f'{HEAD}[[tariff.period]]\nname = "p"\nstart = "07:00"\nend = "07:00"\n', "empty"),
        (f'{HEAD}[[tariff.period]]\nname = "p"\nseason = "wet"\n', "wet"),
        (f'{HEAD}[[tariff.period]]\nname = "p"\nstart = "07:60"\n', "07:60"),
        (f'{HEAD}[[tariff.season]]\nname = "s"\nfrom = "02-30"\nto = "04-01"\n', "02-30"),
        (HEAD + HEAD, "given twice"),
        (HEAD + HEAD.replace("Berlin", "Paris") + "valid_from = 2026-07-01\n", "different time zones"),
    ],
)
def test_what_is_wrong_is_refused_in_one_line_that_names_it(toml: str, said: str) -> None:
    with pytest.raises(ContractError, match="tariffs: ") as refused:
        parse_tariffs(toml)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_season_may_begin_on_the_29th_of_february() -> None:
    book = parse_tariffs(f'{HEAD}[[tariff.season]]\nname = "s"\nfrom = "02-29"\nto = "04-01"\n')
    assert book.tariff[0].season[0].bounds() == (229, 401)


def test_versions_are_found_by_name_oldest_first() -> None:
    book = parse_tariffs(HEAD + "valid_from = 2026-07-01\n" + HEAD)
    assert [version.valid_from for version in book.versions("t")] == [None, date(2026, 7, 1)]
