"""`ami trim` as a command of its own, on an embedded store in a folder."""

import json
import subprocess
import sys
from pathlib import Path


def test_the_verb_trims_the_store_of_its_configuration(tmp_path: Path) -> None:
    config = tmp_path / "ami.toml"
    config.write_text(f'[embedded]\npath = "{tmp_path / "store"}"\n')
    filled = (
        "import polars as pl, sys; from datetime import UTC, datetime; from pathlib import Path\n"
        "from schemas.frames import REPLAY_WINDOWS; from storage.embedded import open_embedded\n"
        "store = open_embedded(Path(sys.argv[1]))\n"
        "row = dict(topic='t', partition=0, offset=0, system_title='a', key_id='k', counter=0, digest=1,"
        " saved_at=datetime(2020, 1, 1, tzinfo=UTC))\n"
        "rows = pl.DataFrame([row | dict(offset=at, counter=at) for at in range(100)],"
        " schema_overrides=REPLAY_WINDOWS.schema)\n"
        "store.append('replay_windows', rows.select(REPLAY_WINDOWS.schema.names()), 'a'); store.close()\n"
    )
    subprocess.run([sys.executable, "-c", filled, str(tmp_path / "store")], check=True)

    def trim(*options: str) -> dict[str, object]:
        command = [sys.executable, "-c", "import sys; from app.cli import main; sys.exit(main(sys.argv[1:]))", "trim"]
        done = subprocess.run([*command, "--config", str(config), "--json", *options], capture_output=True, check=True)
        told: dict[str, object] = json.loads(done.stdout)
        return told

    assert trim("--dry-run") == {"would_drop": ["202001"], "counters": 100, "carried": 64}
    assert trim() == {"dropped": ["202001"], "counters": 100, "carried": 64}
    assert trim() == {"dropped": [], "counters": 0, "carried": 0}
