import urllib.error
import urllib.request

import pytest

from app.serve import StatusServer
from app.telemetry import Health
from schemas.errors import ContractError


@pytest.fixture
def server():
    health = Health(heartbeat_limit_s=1e9)
    opened = StatusServer(health, "127.0.0.1", 0)
    yield health, f"http://127.0.0.1:{opened.port}"
    opened.close()


def _get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_health_and_metrics_are_answered(server):
    health, url = server
    assert _get(f"{url}/healthz/live")[0] == 503
    health.beat(0)
    assert _get(f"{url}/healthz/live")[0] == 200
    assert _get(f"{url}/healthz/ready")[0] == 503
    health.assigned = True
    assert _get(f"{url}/healthz/ready")[0] == 200
    code, text = _get(f"{url}/metrics")
    assert code == 200
    assert "ami_messages_total" in text
    assert _get(f"{url}/")[0] == 404


def test_the_database_decides_readiness_but_never_liveness(server):
    health, url = server
    health.beat(0)
    health.assigned = True
    health.last_insert_good = False
    assert _get(f"{url}/healthz/ready")[0] == 503
    assert _get(f"{url}/healthz/live")[0] == 200


def test_an_address_that_is_taken_is_named_with_its_setting():
    first = StatusServer(Health(heartbeat_limit_s=10), "127.0.0.1", 0)
    try:
        with pytest.raises(ContractError, match=f"telemetry.port {first.port}: .*in use.*0 takes a free one"):
            StatusServer(Health(heartbeat_limit_s=10), "127.0.0.1", first.port)
    finally:
        first.close()
