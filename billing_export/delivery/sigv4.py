"""AWS Signature Version 4 of a request to S3-compatible storage, by its published steps. Pure: the time is given."""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, NamedTuple
from urllib.parse import quote

_ALGORITHM: Final = "AWS4-HMAC-SHA256"
_UNRESERVED: Final = "-_.~"


class Credentials(NamedTuple):
    """Who signs."""

    access_key: str
    secret_key: str
    session_token: str | None = None


class Request(NamedTuple):
    """What is asked. `headers` holds at least `host`, names in lower case; all of them are signed."""

    method: str
    path: str
    """Not encoded: `/bucket/a key`."""
    query: Mapping[str, str]
    headers: Mapping[str, str]
    payload_sha256: str


def request_target(request: Request) -> str:
    """Path and query as they go over the wire, encoded as they are signed."""
    query = _query(request.query)
    return _encoded(request.path, "/") + (f"?{query}" if query else "")


def signed_headers(request: Request, credentials: Credentials, region: str, at: datetime) -> dict[str, str]:
    """All headers of the request: its own, the time, the hash of its payload, and `authorization`.

    Args:
        request: What is asked.
        credentials: Who signs.
        region: Region in the scope of the signature.
        at: Time of the request; a server refuses one that is minutes off.
    """
    stamp = at.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    headers = {**request.headers, "x-amz-content-sha256": request.payload_sha256, "x-amz-date": stamp}
    if credentials.session_token is not None:
        headers["x-amz-security-token"] = credentials.session_token
    names = ";".join(sorted(headers))
    canonical = "\n".join(
        [
            request.method,
            _encoded(request.path, "/"),
            _query(request.query),
            *(f"{name}:{' '.join(headers[name].split())}" for name in sorted(headers)),
            "",
            names,
            request.payload_sha256,
        ]
    )
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    to_sign = "\n".join([_ALGORITHM, stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{credentials.secret_key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
    authorization = f"{_ALGORITHM} Credential={credentials.access_key}/{scope},SignedHeaders={names}"
    return {**headers, "authorization": f"{authorization},Signature={signature}"}


def _encoded(text: str, safe: str = "") -> str:
    return quote(text, safe=_UNRESERVED + safe)


def _query(query: Mapping[str, str]) -> str:
    return "&".join(f"{name}={value}" for name, value in sorted((_encoded(n), _encoded(v)) for n, v in query.items()))
