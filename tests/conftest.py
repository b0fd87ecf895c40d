"""Shared data that some tests read; they are skipped where it is not there."""

from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real captures and series, kept beside the repository."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the shared data (captures, series) are not beside the repository")
    return SHARED_DATA
