"""How to reach the brokers. Secrets are files; a setting never holds one."""

import ssl
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec

from schemas.bounds import Milliseconds
from schemas.errors import AmiError, ContractError, TerminalError, TransientError

_MENDED_BY: Final = {
    "FencedInstanceIdError": "another worker of this role runs under the same group.instance: name each its own: ",
}
"""What to do, before what the library says."""


class KafkaSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Brokers, transport security and who we are. Files are PEM; a password file holds one line."""

    brokers: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] = ("127.0.0.1:9092",)
    client_id: str = "ami"
    security: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    key_password_file: str | None = None
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    sasl_user: str | None = None
    sasl_password_file: str | None = None
    request_timeout_ms: Milliseconds = 30_000

    def client_options(self) -> dict[str, Any]:
        """Options common to consumers, producers and administration, secrets read.

        Raises:
            ContractError: A secret's file, or a certificate's, cannot be read.
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
            options["ssl_context"] = self._tls()
        if self.security.startswith("SASL"):
            options |= {
                "sasl_mechanism": self.sasl_mechanism,
                "sasl_plain_username": self.sasl_user,
                "sasl_plain_password": read_secret(self.sasl_password_file),
            }
        return options

    def _tls(self) -> ssl.SSLContext:
        """TLS of 1.2 or newer with the broker's certificate and host name checked, and ours shown where we have one."""
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise ContractError(f"kafka.ca_file {self.ca_file}: {error.strerror or error}") from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.cert_file is not None:
            password = read_secret(self.key_password_file)
            try:
                # Without a password the library would ask for one on the terminal.
                context.load_cert_chain(self.cert_file, self.key_file, password or "")
            except (OSError, ssl.SSLError) as error:
                named = f"kafka.cert_file {self.cert_file}, kafka.key_file {self.key_file}"
                reason = "no such file" if isinstance(error, FileNotFoundError) else "not a pair, or a wrong password"
                raise ContractError(f"{named}: {reason}") from error
        return context


def read_secret(file: str | None) -> str | None:
    """The one line of a secret's file; none where no file is named.

    Raises:
        ContractError: The file cannot be read, or is not one line of UTF-8.
    """
    if file is None:
        return None
    try:
        return Path(file).read_text("utf-8").strip()
    except OSError as error:
        raise ContractError(f"secret file {file}: {error.strerror}") from error
    except UnicodeDecodeError:
        # Without its cause: that holds what the file holds.
        raise ContractError(f"secret file {file}: not UTF-8 text") from None


def typed_error(error: Exception, *, retriable: bool) -> AmiError:
    """A broker's refusal as one of ours: to be tried again, or final."""
    name = type(error).__name__
    text = f"kafka: {name}: {_MENDED_BY.get(name, '')}{str(error)[:200]}"
    return TransientError(text) if retriable else TerminalError(text)
