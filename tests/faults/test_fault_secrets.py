"""Every secret is a token that stands nowhere else, and no fault writes one anywhere."""

from __future__ import annotations

import base64
from pathlib import Path
from urllib.parse import quote

import pytest

from policy.request import Kind, Outcome
from tests.faults.canaries import Canaries
from tests.faults.conftest import Begin
from tests.faults.ground import Ground, leaks
from tests.faults.killing import Trial
from tests.faults.nursery import Nursery


@pytest.mark.parametrize(
    "written",
    [lambda t: t, lambda t: base64.b64encode(f"x:{t}:y".encode()).decode(), lambda t: quote(t, safe="")],
)
def test_a_secret_is_found_however_it_is_written(tmp_path: Path, written: object) -> None:
    """Without this, the other tests would find nothing for the wrong reason."""
    assert callable(written)
    token = "canary/0123456789abcdef+=%"
    (tmp_path / "log").write_text(f"before {written(token)} after")
    assert len(Canaries({"word": token}).in_folder(tmp_path)) == 1
    assert Canaries({"word": token}).in_text(str(written(token[:12])), "a part") == []


@pytest.mark.slow
def test_runs_that_fail_write_no_secret(ground: Ground, nursery: Nursery, begin: Begin) -> None:
    for kind, failpoint in (
        (Kind.REFRESH, "refresh.check_health.after-act=raise"),
        (Kind.REFRESH, "refresh.copy_masked.mid=kill"),
        # The programs that it had started read their passwords from a file.
        (Kind.REFRESH, "refresh.copy_masked.mid.2=kill"),
        (Kind.UPGRADE, "upgrade.change_over.mid.2=kill"),
    ):
        trial = Trial(ground, nursery, kind)
        trial.work(failpoint=failpoint)
        if ground.request(trial.request).outcome is None:
            trial.hand_over()
    assert list((ground.folder / "workers").glob("*.log")), "nothing was written, so nothing was looked at"
    assert leaks(ground) == []


def test_a_wrong_password_is_told_without_the_password(ground: Ground, nursery: Nursery) -> None:
    """The server refuses the log-in, and its words go into reasons, reports, mails and logs."""
    wrong = "wrong/5d0f8a4be2c94c0f+=%"
    path = ground.settings.secrets_dir / "live-reader"
    right = path.read_text()
    trial = Trial(ground, nursery, Kind.REFRESH)
    path.write_text(wrong + "\n")
    try:
        assert trial.work() == 0
        request = ground.request(trial.request)
        assert request.outcome is Outcome.PUT_BACK
        assert "secret 'live-reader' is current" in request.reason
    finally:
        path.write_text(right)
    found = Canaries({"wrong": wrong}).in_folder(ground.folder)
    assert found == []
    assert leaks(ground) == []


@pytest.mark.slow
def test_no_process_carries_a_secret_on_its_command_line(
    ground: Ground, nursery: Nursery, begin: Begin
) -> None:
    canaries = Canaries(ground.tokens)
    seen: list[str] = []
    looks = 0
    trial = Trial(ground, nursery, Kind.REFRESH)
    worker = begin(trial.request, "refresh.copy_masked.mid=sleep:1,refresh.swap.mid=sleep:1")
    while not worker.ended.wait(0.02):
        looks += 1
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                try:
                    line = (folder / "cmdline").read_bytes().decode("utf-8", "replace")
                except OSError:
                    # It has ended meanwhile.
                    continue
                seen += canaries.in_text(line, line)
    assert looks > 3
    assert seen == []
    assert trial.judge(Outcome.DONE) == []
