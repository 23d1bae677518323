"""The snapshots of a run, whatever their kind: taken, looked for, put back and dropped in one way.

Invariant: which kind there is, is found by looking; a snapshot is put back by a rename, and is there until
its run has ended. What belongs to one server is decided together, because some kinds hold a whole server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from infra.ansible import StageResult, run_stages
from infra.ansible_events import Outcome, TaskEvent
from infra.aws_client import client
from infra.postgres import snapshot
from infra.postgres.cluster_file import FILE, ServerFiles, load_clusters
from infra.postgres.session import connect
from infra.postgres.snapshot_choice import Choice, Parts, choose, kind_named
from infra.postgres.snapshot_dump import Dump
from infra.postgres.snapshot_files import DumpedFiles
from infra.postgres.snapshot_kind import Admin, Demand, Kind, Sessions, Snapshot, WholeServer
from infra.postgres.snapshot_physical import Physical
from infra.postgres.snapshot_rds import SUFFIXES, Rds
from infra.postgres.snapshot_template import Template
from infra.rds_instances import RdsInstances
from infra.roles import PLAYBOOKS
from policy.errors import NeedsHuman, Refused, Unavailable
from policy.estate import Site
from policy.machines import DatabaseServer
from policy.names import DatabaseName, ServerName
from tasks.application import served
from tasks.server_session import server_session
from tasks.step import Work

PLAYBOOK = PLAYBOOKS / "snapshot.yml"


@dataclass(frozen=True, kw_only=True)
class Kept:
    """The databases of the web application on one server, and the ways to keep them.

    Attributes:
        sites: whose databases, Production first.
        possible: the snapshots of each kind that this run could have of them.
        whole: those of them that hold the whole server.
        absent: why the other kinds are not possible at all.
    """

    work: Work
    sites: Sequence[Site]
    possible: Mapping[Kind, Parts]
    whole: Sequence[WholeServer]
    absent: Mapping[Kind, str]

    def choice(self) -> Choice:
        """The kind that the server allows.

        Raises:
            Refused: it allows none, or not the one that the estate asks for.
            Unavailable: the server or its host does not answer.
        """
        wanted, room = self._told("snapshot"), self._told("snapshot_room_gb")
        with server_session(self.work, self.sites[0]) as session:
            size = sum(snapshot.size(session, site.database) for site in self.sites)
        demand = Demand(
            size=size,
            room=None if room is None else _bytes(room),
            wanted=None if wanted is None else kind_named(wanted),
        )
        return choose(self.possible, demand, absent=self.absent)

    def is_taken(self) -> bool:
        """Whether this run has complete snapshots of all the databases."""
        try:
            found = self._first(lambda part: part.is_taken())
            for holder in self.whole:
                if any(part is holder for part in found):
                    holder.bring_up()
            return bool(found)
        except Unavailable:
            if not self.whole:
                raise
            return False  # The server may be stopped for its snapshot; `take` brings it up.

    def take(self) -> tuple[Choice, int]:
        """Take what is missing, proven readable; the choice and its bytes.

        Raises:
            Refused, StepFailed: it cannot be taken.
            Unavailable: try again.
        """
        try:
            chosen = self.choice()
        except Unavailable:
            if not self.whole:
                raise
            for holder in self.whole:
                self.work.prove()
                holder.bring_up()
            chosen = self.choice()
        size = 0
        for part in chosen.parts:
            self.work.prove()
            size += part.take(at=self.work.clock.now())
        return chosen, size

    def gone(self) -> str:
        """What cannot be put back any more; empty when everything can."""
        if self._restorable():
            return ""
        told = ", ".join(f"'{site.database}' of {site.id}" for site in self.sites)
        return f"the snapshot of database {told} is gone"

    def restore(self) -> None:
        """Put them into place, as far as they are not.

        Raises:
            NeedsHuman: they cannot be put into place; what there is was left as it is.
        """
        parts = self._restorable()
        if not parts:
            raise NeedsHuman(self.gone())
        for part in parts:
            self.work.prove()
            part.restore(at=self.work.clock.now())

    def drop(self) -> None:
        """Drop them, in whatever state they are; a server that was stopped for them runs afterwards."""
        named = self._named()
        for parts in self._in_order():
            for part in parts:
                # Where the journal does not say what was taken, all that can be is looked for.
                if named in (None, part.kind):
                    self.work.prove()
                    part.drop()

    def _told(self, variable: str) -> object:
        """What the estate says for the web application, or, as a mapping, for each of its servers."""
        told = self.work.estate.webapp(self.sites[0].id).variables.get(variable)
        if not isinstance(told, Mapping):
            return told
        unknown = sorted(set(told) - {str(name) for name in self.work.estate.servers})
        if unknown:
            raise Refused(f"{variable}: the estate has no database server {', '.join(unknown)}")
        return told.get(str(self.sites[0].server))

    def _restorable(self) -> Parts:
        return self._first(lambda part: part.is_taken() or part.is_restored())

    def _first(self, fits: Callable[[Snapshot], bool]) -> Parts:
        """The first kind of which every part fits, or nothing; one that cannot be asked is passed over.

        Raises:
            Unavailable: none fits, and one could not be asked.
        """
        away: Unavailable | None = None
        for parts in self._in_order():
            try:
                if all(fits(part) for part in parts):
                    return parts
            except Unavailable as error:
                away = error
        if away is not None:
            raise away
        return ()

    def _in_order(self) -> Iterator[Parts]:
        """The kind that the journal names comes first, then what holds whole servers."""
        named, whole = self._named(), {part.kind for part in self.whole}
        for kind in sorted(self.possible, key=lambda kind: (kind is not named, kind not in whole)):
            yield self.possible[kind]

    def _named(self) -> Kind | None:
        """What the journal says was taken; a successor that found it done noted nothing."""
        noted = self.work.fact("take_snapshot", "snapshots")
        facts = noted.get(str(self.sites[0].database)) if isinstance(noted, Mapping) else None
        named = facts.get("kind") if isinstance(facts, Mapping) else None
        return next((kind for kind in self.possible if kind.value == named), None)


def _bytes(room: object) -> int:
    try:
        return int(float(str(room)) * 1e9)
    except (ValueError, OverflowError):
        raise Refused("snapshot_room_gb: it takes a number of gigabytes, such as 40") from None


def kept(work: Work) -> tuple[Kept, ...]:
    """What there is to keep of the request's web application, one for each server.

    Raises:
        Refused: what is declared of servers' files has mistakes.
    """
    by_server: dict[ServerName, list[Site]] = {}
    for site in served(work)[1]:
        by_server.setdefault(site.server, []).append(site)
    files = load_clusters(work.settings.estate.parent / FILE, work.estate)
    return tuple(_kept(work, sites, files.get(server)) for server, sites in by_server.items())


def _kept(work: Work, sites: Sequence[Site], files: ServerFiles | None) -> Kept:
    server = work.estate.servers[sites[0].server]
    databases = tuple(site.database for site in sites)

    @contextmanager
    def sessions(database: str) -> Iterator[Admin]:
        with connect(server, database, server.owner, work.secrets, run=work.run, autocommit=True) as session:
            # A worker that was frozen before this is refused; one frozen after it finds its session ended.
            work.prove()
            yield session

    possible: dict[Kind, Parts] = {
        Kind.TEMPLATE: [Template(database=name, run=work.run, sessions=sessions) for name in databases],
        Kind.DUMP: [DumpedFiles(dump=_dump(work, server, name), sessions=sessions) for name in databases],
    }
    absent: dict[Kind, str] = {}
    whole: list[WholeServer] = []
    if files is None:
        absent[Kind.PHYSICAL] = f"{FILE} does not say where the server's files lie"
    else:
        whole.append(
            Physical(files=files, databases=databases, sessions=sessions, play=partial(_play, work, files))
        )
    if server.host.endswith(SUFFIXES):
        whole.append(_rds(work, server, databases, sessions))
    else:
        absent[Kind.RDS] = "the server is not one of AWS"
    possible |= {part.kind: [part] for part in whole}
    return Kept(work=work, sites=sites, possible=possible, whole=whole, absent=absent)


def _dump(work: Work, server: DatabaseServer, database: DatabaseName) -> Dump:
    return Dump(server=server, database=database, secrets=work.secrets, folder=work.scratch, run=work.run)


def _rds(work: Work, server: DatabaseServer, databases: tuple[DatabaseName, ...], sessions: Sessions) -> Rds:
    return Rds(
        server=server,
        databases=databases,
        run=work.run,
        sessions=sessions,
        instances=RdsInstances(client=client("rds", work.settings)),
        region=work.settings.aws_region,
        proven=work.prove,
        say=work.say,
    )


def _play(work: Work, files: ServerFiles, stage: str) -> StageResult:
    """Carry out a stage of the role `postgres_snapshot` on the server's host.

    Raises:
        StepFailed: a task failed; the message is its own words.
        Unavailable: the host was not reached.
    """
    work.prove()
    return run_stages(
        playbook=PLAYBOOK,
        hosts=[files.host],
        variables=files.variables(),
        stages=[stage],
        run=work.run,
        epoch=work.epoch,
        scratch=work.scratch,
        secrets=work.secrets,
        timeout_s=files.timeout_s,
        on_event=lambda event: _tell(work, event),
    )


def _tell(work: Work, event: TaskEvent) -> None:
    if event.outcome is Outcome.STARTED:
        work.say(f"{event.stage}: {event.task}")
