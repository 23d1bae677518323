"""The least-privilege roles of a database server, as a psql script that an administrator reads and runs.

Invariant: running it again changes nothing; it holds no password (psql asks for each), and the reader that it
makes can read everything in the named databases and write nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from psycopg.sql import SQL, Composed, Identifier, Literal

from infra.postgres.fences import SIGN
from infra.postgres.marker import CREATE
from policy.estate import Estate, Site
from policy.machines import DatabaseServer

_ROLE = """\
SELECT 'CREATE ROLE ' || quote_ident({name})
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {name}) \\gexec
"""
_MARK = """\
INSERT INTO freshet.marker (environment, customer, source) VALUES ({environment}, {customer}, 'own')
ON CONFLICT (one) DO NOTHING;
"""


def roles_script(estate: Estate, server: DatabaseServer) -> str:
    """The script for `server`: roles, grants, the sign of Production, and a marker in each database."""
    sites = [
        site
        for customer in estate.customers.values()
        for site in customer.sites.values()
        if site.server == server.name
    ]
    parts = [*_head(server), *_owner(server), *_reader(server), *_sign(server)]
    for site in sites:
        parts += _database(server, site)
    return "".join(parts)


def _head(server: DatabaseServer) -> Iterator[str]:
    yield f"-- Roles of the database server '{server.name}', for psql as a superuser:\n"
    yield f"--   psql -h {server.host} -p {server.port} -d postgres -f this-file\n"
    yield "\\set ON_ERROR_STOP on\n\n"


def _owner(server: DatabaseServer) -> Iterator[str]:
    """Owns the hosted databases: may create and rename them and end their sessions, and is no superuser."""
    owner = server.owner.user
    yield f"-- Owns the hosted databases. Its password is the secret '{server.owner.secret}'.\n"
    yield _text(SQL(_ROLE).format(name=Literal(owner)))
    yield _text(
        SQL("ALTER ROLE {} LOGIN CREATEDB NOSUPERUSER NOCREATEROLE NOREPLICATION NOBYPASSRLS;\n").format(
            Identifier(owner)
        )
    )
    yield _text(SQL("GRANT pg_signal_backend TO {};\n").format(Identifier(owner)))
    yield f"\\password {_text(SQL('{}').format(Identifier(owner)))}\n\n"


def _reader(server: DatabaseServer) -> Iterator[str]:
    if server.reader is None:
        return
    reader = server.reader.user
    yield f"-- Reads Production for refreshes and nothing else. Its secret is '{server.reader.secret}'.\n"
    yield _text(SQL(_ROLE).format(name=Literal(reader)))
    yield _text(
        SQL("ALTER ROLE {} LOGIN NOCREATEDB NOSUPERUSER NOCREATEROLE NOREPLICATION;\n").format(
            Identifier(reader)
        )
    )
    yield _text(SQL("GRANT pg_read_all_data, pg_read_all_stats TO {};\n").format(Identifier(reader)))
    yield f"\\password {_text(SQL('{}').format(Identifier(reader)))}\n\n"


def _sign(server: DatabaseServer) -> Iterator[str]:
    if not server.production:
        return
    yield "-- The sign of Production: a refresh never writes to a server that carries it.\n"
    yield _text(SQL(_ROLE).format(name=Literal(SIGN)))
    yield _text(SQL("ALTER ROLE {} NOLOGIN;\n\n").format(Identifier(SIGN)))


def _database(server: DatabaseServer, site: Site) -> Iterator[str]:
    database, owner = Identifier(site.database), Identifier(server.owner.user)
    yield f"-- {site.id}\n"
    yield _text(SQL("REVOKE CONNECT, TEMPORARY ON DATABASE {} FROM PUBLIC;\n").format(database))
    for login in (server.owner, server.reader):
        if login is not None:
            yield _text(SQL("GRANT CONNECT ON DATABASE {} TO {};\n").format(database, Identifier(login.user)))
    yield f"\\connect {site.database}\n"
    if server.reader is not None:
        yield "REVOKE CREATE ON SCHEMA public FROM PUBLIC;\n"
    yield CREATE
    yield _text(
        SQL("ALTER SCHEMA freshet OWNER TO {0};\nALTER TABLE freshet.marker OWNER TO {0};\n").format(owner)
    )
    yield _text(
        SQL(_MARK).format(
            environment=Literal(site.id.environment.value), customer=Literal(str(site.id.customer))
        )
    )
    yield "\n"


def _text(composed: Composed) -> str:
    return composed.as_string()
