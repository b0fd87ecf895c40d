"""What every test shares: data beside the repository (skipped where absent), and how properties are tried."""

import resource
from pathlib import Path

import pytest
from hypothesis import settings

# An example has no deadline: a busy machine would fail properties that hold.
settings.register_profile("ami", deadline=None)
settings.load_profile("ami")

# Each store that was opened in this process leaves threads of its engine behind, with three descriptors each.
_, _most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (_most, _most))

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real captures and series, kept beside the repository."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the shared data (captures, series) are not beside the repository")
    return SHARED_DATA
