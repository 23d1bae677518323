"""Restoring the pieces of an archive: what fails only because it was done side by side is done once more."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from infra.postgres.archive import Archive
from policy.errors import StepFailed

LIST = "11; 1259 501 INDEX public pupil_name owner\n12; 0 502 INDEX ATTACH public pupil_2025_name owner\n"
FAILED = """pg_restore: from TOC entry 12; 0 502 INDEX ATTACH pupil_2025_name owner
pg_restore: error: could not execute query: ERROR:  {reason}
pg_restore: warning: errors ignored on restore: 1
"""


def programs(folder: Path, reasons: list[str]) -> Path:
    """A pg_restore that notes how it is called, and fails for each reason in turn."""
    for number, reason in enumerate(reasons):
        (folder / f"answer-{number}").write_text(FAILED.format(reason=reason))
    (folder / "listed").write_text(LIST)
    program = folder / "pg_restore"
    program.write_text(
        f"""#!/bin/sh
case "$*" in *--list*) cat {folder}/listed; exit 0;; esac
number=$(cat {folder}/calls 2>/dev/null | wc -l)
for word; do
  case "$word" in
    --jobs=*) jobs=$word;;
    --use-list=*) entries=$(cut -d';' -f1 "${{word#--use-list=}}" | tr '\\n' ' ');;
  esac
done
echo "$jobs $entries" >> {folder}/calls
test -f {folder}/answer-$number || exit 0
cat {folder}/answer-$number >&2
exit 1
"""
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return folder


def restore(folder: Path, reasons: list[str]) -> list[str]:
    """What was asked of pg_restore, call by call."""
    archive = Archive(
        folder / "schema.dump",
        programs=programs(folder, reasons),
        environment={"PATH": os.environ["PATH"], "PGDATABASE": "copy", "PGOPTIONS": ""},
        stop=threading.Event(),
    )
    archive.restore(archive.entries, what="restoring indexes", jobs=2)
    return (folder / "calls").read_text().splitlines()


def test_entries_that_waited_for_each_other_are_restored_one_by_one(tmp_path: Path) -> None:
    assert restore(tmp_path, ["deadlock detected"]) == ["--jobs=2 11 12 ", "--jobs=1 12 "]


def test_a_deadlock_with_somebody_else_is_told(tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match=r"restoring indexes failed: INDEX ATTACH .*: deadlock detected"):
        restore(tmp_path, ["deadlock detected", "deadlock detected"])


def test_any_other_failure_is_not_tried_again(tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match="out of shared memory"):
        restore(tmp_path, ["out of shared memory"])
    assert len((tmp_path / "calls").read_text().splitlines()) == 1
