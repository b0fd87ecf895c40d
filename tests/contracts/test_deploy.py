"""Deployment files are parsed here; what needs a container engine is not run."""

import re
from pathlib import Path

import pytest
import yaml

from app.cli import main
from app.commands.worker import Role
from app.config import parse_config

DEPLOY = Path(__file__).parents[2] / "deploy"


@pytest.fixture(scope="module")
def compose() -> dict:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def test_the_settings_of_the_workers_are_accepted(capsys):
    assert main(["check-config", str(DEPLOY / "ami.toml")]) == 0
    assert "password" in capsys.readouterr().out
    settings = parse_config((DEPLOY / "ami.toml").read_text(), "ami.toml")
    assert settings.clickhouse is not None
    assert settings.clickhouse.password_file == "/run/secrets/clickhouse_password"


def test_every_role_has_a_service_and_every_service_a_role(compose):
    commands = [service["command"] for service in compose["services"].values() if "command" in service]
    roles = {command[1] for command in commands if command[0] == "worker"}
    assert roles == {role.value for role in Role}
    assert all(command[-1] == "/etc/ami.toml" for command in commands)


def test_ports_are_open_to_this_machine_only(compose):
    for service in compose["services"].values():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:")


def test_images_are_pinned_and_workers_may_not_write_or_gain_rights(compose):
    for name, service in compose["services"].items():
        image = service["image"]
        assert re.search(r":\d", image) or image == "ami-headend", name
        if image == "ami-headend":
            assert service["read_only"] is True
            assert service["cap_drop"] == ["ALL"]
            assert service["secrets"] == ["clickhouse_password"]


def test_services_are_waited_for(compose):
    for name, service in compose["services"].items():
        for wanted in service.get("depends_on", {}):
            assert wanted in compose["services"], name


def test_the_image_holds_every_room_and_installs_by_hash():
    text = (DEPLOY / "Dockerfile").read_text()
    root = DEPLOY.parent
    rooms = {path.parent.name for path in root.glob("*/__init__.py")} - {"tests", "benchmarks"}
    assert {f"COPY {room} {room}" for room in rooms} <= set(text.splitlines())
    assert "--require-hashes" in text
    assert re.search(r"^USER 10001$", text, flags=re.MULTILINE)
