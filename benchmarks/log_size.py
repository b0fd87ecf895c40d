"""Bytes on disk of a message in `frames`, of a counter in `replay_windows` and of a register read in `reads`.

    python benchmarks/log_size.py

Rows are made by the engine in this process: hourly pushes of a fleet with payloads of 350 random bytes, as ciphered
ones look, their counters, and three registers a day; each table is merged before it is weighed.
"""

from typing import Final

import polars as pl

from storage.embedded import EmbeddedEngine
from storage.migrations import apply_migrations
from storage.queries import Query

METERS: Final = 20_000
DAY: Final = "toDateTime64('2026-11-01 00:00:00', 6, 'UTC')"
PUSHED: Final = f"'ami.frames.v1', m % 4, intDiv(number, 4), {{}} {DAY} + hour * 3600 + m % 600"
TITLE: Final = "concat('AMI', leftPad(toString(m), 5, '0'))"
HOURS: Final = f"(SELECT number, number % {METERS} AS m, intDiv(number, {METERS}) AS hour FROM numbers({{}}))"
REGISTERS: Final = "['import_wh', 'export_wh', 'reactive_varh']"
MADE: Final = {
    "replay_windows": "INSERT INTO replay_windows"
    " (topic, `partition`, `offset`, saved_at, system_title, key_id, counter, digest)"
    f" SELECT {PUSHED.format('')}, {TITLE}, 'guek-1', 1000 + hour + m % 977, cityHash64(number)"
    f" FROM {HOURS.format(240 * METERS)}",
    "frames": "INSERT INTO frames (topic, `partition`, `offset`, frame, received_at, payload, system_title, counter)"
    f" SELECT {PUSHED.format('0,')}, randomString(350), {TITLE}, 1000 + hour + m % 977"
    f" FROM {HOURS.format(20 * METERS)}",
    "reads": "INSERT INTO reads (topic, `partition`, `offset`, frame, received_at, meter_id, channel, obis, read_at,"
    f" value_milli, status) SELECT {PUSHED.format('0,')}, {TITLE}, arrayElement({REGISTERS}, hour % 3 + 1),"
    f" '1.0.1.8.0.255', {DAY} + intDiv(hour, 3) * 86400,"
    f" 5000000000 + m * 1000003 + intDiv(hour, 3) * 7000000 + cityHash64(number) % 5000000, 0"
    f" FROM {HOURS.format(90 * METERS)}",
}


def main() -> None:
    """One line a table."""
    engine = EmbeddedEngine()
    apply_migrations(engine)
    for table, statement in MADE.items():
        engine.execute(statement)
        engine.execute(f"OPTIMIZE TABLE {table} FINAL")
        weighed = engine.select(
            Query(
                "SELECT toInt64(sum(rows)) AS n, toInt64(sum(bytes_on_disk)) AS octets FROM system.parts"
                f" WHERE active AND table = '{table}'", {}, pl.Schema({"n": pl.Int64(), "octets": pl.Int64()}),
            )
        )  # fmt: skip
        count, octets = weighed.row(0)
        print(f"{table}: {octets / count:.1f} bytes a row ({count:,} rows)")
    engine.close()


if __name__ == "__main__":
    main()
