import pytest

from app.commands import worker
from app.config import parse_config
from app.fuse import Fuse
from schemas.errors import TerminalError


def test_a_share_at_the_limit_passes_and_one_more_blows():
    fuse = Fuse(share=0.05, messages=1000)
    fuse.pass_through(0, 1000, {"axdr_tag": 50})
    with pytest.raises(TerminalError, match="51 of the last 1000"):
        Fuse(share=0.05, messages=1000).pass_through(0, 1000, {"axdr_tag": 51})


def test_nothing_blows_before_the_window_is_full():
    fuse = Fuse(share=0.05, messages=1000)
    fuse.pass_through(0, 10, {"axdr_tag": 10})
    fuse.pass_through(30, 10, {"axdr_tag": 10})
    with pytest.raises(TerminalError):
        fuse.pass_through(60, 10, {"axdr_tag": 10})


def test_good_times_do_not_hide_bad_ones():
    fuse = Fuse(share=0.05, messages=1000)
    for second in range(1000):
        fuse.pass_through(float(second), 1000, {"axdr_tag": 0})
    with pytest.raises(TerminalError):
        for second in range(1000, 1030):
            fuse.pass_through(float(second), 1000, {"axdr_tag": 1000})


def test_an_old_fault_is_forgotten_once_the_window_has_moved_on():
    fuse = Fuse(share=0.05, messages=1000)
    fuse.pass_through(0, 1000, {"axdr_tag": 50})
    for second in range(100, 110):
        fuse.pass_through(float(second), 1000, {"axdr_tag": 50})
    fuse.pass_through(200, 1000, {"axdr_tag": 50})


def test_the_error_says_how_many_for_which_reason_where_they_are_and_what_to_do():
    fuse = Fuse(share=0.05, messages=1000)
    fuse.pass_through(0, 1000, {"date_time": 40})
    fuse.pass_through(100, 1000, {"key_unknown": 10, "axdr_tag": 2})
    with pytest.raises(TerminalError) as blown:
        fuse.pass_through(101, 1000, {"key_unknown": 75, "poison": 20, "identity": 0})
    said = str(blown.value)
    assert "107 of the last 2000 messages were rejected, more than 5.0%: key_unknown 85, poison 20, axdr_tag 2;" in said
    assert "date_time" not in said, "out of the window"
    assert "identity" not in said
    assert all(place in said for place in ("table rejects", "ami.rejects.v1", "keys.file", "`ami migrate`"))
    assert said.endswith("start the worker again, then run `ami replay rejects`")


def test_a_few_bad_messages_blow_nothing_however_great_their_share():
    fuse = Fuse(share=0.05, messages=1000, least=20)
    for minute in range(0, 1140, 60):
        fuse.pass_through(float(minute), 3, {"axdr_tag": 1})
    with pytest.raises(TerminalError, match="20 of the last 60"):
        fuse.pass_through(1140.0, 3, {"axdr_tag": 1})


def test_the_least_is_no_allowance_beside_the_share():
    Fuse(share=0.05, messages=1000, least=20).pass_through(0, 1000, {"axdr_tag": 50})
    with pytest.raises(TerminalError):
        Fuse(share=0.05, messages=1000, least=20).pass_through(0, 1000, {"axdr_tag": 51})


def test_an_ingest_worker_takes_the_least_of_its_settings(monkeypatch: pytest.MonkeyPatch):
    taken: list[dict[str, float]] = []

    class Opened(Exception):  # noqa: N818  no error: the end of what is looked at
        pass

    def fuse(**settings: float) -> None:
        taken.append(settings)
        raise Opened

    monkeypatch.setattr(worker, "Fuse", fuse)
    with pytest.raises(Opened):
        worker.OPEN[worker.Role.INGEST](parse_config("[ingest]\nfuse_least = 7\n", "t"))
    assert taken == [{"share": 0.05, "messages": 1000, "least": 7}]
    assert parse_config("", "t").ingest.fuse_least == 20
