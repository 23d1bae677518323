"""A world in which requests live: a real ledger, an estate with several kinds of customers, a set clock.

Runs are claimed and concluded by the engine itself, with no steps in between.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from infra.clock import SetClock
from infra.ledger import requests, runs
from infra.secrets import SecretFiles
from infra.settings import Settings
from infra.stack.cluster import Cluster
from policy.journal import Finish
from policy.names import EmailAddress, RequestId, RunId, SiteId, Version
from policy.permissions import Principal, principal_of
from policy.request import Request
from policy.wish import Wish
from tasks.claim import claim
from tasks.conclude import CHANGES_RELEASE, conclude
from tasks.display import PlainDisplay
from tasks.plan import plan
from tasks.submit import Submitted, submit
from tasks.world import World
from tests.integration.ledgers import fresh_ledger
from tests.integration.request_estate import estate_text

NOW = datetime(2026, 11, 21, 18, 0, tzinfo=UTC)
"""Saturday noon in Chicago; Lakeside's window opens on Sunday at 04:00 there, which is 10:00 UTC."""

SUNDAY_WINDOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
THURSDAY_WINDOW = datetime(2026, 11, 26, 5, 30, tzinfo=UTC)
NIGHT = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
"""Sunday at 02:00 in Chicago."""

WEEK = timedelta(days=7)

DANA, LI, PAT, MO = (
    EmailAddress(address)
    for address in (
        "dana@lakeside.example.org",
        "li@coastal.example.org",
        "pat@partner.example.org",
        "mo@mesa.example.org",
    )
)
ENGINEER = EmailAddress("engineer@hosting.example.org")

SANDBOX, STAGING, LIVE = (SiteId.parse(f"lakeside/{name}") for name in ("sandbox", "staging", "production"))


@dataclass(frozen=True, kw_only=True)
class RequestWorld:
    """A world with what tests do to it."""

    world: World
    clock: SetClock
    folder: Path

    def principal(self, email: EmailAddress) -> Principal:
        """Who `email` is in the estate."""
        return principal_of(self.world.estate(), email)

    def submit(
        self,
        site: SiteId,
        *,
        by: EmailAddress = ENGINEER,
        version: str | None = None,
        at: datetime | None = None,
        **more: Any,  # noqa: ANN401 - the wish's other fields
    ) -> Submitted:
        """Ask for a refresh, or for an upgrade to `version`."""
        wish = Wish(
            site=site,
            version=None if version is None else Version(version),
            refresh=more.pop("refresh", version is None),
            at=at,
            **more,
        )
        return submit(self.world, wish, self.principal(by))

    def ask(self, site: SiteId, **more: Any) -> RequestId:  # noqa: ANN401 - as `submit`
        """Ask, and return the number."""
        return self.submit(site, **more).request.id

    def get(self, number: RequestId) -> Request:
        """The request as the ledger has it."""
        with self.world.ledger.transaction() as connection:
            return requests.get(connection, number)

    def plan_at(self, at: datetime) -> int:
        """Set the clock and plan."""
        self.clock.at = at
        return plan(self.world)

    def verbs(self, number: RequestId) -> list[str]:
        """What happened to the request."""
        with self.world.ledger.transaction() as connection:
            return [str(event["verb"]) for event in requests.events(connection, number)]

    def mails(self, number: RequestId | None = None) -> list[tuple[str, str]]:
        """The kind and the recipient of everything that the outbox holds for mail."""
        with self.world.ledger.transaction() as connection:
            rows = connection.execute(
                "select payload->>'kind' as kind, payload->>'to' as receiver from outbox"
                " where channel = 'mail' and (%(number)s::int is null or request = %(number)s) order by id",
                {"number": None if number is None else number.number},
            ).fetchall()
        return [(str(row["kind"]), str(row["receiver"])) for row in rows]

    def begin(self, number: RequestId) -> RunId:
        """Begin the run of a request as a worker does, and leave it live."""
        hold = claim(self.world, number, PlainDisplay().say)
        self._started(hold.run)
        return hold.run

    def carry_out(self, number: RequestId, finish: Finish = Finish.DONE, *, took: timedelta) -> Request:
        """Claim the request, let time pass, and conclude it."""
        hold = claim(self.world, number, PlainDisplay().say)
        self._started(hold.run)
        with hold:
            if finish is not Finish.DONE:
                with hold.proven() as connection:
                    # As far as the release itself: only then it counts as tried.
                    runs.intend(connection, hold.run, CHANGES_RELEASE, 0, hold.epoch)
                    runs.turn_back(connection, hold.run, "A step failed")
            self.clock.advance(took)
            ended = conclude(hold, finish, PlainDisplay())
        if finish is not Finish.STUCK:
            self._stamp("ended_at", hold.run)
        return ended

    def install(self, webapp: str, version: str) -> None:
        """Say that `webapp` runs `version`."""
        with self.world.ledger.transaction() as connection:
            connection.execute(
                "insert into installed (webapp, version, lock_sha256) values (%s, %s, '')"
                " on conflict (webapp) do update set version = excluded.version",
                (webapp, version),
            )

    def rows(self, *tables: str) -> dict[str, int]:
        """How many rows the tables hold."""
        with self.world.ledger.transaction() as connection:
            found = {}
            for table in tables:
                row = connection.execute(f"select count(*) as n from {table}").fetchone()  # noqa: S608 - tables named by tests
                found[table] = int(str(row["n"] if row else 0))
        return found

    def _started(self, run: RunId) -> None:
        self._stamp("started_at", run)

    def _stamp(self, column: str, run: RunId) -> None:
        # The ledger stamps runs with its own time; here the set clock's counts.
        with self.world.ledger.transaction() as connection:
            connection.execute(
                f"update run set {column} = %s where id = %s",  # noqa: S608 - columns named in this class
                (self.clock.now(), run),
            )


@contextmanager
def request_world(
    live: Cluster,
    trial: Cluster,
    folder: Path,
    **more: Any,  # noqa: ANN401 - any setting
) -> Iterator[RequestWorld]:
    """A fresh ledger, an estate's file and a clock set to `NOW`."""
    secrets = folder / "secrets"
    secrets.mkdir(mode=0o700)
    for name in ("owner", "reader"):
        (secrets / name).write_text(f"{name}-of-the-tests")
        (secrets / name).chmod(0o600)
    for cluster in (live, trial):
        _reader(cluster)
    file = folder / "estate.yaml"
    file.write_text(estate_text(live.port, trial.port, folder))
    clock = SetClock(NOW)
    with fresh_ledger(trial) as ledger:
        with ledger.transaction() as connection:
            row = connection.execute("select current_database() as name").fetchone()
        settings = Settings(
            state_dir=folder,
            estate=file,
            secrets_dir=secrets,
            engineer=ENGINEER,
            ledger=trial.dsn(str(row["name"] if row else "")),
            **more,
        )
        world = World(settings=settings, ledger=ledger, secrets=SecretFiles(secrets), clock=clock)
        yield RequestWorld(world=world, clock=clock, folder=folder)


def _reader(cluster: Cluster) -> None:
    with psycopg.connect(cluster.dsn(), autocommit=True) as admin:
        if admin.execute("select from pg_roles where rolname = 'reader'").fetchone() is None:
            admin.execute("create role reader login password 'reader-of-the-tests'")
