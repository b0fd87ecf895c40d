"""Connections and the descriptors that they take; an address that is taken."""

import asyncio
import resource
import socket

import pytest

from app.commands.gateway import OWN_DESCRIPTORS, listen, within_descriptors
from app.config import Listen
from ingest.gateway import Gateway
from ingest.gateway_limits import GatewayLimits
from schemas.errors import ContractError


@pytest.mark.parametrize(
    ("soft", "hard", "raised", "connections"),
    [
        (1_024, 524_288, 20_000 + OWN_DESCRIPTORS, 20_000),
        (1_024, resource.RLIM_INFINITY, 20_000 + OWN_DESCRIPTORS, 20_000),
        (100_000, 524_288, None, 20_000),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, None, 20_000),
        (1_024, 4_096, 4_096, 4_096 - OWN_DESCRIPTORS),
        (64, 64, None, 1),
    ],
)
def test_senders_never_take_the_last_descriptor(
    soft: int, hard: int, raised: int | None, connections: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: told.append(limits))
    assert within_descriptors(GatewayLimits(connections=20_000)).connections == connections
    assert told == ([] if raised is None else [(raised, hard)])


def test_an_address_that_is_taken_is_named_with_its_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ContractError, match=f"gateway.port {port}: .*address already in use"):
            asyncio.run(listen(Gateway({}), Listen(bind="127.0.0.1", port=port)))
