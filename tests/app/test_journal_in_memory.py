"""The journal in memory, which tests of the outage worker use, keeps what the one in Kafka keeps."""

import pytest
from journal_promises import *  # noqa: F403
from journal_promises import Journals

from tests.memory_journal import JournalLog, MemoryJournal


@pytest.fixture
def journals() -> Journals:
    log = JournalLog()
    return lambda: MemoryJournal(log)
