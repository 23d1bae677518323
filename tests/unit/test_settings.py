"""Wrong settings are told by the name of their variable, all at once, and never with their value."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from infra.settings import settings
from policy.errors import Refused
from portal.cli.app import app


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("FRESHET_STATE_DIR", str(tmp_path))
    settings.cache_clear()
    yield
    settings.cache_clear()


def test_every_mistake_is_told_with_its_variable_and_without_its_value(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FRESHET_LEASE_SECONDS", "soon")
    monkeypatch.setenv("FRESHET_SMTP_SECRET", "hunter2/hunter2")
    monkeypatch.setenv("FRESHET_SENDERS", '{"AIDA": {"contactt": "x"}}')
    with pytest.raises(Refused) as refused:
        settings()
    told = sorted(finding.partition(":")[0] for finding in refused.value.findings)
    assert told == ["FRESHET_LEASE_SECONDS", "FRESHET_SENDERS (AIDA.contactt)", "FRESHET_SMTP_SECRET"]
    assert "hunter2" not in str(refused.value)
    assert "soon" not in str(refused.value)


def test_a_mapping_that_is_not_json_is_told_without_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRESHET_SENDERS", "{hunter2")
    with pytest.raises(Refused, match=r"senders.*written as JSON") as refused:
        settings()
    assert "hunter2" not in str(refused.value)


def test_the_settings_file_counts_and_its_mistakes_too(tmp_path: Path) -> None:
    (tmp_path / "settings.env").write_text("FRESHET_LEASE_SECONDS=1\n")
    with pytest.raises(Refused, match=r"FRESHET_LEASE_SECONDS.*greater than or equal to 2"):
        settings()
    settings.cache_clear()
    (tmp_path / "settings.env").write_text("FRESHET_LEASE_SECONDS=20\n")
    assert settings().lease_seconds == 20


def test_a_command_ends_with_2_and_says_it_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRESHET_ANSWER_DAYS", "0")
    result = CliRunner().invoke(app, ["request", "list"])
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("refused: FRESHET_ANSWER_DAYS: ")
