"""The databases of a ground: made with secrets, roles and rows of their own, and dropped.

Invariant: every name ends with the ground's word, and every secret is a token found nowhere else.
"""

from __future__ import annotations

import secrets as random_words
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import psycopg
from psycopg.sql import SQL, Identifier

from infra.postgres.marker import Marker, write_marker
from infra.secrets import SecretFiles
from infra.stack.cluster import Cluster
from infra.stack.roles import OWNER_GROUPS, READER_GROUPS, DatabaseRole, establish
from policy.names import Environment, SecretName, SiteId
from tests.faults import leaf

PEOPLE = """
INSERT INTO people SELECT n, 'canary' || n || '@district.example.net', 'Canary Mc' || n,
    'Call canary' || n || ' at +1 312 777 ' || n, n % 12 FROM generate_series(1, 3000) AS n;
INSERT INTO settings VALUES ('mail.server', 'smtp.canary.example.net'), ('site.name', 'Production');
INSERT INTO generation VALUES (1);
"""


def write_secrets(folder: Path) -> dict[str, str]:
    """A token for every secret, written to its file; returns them by the secret's name."""
    folder.mkdir(mode=0o700, parents=True)
    names = (
        "live-owner", "live-reader", "trial-owner", "ledger", "mask-lakeside", "leaf-lakeside",
        "on-call-webhook",
    )  # fmt: skip
    # With characters that base64 and URL quoting change.
    tokens = {name: f"canary/{random_words.token_hex(16)}+=%" for name in names}
    tokens["on-call-webhook"] = f"http://127.0.0.1:9/{random_words.token_hex(16)}"
    for name, token in tokens.items():
        path = folder / name
        path.touch(mode=0o600)
        path.write_text(token + "\n", encoding="utf-8")
    return tokens


def make_roles(live: Cluster, trial: Cluster, *, word: str, ledger: str, secrets: Path) -> dict[str, str]:
    """The database roles, by the name of their secret.

    Args:
        live: for Production's.
        trial: for the targets', and the ledger's.
        word: ends every name.
        ledger: the ledger's database, made here.
        secrets: the folder with the roles' passwords.
    """
    names = {
        secret: f"{secret.replace('-', '_')}_{word}"
        for secret in ("live-owner", "live-reader", "trial-owner", "ledger")
    }
    for cluster, secret, creates, groups in (
        (live, "live-owner", True, OWNER_GROUPS),
        (live, "live-reader", False, READER_GROUPS),
        (trial, "trial-owner", True, OWNER_GROUPS),
        (trial, "ledger", False, ()),
    ):
        role = DatabaseRole(
            name=names[secret],
            secret=SecretName(secret),
            creates_databases=creates,
            member_of=groups,
            database=ledger if secret == "ledger" else None,
        )
        with psycopg.connect(cluster.dsn(), autocommit=True) as session:
            # Hundreds of log-ins: what is tried here is not how slow the hash is.
            session.execute("SET scram_iterations = 1")
            establish(session, [role], SecretFiles(secrets))
    return names


def make_database(cluster: Cluster, name: str, site: SiteId, roles: Mapping[str, str]) -> None:
    """The database `name` of `site`, with its rows and its marker."""
    production = site.environment is Environment.PRODUCTION
    owner = roles["live-owner" if production else "trial-owner"]
    with psycopg.connect(cluster.dsn(), autocommit=True) as session:
        session.execute(SQL("CREATE DATABASE {} OWNER {}").format(Identifier(name), Identifier(owner)))
        session.execute(SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(Identifier(name)))
        if production:
            reader = Identifier(roles["live-reader"])
            session.execute(SQL("GRANT CONNECT ON DATABASE {} TO {}").format(Identifier(name), reader))
    with psycopg.connect(cluster.dsn(name), autocommit=True) as session:
        session.execute(SQL("SET ROLE {}").format(Identifier(owner)))
        session.execute(leaf.SCHEMA)
        if production:
            session.execute(PEOPLE)
        else:
            session.execute("INSERT INTO people VALUES (1, 'someone@example.org', 'Someone', '', 1)")
            session.execute("INSERT INTO settings VALUES ('site.name', %s)", [site.environment.value])
            session.execute("INSERT INTO generation VALUES (0)")
        write_marker(session, Marker(environment=site.environment, customer=site.customer))


def drop_all(clusters: Iterable[Cluster], word: str, roles: Collection[str]) -> None:
    """Drop the databases whose names end with `word`, and `roles`."""
    for cluster in clusters:
        with psycopg.connect(cluster.dsn(), autocommit=True) as session:
            names = session.execute(
                "SELECT datname FROM pg_database WHERE datname LIKE %s", [f"%\\_{word}%"]
            ).fetchall()
            for (name,) in names:
                session.execute(SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(Identifier(name)))
            for role in roles:
                session.execute(SQL("DROP ROLE IF EXISTS {}").format(Identifier(role)))
