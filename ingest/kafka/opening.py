"""Opening a client, and saying why it could not be: the library keeps the reason for its log and raises a timeout."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from kafka import errors

from ingest.kafka.settings import KafkaSettings
from schemas.errors import TransientError

_FAILED: Final = re.compile(r"Bootstrap connection to \S+ failed: (.*?)(?: \(backoff .*)?$", re.DOTALL)
_NOISE: Final = re.compile(r"KafkaConnectionError: |Handshake failed: |\[SSL: \w+\] | \(_ssl\.c:\d+\)")


class _Heard(logging.Handler):
    """Keeps the last telling reason for a failed connection."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.reason = ""

    def emit(self, record: logging.LogRecord) -> None:
        found = _FAILED.search(record.getMessage())
        # A request cut off by our own time limit says less than what came before it.
        if found and not (self.reason and "RequestTimedOut" in found.group(1)):
            self.reason = found.group(1)


@contextmanager
def opening(settings: KafkaSettings) -> Iterator[None]:
    """Whatever client is made inside reaches a broker, or the error says in one line which part of the way failed.

    Raises:
        TransientError: No broker can be reached, its certificate is not trusted or of another host, or it refuses us.
    """
    heard = _Heard()
    logger = logging.getLogger("kafka.net.manager")
    logger.addHandler(heard)
    try:
        yield
    except errors.KafkaError as error:
        reason = explain(heard.reason, settings) if heard.reason else f"{type(error).__name__}: {str(error)[:200]}"
        raise TransientError(f"kafka at {', '.join(settings.brokers)}: {reason}") from error
    finally:
        logger.removeHandler(heard)


@contextmanager
def told_once(name: str) -> Iterator[None]:
    """What the library's logger of that name says again and again inside is logged once."""
    said: set[str] = set()

    def is_new(record: logging.LogRecord) -> bool:
        text = record.getMessage()
        again = text in said
        said.add(text)
        return not again

    logger = logging.getLogger(name)
    logger.addFilter(is_new)
    try:
        yield
    finally:
        logger.removeFilter(is_new)


def explain(reason: str, settings: KafkaSettings) -> str:
    """The reason as the library logs it, and the settings to look at."""
    plain = _NOISE.sub("", reason).strip().rstrip(".")
    if "certificate verify failed" in plain:
        what = "host" if "mismatch" in plain else "authority"
        setting = "kafka.brokers" if what == "host" else "kafka.ca_file"
        return f"the broker's certificate is not of a trusted {what} ({plain}): see {setting}"
    if re.search(r"alert|certificate required|bad certificate", plain, re.IGNORECASE):
        return f"the broker refuses our certificate ({plain}): see kafka.cert_file and kafka.key_file"
    if "Authentication" in plain or ("disconnected" in plain and settings.security.startswith("SASL")):
        return (
            f"the broker refuses to authenticate us ({plain}): see kafka.sasl_mechanism, kafka.sasl_user and "
            "kafka.sasl_password_file"
        )
    if "disconnected" in plain or "Invalid frame length" in plain:  # the latter is an alert of TLS, read as a length
        return f"the broker ends the connection at once ({plain}): is kafka.security = {settings.security!r} right?"
    return plain
