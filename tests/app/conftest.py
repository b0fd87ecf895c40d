"""One simulated day of a small fleet, for every test that takes it the whole road."""

import msgspec
import pytest

from app.workers import Registry
from ingest import meter_types
from ingest.keyring import Keyring
from simulator.fleet import Simulated, simulate
from simulator.params import SimulatorParams


@pytest.fixture(scope="session")
def simulated() -> Simulated:
    return simulate(msgspec.structs.replace(SimulatorParams(), meters=25, days=1, seed=11))


@pytest.fixture(scope="session")
def registry(simulated: Simulated) -> Registry:
    return Registry.of(Keyring.from_csv(simulated.keys_csv), simulated.meters, meter_types.BUILT_IN)
