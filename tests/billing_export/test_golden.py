"""Golden files: what each format looks like, byte for byte. A change of one is a change for every receiver.

`PYTHONPATH=.:tests python tests/billing_export/test_golden.py` writes them anew; the difference is to be
read before it is kept.
"""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from billing_rows import TARIFFS, build_finals, build_meters, build_reads

from billing_export.export import Export, export
from billing_export.formats import FORMATS
from billing_export.formats.cancel import CANCEL
from billing_export.formats.sap_isu import read_orders
from billing_export.pieces import ExportInputs, ExportParams
from billing_export.tariffs import parse_tariffs
from schemas.timegrid import NEM_TIMEZONE, day_bounds

GOLDEN = Path(__file__).parents[1] / "golden" / "billing"
DAY = date(2026, 7, 27)
MELO = "DE0001455992900000000000000000001"
ORDERS = "MRIDNUMBER;MATERIAL;SERIALNO;REGISTER;MRREASON\n900001;MAT-1;M1;001;01\n900002;MAT-1;M1;002;01\n"
KINDS = {3: ("estimated", "linear"), 4: ("edited", "manual"), 5: ("outage", "zero"), 6: ("suspect", None)}


def made(form: str) -> Export:
    """A day of two meters, with every kind of quality; NEM formats in NEM time and half hours."""
    nem = form.startswith("nem")
    start, end = day_bounds(DAY, NEM_TIMEZONE if nem else "Europe/Berlin")
    count, step = (48, 1800) if form.startswith("nem12") else (24, 3600)
    values = [0 if place == 5 else 250_123 + 1_111 * place for place in range(count)]
    rows = pl.concat(
        [
            build_finals(start, list(values), step=step, qualities=KINDS),
            build_finals(start, [20_000] * count, step=step, channel="energy_received"),
            build_finals(start, [30_000] * count, step=step, channel="reactive_delivered"),
        ]
    )
    people = {"sender": "9903000000001", "receiver": "9903000000002"} if form == "mscons" else {}
    params = ExportParams(formats=(form,), date_from=DAY, date_to=DAY + timedelta(days=1), **people)
    registry = build_meters(service_point_id=MELO if form == "mscons" else "SP1", multiplier=2_000)
    reads = pl.concat(
        [build_reads({start: 5_000_000, end: 8_000_000}), build_reads({end: 900_000}, channel="energy_received")]
    )
    inputs = ExportInputs(
        rows, registry, reads, parse_tariffs(TARIFFS.replace("window_min = 30", "window_min = 60")), read_orders(ORDERS)
    )
    return export(inputs, params)


def golden_files(form: str) -> dict[str, bytes]:
    """Text files of the format and its manifest, under names that tell no batch."""
    found = made(form)
    files = {
        f"{form}{Path(file.name).suffix}": file.content for file in found.files if not file.name.endswith(".parquet")
    }
    cancelled = {
        f"{form}_cancel{Path(file.name).suffix}": CANCEL[form](
            file.content, None, datetime(2026, 8, 3, 6, tzinfo=UTC), ()
        )
        for file in found.files
        if form in CANCEL
    }
    return {**files, **cancelled, f"{form}.manifest.json": found.manifest}


@pytest.mark.parametrize("form", sorted(FORMATS))
def test_each_format_is_what_it_was_to_the_byte(form: str) -> None:
    for name, content in golden_files(form).items():
        if name == "determinants.manifest.json":
            continue  # it holds the hash of a Parquet file, which names the library that wrote it
        assert (GOLDEN / name).read_bytes() == content, name


if __name__ == "__main__":
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for name in sorted(FORMATS):
        for file, content in golden_files(name).items():
            if file != "determinants.manifest.json":
                (GOLDEN / file).write_bytes(content)
