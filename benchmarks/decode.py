"""Messages a second of `decode_frames`, beside two other decoders on the same bytes, in one run.

    python benchmarks/decode.py [--messages 20000] [--rounds 7] [--largest 1000000]

The message is an hourly push of 4 intervals and 3 channels. The peers decode bytes to values (dlms-cosem verifies the
tag, gurux-dlms does not); `values` is that work done by ours: link, protection, layouts, and every number and clock as
columns, scaled and placed in time. `stage` is all of `decode_frames`: replay windows, meters, and every frame built.
Rounds alternate between all of them, so the machine's noise falls on each; a ratio is the median of the ratios of each
round, with the least and the greatest, and the spread of a time is (max - min) / median. Every run of a round lasts
tens of milliseconds and more: ours decodes `BATCHES` batches in succession, each of other values, so that it finds
neither cold caches behind the peers' seconds nor a payload that it has just read. Ours runs on one core: Polars is held
to one thread.

What a message costs is told twice: by the size of one batch, and of a stream of so many messages that comes in batches
of at most so many, as a worker receives it.
"""

import argparse
import contextlib
import gc
import io
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("POLARS_MAX_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import app.allocator  # noqa: F401  isort: skip  before polars is loaded, as the command does
import numpy as np
import polars as pl
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from dlms_cosem import security as peer_security
from dlms_cosem.protocol.wrappers import WrapperProtocolDataUnit
from dlms_cosem.protocol.xdlms.data_notification import DataNotification
from dlms_cosem.protocol.xdlms.general_global_cipher import GeneralGlobalCipher
from dlms_cosem.utils import parse_as_dlms_data
from gurux_dlms import GXByteBuffer, GXReplyData
from gurux_dlms.enums import InterfaceType, Security
from gurux_dlms.secure import GXDLMSSecureClient

from app.allocator import keep_freed_memory
from ingest.blocks import Texts
from ingest.clocks import Zones
from ingest.decode import decode_frames
from ingest.dlms.apdu import encode_data_notification
from ingest.dlms.cosem import encode_date_time, encode_scaler_unit, parse_obis
from ingest.dlms.data import Data, Tag
from ingest.dlms.framing import wrap_wpdu
from ingest.dlms.security import protect
from ingest.enrolment import Enrolment
from ingest.faults import Faults
from ingest.grouping import Reading, group_by_layout
from ingest.keyring import Keyring
from ingest.learned import Learned
from ingest.link import unwrap_all
from ingest.meter_types import BUILT_IN, STRICTLY
from ingest.protection import open_all
from ingest.push_cut import cut_push
from ingest.replay import Windows
from ingest.security_headers import read_headers
from ingest.slots import Group
from ingest.spans import Spans
from schemas.frames import METERS, RAW_FRAMES, UTC_US

EK, AK = bytes(range(16)), bytes(range(0xD0, 0xE0))  # published example keys
START = datetime(2026, 3, 2, tzinfo=UTC)
CHANNELS = ("energy_delivered", "energy_received", "reactive_delivered")
BATCHES = 4
"""Of ours in a round, of other values each."""
METER_COUNT = 2000
METERS_A_FEEDER = 1000
LEARNED = [Learned.nothing(), Learned.nothing()]
"""Layouts pass from batch to batch, as in a worker: of `values` and of `stage`."""
MESSAGES_A_ROUND = 20_000
BATCHES_OF = (1_000, 10_000)
"""What a worker receives at once: a trickle, and what has piled up."""
PEER_SHARE = 20
"""Peers decode one message in so many, or a round would take minutes; they cost the same for each."""

_DECODE_AND_SAY_PEAK = """
import sys
from app.cli import main
sys.stdout = sys.stderr
status = main(["decode", "frames.bin", "--meters", "meters.csv", "--out", "out"])
said = dict(line.split(":") for line in open("/proc/self/status"))
sys.__stdout__.write(said["VmHWM"].split()[0])
sys.exit(status)
"""
"""The peak of the new program's memory alone: what `wait4` tells of a child begins with its parent's."""


class Batch(NamedTuple):
    """A batch and what decodes it."""

    frames: pl.DataFrame
    keyring: Keyring
    enrolment: Enrolment
    payloads: Sequence[bytes]


class Timing(NamedTuple):
    """Microseconds of processor time a message: median of the rounds, (max - min) / median, and each round's."""

    median_us: float
    spread: float
    rounds_us: tuple[float, ...]

    def times(self, other: "Timing") -> str:
        """How many times another's cost this is: round against round, since the machine's speed changes between."""
        each = sorted(mine / theirs for mine, theirs in zip(self.rounds_us, other.rounds_us, strict=True))
        return f"{statistics.median(each):7.1f} x ({each[0]:.0f} to {each[-1]:.0f})"


def title_of(meter: int) -> bytes:
    return b"SIM" + meter.to_bytes(5, "big")


def hourly_push(name: bytes, hour: int, values: Iterable[int], channels: int = 3) -> bytes:
    """The APDU of an hourly push of four quarters."""
    rows = []
    numbers = iter(values)
    for quarter in range(4):
        end = encode_date_time(START + timedelta(hours=hour, minutes=15 * (quarter + 1)), 0)
        cells = [Data(Tag.UINT32, next(numbers)) for _ in range(channels)]
        rows.append(Data(Tag.STRUCTURE, (Data(Tag.OCTET_STRING, end), Data(Tag.UINT8, 0), *cells)))
    head = (Data(Tag.OCTET_STRING, name), Data(Tag.OCTET_STRING, parse_obis("1-0:99.1.0.255")))
    return encode_data_notification(1, None, Data(Tag.STRUCTURE, (*head, Data(Tag.ARRAY, tuple(rows)))))


def register_push(name: bytes, registers: int, values: Iterable[int]) -> bytes:
    """The APDU of a self-describing push of so many registers."""
    numbers = iter(values)
    rows = [
        Data(Tag.STRUCTURE, (Data(Tag.OCTET_STRING, parse_obis("0-0:42.0.0.255")), Data(Tag.OCTET_STRING, name))),
        Data(
            Tag.STRUCTURE,
            (
                Data(Tag.OCTET_STRING, parse_obis("0-0:1.0.0.255")),
                Data(Tag.OCTET_STRING, encode_date_time(START + timedelta(minutes=next(numbers) % 9999), 0)),
            ),
        ),
    ]
    for register in range(registers):
        obis = Data(Tag.OCTET_STRING, parse_obis(f"1-0:{register % 4 + 1}.8.{register // 4}.255"))
        unit = encode_scaler_unit(0, 30 if register % 4 < 2 else 32)
        rows.append(Data(Tag.STRUCTURE, (obis, Data(Tag.UINT32, next(numbers)), unit)))
    return encode_data_notification(1, None, Data(Tag.ARRAY, tuple(rows)))


def batch_of(apdus: Sequence[bytes], *, ciphered: bool, first_counter: int = 1) -> Batch:
    """The messages of `METER_COUNT` meters in turn, enrolled, in wrappers."""
    payloads = []
    for number, apdu in enumerate(apdus):
        if ciphered:
            meter, counter = number % METER_COUNT, number // METER_COUNT + first_counter
            apdu = protect(apdu, system_title=title_of(meter), control=0x30, counter=counter, ek=EK, ak=AK)
        payloads.append(wrap_wpdu(apdu))
    count = len(payloads)
    frames = pl.DataFrame(
        {
            "topic": ["ami.frames.v1"] * count,
            "partition": [0] * count,
            "offset": range(count),
            "frame": [0] * count,
            "received_at": pl.Series([START] * count, dtype=UTC_US),
            "payload": pl.Series(payloads, dtype=pl.Binary),
        },
        schema=RAW_FRAMES.schema,
    )
    names = [f"AMI{meter:013d}" for meter in range(METER_COUNT)]
    titles = [title_of(meter).hex() if ciphered else None for meter in range(METER_COUNT)]
    known = {"meter_id": names, "system_title": titles, "interval_s": [900] * METER_COUNT}
    columns = {name: known.get(name, [None] * METER_COUNT) for name in METERS.schema}
    columns["channels"] = [list(CHANNELS)] * METER_COUNT
    columns["feeder_id"] = [f"F{meter // METERS_A_FEEDER}" for meter in range(METER_COUNT)]
    keys = "system_title,ek,ak\n" + "".join(
        f"{title_of(meter).hex()},{EK.hex()},{AK.hex()}\n" for meter in range(METER_COUNT if ciphered else 0)
    )
    enrolment = Enrolment.of(pl.DataFrame(columns, schema=METERS.schema), BUILT_IN)
    return Batch(frames, Keyring.from_csv(keys), enrolment, payloads)


def name_of(number: int) -> bytes:
    return b"AMI%013d" % (number % METER_COUNT)


def hourly_batch(messages: int, *, ciphered: bool, hours: int = 1, drawn: int = 0) -> Batch:
    """Hourly pushes, cut from one encoded push an hour: only clocks of `hours` hours, names and values differ.

    `drawn`: how many batches of such values were drawn before.
    """
    templates = [hourly_push(b"@" * 16, hour, range(12)) for hour in range(hours)]
    at = templates[0].index(b"@" * 16)
    numbers = np.random.default_rng([1, drawn]).integers(0, 2**32, messages, dtype=np.uint32)
    apdus = []
    for number, value in enumerate(numbers):
        template = templates[number % hours]
        apdus.append(template[:at] + name_of(number) + template[at + 16 : -4] + int(value).to_bytes(4, "big"))
    return batch_of(apdus, ciphered=ciphered, first_counter=1 + drawn * messages)


def mixed_batch(messages: int, *, drawn: int = 0) -> Batch:
    """Twenty layouts in turn: register pushes of 3 to 22 registers, 12 on average, as many values as an hourly push."""
    random = np.random.default_rng([2, drawn])
    apdus = [
        register_push(name_of(number), 3 + number % 20, random.integers(0, 2**31, 30).tolist())
        for number in range(messages)
    ]
    return batch_of(apdus, ciphered=False)


def in_succession(draw: Callable[[int], Batch]) -> list[Batch]:
    """`BATCHES` batches of other values each, of one fleet: its meters and keys are the same."""
    first, *others = (draw(number) for number in range(BATCHES))
    return [first, *(each._replace(keyring=first.keyring, enrolment=first.enrolment) for each in others)]


def in_batches_of(batch: Batch, size: int) -> list[Batch]:
    """The messages of a batch in batches of so many."""
    firsts = range(0, batch.frames.height, size)
    return [
        batch._replace(frames=batch.frames.slice(first, size), payloads=batch.payloads[first : first + size])
        for first in firsts
    ]


def ours(batch: Batch) -> int:
    decoded = decode_frames(
        batch.frames, batch.keyring, Windows.empty(), batch.enrolment, BUILT_IN, LEARNED[1].of_types(BUILT_IN)
    )
    LEARNED[1] = decoded.learned
    if decoded.counts.decoded != batch.frames.height:
        raise SystemExit(f"not everything decoded: {decoded.counts}, {decoded.rejects['reason'].value_counts()}")
    return batch.frames.height


def our_values(batch: Batch) -> int:
    """Bytes to columns of numbers, clocks and names: what the peers do."""
    faults = Faults(batch.frames.height)
    apdus = unwrap_all(Spans.of_column(batch.frames["payload"]), faults, lambda _row, _apdu: False)
    headers = read_headers(apdus, faults)
    opened = open_all(apdus, headers, batch.keyring, faults)
    cut, used = 0, []
    learned = LEARNED[0].of_types(BUILT_IN)
    reading = Reading(frozenset(), lambda length: learned.layouts((length, STRICTLY)))
    for alike in group_by_layout(opened.apdus, faults.usable(), reading, faults):
        known = learned.of_layout(alike.layout, STRICTLY, BUILT_IN)
        plan, known = known.plan_for(batch.enrolment.kinds[0], BUILT_IN)
        used.append(known)
        messages = len(alike.message)
        zones = Zones(np.full(messages, -1, np.int32), ())
        received = np.zeros(messages, np.int64)
        found = cut_push(plan, Group(alike.message, alike.octets, alike.varies, zones, received), Texts())
        cut += sum(block.milli.size for block in (*found.intervals, *found.reads))
    LEARNED[0] = learned.with_used(used)
    if cut < batch.frames.height:
        raise SystemExit("not everything decoded")
    return batch.frames.height


def dlms_cosem_plain(batch: Batch) -> int:
    few = batch.payloads[::PEER_SHARE]
    for payload in few:
        unit = WrapperProtocolDataUnit.from_bytes(payload)
        parse_as_dlms_data(DataNotification.from_bytes(unit.data).body)
    return len(few)


def dlms_cosem_ciphered(batch: Batch) -> int:
    few = batch.payloads[::PEER_SHARE]
    for payload in few:
        sealed = GeneralGlobalCipher.from_bytes(WrapperProtocolDataUnit.from_bytes(payload).data)
        plain = peer_security.decrypt(
            security_control=sealed.security_control,
            system_title=sealed.system_title,
            invocation_counter=sealed.invocation_counter,
            key=EK,
            cipher_text=sealed.ciphered_text,
            auth_key=AK,
        )
        parse_as_dlms_data(DataNotification.from_bytes(bytes(plain)).body)
    return len(few)


def gurux(batch: Batch) -> int:
    client = GXDLMSSecureClient(True, 16, 1, interfaceType=InterfaceType.WRAPPER)
    if len(batch.keyring):
        client.ciphering.systemTitle = bytes(8)
        client.ciphering.blockCipherKey, client.ciphering.authenticationKey = EK, AK
        client.ciphering.security = Security.AUTHENTICATION_ENCRYPTION
    few = batch.payloads[:: PEER_SHARE * 10]
    with contextlib.redirect_stdout(io.StringIO()):  # it prints for each ciphered message
        for payload in few:
            reply, notify = GXReplyData(), GXReplyData()
            client.getData(GXByteBuffer(payload), reply, notify)
            if notify.value is None:
                raise SystemExit("gurux-dlms did not decode the message")
    return len(few)


def raw_aes_gcm(batch: Batch) -> int:
    """One one-shot AES-GCM call a message with the key at hand: what no decoder can be faster than."""
    cipher, content = AESGCM(EK), batch.payloads[0][30:-12]
    encrypt, iv, associated = cipher.encrypt, bytes(12), b"\x30" + AK
    for _ in range(len(batch.payloads)):
        encrypt(iv, content, associated)
    return len(batch.payloads)


def timed(runs: dict[str, Callable[[], int]], rounds: int) -> dict[str, Timing]:
    """Every run in turn, `rounds` times after one to warm up."""
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            gc.collect()  # nobody pays for another's garbage
            start = time.process_time()
            count = run()
            if number:
                taken[name].append((time.process_time() - start) / count * 1e6)
    return {
        name: Timing(statistics.median(each), (max(each) - min(each)) / statistics.median(each), tuple(each))
        for name, each in taken.items()
    }


def memory_bandwidth() -> float:
    """Bytes a second that a plain copy of 256 MB reads and writes."""
    source = np.zeros(2**28, np.uint8)
    target = np.empty_like(source)
    best = min(_seconds(lambda: np.copyto(target, source)) for _ in range(5))
    return 2 * source.nbytes / best


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def compare(
    title: str, batches: Sequence[Batch], peers: dict[str, Callable[[Batch], int]], rounds: int
) -> dict[str, Timing]:
    """Print ours, on all batches in succession, beside the peers on the first."""
    both = {"values": our_values, "stage": ours}
    runs = {name: (lambda run=run: sum(map(run, batches))) for name, run in both.items()}
    found = timed(runs | {name: (lambda run=run: run(batches[0])) for name, run in peers.items()}, rounds)
    print(f"\n{title}: {batches[0].frames.height:,} messages, ours {len(batches)} times as many")
    for name, timing in found.items():
        line = f"  {name:<14}{timing.median_us:10.2f} us a message   spread {timing.spread:4.0%}"
        if name not in ("values", "stage"):
            line += f"{timing.times(found['values'])} values{timing.times(found['stage'])} stage"
        print(line)
    return found


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--messages", type=int, default=20_000)
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--largest", type=int, default=1_000_000)
    chosen = options.parse_args()
    keep_freed_memory()  # as the command does
    plain = in_succession(lambda drawn: hourly_batch(chosen.messages, ciphered=False, drawn=drawn))
    found = compare("plain", plain, {"dlms-cosem": dlms_cosem_plain, "gurux-dlms": gurux}, chosen.rounds)
    wire = sum(map(len, plain[0].payloads)) / len(plain[0].payloads)
    bandwidth = memory_bandwidth()
    share = (wire / found["values"].median_us * 1e6) / bandwidth
    print(f"  {wire:.0f} bytes a message; {share:.1%} of the bandwidth of a copy ({bandwidth / 1e9:.1f} GB/s)")
    del plain
    late = in_succession(lambda drawn: hourly_batch(chosen.messages, ciphered=False, hours=24, drawn=drawn))
    compare("plain, clocks of 24 hours", late, {"dlms-cosem": dlms_cosem_plain}, chosen.rounds)
    del late
    sealed = in_succession(lambda drawn: hourly_batch(chosen.messages, ciphered=True, drawn=drawn))
    peers = {"dlms-cosem": dlms_cosem_ciphered, "gurux-dlms": gurux, "one AES-GCM": raw_aes_gcm}
    found = compare("ciphered, suite 0, one key a meter", sealed, peers, chosen.rounds)
    raw = found["one AES-GCM"].median_us / found["values"].median_us
    print(f"  {raw:.0%} of the rate of one AES-GCM call a message with its key at hand")
    del sealed
    show_two_cores(chosen.messages, chosen.rounds, found["dlms-cosem"].median_us)
    mixed = in_succession(lambda drawn: mixed_batch(chosen.messages, drawn=drawn))
    compare("mixed, 20 layouts", mixed, {"dlms-cosem": dlms_cosem_plain}, chosen.rounds)
    del mixed
    whole = hourly_batch(chosen.largest, ciphered=False)
    show_cost_by_size(whole, chosen.rounds)
    show_cost_of_streams(whole, chosen.rounds)
    del whole
    print("\nresident set of `ami decode` (plain)")
    for size in (chosen.largest // 10, chosen.largest):
        show_resident_set(size)


def show_two_cores(messages: int, rounds: int, peer_us: float) -> None:
    """Print what a ciphered message costs two processes at once, as two workers of a group share a topic."""
    context = multiprocessing.get_context("spawn")
    for name in ("values", "stage"):
        with context.Manager() as manager:
            together, told = manager.Barrier(2), manager.list()
            workers = [context.Process(target=_worker, args=(name, messages, rounds, together, told)) for _ in range(2)]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
            if len(told) != 2 or any(worker.exitcode for worker in workers):
                raise SystemExit("a worker ended without its figures")
            # Both began together: what they did in the time of the slower one.
            taken = [max(pair) / (2 * messages) * 1e6 for pair in zip(*told, strict=True)]
        each = statistics.median(taken)
        line = f"  {name} on two cores {each:6.2f} us a message   spread {(max(taken) - min(taken)) / each:4.0%}"
        print(f"{line}   {peer_us / each:.0f} x dlms-cosem")


def _worker(name: str, messages: int, rounds: int, together: threading.Barrier, told: list[list[float]]) -> None:
    run = {"values": our_values, "stage": ours}[name]
    batch = hourly_batch(messages, ciphered=True)
    keep_freed_memory()
    seconds = []
    for number in range(rounds + 1):
        gc.collect()
        together.wait()
        took = _seconds(lambda: run(batch))
        if number:
            seconds.append(took)
    told.append(seconds)


def show_cost_by_size(whole: Batch, rounds: int) -> None:
    """Print what a message costs in batches of 1,000 and more, and what a batch costs whatever is in it.

    A round decodes `MESSAGES_A_ROUND` at least: the first batch behind a collection of garbage finds cold caches.
    """
    print("\ncost by the size of the batch (plain)")
    costs = []
    for size in sizes_up_to(whole.frames.height):
        costs.append(
            _show_cost(f"{size:>9,} messages", in_batches_of(whole, size)[: -(-MESSAGES_A_ROUND // size)], rounds)
        )
    if len(costs) > 1:
        print(f"  a batch costs {(costs[0] - costs[1]) / 0.9:.1f} ms more than its messages (from the first two sizes)")


def show_cost_of_streams(whole: Batch, rounds: int) -> None:
    """Print what a message of a stream costs, by how many it has and how many of them come at once at most."""
    for most in BATCHES_OF:
        print(f"\ncost by the number of messages, in batches of at most {most:,} (plain)")
        for size in sizes_up_to(whole.frames.height):
            streams = in_batches_of(whole, size)[: -(-MESSAGES_A_ROUND // size)]
            batches = [batch for stream in streams for batch in in_batches_of(stream, most)]
            _show_cost(f"{size:>9,} messages", batches, rounds)


def sizes_up_to(largest: int) -> list[int]:
    """1,000 and its tenfolds."""
    sizes = [1000]
    while sizes[-1] * 10 <= largest:
        sizes.append(sizes[-1] * 10)
    return sizes


def _show_cost(what: str, batches: Sequence[Batch], rounds: int) -> float:
    takes_long = sum(batch.frames.height for batch in batches) >= 100_000
    timing = timed({"stage": lambda: sum(map(ours, batches))}, 3 if takes_long else rounds)["stage"]
    print(f"  {what} {timing.median_us:8.2f} us a message   spread {timing.spread:4.0%}")
    return timing.median_us


def show_resident_set(messages: int) -> None:
    """Print the largest resident set of a process that decodes a file of so many messages."""
    batch = hourly_batch(messages, ciphered=False)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "frames.bin").write_bytes(b"".join(batch.payloads))
        meters = [f"{meter_id},900,{';'.join(CHANNELS)}" for meter_id in batch.enrolment.meter_id]
        (folder / "meters.csv").write_text("\n".join(["meter_id,interval_s,channels", *meters]), encoding="utf-8")
        done = subprocess.run([sys.executable, "-c", _DECODE_AND_SAY_PEAK], cwd=folder, capture_output=True, check=True)
        octets = (folder / "frames.bin").stat().st_size
    print(f"  {messages:>9,} messages {int(done.stdout) / 1024:8.0f} MB, file {octets / 2**20:.0f} MB")


if __name__ == "__main__":
    main()
