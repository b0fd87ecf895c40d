import json

from app.cli import main


def test_an_installation_without_services_is_whole(capsys):
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["polars"]["good"]
    assert "embedded" in found["store"]["found"]


def test_what_cannot_be_reached_is_said_and_the_exit_code_is_1(tmp_path, capsys):
    config = tmp_path / "ami.toml"
    config.write_text(
        '[clickhouse]\nport = 1\n[kafka]\nbrokers = ["127.0.0.1:1"]\nrequest_timeout_ms = 1000\n'
        f'[meters]\nfile = "{tmp_path}/absent.csv"\n'
    )
    assert main(["doctor", "--config", str(config), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert not found["store"]["good"]
    assert not found["topics"]["good"]
    assert "absent.csv" in found["meters"]["found"]
