"""The schema, as pg_dump writes it and pg_restore brings it, in the pieces that a copy needs apart.

pg_dump knows every kind of object; nothing here writes DDL. An archive without data is taken under the copy's
snapshot, its list of entries is cut into groups, and each group is restored when its time has come.

Invariant: an entry is restored, or is named in what was left out. Only entries that need rights which a
target's owner need not have, and on which no data depend, may fail.
"""

from __future__ import annotations

import re
import secrets
import threading
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.postgres.programs import Ended, demand, first_line, run
from policy.errors import StepFailed

_LINE = re.compile(r"(\d+); (\d+) (\d+) (.+)")
_FAILED_ENTRY = re.compile(r"^pg_restore: from TOC entry (\d+); \d+ \d+ (.+)$")
_RESTORE_ERROR = re.compile(r"^pg_restore: (?:error: .*?ERROR:  |error: |\[.*?\] )(.*)$")
_SCRIPT_ERROR = re.compile(r"^psql:<stdin>:\d+: (?:ERROR|FATAL):  (.*)$")

_DEADLOCK = "deadlock detected"

GRANTS = ("ACL", "DEFAULT ACL")
STAYS_WITH_SOURCE = ("SUBSCRIPTION", "SUBSCRIPTION TABLE", "USER MAPPING")
"""They hold addresses and credentials of Production's partners; a copy that had them could talk to them."""

MAY_FAIL = (
    "EVENT TRIGGER", "PUBLICATION", "FOREIGN DATA WRAPPER", "SERVER", "FOREIGN TABLE", "SECURITY LABEL",
    "PROCEDURAL LANGUAGE", "COMMENT", *GRANTS,
)  # fmt: skip
"""They need rights that an owner need not have, and hold no rows. What fails is reported."""


@dataclass(frozen=True)
class Entry:
    """One line of an archive's list.

    Attributes:
        id: its number in the archive.
        oid: the object's number in the source.
        text: kind, schema, name and owner, as pg_restore writes them.
    """

    id: int
    oid: int
    text: str

    def is_a(self, kinds: Iterable[str]) -> bool:
        """Whether it is of one of these kinds."""
        return any(self.text == kind or self.text.startswith(f"{kind} ") for kind in kinds)

    @property
    def title(self) -> str:
        """What it is, without the owner in the source."""
        return self.text.rpartition(" ")[0] or self.text


class Archive:
    """A schema archive in the run's folder.

    Args:
        path: its file.
        programs: the folder of the client programs.
        environment: for programs that speak to the target.
        stop: ends a running restore when set.
    """

    def __init__(
        self, path: Path, *, programs: Path, environment: Mapping[str, str], stop: threading.Event
    ) -> None:
        self.path = path
        self.programs = programs
        self.environment = environment
        self.stop = stop
        self.left_out: dict[str, None] = {}
        listed = demand(
            run(programs / "pg_restore", "--list", str(path), environment=environment, stop=stop),
            "reading the schema archive",
        )
        found = (_LINE.fullmatch(line) for line in listed.stdout.splitlines())
        self.entries = tuple(Entry(int(line[1]), int(line[3]), line[4]) for line in found if line)

    def restore(
        self,
        entries: Collection[Entry],
        *,
        what: str,
        section: str = "post-data",
        jobs: int = 1,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """Restore those of `entries` that belong to `section`, in the archive's own order.

        Args:
            entries: which ones.
            what: for messages.
            section: `pre-data` or `post-data`.
            jobs: connections to use at once.
            settings: session settings for the restore.

        Raises:
            StepFailed: an entry failed that may not.
        """
        if not entries:
            return
        where = f"--dbname={self.environment['PGDATABASE']}"
        ended = self._pg_restore(
            entries, where, f"--section={section}", f"--jobs={jobs}", settings=settings or {}
        )
        if ended.code == 0:
            return
        failures = list(_failures(ended.stderr))
        if jobs > 1 and any(_DEADLOCK in reason for _, reason in failures):
            # Side by side two entries may wait for each other in a circle; one after the other they cannot.
            self.restore([entry for entry, _ in failures], what=what, section=section, settings=settings)
            return
        grave = [(entry, reason) for entry, reason in failures if not entry.is_a(MAY_FAIL)]
        if grave or not failures:
            told = "; ".join(f"{entry.title}: {reason}" for entry, reason in grave[:3])
            raise StepFailed(f"{what} failed: {told or first_line(ended.stderr)}")
        for entry, reason in failures:
            self.leave_out(f"{entry.title}: {reason}")

    def restore_grants(self, entries: Collection[Entry]) -> None:
        """Restore grants one statement at a time, so that one to an unknown role does not cost the others."""
        if not entries:
            return
        script = demand(self._pg_restore(entries, "--file=-", settings={}), "reading the grants").stdout
        ended = run(
            self.programs / "psql", "--no-psqlrc", "--quiet", "--file=-",
            environment=self.environment, stdin=script, stop=self.stop,
        )  # fmt: skip
        for line in ended.stderr.splitlines():
            found = _SCRIPT_ERROR.match(line)
            if found:
                self.leave_out(f"a grant: {found[1]}")
        if ended.code != 0:
            raise StepFailed(f"restoring grants failed: {first_line(ended.stderr)}")

    def leave_out(self, what: str) -> None:
        """Record that something did not arrive."""
        self.left_out.setdefault(what)

    def _pg_restore(self, entries: Collection[Entry], *arguments: str, settings: Mapping[str, str]) -> Ended:
        wanted = {entry.id for entry in entries}
        chosen = self.path.with_name(f"{self.path.name}.{secrets.token_hex(4)}.list")
        chosen.write_text(
            "".join(f"{entry.id}; 0 {entry.oid} x\n" for entry in self.entries if entry.id in wanted),
            encoding="utf-8",
        )
        options = " ".join([self.environment["PGOPTIONS"], *(f"-c {k}={v}" for k, v in settings.items())])
        try:
            return run(
                self.programs / "pg_restore",
                "--verbose",
                "--no-owner",
                "--no-tablespaces",
                f"--use-list={chosen}",
                *arguments,
                str(self.path),
                environment={**self.environment, "PGOPTIONS": options},
                stop=self.stop,
            )
        finally:
            chosen.unlink(missing_ok=True)


def take_schema(
    path: Path, *, programs: Path, environment: Mapping[str, str], snapshot: str, stop: threading.Event
) -> None:
    """Write the source's schema under `snapshot` to `path`.

    Raises:
        StepFailed: pg_dump failed.
    """
    arguments = [
        "--format=custom",
        "--compress=0",
        "--section=pre-data",
        "--section=post-data",
        f"--snapshot={snapshot}",
        "--lock-wait-timeout=10s",
        f"--file={path}",
        *(["--no-statistics"] if _knows_statistics(programs) else []),
    ]
    ended = run(programs / "pg_dump", *arguments, environment=environment, stop=stop)
    demand(ended, "reading the source's schema")


def _knows_statistics(programs: Path) -> bool:
    """Whether its pg_dump can carry statistics, which hold values of rows and must stay where they are."""
    told = run(programs / "pg_dump", "--help", environment={"LC_ALL": "C"}).stdout
    return "--no-statistics" in told


def _failures(stderr: str) -> Iterable[tuple[Entry, str]]:
    """Each failed entry with the first line of the server's reason."""
    entry: Entry | None = None
    for line in stderr.splitlines():
        about = _FAILED_ENTRY.match(line)
        if about:
            entry = Entry(int(about[1]), 0, about[2])
            continue
        reason = _RESTORE_ERROR.match(line)
        if reason and entry is not None:
            yield entry, reason[1][:300]
