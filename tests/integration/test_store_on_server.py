"""The promises of every ReadingStore, kept by a ClickHouse server over the native protocol."""

from test_store import *  # noqa: F403
from test_trace import *  # noqa: F403
from test_window_trim import *  # noqa: F403
