"""Published schemas, where they are at hand."""

from pathlib import Path

import pytest

SCHEMAS = Path(__file__).parents[3] / "shared" / "data" / "xsd"


@pytest.fixture(scope="session")
def xsd() -> Path:
    """The folder of the schemas of IEC 61968 and MultiSpeak."""
    if not SCHEMAS.is_dir():
        pytest.skip("the published schemas are not at hand")
    return SCHEMAS
