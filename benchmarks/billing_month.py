"""A simulated month with every fault of the simulator on, from frames to bills, and what its reconciliation says.

    python benchmarks/billing_month.py [--meters 200] [--seed 7] [--out DIR]

Runs the verbs one after another: simulate, decode, outages, vee, bill run (determinants, NEM12, ESPI), check of every
file, reconcile. Prints the summary of the last: how many comparisons were made, which differ, by how much, and why.
Exit 1 where a strict check has a finding, or `ami reconcile` exits 1 for anything but reads that are owed (`unread`:
the simulator takes meters down without a last read now and then, and that must be said).
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

FAULTS = """
start = 2026-03-01
timezone = "Europe/Berlin"
[faults]
loss = 0.02
late = 0.02
duplicated = 0.01
reordered = 0.01
drift_meters = 0.03
spikes = 0.0001
stuck_meters = 0.02
rollover_meters = 0.03
exchange_meters = 0.03
test_mode_meters = 0.02
"""


def ami(*arguments: object) -> tuple[int, dict[str, Any]]:
    """A verb's exit code and summary."""
    command = [sys.executable, "-m", "app.cli", *(str(argument) for argument in arguments), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    return done.returncode, json.loads(done.stdout or "{}")


def month(folder: Path, meters: int, seed: int) -> int:
    """The whole road; the exit code."""
    sim, raw, out, fin, bill = (folder / name for name in ("sim", "raw", "outages", "finals", "bill"))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "month.toml").write_text(FAULTS)
    registry = ("--meters", sim / "meters.csv")
    made = ami("simulate", "--meters", meters, "--days", 31, "--seed", seed, "--config", folder / "month.toml",
               "--out", sim)  # fmt: skip
    print(f"simulate   {made[1]['frames']} frames of {meters} meters, {made[1]['outages']} outages")
    read = ami("decode", sim / "frames.bin", "--keys", sim / "keys.csv", *registry, "--out", raw)
    print(f"decode     {read[1]['decoded']} decoded, {read[1]['rejected']} rejected, {read[1]['duplicates']} copies")
    reads = ("--reads", raw / "reads.parquet")
    ami("outages", raw / "events.parquet", *registry, *reads, "--out", out)
    span = ("--from", "2026-02-28T23:00:00Z", "--to", "2026-03-31T22:00:00Z", "--judged-at", "2026-04-02")
    judged = ami("vee", raw / "intervals.parquet", *reads, "--outages", out / "outages.parquet", *registry, *span,
                 "--out", fin)  # fmt: skip
    print(f"vee        {judged[1]['quality']}")
    period = (*registry, "--tariffs", sim / "tariffs.toml", *reads, "--from", "2026-03-01", "--to", "2026-04-01")
    finals, ledger = fin / "finals.parquet", ("--ledger", folder / "ledger")
    billed = ami("bill", "run", finals, *period, *ledger, "--out", bill, "--format", "nem12", "--format", "espi",
                 "--at", "2026-04-03")  # fmt: skip
    print(f"bill run   {billed[1]['lines']['new']} lines, held {billed[1]['held']}, {billed[1]['seconds']:.1f} s")
    delivered = bill / str(billed[1]["batch"])
    checked = ami("check", *(path for path in sorted(delivered.iterdir()) if path.name != "manifest.json"))
    print(f"check      {checked[1]['files']} files, {len(checked[1]['findings'])} findings")
    code, report = ami("reconcile", finals, *period, *ledger, "--delivery", delivered, "--out", folder / "reconciled")
    print(json.dumps({"exit": code} | report, indent=1))
    owed = sum(row["rows"] for name, row in report["reasons"].items() if name.startswith("unread "))
    faulty = report["unexplained_or_faulty"] - owed
    right = code == int(bool(faulty + owed))
    print(f"{faulty} differences, {owed} reads owed; ami reconcile exits {code}, as it must: {right}")
    return int(bool(faulty) or not right or bool(checked[1]["findings"]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--meters", type=int, default=200)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    if chosen.out:
        sys.exit(month(chosen.out, chosen.meters, chosen.seed))
    with tempfile.TemporaryDirectory() as temporary:
        sys.exit(month(Path(temporary), chosen.meters, chosen.seed))
