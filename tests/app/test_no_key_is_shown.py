"""No key in anything that a run leaves behind: output, logs, tracebacks, metrics, rejects, files, cores, `repr`."""

import base64
import copy
import io
import logging
import os
import pickle
import resource
import subprocess
import sys
import traceback
from pathlib import Path

import polars as pl
import pytest
from prometheus_client import generate_latest

from app import telemetry
from app.cli import main
from app.config import Keys
from app.inputs import configured_keyring, load_keyring
from app.kek import load_book, load_kek, write_book
from app.observe import Observed
from ingest.decode import Decoded, decode_frames
from ingest.enrolment import Enrolment
from ingest.hidden import Hidden
from ingest.kafka.source import Position
from ingest.key_book import of_kind
from ingest.key_files import parse_clear, parse_wrapped, render_wrapped
from ingest.key_rows import join_rows
from ingest.key_seal import BookSeal
from ingest.keyring import Keyring
from ingest.replay import Windows
from schemas.errors import AmiError, ContractError
from tests.ingest import by_hand as hand
from tests.ingest.fleet import OTHER_TITLE, TITLE, enrolled, frames, meters

EK, AK = bytes.fromhex("c3a91f5e8b72d604917e3fa8d5b06c42"), bytes.fromhex("7d18e2f4a6953bc0e87214df6a9b035c")
NEW_EK, NEW_AK = bytes.fromhex("b5f20c9d7e8146a3d08f5b1ce94a72f6"), bytes.fromhex("94e7d15a2cf3b8067a1de05fc86b93b2")
KEK = bytes.fromhex("e19b4d72c50fa836f4d82b6ea107c95d3d6f08b1e45a92c77bd0e8f6135ac4f9")
BAD = ("twice", "long", "quoted")
"""Key files that are refused."""
SECRETS = (EK, AK, NEW_EK, NEW_AK, KEK)


def shows_a_key(left: bytes, keys: tuple[bytes, ...] = SECRETS) -> list[str]:
    """The forms in which a key stands there: raw, hexadecimal, base64, as Python writes bytes or lists them."""
    folded = left.lower()
    found = []
    for key in keys:
        forms = {
            "raw": key, "base64": base64.b64encode(key)[:20], "repr": repr(key)[2:-1].encode(),
            "list": str(list(key))[1:-1].encode(), "escaped": repr(repr(key))[3:-2].encode(),
        }  # fmt: skip
        found += [name for name, form in forms.items() if form in left]
        found += ["hex"] if key.hex().encode() in folded or key.hex(" ").encode() in folded else []
    return found


def test_the_search_finds_every_form() -> None:
    for key in SECRETS:
        for form in (key, key.hex().upper().encode(), repr(key).encode(), base64.b64encode(key), repr([*key]).encode()):
            assert shows_a_key(b"before " + form + b" behind")


def messages() -> list[bytes]:
    """A good push, and one for each way to fail."""
    good = hand.general(hand.PUSH, counter=5, ek=EK, ak=AK)
    return [
        hand.wrapper(apdu)
        for apdu in (
            good, good[:-1] + bytes((good[-1] ^ 1,)), hand.general(hand.PUSH[:40], counter=6, ek=EK, ak=AK),
            hand.general(hand.PUSH[:-1] + b"\x1b", counter=5, ek=EK, ak=AK), hand.PUSH, good[:50],
            hand.general(hand.PUSH, counter=7, ek=NEW_EK, ak=NEW_AK), hand.general(hand.PUSH, 0x32, ek=EK, ak=AK),
        )
    ]  # fmt: skip


def clear_text() -> str:
    return (
        f"system_title,ek,ak\n{TITLE.hex()},{EK.hex()},{AK.hex()}\n{OTHER_TITLE.hex()},{NEW_EK.hex()},{NEW_AK.hex()}\n"
    )


class Work:
    """Decoding alone."""

    def __init__(self) -> None:
        self._ring, self._windows = Keyring.from_csv(clear_text()), Windows.empty()

    def adopt(self, positions: tuple[Position, ...]) -> None: ...

    def prepare(self, raw: pl.DataFrame) -> Decoded:
        return decode_frames(raw, self._ring, self._windows, meters(enrolled()))

    def deliver(self, decoded: Decoded, token: str) -> None: ...


def test_verbs_files_and_summaries_hold_no_key(tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = tmp_path / "in"
    inputs.mkdir()
    out = tmp_path / "out"
    out.mkdir()
    for name, text in {
        "keys.csv": clear_text(), "kek": KEK.hex(), "twice.csv": clear_text() + clear_text().splitlines()[1] + "\n",
        "new.csv": f"system_title,ek,ak\n{TITLE.hex()},{NEW_EK.hex()},{NEW_AK.hex()}\n",
        "long.csv": clear_text().replace(EK.hex(), EK.hex() + "00"), "quoted.csv": clear_text().replace(",", '","'),
        "titles.csv": f"system_title\n{TITLE.hex()}\n", "half_kek": KEK.hex()[:-2] + "xx",
    }.items():  # fmt: skip
        (inputs / name).write_text(text)
    (inputs / "frames.bin").write_bytes(b"".join(messages()))
    monkeypatch.setenv("AMI_SEARCHED_KEK", KEK.hex())
    book, kek = ["--book", str(out / "book.csv")], ["--kek-file", str(inputs / "kek")]
    codes = [
        main([*arguments])
        for arguments in (
            *(["keys", "import", str(inputs / f"{name}.csv"), *book, *kek] for name in BAD),
            ["keys", "import", str(inputs / "keys.csv"), *book, *kek],
            ["keys", "rotate", str(inputs / "new.csv"), *book, "--kek-env", "AMI_SEARCHED_KEK", "--json"],
            ["keys", "revoke", str(inputs / "titles.csv"), *book, *kek, "--json"],
            ["keys", "list", *book, "--json"], ["keys", "list", *book],
            ["keys", "verify", *book, "--kek-command", f"cat {inputs / 'kek'}", "--json"],
            ["keys", "verify", *book, "--kek-command", f"cat {inputs / 'half_kek'}"],
            ["keys", "verify", *book, "--kek-file", str(inputs / "half_kek")],
            ["keys", "verify", *book, "--kek-env", "HOME"],
            ["keys", "verify", *book, "--kek", KEK.hex()[:8]],
            ["inspect", str(inputs / "frames.bin"), "--keys", str(inputs / "keys.csv")],
            ["decode", str(inputs / "frames.bin"), "--keys", str(inputs / "keys.csv"), "--out", str(out), "--json"],
            ["decode", str(inputs / "frames.bin"), "--keys", str(inputs / "long.csv"), "--out", str(out), "--json"],
        )
    ]  # fmt: skip
    printed = capsys.readouterr()
    assert codes == [2, 2, 2, 0, 0, 0, 0, 0, 0, 2, 2, 2, 2, 0, 0, 2]
    assert shows_a_key((printed.out + printed.err).encode()) == []
    left = [path for path in out.rglob("*") if path.is_file()]
    assert {path.name for path in left} >= {"book.csv", "rejects.parquet", "reads.parquet"}
    for path in left:
        assert shows_a_key(path.read_bytes()) == [], path.name
    rejects = pl.read_parquet(out / "rejects.parquet")
    assert rejects.height >= 5 and shows_a_key(repr(rejects.rows()).encode()) == []


def test_logs_metrics_and_every_frame_of_a_worker_hold_no_key() -> None:
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(telemetry.JsonLines())
    root = logging.getLogger()
    root.addHandler(handler)
    level = root.level
    root.setLevel(logging.DEBUG)
    try:
        work = Observed(Work(), "ingest")
        decoded = work.prepare(frames(*messages()))
        work.deliver(decoded, "token")
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    assert '"decoded"' in written.getvalue()
    shown = written.getvalue().encode() + generate_latest(telemetry.REGISTRY)
    for each in decoded:
        shown += repr(each.rows() if isinstance(each, pl.DataFrame) else each).encode()
    shown += repr(decoded.windows.to_frame().rows()).encode()
    assert decoded.counts.rejected >= 5 and shows_a_key(shown) == []


def test_tracebacks_and_the_text_of_objects_hold_no_key(tmp_path: Path) -> None:
    ring = Keyring.from_csv(clear_text())
    wrapped = render_wrapped(parse_clear(clear_text()), KEK)
    objects = (ring, ring.find(TITLE), parse_clear(clear_text()), ring.ciphers_at(pl.Series([0]).to_numpy())[0],
               Enrolment.of(meters(), __import__("ingest.meter_types").meter_types.BUILT_IN))  # fmt: skip
    shown = "".join(f"{each} {each!r} {[each]}" for each in objects)
    (tmp_path / "keys.csv").write_text(clear_text().replace(AK.hex(), AK.hex()[:-2]))
    for failing in (
        lambda: parse_wrapped(wrapped, bytes(32)), lambda: load_keyring(tmp_path / "keys.csv"),
        lambda: Keyring.from_csv(clear_text() + f"{TITLE.hex()},{EK.hex()},\n"),
        lambda: Keyring.from_csv(clear_text().replace("ek", "public_key", 1)),
        lambda: __import__("pickle").dumps(ring),
        lambda: decode_frames(frames(*messages()), ring, Windows.empty(), meters(enrolled(meter_type="none"))),
    ):  # fmt: skip
        with pytest.raises((ContractError, AmiError)) as caught:
            failing()
        shown += "".join(traceback.format_exception(caught.value))
    assert shows_a_key(shown.encode()) == []


def shown_with_locals(error: BaseException) -> bytes:
    """The traceback with every local variable of every frame but the test's, and of whatever led to the error."""
    whole = traceback.TracebackException.from_exception(error, capture_locals=True)
    told = str(error) + "".join(frame.name + repr(frame.locals) for frame in whole.stack if frame.filename != __file__)
    for led in (error.__context__, error.__cause__):
        told += "" if led is None else shown_with_locals(led).decode() + repr(vars(led))
    return told.encode()


def test_the_key_that_wraps_keys_is_among_no_locals_in_no_text_and_in_no_pickle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    typo, text = KEK.hex()[:-1] + "x", render_wrapped(parse_clear(clear_text()), Hidden(KEK))
    for name, content in {
        "kek": KEK.hex(), "raw": KEK, "typo": typo, "long": KEK + b"\n", "clear.csv": clear_text(), "unsealed.csv":
        text[: text.rindex("end,")], "altered.csv": text.replace("active", "revoked", 1),
        "broken.csv": text.replace("guek", "gubk", 1), "says": f"#!/bin/sh\necho {KEK.hex()}\nexit 3\n",
        "hangs": f"#!/bin/sh\necho {KEK.hex()}\nexec sleep 60\n",
    }.items():  # fmt: skip
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    for name in ("says", "hangs"):
        (tmp_path / name).chmod(0o700)
    monkeypatch.setenv("AMI_TYPO_KEK", typo)
    monkeypatch.setattr("app.kek._COMMAND_SECONDS", 1)
    kek = load_kek(tmp_path / "kek")
    assert kek.reveal() == load_kek(tmp_path / "raw").reveal() == KEK
    shown = f"{kek} {kek!r} {[kek]} {vars(Hidden)}".encode()
    shown += f"{BookSeal(kek)!r}{copy.deepcopy(kek)!r}".encode()
    rows = parse_wrapped(text, kek)
    for failing in (
        lambda: load_kek(tmp_path / "typo"), lambda: load_kek(tmp_path / "long"),
        lambda: load_kek(variable="AMI_TYPO_KEK"), lambda: load_kek(command=["cat", str(tmp_path / "typo")]),
        lambda: load_kek(command=[str(tmp_path / "says")]), lambda: load_kek(command=[str(tmp_path / "hangs")]),
        *(lambda name=name: load_book(tmp_path / name, kek)
          for name in ("unsealed.csv", "altered.csv", "broken.csv", "clear.csv", "none.csv")),
        lambda: load_book(tmp_path / "unsealed.csv", Hidden(bytes(32)), sealed=False),
        lambda: write_book(tmp_path / "kek" / "book.csv", rows, kek),
        lambda: pickle.dumps(kek), lambda: pickle.dumps({"kek": kek}), lambda: pickle.dumps(BookSeal(kek)),
        lambda: configured_keyring(Keys(file=str(tmp_path / "altered.csv"), kek_file=str(tmp_path / "kek"))),
    ):  # fmt: skip
        with pytest.raises((ContractError, TypeError)) as caught:
            failing()
        shown += shown_with_locals(caught.value)
    assert b"'kek': 'Hidden(32 octets)'" in shown
    assert shows_a_key(shown.replace(typo.encode(), KEK.hex().encode()), (KEK,)) == []


def rows_of_keys(*keys: bytes) -> str:
    return "".join(f"{TITLE.hex()[:-2]}{at:02x},{key.hex()},{AK.hex()}\n" for at, key in enumerate(keys))


HEADER = "system_title,ek,ak\n"
CLEAR = {
    "an odd digit": HEADER + f"{TITLE.hex()},{EK.hex()}0,\n",
    "no digit": HEADER + f"{TITLE.hex()},{EK.hex()[:-1]}z,\n",
    "no digit in ak": HEADER + f"{TITLE.hex()},{EK.hex()},{AK.hex()[:-1]}z\n",
    "a short ak": HEADER + f"{TITLE.hex()},{EK.hex()},{AK.hex()[:-2]}\n",
    "no title": HEADER + rows_of_keys(EK, NEW_EK)[1:],
    "a field more": HEADER + f"{TITLE.hex()},{EK.hex()},{AK.hex()},x\n",
    "an open quote": HEADER + f'{TITLE.hex()},"{EK.hex()},{AK.hex()}\n',
    "no header": rows_of_keys(EK, NEW_EK),
    "not UTF-8": (HEADER + rows_of_keys(EK)).encode() + b"\xff\n",
    "two of one title": HEADER + rows_of_keys(EK) + rows_of_keys(NEW_EK),
    "no public key": f"system_title,ek,ak,public_key\n{TITLE.hex()},{EK.hex()},{AK.hex()},zz\n",
}


def test_no_file_of_keys_that_is_refused_leaves_a_key_among_the_locals_of_its_traceback(tmp_path: Path) -> None:
    for name, content in CLEAR.items():
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        for read in (load_keyring, lambda file: configured_keyring(Keys(file=str(file)))):
            with pytest.raises(ContractError) as caught:
                read(tmp_path / name)
            assert keys_among(shown_with_locals(caught.value)) == [], name
            assert name in str(caught.value)
    public = tmp_path / "public"
    for content in (CLEAR["no public key"], CLEAR["no public key"].replace(",zz", ",zz,zz")):
        public.write_text(content)
        with pytest.raises(ContractError) as caught:
            ring_with_signers(tmp_path, public)
        assert keys_among(shown_with_locals(caught.value)) == []


def ring_with_signers(folder: Path, public: Path) -> Keyring:
    (folder / "kek").write_text(KEK.hex())
    write_book(folder / "book.csv", parse_clear(clear_text()), Hidden(KEK))
    return configured_keyring(
        Keys(file=str(folder / "book.csv"), kek_file=str(folder / "kek"), public_file=str(public))
    )


def keys_among(told: bytes) -> list[str]:
    """As `shows_a_key`, and where a table cut a key off behind its first digits, or numbers were put out by eights."""
    words = [word for key in SECRETS for word in (int.from_bytes(key[:8], order) for order in ("little", "big"))]
    cut = [key.hex()[:16] for key in SECRETS if key.hex()[:16].encode() in told.lower()]
    spread = [repr(list(key[:3]))[1:-1] for key in SECRETS if repr(list(key[:3]))[1:-1].encode() in told]
    return [*shows_a_key(told), *cut, *spread, *(str(word) for word in words if str(word).encode() in told)]


def test_a_book_whose_second_key_does_not_unwrap_shows_the_first_to_nobody(tmp_path: Path) -> None:
    title, kind, version, status, ek, ak = render_wrapped(parse_clear(clear_text()), KEK).splitlines()[2].split(",")
    flipped = ak[:-1] + ("0" if ak[-1] != "0" else "1")
    lines = render_wrapped(parse_clear(clear_text()), KEK).splitlines(keepends=True)
    (tmp_path / "book.csv").write_text("".join([*lines[:2], f"{title},{kind},{version},{status},{ek},{flipped}\n"]))
    for failing in (
        lambda: load_book(tmp_path / "book.csv", Hidden(KEK), sealed=False),
        lambda: parse_wrapped((tmp_path / "book.csv").read_text(), KEK),
    ):
        with pytest.raises(ContractError, match="line 3") as caught:
            failing()
        assert keys_among(shown_with_locals(caught.value)) == []


def test_one_key_as_two_of_a_meter_and_the_group_is_told_without_its_numbers() -> None:
    own, group = parse_clear(HEADER + rows_of_keys(EK)), parse_clear(f"{HEADER}{'00' * 8},{EK.hex()},\n")
    with pytest.raises(ContractError, match="the group's") as caught:
        Keyring(join_rows([own, of_kind(group, "gbek")]))
    assert keys_among(shown_with_locals(caught.value)) == []


def test_no_key_is_pickled() -> None:
    ring = Keyring.from_csv(clear_text())
    for holder in (ring, ring.find(TITLE), {"held": ring.find(TITLE)}, parse_clear(clear_text())):
        with pytest.raises(ContractError, match="not pickled"):
            pickle.dumps(holder)


def test_a_process_that_dies_leaves_no_core(tmp_path: Path) -> None:
    (tmp_path / "keys.csv").write_text(clear_text())
    code = (
        "import os, resource\n"
        "hard = resource.getrlimit(resource.RLIMIT_CORE)[1]\n"
        "resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))\n"
        "from app.cli import main\n"
        "main(['decode', '/dev/null', '--keys', 'keys.csv', '--out', 'out'])\n"
        "print(resource.getrlimit(resource.RLIMIT_CORE)[0])\n"
        "os.abort()\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(root)}, capture_output=True,
        text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode < 0 and done.stdout.split()[-1] in ("0", "1")
    assert {path.name for path in tmp_path.iterdir()} == {"keys.csv", "out"}
    assert resource.getrlimit(resource.RLIMIT_CORE)[0] <= 1 or main(["keys", "list", "--book", "nowhere"]) == 2
