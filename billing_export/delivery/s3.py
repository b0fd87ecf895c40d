"""Delivery to S3-compatible storage: small files in one request, large ones in parts that survive a broken line.

An object is seen whole or not at all; the storage checks every request's bytes against the signed SHA-256. The object
carries the SHA-256 of its file, so that a repeated delivery knows it without fetching it.
"""

import hashlib
import http.client
import ssl
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final, NamedTuple
from urllib.parse import urlsplit
from xml.etree import ElementTree

import msgspec

from billing_export.delivery.courier import Parcel
from billing_export.delivery.sigv4 import Credentials, Request, request_target, signed_headers
from schemas.errors import ContractError, TerminalError, TransientError

_DIGEST: Final = "x-amz-meta-sha256"
_LEAST_PART: Final = 5 << 20
"""Smallest part but the last that the protocol allows."""
_BUSY: Final = frozenset({408, 429, 500, 502, 503, 504})


class S3Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="s3"):
    """Where to, and as whom. Secrets are files, never values.

    Args:
        endpoint: Address of the storage, `https://…`; buckets are named in the path.
        bucket: It must exist.
        access_key_file: Access key id.
        secret_key_file: Secret access key.
        region: Region of the bucket, as it is signed.
        prefix: Before every key; each batch gets a "folder" of its own under it.
        part_bytes: Files above this go in parts of this size: what is lost when the line breaks.
        ca_file: Certificate authority, where it is none of the system's.
        timeout_s: Limit of silence.
    """

    endpoint: str
    bucket: str
    access_key_file: str
    secret_key_file: str
    region: str = "us-east-1"
    prefix: str = ""
    part_bytes: Annotated[int, msgspec.Meta(ge=_LEAST_PART)] = 16 << 20
    ca_file: str | None = None
    timeout_s: float = 60.0


class _Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes


class _Part(NamedTuple):
    number: int
    etag: str


class S3Target:
    """`courier.Target` over the S3 protocol, path-style, signature version 4.

    Args:
        settings: Where to.
        folder: Of the batch.
        now: Time of the signatures.
    """

    def __init__(self, settings: S3Settings, folder: str, now: Callable[[], datetime]) -> None:
        address = urlsplit(settings.endpoint)
        if address.scheme not in ("http", "https") or not address.hostname:
            raise ContractError(f"endpoint {settings.endpoint!r}: not an http or https address")
        self._settings, self._now, self._host = settings, now, address.netloc
        self._prefix = "/".join(part for part in (settings.prefix.strip("/"), folder) if part)
        self._credentials = Credentials(_secret(settings.access_key_file), _secret(settings.secret_key_file))
        host, port = address.hostname, address.port
        self._line: http.client.HTTPConnection
        if address.scheme == "https":
            trust = ssl.create_default_context(cafile=settings.ca_file)
            self._line = http.client.HTTPSConnection(host, port, timeout=settings.timeout_s, context=trust)
        else:
            self._line = http.client.HTTPConnection(host, port, timeout=settings.timeout_s)

    def stands(self, parcel: Parcel) -> bool:
        """See `courier.Target`: size, and the SHA-256 that the object carries."""
        answer = self._ask("HEAD", parcel.name, accept=(200, 404))
        size, digest = answer.headers.get("content-length"), answer.headers.get(_DIGEST)
        return answer.status == 200 and size == str(parcel.size) and digest == parcel.sha256

    def send(self, parcel: Parcel) -> None:
        """See `courier.Target`."""
        if parcel.size <= self._settings.part_bytes:
            self._ask("PUT", parcel.name, body=parcel.path.read_bytes(), headers={_DIGEST: parcel.sha256})
        else:
            self._send_parts(parcel)
        if not self.stands(parcel):
            raise TransientError(f"{self._host}: {parcel.name} does not stand there as it was sent")

    def withdraw(self, name: str) -> None:
        """See `courier.Target`."""
        self._ask("DELETE", name, accept=(200, 204, 404))

    def close(self) -> None:
        """See `courier.Target`."""
        self._line.close()

    def _send_parts(self, parcel: Parcel) -> None:
        upload, there = self._taken_up(parcel)
        done = []
        for number, block in _blocks(parcel, self._settings.part_bytes):
            etag = hashlib.md5(block, usedforsecurity=False).hexdigest()
            if there.get(number) != etag:
                query = {"partNumber": str(number), "uploadId": upload}
                etag = self._ask("PUT", parcel.name, query, block).headers.get("etag", "").strip('"')
            done.append(_Part(number, etag))
        listed = "".join(f"<Part><PartNumber>{n}</PartNumber><ETag>&quot;{tag}&quot;</ETag></Part>" for n, tag in done)
        body = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()
        answer = self._ask("POST", parcel.name, {"uploadId": upload}, body)
        if _texts(answer.body, "Code"):
            # The protocol says 200 first and may change its mind.
            raise TransientError(f"{self._host}: {parcel.name}: {', '.join(_texts(answer.body, 'Code'))}")

    def _taken_up(self, parcel: Parcel) -> tuple[str, dict[int, str]]:
        """An upload that an earlier attempt began and all of whose parts are this file's, else a new one.

        The SHA-256 is the upload's from its beginning, so one of other content must not be continued.
        """
        expected = {
            number: hashlib.md5(block, usedforsecurity=False).hexdigest()
            for number, block in _blocks(parcel, self._settings.part_bytes)
        }
        for upload in self._uploads(parcel.name):
            there = self._parts(parcel.name, upload)
            if there and all(expected.get(number) == etag for number, etag in there.items()):
                return upload, there
            self._ask("DELETE", parcel.name, {"uploadId": upload}, accept=(204, 404))
        answer = self._ask("POST", parcel.name, {"uploads": ""}, headers={_DIGEST: parcel.sha256})
        return _texts(answer.body, "UploadId")[0], {}

    def _uploads(self, name: str) -> list[str]:
        answer = self._ask("GET", None, {"uploads": "", "prefix": self._key(name)})
        root = ElementTree.fromstring(answer.body)
        found = [one for one in root.iter() if _plain(one.tag) == "Upload"]
        return [
            facts["UploadId"]
            for facts in ({_plain(fact.tag): fact.text or "" for fact in one} for one in found)
            if facts["Key"] == self._key(name)
        ]

    def _parts(self, name: str, upload: str) -> dict[int, str]:
        parts: dict[int, str] = {}
        marker = "0"
        while True:
            answer = self._ask("GET", name, {"uploadId": upload, "part-number-marker": marker}, accept=(200, 404))
            if answer.status == 404:
                return {}
            numbers, etags = _texts(answer.body, "PartNumber"), _texts(answer.body, "ETag")
            parts |= {int(number): etag.strip('"') for number, etag in zip(numbers, etags, strict=True)}
            following = _texts(answer.body, "NextPartNumberMarker")
            if _texts(answer.body, "IsTruncated") != ["true"] or not following or following[0] == marker:
                return parts
            marker = following[0]

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}"

    def _ask(
        self,
        method: str,
        name: str | None,
        query: Mapping[str, str] | None = None,
        body: bytes = b"",
        *,
        headers: Mapping[str, str] | None = None,
        accept: tuple[int, ...] = (200,),
    ) -> _Answer:
        path = f"/{self._settings.bucket}" + ("" if name is None else f"/{self._key(name)}")
        request = Request(
            method, path, query or {}, {"host": self._host, **(headers or {})}, hashlib.sha256(body).hexdigest()
        )
        signed = signed_headers(request, self._credentials, self._settings.region, self._now())
        try:
            self._line.request(method, request_target(request), body or None, signed)
            response = self._line.getresponse()
            seen = {key.lower(): value for key, value in response.getheaders()}
            answer = _Answer(response.status, seen, response.read())
        except (OSError, http.client.HTTPException) as error:
            self._line.close()
            raise TransientError(f"{self._host}: {type(error).__name__}: {error}") from error
        if answer.status not in accept:
            raise _refusal(answer, f"{self._host}: {method} {path}")
        return answer


def _refusal(answer: _Answer, what: str) -> TransientError | TerminalError:
    code = " ".join(_texts(answer.body, "Code") + _texts(answer.body, "Message"))
    message = f"{what}: {answer.status} {code}".rstrip()
    return TransientError(message) if answer.status in _BUSY else TerminalError(message)


def _blocks(parcel: Parcel, size: int) -> Iterator[tuple[int, bytes]]:
    with parcel.path.open("rb") as file:
        number = 1
        while block := file.read(size):
            yield number, block
            number += 1


def _texts(body: bytes, tag: str) -> list[str]:
    try:
        root = ElementTree.fromstring(body)
    except ElementTree.ParseError:
        return []  # an answer without XML says nothing of the kind
    return [one.text or "" for one in root.iter() if _plain(one.tag) == tag]


def _plain(tag: str) -> str:
    return tag.rpartition("}")[2]


def _secret(file: str) -> str:
    try:
        return Path(file).read_text().strip()
    except OSError as error:
        raise ContractError(f"{file}: {error.strerror or error}") from error
