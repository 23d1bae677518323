"""The databases of the ground of upgrades: made with their roles and a ledger, and dropped."""

from __future__ import annotations

import secrets as random_words
from collections.abc import Collection, Iterable
from pathlib import Path

import psycopg
from psycopg.sql import SQL, Identifier

from infra.ledger.migrate import migrate
from infra.secrets import SecretFiles
from infra.stack.cluster import Cluster
from infra.stack.roles import OWNER_GROUPS, READER_GROUPS, DatabaseRole, establish
from policy.names import SecretName


def write_secrets(folder: Path, application: str) -> None:
    """Words for the database roles and for `application`'s administrator."""
    folder.mkdir(mode=0o700, exist_ok=True)
    for name in ("live-owner", "live-reader", "trial-owner", f"{application}-lakeside"):
        path = folder / name
        path.touch(mode=0o600)
        path.write_text(f"w:o\\rd-{random_words.token_hex(12)}\n", encoding="utf-8")


def make_databases(
    live: Cluster, trial: Cluster, *, secrets: Path, word: str, production: str, sandbox: str
) -> None:
    """Empty databases for both sites, their roles, and a ledger.

    Args:
        live: for Production's.
        trial: for the Sandbox's, and the ledger.
        secrets: the folder with the roles' words.
        word: ends the name of everything that is made.
        production: the name of Production's database.
        sandbox: the name of the Sandbox's.
    """

    def role(secret: str) -> DatabaseRole:
        reads = secret.endswith("reader")
        return DatabaseRole(
            name=f"{secret.replace('-', '_')}_{word}",
            secret=SecretName(secret),
            creates_databases=not reads,
            member_of=READER_GROUPS if reads else OWNER_GROUPS,
            database=None,
        )

    for cluster, database, names in (
        (live, production, ("live-owner", "live-reader")),
        (trial, sandbox, ("trial-owner",)),
    ):
        with psycopg.connect(cluster.dsn(), autocommit=True) as session:
            establish(session, [role(name) for name in names], SecretFiles(secrets))
            session.execute(
                SQL("create database {} owner {}").format(
                    Identifier(database), Identifier(role(names[0]).name)
                )
            )
    with psycopg.connect(trial.dsn(), autocommit=True) as session:
        session.execute(SQL("create database {}").format(Identifier(f"ledger_{word}")))
    migrate(trial.dsn(f"ledger_{word}"), None)


def databases_like(clusters: Iterable[Cluster], pattern: str) -> list[str]:
    """The names of all databases that match."""
    found: list[str] = []
    for cluster in clusters:
        with psycopg.connect(cluster.dsn()) as session:
            rows = session.execute("select datname from pg_database where datname ~ %s", [pattern]).fetchall()
        found += [str(row[0]) for row in rows]
    return sorted(found)


def drop_databases(clusters: Iterable[Cluster], names: Collection[str]) -> None:
    """Drop `names`, as far as they are there."""
    for cluster in clusters:
        with psycopg.connect(cluster.dsn(), autocommit=True) as session:
            for name in names:
                session.execute(SQL("drop database if exists {} with (force)").format(Identifier(name)))


def drop_everything(clusters: Iterable[Cluster], word: str) -> None:
    """Drop everything whose name ends with `word`, on each cluster that runs."""
    for cluster in clusters:
        if not cluster.running():
            continue
        with psycopg.connect(cluster.dsn(), autocommit=True) as session:
            names = session.execute(
                "select datname from pg_database where datname like %s", [f"%\\_{word}%"]
            ).fetchall()
            for (name,) in names:
                session.execute(SQL("drop database {} with (force)").format(Identifier(name)))
            rows = session.execute(
                "select rolname from pg_roles where rolname like %s", [f"%\\_{word}"]
            ).fetchall()
            for (name,) in rows:
                session.execute(SQL("drop role {}").format(Identifier(name)))
