"""Deployment files are parsed here; what needs a container engine is not run."""

import contextlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from app.billing import load_target
from app.cli import main
from app.commands.bill_cycles import load_cycles
from app.commands.worker import Role
from app.config import parse_config
from billing_export.delivery.sftp import SftpSettings

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


def test_what_the_broker_keeps_outlives_its_container(compose):
    kafka = compose["services"]["kafka"]
    mounted = {volume.split(":")[1] for volume in kafka["volumes"]}
    assert kafka["environment"]["KAFKA_LOG_DIRS"] in mounted  # the image's own folder is a temporary one
    assert {volume.split(":")[0] for volume in kafka["volumes"]} <= set(compose["volumes"])


def test_a_database_counts_as_healthy_only_when_others_reach_it_and_without_a_user_that_it_has_not(compose):
    test = " ".join(compose["services"]["clickhouse"]["healthcheck"]["test"])
    assert "clickhouse-client" not in test
    assert "//clickhouse:" in test


def test_the_image_holds_every_room_and_installs_by_hash():
    text = (DEPLOY / "Dockerfile").read_text()
    root = DEPLOY.parent
    rooms = {path.parent.name for path in root.glob("*/__init__.py")} - {"tests", "benchmarks"}
    assert {f"COPY {room} {room}" for room in rooms} <= set(text.splitlines())
    assert "--require-hashes" in text
    assert re.search(r"^USER 10001$", text, flags=re.MULTILINE)


# The billing window as a scheduled job -------------------------------------------------------------------------------

BILLING = DEPLOY / "billing"
MAINTENANCE = DEPLOY / "maintenance"


def billing_commands() -> dict[str, list[str]]:
    unit = (BILLING / "ami-billing.service").read_text()
    (line,) = re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    job = yaml.safe_load((BILLING / "cronjob.yaml").read_text())
    (container,) = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    return {"systemd": line.split()[1:], "cluster": container["args"]}


def test_the_scheduled_job_is_one_command_in_both_places_and_every_option_exists(capsys):
    commands = billing_commands()
    assert commands["systemd"] == commands["cluster"]
    assert commands["cluster"][:2] == ["bill", "window"]
    with contextlib.suppress(SystemExit):
        main(["bill", "window", "--help"])
    known = capsys.readouterr().out
    for option in (word for word in commands["cluster"] if word.startswith("--")):
        assert option in known


def test_two_jobs_never_write_the_ledger_at_once_and_the_image_is_pinned():
    job = yaml.safe_load((BILLING / "cronjob.yaml").read_text())["spec"]
    assert job["concurrencyPolicy"] == "Forbid"
    pod = job["jobTemplate"]["spec"]["template"]["spec"]
    assert pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True
    assert re.search(r":\d", pod["containers"][0]["image"])
    named = {volume["name"] for volume in pod["volumes"]}
    assert {mount["name"] for mount in pod["containers"][0]["volumeMounts"]} == named


def test_the_settings_of_the_scheduled_job_are_accepted():
    assert load_cycles(BILLING / "cycles.toml")[0].name == "monthly"
    assert isinstance(load_target(BILLING / "target.toml"), SftpSettings)


def test_the_monthly_job_is_a_command_whose_options_exist(capsys):
    (line,) = re.findall(r"^ExecStart=(.*)$", (MAINTENANCE / "ami-trim.service").read_text(), re.MULTILINE)
    _, verb, *words = line.split()
    with contextlib.suppress(SystemExit):
        main([verb, "--help"])
    known = capsys.readouterr().out
    assert "replay window" in known
    assert all(option in known for option in words if option.startswith("--"))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_accepts_the_units(tmp_path):
    units = [*BILLING.glob("ami-*"), *MAINTENANCE.glob("ami-*")]
    assert len(units) == 4
    for unit in units:
        (tmp_path / unit.name).write_text(unit.read_text().replace("/opt/ami/bin/ami", sys.executable))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *(str(path) for path in sorted(tmp_path.iterdir()))],
        capture_output=True, text=True,
    )  # fmt: skip
    said = [line for line in done.stderr.splitlines() if "ami-" in line]
    assert said == [], said
