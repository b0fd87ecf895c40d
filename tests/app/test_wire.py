import json
from datetime import UTC, datetime
from decimal import Decimal

import polars as pl
import pytest

from app.messages import MESSAGE_OCTETS, from_messages, to_messages
from schemas.errors import ContractError
from schemas.frames import EVENTS, FRAMES, REJECTS, conform

AT = datetime(2026, 3, 2, 1, 2, 3, 4, tzinfo=UTC)


def _events(count: int) -> pl.DataFrame:
    rows = pl.DataFrame(
        {
            "topic": "ami.lastgasp.v1", "partition": 0, "offset": list(range(count)), "frame": 0, "received_at": AT,
            "meter_id": [f"M{n}" for n in range(count)], "event": "last_gasp", "code": None, "origin": "nic",
            "occurred_at": AT, "sequence": 7, "authenticated": True,
        }
    )  # fmt: skip
    return conform(rows, EVENTS)


def test_rows_come_back_as_they_went():
    events = _events(5)
    messages = to_messages(events, pl.Series(["F1", "F2", "F1", None, "F1"]))
    assert sorted(messages["key"].to_list()) == ["", "F1", "F2"]
    back = from_messages(messages["value"].to_list(), EVENTS)
    assert back.sort("offset").equals(events)


VALUES = {
    pl.String: "text", pl.Binary: b"\x00\xfe", pl.Boolean: True, pl.Datetime: AT, pl.Date: AT.date(), pl.Int8: -1,
    pl.Int32: 7, pl.Int64: -(2**62), pl.UInt8: 48, pl.UInt32: 2**31, pl.UInt64: 2**35, pl.Float64: 0.25,
    pl.Decimal: Decimal("0.123456"),
}  # fmt: skip


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: frame.name)
def test_rows_of_every_frame_come_back_as_they_went(frame):
    def value(dtype):
        if isinstance(dtype, pl.Enum):
            return dtype.categories[0]
        return [value(dtype.inner)] if isinstance(dtype, pl.List) else VALUES[type(dtype)]

    row = {name: value(dtype) for name, dtype in frame.schema.items()}
    bare = row | dict.fromkeys(frame.nullable)
    rows = pl.DataFrame([row, bare], schema=frame.schema, orient="row")
    messages = to_messages(rows, pl.Series(["k", "k"]))
    assert from_messages(messages["value"].to_list(), frame).equals(rows)


def test_rows_of_one_key_keep_their_order():
    messages = to_messages(_events(4), pl.Series(["F1"] * 4))
    lines = [json.loads(line) for line in messages["value"][0].splitlines()]
    assert [line["meter_id"] for line in lines] == ["M0", "M1", "M2", "M3"]
    assert lines[0]["occurred_at"] == "2026-03-02T01:02:03.000004Z"


def test_bytes_survive():
    reject = conform(
        pl.DataFrame(
            {
                "topic": "t", "partition": 0, "offset": 1, "frame": 0, "received_at": None, "payload": b"\x00\xff\n",
                "reason": "not_dlms", "detail": "", "at": 0, "system_title": None, "key_id": None, "code_version": "1",
            }
        ).cast({"received_at": pl.Datetime("us", "UTC")}),
        REJECTS,
    )  # fmt: skip
    messages = to_messages(reject, pl.Series(["t-0"]))
    assert from_messages(messages["value"].to_list(), REJECTS).equals(reject)


def test_nothing_is_no_message_and_no_message_is_nothing():
    assert to_messages(EVENTS.empty(), pl.Series([], dtype=pl.String)).is_empty()
    assert from_messages([], EVENTS).equals(EVENTS.empty())


@pytest.mark.parametrize("value", [b"not json", b'{"meter_id": 1}', b"\xff\xfe"])
def test_a_value_of_another_kind_is_refused(value):
    with pytest.raises(ContractError, match="EVENTS"):
        from_messages([value], EVENTS)


def test_a_text_with_line_ends_and_any_key_is_cut_as_its_row():
    rows = pl.DataFrame({"meter_id": ["a\nb", "c", 'd"\r\n', "e"]})
    messages = to_messages(rows, pl.Series(["x\n", None, "x\n", "y"]))
    assert messages["key"].to_list() == ["x\n", "", "y"]
    lines = [[json.loads(line)["meter_id"] for line in value.splitlines()] for value in messages["value"]]
    assert lines == [["a\nb", 'd"\r\n'], ["c"], ["e"]]


def test_rows_of_a_key_are_cut_where_a_broker_would_refuse_the_message():
    """Keys below and far above the bound, rows of a third of it, and one that is longer than it."""
    sizes = [10] * 30 + [MESSAGE_OCTETS // 3] * 5 + [2 * MESSAGE_OCTETS] + [10] * 3
    keys = ["small"] * 30 + ["large"] * 9
    rows = pl.DataFrame({"meter_id": [f"{n}".ljust(size, "x") for n, size in enumerate(sizes)]})
    shuffled = [*range(0, 39, 2), *range(1, 39, 2)]
    messages = to_messages(rows[shuffled], pl.Series(keys)[shuffled])
    assert messages["key"].value_counts().sort("key")["count"].to_list() == [3, 1]
    assert all(value.endswith(b"\n") for value in messages["value"])
    longest = 2 * MESSAGE_OCTETS + 20
    assert max(map(len, messages["value"])) < MESSAGE_OCTETS + longest
    got: dict[str, list[int]] = {"small": [], "large": []}
    for key, value in messages.rows():
        got[key] += [int(json.loads(line)["meter_id"].rstrip("x")) for line in value.splitlines()]
    assert got == {key: [n for n in shuffled if keys[n] == key] for key in got}
