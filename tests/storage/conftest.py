from collections.abc import Iterator

import pytest

from storage.embedded import EmbeddedEngine
from storage.migrations import apply_migrations
from storage.store import ReadingStore, SqlStore
from storage.tables import TABLES


@pytest.fixture(scope="session")
def engine() -> Iterator[EmbeddedEngine]:
    embedded = EmbeddedEngine()
    apply_migrations(embedded)
    yield embedded
    embedded.close()


@pytest.fixture
def store(engine: EmbeddedEngine) -> ReadingStore:
    for name in TABLES:
        engine.execute(f"TRUNCATE TABLE {name}")
    return SqlStore(engine)
