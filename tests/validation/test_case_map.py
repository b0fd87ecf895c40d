"""Which test shows which case of VEE that must work: a map that fails when a test is renamed or taken away."""

import ast
from pathlib import Path
from typing import Final

import pytest

TESTS: Final = Path(__file__).parents[1]

CASES: Final[dict[str, tuple[str, ...]]] = {
    "48 half-hours on days of 23 and 25 hours": (
        "validation/test_vee_cases.py::test_a_sender_that_always_prints_48_halves_fills_a_short_day_and_loses_no_later_one",
        "validation/test_vee_cases.py::test_a_sender_that_always_prints_48_halves_leaves_two_of_a_long_day_to_be_estimated",
        "validation/test_grid.py::test_short_and_long_days_hold_their_intervals",
    ),
    "days and hours of the wall clock": (
        "validation/test_wall_clock.py::test_both_halves_of_the_year_and_the_day_between_them_are_placed",
        "validation/test_wall_clock.py::test_hours_of_lord_howe_when_half_an_hour_comes_twice",
        "validation/test_wall_clock.py::test_hours_of_lord_howe_when_half_an_hour_is_skipped",
        "app/test_local_days.py::test_days_judged_one_by_one_are_those_of_the_clock_and_a_lost_one_meets_the_register",
    ),
    "past states": (
        "app/test_past_states.py::test_a_state_is_read_as_of_any_time",
        "app/test_past_states.py::test_a_state_is_read_as_of_a_version_and_of_some_meters",
    ),
    "25th hour": ("validation/test_vee_cases.py::test_a_25th_hourly_value_is_kept",),
    "repeated local hour": (
        "ingest/test_decode.py::test_a_repeated_local_hour_is_told_apart_by_the_dst_bit",
        "ingest/dlms/test_cosem.py::test_the_dst_bit_decides_in_the_repeated_hour",
    ),
    "meter exchange": (
        "validation/test_vee_cases.py::test_a_meter_exchange_at_midday_with_another_interval_length_splits_the_day",
        "validation/test_grid.py::test_data_from_outside_of_an_installation_are_a_finding_for_a_person",
        "billing_export/test_reconcile.py::test_an_exchange_in_the_period_reconciles_each_meter_alone_and_the_multiplier_counts",
    ),
    "exchange held": (
        "validation/test_meter_exchange.py::test_an_hour_that_two_meters_measure_is_suspect_on_both_and_no_other_hour_is",
        "validation/test_meter_exchange.py::test_an_exchange_on_the_hour_splits_the_day_and_the_sum_of_both_registers_is_the_day",
    ),
    "edits of persons": (
        "validation/test_edits.py::test_a_group_of_meters_and_days_is_edited_at_once_and_each_row_names_its_author",
        "app/test_edit_verb.py::test_an_edit_is_stored_once_and_becomes_a_higher_version_that_names_its_author",
    ),
    "momentary zero": (
        "validation/test_estimates.py::test_a_momentary_zero_on_a_cumulative_register_is_no_spike",
        "validation/test_rules.py::test_a_register_that_goes_back_once_is_never_a_new_base",
    ),
    "reset and rollover": (
        "validation/test_vee_cases.py::test_a_rollover_of_a_cumulative_register_is_an_advance_and_no_reset",
        "validation/test_estimates.py::test_a_reset_of_a_cumulative_register_never_bills_the_register",
        "validation/test_rules.py::test_a_second_read_confirms_a_reset_and_its_stretch_is_not_judged",
    ),
    "back after a month": (
        "validation/test_estimates.py::test_a_device_back_after_a_month_spreads_its_advance",
        "validation/test_vee_cases.py::test_a_months_backlog_in_one_hour_is_spread",
    ),
    "backlog in the first hour": (
        "validation/test_vee_cases.py::test_a_days_backlog_in_its_first_hour_is_spread_over_the_day",
    ),
    "spike corrected in silence": (
        "validation/test_edits.py::test_a_spike_corrected_days_later_in_silence_is_a_new_version_and_a_finding",
    ),
    "estimated flag carried": (
        "billing_export/test_nem12.py::test_every_quality_has_its_flag_and_method",
        "billing_export/test_formats.py::test_a_cmep_record_has_a_time_flag_and_value_for_every_interval_end",
    ),
    "doubtful interval and demand": (
        "billing_export/test_determinants.py::test_an_estimate_sets_the_maximum_where_the_tariff_takes_it",
    ),
    "holes and odd days in exports": (
        "billing_export/test_nem12.py::test_slots_without_a_final_are_null_and_the_day_stays_whole",
        "billing_export/test_formats.py::test_a_missing_value_is_empty_under_flag_n_in_cmep",
        "billing_export/test_determinants.py::test_a_local_day_of_23_24_or_25_hours_is_billed_whole_and_with_nothing_of_its_neighbours",
    ),
    "usage after the invoice": (
        "billing_export/test_ledger.py::test_any_order_of_late_reads_ends_in_the_same_sums",
        "validation/test_edits.py::test_a_billed_day_changes_only_by_measured_values_or_persons_and_then_as_a_delta",
    ),
    "bill against intervals": (
        "validation/test_anchor.py::test_the_energy_of_every_anchored_stretch_is_conserved_and_no_value_is_negative",
        "billing_export/test_reconcile.py::test_intervals_are_held_against_the_advance_of_the_register",
    ),
    "months of estimates": (
        "validation/test_vee_cases.py::test_months_of_estimates_are_a_finding_and_a_late_read_anchors_them_all",
        "validation/test_vee_cases.py::test_more_than_sixty_days_of_estimates_are_a_finding",
    ),
    "two active meters": (
        "validation/test_vee_cases.py::test_two_active_meters_at_a_service_point_are_held_for_a_person",
        "validation/test_vee_cases.py::test_what_arrives_out_of_order_is_judged_by_its_time_and_two_meters_wait_for_their_master_data",
    ),
    "changed rules": (
        "validation/test_rule_sets.py::test_a_dry_run_shows_what_other_rules_would_change",
        "validation/test_rule_sets.py::test_the_rules_of_a_day_judge_that_day",
    ),
    "late correction of a locked period": (
        "validation/test_edits.py::test_a_billed_day_changes_only_by_measured_values_or_persons_and_then_as_a_delta",
        "billing_export/test_ledger.py::test_an_acknowledged_batch_is_locked",
    ),
    "zero and outage": (
        "validation/test_rules.py::test_a_zero_under_an_outage_is_an_outage_and_a_zero_elsewhere_is_a_finding",
    ),
    "silent head end": (
        "validation/test_silence.py::test_estimation_waits_for_a_silent_head_end_and_a_gap_before_it_is_filled",
        "app/test_vee_verb.py::test_estimation_waits_while_half_of_the_fleet_is_silent",
        "app/test_silent_feeder.py::test_a_worker_fed_a_silent_feeder_judges_as_the_judgement_of_everything_at_once",
    ),
    "Lord Howe": (
        "validation/test_vee_cases.py::test_an_hourly_grid_on_a_day_of_half_an_hour_more_is_a_finding",
    ),
    "clock set across a boundary": (
        "validation/test_vee_cases.py::test_a_clock_set_across_an_interval_is_flagged_and_the_sum_check_spans_it",
    ),
    "main and check meter": (
        "validation/test_vee_cases.py::test_main_against_check_meter",
        "validation/test_vee_cases.py::test_a_check_meter_fills_the_gap_of_its_main",
    ),
    "time-of-use sums": (
        "validation/test_vee_cases.py::test_each_period_is_anchored_to_its_own_register",
        "validation/test_vee_cases.py::test_tou_registers_add_up_to_the_total_within_a_resolution_each",
    ),
    "all at once": (
        "validation/test_meter_exchange.py::test_an_exchange_on_the_day_of_23_hours_with_a_read_that_comes_late_is_exact_to_both_registers",
    ),
    "a read that comes late": (
        "app/test_midnight_read.py::test_the_read_that_ends_a_day_anchors_its_estimates",
        "app/test_vee_grids.py::test_a_value_corrected_late_clears_the_whole_stretch_that_the_register_doubted",
    ),
    "shares of a month": (
        "app/test_billing_gate.py::test_a_month_of_which_more_than_half_is_estimated_is_held_when_it_is_over",
    ),
    "day that fills": (
        "app/test_steady_vee.py::test_a_value_that_comes_in_time_is_judged_once_and_at_once",
        "app/test_steady_vee.py::test_a_meter_that_falls_silent_is_estimated_a_day_later_across_midnight",
    ),
}  # fmt: skip
"""Case -> tests, paths from `tests/`. Cases of other rooms point at those rooms."""


def missing(places: tuple[str, ...]) -> list[str]:
    """Places at which no test of that name stands."""
    absent = []
    for place in places:
        file, _, name = place.partition("::")
        path = TESTS / file
        body = ast.parse(path.read_text()).body if path.exists() else []
        if not any(isinstance(one, ast.FunctionDef) and one.name == name for one in body):
            absent.append(place)
    return absent


@pytest.mark.parametrize("case", sorted(CASES))
def test_each_case_is_shown_by_tests_that_exist(case: str) -> None:
    assert CASES[case]
    assert missing(CASES[case]) == []


def test_a_test_or_a_file_that_does_not_exist_is_noticed() -> None:
    gone = ("validation/test_rules.py::test_that_is_not_there", "validation/test_no_such_file.py::test_it")
    assert missing(gone) == list(gone)
