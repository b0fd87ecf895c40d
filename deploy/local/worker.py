"""`ami worker …` against a ClickHouse server of before 2019: python deploy/local/worker.py ingest --config FILE …

The worker is the product's own; only its connection to the server rewrites statements (see old_clickhouse.py).
"""

import sys

from old_clickhouse import connect_old

from app import cli, stores
from storage.clickhouse import ClickHouseEngine, ServerAddress


def connect(address: ServerAddress) -> ClickHouseEngine:
    """An engine whose statements are rewritten for the old server."""
    return connect_old(address.host, address.port, address.database)


if __name__ == "__main__":
    stores.connect = connect
    sys.argv[1:1] = ["worker"]
    sys.exit(cli.main())
