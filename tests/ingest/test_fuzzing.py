"""What the fuzzing targets check, of the whole corpus and of a few hundred mutations, with every run of the tests."""

import random

from tests.fuzz.fuzz_codec import test_one_input as check_codec
from tests.fuzz.fuzz_decode import CORPUS, NOBODY, REGISTRY, decoded_of, mutated
from tests.fuzz.fuzz_decode import test_one_input as check

SEEDS = [path.read_bytes() for path in sorted(CORPUS.iterdir())]


def test_every_file_of_the_corpus_is_rows_copies_or_rejects() -> None:
    assert len(SEEDS) >= 40
    for data in SEEDS:
        check(data)


def test_mutations_of_the_corpus_are_rows_copies_or_rejects() -> None:
    chance = random.Random(20260302)
    for _ in range(150):
        check(mutated(SEEDS, chance))


def test_the_corpus_reaches_rows_copies_and_most_reasons() -> None:
    counts, reasons = [], set()
    for registry in (REGISTRY, NOBODY):
        decoded = decoded_of(SEEDS, registry)[1]
        counts.append(decoded.counts[1:4])
        reasons |= set(decoded.rejects["reason"])
    assert all(min(each) > 0 for each in counts)
    assert len(reasons) >= 12


def test_the_corpus_reaches_rows_on_no_grid_sent_periods_and_the_rows_of_logs() -> None:
    """What a run by coverage did not find by itself in an hour."""
    decoded = decoded_of(SEEDS, NOBODY)[1]
    told = " ".join(decoded.rejects["detail"])
    assert "a delta where no whole number stands above" in told and "a row of an event log without a clock" in told
    lengths = decoded.intervals.group_by("offset").agg("interval_s").rows()
    names = [path.stem for path in sorted(CORPUS.iterdir())]
    rows = {names[offset]: seconds for offset, seconds in lengths}
    assert rows["sent_period"] == [900] * 6 and rows["deltas_in_rows"] == [900] * 8 and "ragged_rows" in rows


def test_the_codec_s_target_reads_the_corpus_and_mutations_of_it() -> None:
    """It asked for a key by a name that its own keys did not have, so no run began."""
    chance = random.Random(20260303)
    for data in (*SEEDS, *(mutated(SEEDS, chance) for _ in range(150))):
        check_codec(data)
