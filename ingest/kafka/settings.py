"""How to reach the brokers. Secrets are files; a setting never holds one."""

from pathlib import Path
from typing import Any, Literal

import msgspec

from schemas.errors import AmiError, ContractError, TerminalError, TransientError


class KafkaSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Brokers, transport security and who we are. Files are PEM; a password file holds one line."""

    brokers: tuple[str, ...] = ("127.0.0.1:9092",)
    client_id: str = "ami"
    security: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    key_password_file: str | None = None
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    sasl_user: str | None = None
    sasl_password_file: str | None = None
    request_timeout_ms: int = 30_000

    def client_options(self) -> dict[str, Any]:
        """Options common to consumers, producers and administration, secrets read.

        Raises:
            ContractError: A secret's file cannot be read.
        """
        options: dict[str, Any] = {
            "bootstrap_servers": list(self.brokers),
            "client_id": self.client_id,
            "security_protocol": self.security,
            "request_timeout_ms": self.request_timeout_ms,
            "bootstrap_timeout_ms": self.request_timeout_ms,
            # A broker that stays away is the caller's matter: it retries and says so.
            "reconnect_backoff_max_ms": 2_000,
        }
        if self.security.endswith("SSL"):
            options |= {
                "ssl_cafile": self.ca_file,
                "ssl_certfile": self.cert_file,
                "ssl_keyfile": self.key_file,
                "ssl_password": read_secret(self.key_password_file),
            }
        if self.security.startswith("SASL"):
            options |= {
                "sasl_mechanism": self.sasl_mechanism,
                "sasl_plain_username": self.sasl_user,
                "sasl_plain_password": read_secret(self.sasl_password_file),
            }
        return options


def read_secret(file: str | None) -> str | None:
    """The one line of a secret's file; none where no file is named.

    Raises:
        ContractError: The file cannot be read.
    """
    if file is None:
        return None
    try:
        return Path(file).read_text("utf-8").strip()
    except OSError as error:
        raise ContractError(f"secret file {file}: {error.strerror}") from error


def typed_error(error: Exception, *, retriable: bool) -> AmiError:
    """A broker's refusal as one of ours: to be tried again, or final."""
    text = f"kafka: {type(error).__name__}: {str(error)[:200]}"
    return TransientError(text) if retriable else TerminalError(text)
