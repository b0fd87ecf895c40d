"""Delivery to real servers: cut at any point, taken up again, never half a file, never to a stranger."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from servers import ACCESS_KEY, BUCKET, REGION, SECRET_KEY, Line, Sshd, Storage, kill, sshd, storage

from billing_export.delivery.courier import Parcel, carry, parcels_of
from billing_export.delivery.s3 import S3Settings
from billing_export.delivery.sftp import SftpSettings
from billing_export.delivery.sigv4 import Credentials, Request, signed_headers
from billing_export.delivery.targets import FolderTarget, Settings, open_target, parse_target
from schemas.errors import ContractError, TerminalError, TransientError

BIG = 2 << 20
PARTED = 6 << 20
BATCH = "batch-1"


def now() -> datetime:
    return datetime.now(UTC)


def build_folder(folder: Path, seed: int = 1, size: int = BIG) -> Path:
    """A delivered folder: a big file and two small ones, with their manifest."""
    folder.mkdir(parents=True)
    content = {
        "big.csv": hashlib.shake_256(f"{seed}".encode()).digest(size),
        "NEM12#a b#X#Y.csv": b"100,NEM12\r\n",
        "empty.csv": b"",
    }
    files = []
    for name, data in content.items():
        (folder / name).write_bytes(data)
        files.append({"name": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(), "records": 1})
    (folder / "manifest.json").write_text(json.dumps({"batch_id": BATCH, "files": files}))
    return folder


def sent(folder: Path, settings: Settings) -> tuple[str, ...]:
    target = open_target(settings, BATCH, now)
    try:
        return carry(folder, target).written
    finally:
        target.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    pytest.importorskip("asyncssh", reason="the extra sftp is not installed")
    with sshd(tmp_path_factory.mktemp("sshd")) as running:
        yield running


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[Storage]:
    with storage() as running:
        yield running


def sftp_to(server: Sshd, folder: Path, port: int | None = None, **changed: object) -> SftpSettings:
    settings = SftpSettings(
        host="127.0.0.1", port=port or server.port, user=server.user, key_file=str(server.key_file),
        host_key_file=str(server.host_key_file), folder=str(folder), timeout_s=10,
    )  # fmt: skip
    return msgspec.structs.replace(settings, **changed)


def s3_to(bucket: Storage, tmp_path: Path, port: int | None = None) -> S3Settings:
    (tmp_path / "access").write_text(ACCESS_KEY + "\n")
    (tmp_path / "secret").write_text(SECRET_KEY)
    return S3Settings(
        endpoint=f"http://127.0.0.1:{port or bucket.port}", bucket=BUCKET, region=REGION, prefix="out",
        access_key_file=str(tmp_path / "access"), secret_key_file=str(tmp_path / "secret"), part_bytes=5 << 20,
        timeout_s=10,
    )  # fmt: skip


def assert_whole_or_no_manifest(there: Path, *allowed: Path) -> None:
    """No name shows anything but a whole file of one of the exports, and a manifest only beside all of its files."""
    whole = {(path.name, path.read_bytes()) for folder in allowed for path in folder.iterdir()}
    for path in there.iterdir() if there.exists() else ():
        assert path.name.endswith(".part") or (path.name, path.read_bytes()) in whole, path.name
    manifest = there / "manifest.json"
    if manifest.exists():
        for stated in json.loads(manifest.read_bytes())["files"]:
            assert hashlib.sha256((there / stated["name"]).read_bytes()).hexdigest() == stated["sha256"]


def assert_stands(there: Path, folder: Path) -> None:
    assert {path.name: path.read_bytes() for path in there.iterdir()} == {
        path.name: path.read_bytes() for path in folder.iterdir()
    }


# SFTP ----------------------------------------------------------------------------------------------------------------


def test_files_arrive_by_sftp_manifest_last_and_a_second_delivery_sends_nothing(server: Sshd, tmp_path: Path) -> None:
    folder, settings = build_folder(tmp_path / "export"), sftp_to(server, tmp_path / "there")
    assert sent(folder, settings)[-1] == "manifest.json"
    assert_stands(tmp_path / "there" / BATCH, folder)
    assert sent(folder, settings) == ()


def test_another_host_key_than_the_pinned_one_is_refused_and_nothing_is_sent(server: Sshd, tmp_path: Path) -> None:
    settings = sftp_to(server, tmp_path / "there", host_key_file=str(server.other_host_key_file))
    with pytest.raises(TerminalError, match="host key is not the one"):
        sent(build_folder(tmp_path / "export"), settings)
    assert not (tmp_path / "there").exists()


def test_a_stranger_and_an_unreadable_key_are_refused_by_name(server: Sshd, tmp_path: Path) -> None:
    folder = build_folder(tmp_path / "export")
    with pytest.raises(TerminalError, match="is refused"):
        sent(folder, sftp_to(server, tmp_path / "there", key_file=str(server.host_key_file.with_suffix(""))))
    with pytest.raises(ContractError, match="key_file"):
        sent(folder, sftp_to(server, tmp_path / "there", key_file=str(tmp_path / "none")))
    with pytest.raises(ContractError, match="no public key"):
        sent(folder, sftp_to(server, tmp_path / "there", host_key_file=str(folder / "empty.csv")))
    with pytest.raises(TransientError, match=r"127\.0\.0\.1"):
        sent(folder, sftp_to(server, tmp_path / "there", port=1))


@pytest.mark.parametrize("limit", [2_000, BIG // 2, BIG, BIG + 60_000])
def test_an_sftp_line_cut_anywhere_leaves_no_half_file_and_is_taken_up(
    limit: int, server: Sshd, tmp_path: Path
) -> None:
    old, new, there = build_folder(tmp_path / "old", 1), build_folder(tmp_path / "new", 2), tmp_path / "there"
    sent(old, sftp_to(server, there))
    with Line(server.port, limit) as line:
        try:
            sent(new, sftp_to(server, there, line.port))
        except TransientError:
            assert line.up > limit
        else:
            assert line.up <= limit
    assert_whole_or_no_manifest(there / BATCH, old, new)
    left = [path.stat().st_size for path in (there / BATCH).glob(".big.csv*.part")]
    with Line(server.port) as line:
        sent(new, sftp_to(server, there, line.port))
        # What had arrived is not sent again.
        assert line.up < BIG + 200_000 - sum(left)
    assert limit < (1 << 20) or left or limit > BIG
    assert_stands(there / BATCH, new)


def test_what_an_earlier_attempt_left_is_not_trusted(server: Sshd, tmp_path: Path) -> None:
    folder, there = build_folder(tmp_path / "export"), tmp_path / "there" / BATCH
    there.mkdir(parents=True)
    digest = hashlib.sha256((folder / "big.csv").read_bytes()).hexdigest()
    (there / f".big.csv.{digest[:16]}.part").write_bytes(bytes(1 << 20))  # of a server that lost its power
    (there / ".big.csv.0123456789abcdef.part").write_bytes(b"of another export")
    sent(folder, sftp_to(server, tmp_path / "there"))
    assert_stands(there, folder)


def test_a_courier_killed_in_the_middle_is_followed_by_one_that_finishes(server: Sshd, tmp_path: Path) -> None:
    folder, there = build_folder(tmp_path / "export"), tmp_path / "there"
    child: list[subprocess.Popen[bytes]] = []
    with Line(server.port, BIG * 3 // 4, lambda: kill(child[0].pid)) as line:
        settings = sftp_to(server, there, line.port)
        facts = msgspec.to_builtins(settings)
        lines = "".join(f"{name} = {msgspec.json.encode(value).decode()}\n" for name, value in facts.items())
        (tmp_path / "target.toml").write_text(f"[target]\n{lines}")
        code = (
            "import sys, pathlib; from datetime import UTC, datetime\n"
            "from billing_export.delivery.courier import carry\n"
            "from billing_export.delivery.targets import open_target, parse_target\n"
            "settings = parse_target(pathlib.Path(sys.argv[1]).read_text(), 'target')\n"
            f"carry(pathlib.Path(sys.argv[2]), open_target(settings, {BATCH!r}, lambda: datetime.now(UTC)))\n"
        )
        arguments = [sys.executable, "-c", code, str(tmp_path / "target.toml"), str(folder)]
        child.append(subprocess.Popen(arguments, env={**os.environ, "PYTHONPATH": str(Path.cwd())}))
        assert child[0].wait(60) == -9
    assert_whole_or_no_manifest(there / BATCH, folder)
    assert not (there / BATCH / "manifest.json").exists()
    sent(folder, sftp_to(server, there))
    assert_stands(there / BATCH, folder)


# S3 ------------------------------------------------------------------------------------------------------------------

DOCUMENTED = Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
DOCUMENTED_AT = datetime(2013, 5, 24, tzinfo=UTC)
EMPTY = hashlib.sha256(b"").hexdigest()
HOST = {"host": "examplebucket.s3.amazonaws.com"}
# The examples of the S3 documentation, "Authenticating Requests: Using the Authorization Header".
VECTORS = [
    (Request("GET", "/test.txt", {}, {**HOST, "range": "bytes=0-9"}, EMPTY),
     "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"),
    (Request("PUT", "/test$file.text", {},
             {**HOST, "date": "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY"},
             hashlib.sha256(b"Welcome to Amazon S3.").hexdigest()),
     "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"),
    (Request("GET", "/", {"lifecycle": ""}, HOST, EMPTY),
     "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
    (Request("GET", "/", {"prefix": "J", "max-keys": "2"}, HOST, EMPTY),
     "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
]  # fmt: skip


@pytest.mark.parametrize(("request_", "signature"), VECTORS)
def test_signatures_are_those_of_the_published_examples(request_: Request, signature: str) -> None:
    made = signed_headers(request_, DOCUMENTED, "us-east-1", DOCUMENTED_AT)
    assert made["authorization"].endswith(f"Signature={signature}")


def objects(bucket: Storage) -> dict[str, bytes]:
    listed = bucket.client.list_objects_v2(Bucket=BUCKET).get("Contents", [])
    return {one["Key"]: bucket.client.get_object(Bucket=BUCKET, Key=one["Key"])["Body"].read() for one in listed}


def expected_objects(folder: Path) -> dict[str, bytes]:
    return {f"out/{BATCH}/{path.name}": path.read_bytes() for path in folder.iterdir()}


def test_files_arrive_in_a_bucket_manifest_last_and_a_second_delivery_sends_nothing(
    bucket: Storage, tmp_path: Path
) -> None:
    folder, settings = build_folder(tmp_path / "export"), s3_to(bucket, tmp_path)
    assert sent(folder, settings)[-1] == "manifest.json"
    assert objects(bucket) == expected_objects(folder)
    sends = [line for line in bucket.requests if line.startswith(("PUT", "POST"))]
    assert sends[-1].endswith("/manifest.json")
    bucket.requests.clear()
    assert sent(folder, settings) == ()
    assert {line.split()[0] for line in bucket.requests} == {"HEAD"}


def test_a_wrong_secret_is_refused(bucket: Storage, tmp_path: Path) -> None:
    folder, settings = build_folder(tmp_path / "export"), s3_to(bucket, tmp_path)
    (tmp_path / "secret").write_text("another")
    with pytest.raises(TerminalError, match="403"):
        sent(folder, settings)
    assert objects(bucket) == {}


@pytest.mark.parametrize("limit", [1_000, 3 << 20, (5 << 20) + 200_000, PARTED + 3_000])
def test_an_s3_line_cut_anywhere_leaves_no_half_object_and_is_taken_up(
    limit: int, bucket: Storage, tmp_path: Path
) -> None:
    old, new = build_folder(tmp_path / "old", 1, PARTED), build_folder(tmp_path / "new", 2, PARTED)
    sent(old, s3_to(bucket, tmp_path))
    with Line(bucket.port, limit) as line, pytest.raises(TransientError):
        sent(new, s3_to(bucket, tmp_path, line.port))
    standing = objects(bucket)
    for key, content in standing.items():
        assert content in (expected_objects(old)[key], expected_objects(new)[key])
    if f"out/{BATCH}/manifest.json" in standing:
        assert standing in (expected_objects(old), expected_objects(new))
    with Line(bucket.port) as line:
        sent(new, s3_to(bucket, tmp_path, line.port))
        if limit > 5 << 20:
            assert line.up < 2 << 20  # the first part of 5 MiB had arrived
    assert objects(bucket) == expected_objects(new)
    assert bucket.client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []) == []


def test_parts_of_another_content_are_thrown_away(bucket: Storage, tmp_path: Path) -> None:
    folder, key = build_folder(tmp_path / "export", 1, PARTED), f"out/{BATCH}/big.csv"
    upload = bucket.client.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"]
    bucket.client.upload_part(Bucket=BUCKET, Key=key, UploadId=upload, PartNumber=1, Body=bytes(5 << 20))
    sent(folder, s3_to(bucket, tmp_path))
    assert objects(bucket) == expected_objects(folder)


# What is sent, and where to ------------------------------------------------------------------------------------------


def test_a_folder_that_is_not_what_its_manifest_states_is_never_sent(tmp_path: Path) -> None:
    folder = build_folder(tmp_path / "export")
    assert [parcel.name for parcel in parcels_of(folder)][-1] == "manifest.json"
    (folder / "empty.csv").write_bytes(b"x")
    with pytest.raises(ContractError, match=r"empty\.csv: not the file"):
        parcels_of(folder)
    (folder / "manifest.json").write_text('{"files": [{"name": "../x", "bytes": 0, "sha256": ""}]}')
    with pytest.raises(ContractError, match="no plain file name"):
        parcels_of(folder)
    (folder / "manifest.json").unlink()
    with pytest.raises(ContractError, match="never delivered whole"):
        parcels_of(folder)


def test_a_folder_target_takes_files_and_manifest(tmp_path: Path) -> None:
    folder = build_folder(tmp_path / "export")
    settings = parse_target(f'[target]\nkind = "folder"\nfolder = "{tmp_path / "share"}"\n', "t.toml")
    assert sent(folder, settings)[-1] == "manifest.json"
    assert_stands(tmp_path / "share" / BATCH, folder)
    assert sent(folder, settings) == ()


@pytest.mark.parametrize(
    "text", ["", '[target]\nkind = "ftp"\n', '[target]\nkind = "folder"\nfolder = "x"\npath = "y"\n', "not toml ["]
)
def test_a_target_that_is_not_understood_is_refused(text: str) -> None:
    with pytest.raises(ContractError, match=r"t\.toml"):
        parse_target(text, "t.toml")


class Breaking(FolderTarget):
    """A target whose line breaks before its n-th call."""

    def __init__(self, folder: Path, calls: int) -> None:
        super().__init__(folder)
        self._left = calls

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise TransientError("the line broke")

    def stands(self, parcel: Parcel) -> bool:
        self._count()
        return super().stands(parcel)

    def send(self, parcel: Parcel) -> None:
        self._count()
        super().send(parcel)

    def withdraw(self, name: str) -> None:
        self._count()
        super().withdraw(name)


@pytest.mark.parametrize("calls", range(9))
def test_a_line_that_breaks_between_any_two_steps_leaves_no_manifest_beside_other_files(
    calls: int, tmp_path: Path
) -> None:
    old, new, there = build_folder(tmp_path / "old", 1, 9), build_folder(tmp_path / "new", 2, 9), tmp_path / "there"
    carry(old, FolderTarget(there))
    try:
        carry(new, Breaking(there, calls))
    except TransientError:
        assert calls < 7
    assert_whole_or_no_manifest(there, old, new)
    carry(new, FolderTarget(there))
    assert_stands(there, new)
