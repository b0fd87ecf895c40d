"""The earliest end of the certificates that a configuration names."""

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))

from certificates import VALID, Authority

from app.certificates import earliest_end
from app.config import parse_config
from schemas.errors import ContractError


def test_the_earliest_end_counts_and_none_is_none(tmp_path: Path) -> None:
    assert earliest_end(parse_config("", "ami.toml")) is None
    file = Authority(tmp_path, "ca").file
    config = parse_config(f'[kafka]\nsecurity = "SSL"\nca_file = "{file}"\n', "ami.toml")
    end = earliest_end(config)
    assert end is not None
    assert abs(end - datetime.now(UTC) - VALID) < timedelta(minutes=5)


@pytest.mark.parametrize(("content", "wanted"), [(b"rubbish", "holds no certificate"), (None, "No such file")])
def test_a_file_without_a_certificate_is_named(tmp_path: Path, content: bytes | None, wanted: str) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    config = parse_config(f'[clickhouse]\nsecure = true\nca_file = "{file}"\n', "ami.toml")
    with pytest.raises(ContractError, match=rf"clickhouse.ca_file .*{wanted}"):
        earliest_end(config)
