"""When the certificates end that a configuration names: the earliest of them counts."""

from datetime import datetime
from pathlib import Path

from cryptography import x509

from app.config import Config
from schemas.errors import ContractError


def earliest_end(config: Config) -> datetime | None:
    """When the first certificate of the configuration's files ends; none where no file is named.

    Raises:
        ContractError: A file cannot be read or holds no certificate.
    """
    server = config.clickhouse
    named = {
        "kafka.ca_file": config.kafka.ca_file,
        "kafka.cert_file": config.kafka.cert_file,
        "clickhouse.ca_file": None if server is None else server.ca_file,
    }
    ends = [end for setting, file in named.items() if file is not None for end in _ends(setting, file)]
    return min(ends, default=None)


def _ends(setting: str, file: str) -> list[datetime]:
    try:
        certificates = x509.load_pem_x509_certificates(Path(file).read_bytes())
    except OSError as error:
        raise ContractError(f"{setting} {file}: {error.strerror}") from error
    except ValueError as error:
        raise ContractError(f"{setting} {file}: holds no certificate in PEM") from error
    return [certificate.not_valid_after_utc for certificate in certificates]
