"""A role is told everything it lacks, from its files alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from infra.application_shape import STAGES, shape_findings
from infra.roles import PLAYBOOKS
from policy.names import ApplicationName
from portal.cli.application_commands import application_app

KINTO = ApplicationName("kinto")


@pytest.fixture
def playbooks(tmp_path: Path) -> Path:
    """A copy to spoil."""
    shutil.copytree(PLAYBOOKS, tmp_path / "playbooks")
    return tmp_path / "playbooks"


@pytest.mark.parametrize(
    "name", sorted(path.name.removeprefix("app_") for path in (PLAYBOOKS / "roles").glob("app_*"))
)
def test_every_role_here_has_the_shape(name: str) -> None:
    assert shape_findings(ApplicationName(name)) == ()


def test_a_role_that_does_not_exist() -> None:
    (finding,) = shape_findings(ApplicationName("nonsense"))
    assert "app_nonsense does not exist" in finding


def test_every_finding_comes_at_once(playbooks: Path) -> None:
    role = playbooks / "roles" / "app_kinto"
    (role / "tasks" / "put_back.yml").unlink()
    (role / "tasks" / "hold.yml").write_text("- [")
    (role / "tasks" / "stop.yml").write_text("name: no list\n")
    (role / "protection.yml").write_text("version: 7\n")
    checks = (role / "checks.yml").read_text().replace("sign_in: basic", "sign_in: none")
    (role / "checks.yml").write_text(checks.replace("sign_in: basic", "sign_in: none"))
    findings = shape_findings(KINTO, playbooks)
    for part in ("stage put_back", "hold.yml is not YAML", "stop.yml holds no list", "no check signs in"):
        assert any(part in finding for finding in findings), part
    assert any("protection" in finding for finding in findings)


@pytest.mark.parametrize("stage", STAGES)
def test_a_missing_stage_is_named(playbooks: Path, stage: str) -> None:
    (playbooks / "roles" / "app_kinto" / "tasks" / f"{stage}.yml").unlink()
    (finding,) = shape_findings(KINTO, playbooks)
    assert f"stage {stage}" in finding


def test_the_command_tells_people_and_machines() -> None:
    good = CliRunner().invoke(application_app, ["check", "kinto", "--json"])
    assert (good.exit_code, json.loads(good.stdout)["valid"]) == (0, True)
    bad = CliRunner().invoke(application_app, ["check", "nonsense", "--json"])
    assert bad.exit_code == 2
    assert "app_nonsense" in json.loads(bad.stdout)["findings"][0]
    assert CliRunner().invoke(application_app, ["check", "../etc"]).exit_code == 2
    assert CliRunner().invoke(application_app, ["check", "kinto", "--to", "26.5.0"]).exit_code == 2
