"""A soak fails for what grows, and for nothing else."""

import json

import pytest

from benchmarks.judging import Ends, Sample, batch_seconds, judge_batches, judge_samples

A, B = ("t", 0), ("t", 1)


def test_the_oldest_message_that_waits_tells_the_age_however_few_wait() -> None:
    ends = Ends()
    ends.look(0.0, {A: 0, B: 0})
    ends.look(1.0, {A: 1, B: 0})
    for second in range(2, 100):
        ends.look(float(second), {A: 1, B: second - 1})
    assert ends.age_s(100.0, {A: 1, B: 98}) == 0.0
    assert ends.age_s(100.0, {A: 0, B: 98}) == 100.0  # one message of ninety-nine, written between the first two looks
    assert ends.age_s(100.0, {A: 1, B: 97}) == 2.0
    assert ends.age_s(100.0, {A: 1, B: 48}) == 51.0
    assert ends.age_s(100.0, {A: 1}) == 99.0


def test_what_stood_there_at_the_first_look_is_as_old_as_that_and_nothing_seen_is_no_age() -> None:
    ends = Ends()
    assert ends.age_s(5.0, {}) == 0.0
    ends.look(3.0, {A: 7})
    assert ends.age_s(5.0, {A: 2}) == 2.0
    ends.look(4.0, {A: 7})
    assert ends.age_s(5.0, {A: 7}) == 0.0


def samples(ages: list[float], memory: list[int]) -> list[Sample]:
    pairs = enumerate(zip(ages, memory, strict=True))
    return [Sample(float(at), {"vee": age}, {"vee": held}) for at, (age, held) in pairs]


@pytest.mark.parametrize(
    ("ages", "memory", "wrong"),
    [
        ([0, 0, 5, 5, 5, 35, 35, 35, 35], [100] * 9, []),
        ([0, 0, 5, 5, 5, 5, 36, 36, 36], [100] * 9, ["vee lag s"]),
        ([90, 90, 90, 9, 8, 9, 8, 9, 8], [100] * 9, []),
        ([1] * 9, [10, 10, 10, 100, 100, 100, 110, 110, 110], []),
        ([1] * 9, [10, 10, 10, 100, 100, 100, 111, 111, 111], ["vee MB"]),
        ([1, 99], [1, 99], []),
    ],
)
def test_age_and_memory_are_judged_by_the_middle_and_the_last_third(
    ages: list[float], memory: list[int], wrong: list[str]
) -> None:
    assert [one.what for one in judge_samples(samples(ages, memory), ["vee"]) if not one.good] == wrong


@pytest.mark.parametrize(
    ("seconds", "good"),
    [
        ([2.0, 2.0, 9.0, 9.0, 3.0, 3.0], True),
        ([2.0, 2.0, 2.0, 2.0, 3.1, 3.1], False),
        ([2.0, 2.0, 2.0, 1.0, 1.0, 1.0, 2.0, 2.0, 90.0], True),
    ],
)
def test_a_batch_of_the_last_third_takes_at_most_half_as_long_again_as_one_of_the_first(
    seconds: list[float], good: bool
) -> None:
    (verdict,) = judge_batches(seconds)
    assert verdict.good is good


def test_of_too_few_batches_nothing_is_said() -> None:
    assert judge_batches([1.0, 1.0, 9.0, 9.0, 99.0]) == []


def test_the_times_of_batches_stand_in_the_log_of_the_workers() -> None:
    told = {"message": "delivered", "outcome": "done", "ms": 1500}
    lines = [
        "Traceback (most recent call last):",
        json.dumps(told | {"batch": "ami.dirty-days.v1/3:0-8 registry 1"}),
        json.dumps(told | {"batch": "ami.frames.v1/3:0-8"}),
        json.dumps(told | {"batch": "ami.dirty-days.v1/3:9-9", "outcome": "failed"}),
        json.dumps({"message": "registry", "taken": 3}),
        json.dumps(told | {"batch": "ami.dirty-days.v1/3:9-9", "ms": 20}),
    ]
    assert batch_seconds(lines, "ami.dirty-days.v1") == [1.5, 0.02]
