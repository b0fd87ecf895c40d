import pytest

from app.fuse import Fuse
from schemas.errors import TerminalError


def test_a_share_at_the_limit_passes_and_one_more_blows():
    fuse = Fuse(share=0.05, messages=1000)
    fuse.pass_through(0, 1000, 50)
    with pytest.raises(TerminalError, match="51 of the last 1000"):
        Fuse(share=0.05, messages=1000).pass_through(0, 1000, 51)


def test_nothing_blows_before_the_window_is_full():
    fuse = Fuse(share=0.05, messages=1000)
    fuse.pass_through(0, 10, 10)
    fuse.pass_through(30, 10, 10)
    with pytest.raises(TerminalError):
        fuse.pass_through(60, 10, 10)


def test_good_times_do_not_hide_bad_ones():
    fuse = Fuse(share=0.05, messages=1000)
    for second in range(1000):
        fuse.pass_through(float(second), 1000, 0)
    with pytest.raises(TerminalError):
        for second in range(1000, 1030):
            fuse.pass_through(float(second), 1000, 1000)


def test_an_old_fault_is_forgotten_once_the_window_has_moved_on():
    fuse = Fuse(share=0.05, messages=1000)
    fuse.pass_through(0, 1000, 50)
    for second in range(100, 110):
        fuse.pass_through(float(second), 1000, 50)
    fuse.pass_through(200, 1000, 50)
