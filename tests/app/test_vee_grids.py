"""How far a meter is judged beside its dirty days, what a turn of the worker costs, who is judged beside whom."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from app import vee_judge, vee_lane
from app.messages import to_messages
from app.vee_grids import begun, grids_of
from ingest.buckets import bucket_of
from schemas import frames
from schemas.codes import Rule
from schemas.frames import FINAL_ENDS, INTERVALS, METERS, READS, conform
from schemas.timegrid import day_bounds
from storage.embedded import open_embedded
from storage.store import Context, Scope, SqlStore
from validation.params import VeeParams
from validation.rules.catalogue import DEFINITION
from validation.vee import Vee, VeeInputs, run_vee

MIDNIGHT = datetime(2026, 3, 10, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = 24 * HOUR
TODAY = Scope(("A", "B"), MIDNIGHT, MIDNIGHT + DAY)
HOURS = range(-48, 24)


def values(meter: str, hours: range, skip: range = range(0)) -> pl.DataFrame:
    """Hourly values of 1 kWh, a milliwatt-hour more and less in turn, received when each hour is over."""
    at = [MIDNIGHT + hour * HOUR for hour in hours if hour not in skip]
    rows = {
        "topic": "ami.frames.v1", "partition": 0, "offset": [hour + 1000 for hour in hours if hour not in skip],
        "frame": 0, "received_at": [instant + HOUR for instant in at], "meter_id": meter, "channel": "energy_delivered",
        "obis": None, "interval_start": at, "interval_s": 3600,
        "value_milli": [1_000_000 + 1 - 2 * (hour % 2) for hour in hours if hour not in skip], "status": 0,
    }  # fmt: skip
    return pl.DataFrame(rows, schema=INTERVALS.schema)


def registers(meter: str, at: dict[int, int], received: int = 0) -> pl.DataFrame:
    """Reads by hour, in kWh, received when they are made or so many hours later."""
    rows = {
        "topic": "ami.frames.v1", "partition": 0, "offset": [hour + 1000 for hour in at], "frame": 1,
        "received_at": [MIDNIGHT + (hour + received) * HOUR for hour in at], "meter_id": meter,
        "channel": "energy_delivered", "obis": None, "read_at": [MIDNIGHT + hour * HOUR for hour in at],
        "value_milli": [kwh * 1_000_000 for kwh in at.values()], "status": 0,
    }  # fmt: skip
    return pl.DataFrame(rows, schema=READS.schema)


def off_the_grid(reads: pl.DataFrame) -> pl.DataFrame:
    return reads.with_columns(pl.col("read_at") + pl.duration(minutes=5))


def ends(a: int = 24, judged: int = 24) -> pl.DataFrame:
    """Finals of B go to the end of today, those of A to an hour; both were judged last at an hour."""
    rows = {
        "meter_id": ["A", "B"], "channel": ["energy_delivered"] * 2,
        "ends_at": [MIDNIGHT + a * HOUR, MIDNIGHT + DAY], "judged_at": [MIDNIGHT + judged * HOUR] * 2,
    }  # fmt: skip
    return pl.DataFrame(rows, schema=FINAL_ENDS.schema)


def grids(mine: pl.DataFrame, reads: pl.DataFrame | None = None, said: pl.DataFrame | None = None) -> tuple[Scope, ...]:
    """Of A with these rows, beside B, which lacks nothing."""
    context = _context(pl.concat([mine, values("B", HOURS)]), reads)
    return grids_of(context, ends() if said is None else said, TODAY)


def _context(intervals: pl.DataFrame, reads: pl.DataFrame | None = None) -> Context:
    return Context(
        intervals, READS.empty() if reads is None else reads, frames.EVENTS.empty(), frames.OUTAGES.empty(),
        METERS.empty(), frames.EDITS.empty(), frames.FINALS.empty(),
    )  # fmt: skip


def wider(since: int, until: int = 24) -> tuple[Scope, ...]:
    rest = TODAY._replace(meters=("B",))
    return Scope(("A",), MIDNIGHT + since * HOUR, MIDNIGHT + until * HOUR), rest


@pytest.mark.parametrize(
    ("mine", "reads", "said"),
    [
        (values("A", HOURS), None, None),
        (values("A", HOURS, skip=range(-30, -20)), None, None),
        (values("A", HOURS, skip=range(-20, -10)), registers("A", {-24: 0, 0: 24, 24: 48}), None),
        (values("A", HOURS), off_the_grid(registers("A", {-30: 0, 6: 36})), None),
        (values("A", HOURS), registers("A", {-30: 0, -6: 24}), None),
        (values("A", range(-48, -10)), None, None),
    ],
    ids=["whole", "a gap of yesterday", "stretches of days", "reads off the grid", "nothing read since", "silent"],
)
def test_a_meter_whose_new_data_reach_into_nothing_is_judged_for_its_dirty_days(mine, reads, said) -> None:
    assert grids(mine, reads, said) == (TODAY,)


@pytest.mark.parametrize(
    ("mine", "reads", "said", "since", "until"),
    [
        (values("A", range(-48, -10)), None, ends(-10), -10, 24),
        (values("A", HOURS, skip=range(-5, 3)), None, None, -5, 24),
        (values("A", HOURS, skip=range(-30, -20)), registers("A", {-40: 0, 6: 46}), None, -40, 24),
        (values("A", HOURS), registers("A", {-30: 0, 6: 36}), None, -30, 24),
        (values("A", range(-48, 80), skip=range(20, 30)), None, None, 0, 30),
        (values("A", range(-48, 80), skip=range(40, 50)), registers("A", {12: 0, 60: 48}), None, 0, 60),
        (values("A", range(-48, 80)), registers("A", {-12: 0, 60: 72}), None, -12, 60),
    ],
    ids=["unfinished", "gap", "stretch", "whole stretch", "gap onward", "stretch onward", "stretch around"],
)
def test_a_meter_is_judged_as_far_as_its_new_data_reach_and_no_other_with_it(mine, reads, said, since, until) -> None:
    assert grids(mine, reads, said) == wider(since, until)


def test_a_register_read_at_local_midnight_is_met_from_the_other_side_of_a_change_of_the_clock() -> None:
    """Days of Berlin from 10 March to 2 April 2026; its clock changes on 29 March. Reads where 25 March and 3 April
    begin, at 23:00 and at 22:00 UTC: the day before the second one is new, and the stretch begins with the first."""
    begins = [day_bounds(date(2026, 3, 10) + k * DAY, "Europe/Berlin")[0] for k in range(25)]
    rows = values("A", range(24)).with_columns(interval_start=pl.Series(begins[:24]))
    rows = rows.with_columns(interval_s=pl.lit(86_400, pl.Int32))
    reads = registers("A", {0: 0, 1: 9}).with_columns(read_at=pl.Series([begins[15], begins[24]]))
    new = Scope(("A",), begins[23], begins[24])
    assert grids_of(_context(rows, reads), FINAL_ENDS.empty(), new) == (Scope(("A",), begins[15], begins[24]),)


def test_a_read_in_the_interval_of_an_exchange_bounds_a_stretch_from_or_to_the_whole_interval() -> None:
    """A was installed five minutes past the hour -30 and read then; it was read again at 6, or leaves past 30."""
    at = MIDNIGHT + timedelta(minutes=5)
    for column, hours, reads, since, until in (
        ("installed_at", HOURS, pl.concat([off_the_grid(registers("A", {-30: 0})), registers("A", {6: 36})]), -30, 24),
        (
            "removed_at",
            range(-48, 30),
            pl.concat([registers("A", {12: 0}), off_the_grid(registers("A", {30: 18}))]),
            0,
            31,
        ),
    ):
        exchanged = at + (since if column == "installed_at" else 30) * HOUR
        context = _context(pl.concat([values("A", hours), values("B", HOURS)]), reads)
        master = conform(pl.DataFrame({"meter_id": ["A"], column: [exchanged]}), METERS)
        assert grids_of(context._replace(meters=master), ends(), TODAY) == wider(since, until)


def test_a_meter_is_not_judged_on_days_before_anything_is_known_of_it() -> None:
    """A has values from this midnight on, and a read of it; B from tomorrow's noon on; C nothing; D has had finals."""
    asked = Scope(("A", "B", "C", "D"), MIDNIGHT - DAY, MIDNIGHT + 3 * DAY)
    context = _context(pl.concat([values("A", range(5)), values("B", range(36, 40)), values("D", range(5))]))
    known = context._replace(reads=registers("A", {0: 7}))
    said = ends().head(1).with_columns(meter_id=pl.lit("D"), ends_at=pl.lit(MIDNIGHT - 2 * DAY))
    assert set(begun(known, said, asked, ("UTC",))) == {
        Scope(("C", "D"), MIDNIGHT - DAY, MIDNIGHT + 3 * DAY),
        Scope(("A",), MIDNIGHT, MIDNIGHT + 3 * DAY),
        Scope(("B",), MIDNIGHT + DAY, MIDNIGHT + 3 * DAY),
    }
    yesterday = Scope(("A", "B"), MIDNIGHT - DAY, MIDNIGHT)
    assert begun(known, FINAL_ENDS.empty(), yesterday, ("UTC",)) == ()


def test_a_day_begins_where_the_clock_of_the_meters_says() -> None:
    """29 March in Berlin has 23 hours: its end is the midnight of a read that is the first."""
    sunday = datetime(2026, 3, 28, 23, tzinfo=UTC)
    after = sunday + 23 * HOUR
    hours = int((after - MIDNIGHT) / HOUR)
    context = _context(values("A", range(hours, hours + 5)))
    asked = Scope(("A",), sunday, after + DAY)
    assert begun(context, FINAL_ENDS.empty(), asked, ("Europe/Berlin",)) == (Scope(("A",), after, after + DAY),)
    # With a meter farther west in the bucket its own midnight comes later: nobody loses a day.
    assert begun(context, FINAL_ENDS.empty(), asked, ("Europe/Berlin", "UTC")) == (Scope(("A",), after, after + DAY),)


def test_a_profile_of_registers_goes_back_to_the_read_before_its_gap() -> None:
    """B's reads stand an hour apart throughout; A's lack the hours around midnight."""
    mine = registers("A", {hour: hour + 48 for hour in HOURS if not -5 <= hour < 3})
    whole = registers("B", {hour: hour + 48 for hour in HOURS})
    assert grids(values("A", range(0)), pl.concat([mine, whole])) == wider(-6)


FLEET = [f"AMI{number:013d}" for number in range(12)]
RETURNS, CHECK, OLD, NEW = FLEET[0], FLEET[1], FLEET[2], FLEET[3]
MAIN = next(name for name in FLEET[4:] if bucket_of(pl.Series([name]))[0] != bucket_of(pl.Series([CHECK]))[0])
MASTER = conform(
    pl.DataFrame(
        {
            "meter_id": FLEET, "interval_s": [3600] * 12, "timezone": ["UTC"] * 12,
            "channels": [["energy_delivered"]] * 12, "installed_at": [MIDNIGHT - 4 * DAY] * 12,
            "check_of": [MAIN if name == CHECK else None for name in FLEET],
            "service_point_id": ["SP" if name in (OLD, NEW) else None for name in FLEET],
        },
        schema_overrides={"interval_s": pl.Int32},
    ),
    METERS,
)  # fmt: skip
PARAMS = VeeParams(judged_at=MIDNIGHT, run_id="", context_days=6, estimate_after_s=86_400)


@pytest.fixture
def store() -> Iterator[SqlStore]:
    store = open_embedded()
    for table in ("meters", "intervals", "reads", "events", "outages", "edits", "finals", "exceptions"):
        store.engine.execute(f"TRUNCATE TABLE {table}")
    store.append("meters", MASTER, "meters")
    yield store
    store.close()


class Turns:
    """The VEE worker, fed what came in some hours at a time; what each turn cost is kept."""

    def __init__(self, store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
        self.store, self.now = store, MIDNIGHT
        self.work = vee_lane.VeeWork(store, MASTER, PARAMS, lambda: self.now)
        self.costs: list[tuple[int, int, int]] = []
        """Raw values and finals loaded, finals judged, by turn."""

        def counted(inputs: VeeInputs, params: VeeParams) -> Vee:
            judged = run_vee(inputs, params)
            told = (inputs.intervals.height, inputs.finals.height, judged.finals.height)
            self.costs[-1] = tuple(map(sum, zip(self.costs[-1], told, strict=True)))
            return judged

        monkeypatch.setattr(vee_judge, "run_vee", counted)

    def turn(self, until: int, *rows: pl.DataFrame) -> None:
        """At this hour so much has come since the last turn."""
        self.now = MIDNIGHT + until * HOUR + timedelta(minutes=5)
        days = [vee_lane.DIRTY_DAYS.empty(), self.work.due(self.store)] if until % 6 == 0 else []
        for part in rows:
            table, at = ("reads", "read_at") if "read_at" in part.columns else ("intervals", "interval_start")
            self.store.append(table, part, f"{table} {until} {part['meter_id'][0]}")
            buckets = bucket_of(part["meter_id"])
            ending = [part[at], part[at] - timedelta(microseconds=1)] if table == "reads" else [part[at]]
            days += [pl.DataFrame({"bucket": buckets, "day": instants.dt.date()}) for instants in ending]
        dirty = pl.concat(days).unique()
        self.costs.append((0, 0, 0))
        self.work.deliver(self.work.prepare(to_messages(dirty, dirty["bucket"])), "")

    def finals(self, name: str) -> pl.DataFrame:
        scope = Scope((name,), MIDNIGHT - 9 * DAY, MIDNIGHT + 9 * DAY)
        return self.store.load_current("finals", scope).sort("interval_start")


def test_a_gap_of_days_meets_the_register_that_is_read_when_the_meter_returns(store, monkeypatch) -> None:
    """Silent from Tuesday 06:00 to Friday 12:00, 60 kWh by the register in 78 hours; the read comes hours after it."""
    turns = Turns(store, monkeypatch)
    turns.turn(0, values(RETURNS, range(-96, 0)), registers(RETURNS, {-96: 0, -24: 72, 0: 96}))
    turns.turn(6, values(RETURNS, range(6)))
    for hour in range(12, 84, 12):
        turns.turn(hour)
    before = turns.finals(RETURNS).filter(pl.col("interval_start") >= MIDNIGHT + 6 * HOUR)
    assert set(before["quality"]) == {"estimated"}
    assert before.height > 24
    turns.turn(87, values(RETURNS, range(84, 87)))
    turns.turn(97, values(RETURNS, range(87, 97)))
    turns.turn(98, values(RETURNS, range(97, 98)), registers(RETURNS, {96: 96 + 6 + 60 + 12}, received=2))
    gap = turns.finals(RETURNS).filter(
        pl.col("interval_start") >= MIDNIGHT + 6 * HOUR, pl.col("interval_start") < MIDNIGHT + 84 * HOUR
    )
    assert gap.height == 78
    assert set(gap["quality"]) == {"estimated"}
    assert gap["value_milli"].sum() == 60_000_000


def test_a_value_corrected_late_clears_the_whole_stretch_that_the_register_doubted(store, monkeypatch) -> None:
    """72 kWh by the register, Tuesday noon to Friday noon; an hour of Wednesday came 1 kWh short, and is corrected."""
    turns = Turns(store, monkeypatch)
    sums = int(DEFINITION[Rule.SUM_CHECK].bit)
    short = values(RETURNS, range(30, 31)).with_columns(pl.col("value_milli") - 1_000_000)
    turns.turn(12, values(RETURNS, range(12)), registers(RETURNS, {12: 0}))
    for hour in range(12, 84, 12):
        rows = values(RETURNS, range(hour, hour + 12), skip=range(30, 31))
        turns.turn(hour + 13, pl.concat([rows, short]) if hour == 24 else rows)
    turns.turn(86, registers(RETURNS, {84: 72}))
    inside = pl.col("interval_start").is_between(MIDNIGHT + 12 * HOUR, MIDNIGHT + 83 * HOUR)
    doubted = turns.finals(RETURNS).filter(inside)
    assert doubted.height == 72
    assert set(doubted["quality"]) == {"suspect"}
    assert (doubted["failed"] & sums).ne(0).all()
    corrected = values(RETURNS, range(30, 31)).with_columns(received_at=pl.lit(MIDNIGHT + 90 * HOUR))
    turns.turn(91, conform(corrected, INTERVALS))
    cleared = turns.finals(RETURNS).filter(inside)
    assert set(cleared["quality"]) == {"valid"}
    assert not (cleared["failed"] & sums).ne(0).any()
    assert cleared["value_milli"].sum() == 72_000_000


def test_a_turn_at_a_steady_rate_loads_and_judges_no_more_the_longer_it_goes_on(store, monkeypatch) -> None:
    """One meter fell silent long ago: it costs a day of its own, not of the meters beside it."""
    turns = Turns(store, monkeypatch)
    for hour in range(0, 4 * 24, 12):
        speaking = [name for name in FLEET if name != RETURNS or not hour]
        turns.turn(hour + 11, pl.concat([values(name, range(hour, hour + 11)) for name in speaking]))
        turns.turn(
            hour + 12, pl.concat([values(name, range(hour + 11, hour + 12)) for name in FLEET if name != RETURNS])
        )
    loaded, finals, judged = ([cost[part] for cost in turns.costs] for part in range(3))
    a_day = 12 * 24
    plain = [turn for turn in range(len(judged)) if turn % 2 == 0 and turn > 4]
    revisits = [turn for turn in range(len(judged)) if turn % 2 and turn > 4]
    # A day's grid of everyone, and of the silent meter what became due. Looked at again are the last four days.
    for counts in (finals, judged):
        assert max(counts[turn] for turn in plain) <= a_day + 2 * 24
        assert max(counts[turn] for turn in revisits) <= 5 * a_day + 2 * 24
    assert max(loaded) <= 4 * a_day
    mine = turns.finals(RETURNS)
    assert mine["interval_start"].to_list() == [MIDNIGHT + hour * HOUR for hour in range(mine.height)]
    assert mine["quality"].to_list() == ["valid"] * 11 + ["estimated"] * (mine.height - 11)
    assert mine.height >= 3 * 24 - 12
    assert turns.finals(next(name for name in FLEET[4:] if name != MAIN))["version"].max() == 1


def test_a_fleet_that_catches_up_is_not_estimated_ahead_of_what_it_brings(store, monkeypatch) -> None:
    """Days that are long over arrive hour by hour: no final is written twice, though all of it is due."""
    turns = Turns(store, monkeypatch)
    for turn in range(4):
        hours = range(-96 + 8 * turn, -88 + 8 * turn)
        late = pl.concat([values(name, hours) for name in FLEET]).with_columns(
            received_at=pl.lit(MIDNIGHT + turn * HOUR)
        )
        turns.turn(turn + 1, conform(late, INTERVALS))
    mine = turns.finals(MAIN)
    assert set(mine["quality"]) == {"valid"}
    assert mine["version"].max() == 1
    assert mine["interval_start"].to_list()[-1] == MIDNIGHT - 65 * HOUR
    turns.turn(30)
    mine = turns.finals(MAIN)
    assert mine["interval_start"].to_list()[-1] >= MIDNIGHT, "a day after it was heard last, what followed is due"
    assert set(mine["quality"][32:]) == {"estimated"}


def test_a_meter_is_judged_beside_its_check_meter_and_those_of_its_service_point(store, monkeypatch) -> None:
    """They stand in other buckets; what the check meter sends later has its main meter judged again."""
    turns = Turns(store, monkeypatch)
    turns.turn(2, *(values(name, range(-72, 0), skip=range(-40, -37)) for name in (MAIN, OLD)))
    turns.turn(3, values(CHECK, range(-72, 0)).with_columns(value_milli=pl.lit(2_000_000, pl.Int64)))
    mine = turns.finals(MAIN)
    gap = mine.filter(pl.col("quality") == "estimated")
    assert gap["value_milli"].to_list() == [2_000_000] * 3
    assert set(gap["method"]) == {"check_meter"}
    against = int(DEFINITION[Rule.MAIN_AGAINST_CHECK].bit)
    assert (mine["failed"] & against).ne(0).any()
    exchange = int(DEFINITION[Rule.METER_EXCHANGE].bit)
    assert (turns.finals(OLD)["failed"] & exchange).ne(0).all(), "two meters are installed at its service point"
    assert turns.finals(NEW).is_empty()
