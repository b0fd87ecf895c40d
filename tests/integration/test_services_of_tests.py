"""What tests find to run on: nothing that was to be killed is left out because the services were given."""

import re
from pathlib import Path

import pytest
from found import Found, absent, ours
from services import ClickHouse, free_port

HERE = Path(__file__).parent


def test_beside_a_given_service_one_of_our_own_is_killed(tmp_path: Path) -> None:
    for found in ours(Found("127.0.0.1", 1), lambda: ClickHouse(tmp_path, free_port())):
        assert found.process is not None and found.process.pid() is not None
        assert found.port != 1
        process = found.process
    assert process.pid() is None


def test_a_service_that_is_ours_is_taken_as_it_is(tmp_path: Path) -> None:
    found = Found("127.0.0.1", 1, ClickHouse(tmp_path, 1))
    assert list(ours(found, lambda: pytest.fail("not needed"))) == [found]


def test_what_is_absent_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="services are required"):
        absent("no broker")


def test_no_test_on_services_skips_by_itself() -> None:
    """Faust's own race aside, which is none of ours: `absent` decides, so that in CI it fails."""
    skips = {
        path.name
        for path in HERE.rglob("*.py")
        if re.search(r"pytest\.skip\(", path.read_text("utf-8")) and path != Path(__file__)
    }
    assert skips == {"found.py", "test_faust_recovery.py"}
