"""What a killed process wrote for programs is removed; evidence is not."""

from __future__ import annotations

from pathlib import Path

from tasks.end_leftovers import forget_secrets


def test_password_files_and_what_ansible_wrote_are_removed(tmp_path: Path) -> None:
    folder, sockets = tmp_path / "r1a1", tmp_path / "sockets"
    private = folder / "ansible-x1"
    private.mkdir(parents=True)
    sockets.mkdir()
    (sockets / "control").touch()
    (private / "sockets").symlink_to(sockets)
    (private / "stdout").write_text("not redacted yet")
    (folder / "pgpass-0123456789ab").write_text("host:1:*:reader:word")
    evidence = folder / "evidence" / "ansible-001-check.log"
    evidence.parent.mkdir()
    evidence.write_text("redacted")
    (folder / "gate-1").touch()

    assert forget_secrets(folder) == 2
    assert sorted(path.name for path in folder.rglob("*")) == ["ansible-001-check.log", "evidence", "gate-1"]
    assert not sockets.exists()
    assert forget_secrets(folder) == 0


def test_a_folder_that_was_never_made_holds_none(tmp_path: Path) -> None:
    assert forget_secrets(tmp_path / "r2a1") == 0
