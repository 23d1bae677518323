"""What a physical copy of Production's cluster leaves behind, and who it belongs to afterwards.

Files bring everything along: other databases, every role's password hash, subscriptions that would begin to
pull, settings. A copy for a dedicated server keeps one database, and its owner is the target's.

Invariant: afterwards no role of Production can log in, and nothing in the cluster knows how to reach another.
"""

from __future__ import annotations

from collections.abc import Callable

import psycopg
from psycopg.sql import SQL, Identifier, Literal

from infra.postgres.incoming import close_to_others
from infra.postgres.methods import CopyJob

Session = Callable[[str], psycopg.Connection]


def strip(session: Session, database: str) -> None:
    """Take out everything but `database`, before anything else is done.

    Args:
        session: opens a superuser's autocommit session in a database.
        database: what is kept.
    """
    with session(database) as kept:
        prepared = kept.execute("SELECT gid, database FROM pg_prepared_xacts").fetchall()
    for gid, place in prepared:
        with session(place) as there:
            there.execute(SQL("ROLLBACK PREPARED {}").format(Literal(gid)))
    with session(database) as kept:
        # Dropping a subscription would speak to Production's partner; its row is all there is to it here.
        kept.execute("DELETE FROM pg_subscription")
        kept.execute("DELETE FROM pg_subscription_rel")
        for role, server in kept.execute("SELECT usename, srvname FROM pg_user_mappings").fetchall():
            who = SQL("PUBLIC") if role == "public" else Identifier(role)
            kept.execute(SQL("DROP USER MAPPING FOR {} SERVER {}").format(who, Identifier(server)))
        others = kept.execute(
            "SELECT datname FROM pg_database WHERE datname NOT IN ('template0', %s)", [database]
        ).fetchall()
        for (name,) in others:
            kept.execute(SQL("ALTER DATABASE {} IS_TEMPLATE false").format(Identifier(name)))
            kept.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))
        kept.execute("CREATE DATABASE template1 TEMPLATE template0 IS_TEMPLATE true")
        kept.execute("CREATE DATABASE postgres TEMPLATE template0")
        for (role,) in kept.execute("SELECT rolname FROM pg_authid WHERE rolpassword IS NOT NULL").fetchall():
            kept.execute(SQL("ALTER ROLE {} PASSWORD NULL").format(Identifier(role)))
        kept.execute("DELETE FROM pg_db_role_setting")
        for catalog in ("pg_authid", "pg_subscription", "pg_user_mapping", "pg_db_role_setting"):
            kept.execute(SQL("VACUUM FULL {}").format(Identifier("pg_catalog", catalog)))


def take_over(session: Session, job: CopyJob, superuser: str) -> None:
    """Give the database its incoming name and its new owner, and close it to everybody else.

    Args:
        session: opens a superuser's autocommit session in a database.
        job: names the database, the owner and where the owner's password is.
        superuser: who must not own it.
    """
    owner = Identifier(job.owner.user)
    with session(job.source_database) as inside:
        word = job.secrets.read(job.owner.secret).get_secret_value()
        # Hashed here, so that neither the statement nor the log holds the password.
        hashed = inside.pgconn.encrypt_password(
            word.encode(), job.owner.user.encode(), b"scram-sha-256"
        ).decode()
        known = inside.execute("SELECT FROM pg_roles WHERE rolname = %s", [job.owner.user]).fetchone()
        if known is None:
            inside.execute(SQL("CREATE ROLE {}").format(owner))
        inside.execute(SQL("ALTER ROLE {} LOGIN CREATEDB PASSWORD {}").format(owner, Literal(hashed)))
        former = inside.execute(
            "SELECT pg_get_userbyid(datdba)::text FROM pg_database WHERE datname = current_database()"
        ).fetchone()
        if former and former[0] not in {job.owner.user, superuser}:
            inside.execute(SQL("REASSIGN OWNED BY {} TO {}").format(Identifier(former[0]), owner))
        inside.execute(SQL("ALTER DATABASE {} OWNER TO {}").format(Identifier(job.source_database), owner))
    with session("postgres") as outside:
        close_to_others(outside, job.source_database)
        outside.execute(
            SQL("ALTER DATABASE {} RENAME TO {}").format(
                Identifier(job.source_database), Identifier(job.incoming)
            )
        )
