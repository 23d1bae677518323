"""Two clusters ready for copying: a reader that can only read, an owner without rights, real passwords."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from psycopg import sql
from pydantic import SecretStr

from infra.postgres import catalog
from infra.postgres.methods import CopyJob, CopyReport
from infra.postgres.progress import Progress
from infra.postgres.selection import Selection, Selections, TableName
from infra.secrets import SecretFiles
from infra.stack.cluster import Cluster
from policy.machines import DatabaseServer, Login
from policy.names import SecretName
from tests.estate_parts import server_of

READER = Login(user="copy_reader", secret=SecretName("copy-reader"))
OWNER = Login(user="copy_owner", secret=SecretName("copy-owner"))
SUPERUSER = Login(user="postgres", secret=SecretName("copy-superuser"))
_RELATIONS = """
SELECT n.nspname, c.relname, c.relkind::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE (c.relkind IN ('r', 'S') OR c.relkind = 'm' AND c.relispopulated)
   AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
"""
_DIGEST = sql.SQL("""
SELECT count(*) || ' ' || md5(coalesce(string_agg(t.v, '|' ORDER BY t.v COLLATE "C"), ''))
  FROM (SELECT x::text AS v FROM (SELECT {what} FROM {only} {table}) x) t
""")
TORTURE = Path(__file__).with_name("torture.sql")


def admin(cluster: Cluster, database: str = "postgres") -> psycopg.Connection:
    """A superuser's session."""
    return psycopg.connect(cluster.dsn(database), autocommit=True)


@dataclass
class Copies:
    """A source cluster, a target cluster, and databases made for one test."""

    live: Cluster
    trial: Cluster
    folder: Path
    made: list[tuple[Cluster, str]] = field(default_factory=list)
    seen: list[Progress] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.secrets = SecretFiles(self.folder / "secrets")
        self.secrets.directory.mkdir(mode=0o700)
        self.scratch = self.folder / "scratch"
        self.scratch.mkdir(mode=0o700)
        for login in (READER, OWNER, SUPERUSER):
            path = self.secrets.path(login.secret)
            path.write_text("pass:w\\ord-" + secrets.token_hex(8) + "\n")
            path.chmod(0o600)
        for cluster in (self.live, self.trial):
            with admin(cluster) as connection:
                for login, rights in ((READER, "BYPASSRLS"), (OWNER, "CREATEDB")):
                    self._role(connection, login.user, rights)
                    word = self.secrets.read(login.secret).get_secret_value()
                    connection.execute(
                        sql.SQL("ALTER ROLE {} PASSWORD {}").format(
                            sql.Identifier(login.user), sql.Literal(word)
                        )
                    )
                self._role(connection, "copy_partner", "")
                connection.execute("GRANT pg_read_all_data, pg_read_all_stats TO copy_reader")

    @staticmethod
    def _role(connection: psycopg.Connection, name: str, rights: str) -> None:
        found = connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [name]).fetchone()
        if found is None:
            connection.execute(
                sql.SQL("CREATE ROLE {} LOGIN {}").format(sql.Identifier(name), sql.SQL(rights))
            )

    def close(self) -> None:
        """Drop what was made."""
        for cluster, name in self.made:
            with admin(cluster) as connection:
                connection.execute(
                    sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
                )

    def source(self, *statements: str) -> str:
        """A new source database, owned by the owner, after `statements` were run there by the superuser."""
        name = f"copied_{secrets.token_hex(4)}"
        self._create(self.live, name)
        with admin(self.live, name) as connection:
            for statement in statements:
                connection.execute(statement)
        return name

    def incoming(self) -> str:
        """A new empty database on the target, owned by the owner and closed to the public."""
        name = f"shop__in_r{secrets.randbelow(10**8) + 1}a1"
        self._create(self.trial, name)
        with admin(self.trial) as connection:
            connection.execute(
                sql.SQL("REVOKE CONNECT ON DATABASE {} FROM PUBLIC").format(sql.Identifier(name))
            )
        return name

    def _create(self, cluster: Cluster, name: str) -> None:
        with admin(cluster) as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} OWNER copy_owner TEMPLATE template0").format(sql.Identifier(name))
            )
        self.made.append((cluster, name))

    def server(self, cluster: Cluster) -> DatabaseServer:
        """The estate's view of a cluster."""
        live = cluster is self.live
        return server_of(
            "live" if live else "trial",
            production=live,
            port=cluster.port,
            owner=OWNER,
            reader=READER if live else None,
        )

    def job(self, source: str, incoming: str | None = None, selections: Selections | None = None) -> CopyJob:
        """A copy of `source`; everything is taken as it is, apart from what `selections` say."""
        with admin(self.live, source) as connection:
            everything: dict[TableName, Selection] = {
                table.name: Selection() for table in catalog.tables(connection)
            }
        everything[catalog.LARGE_OBJECTS] = Selection()
        return CopyJob(
            source=self.server(self.live),
            source_database=source,
            reader=READER,
            target=self.server(self.trial),
            incoming=incoming or self.incoming(),
            owner=OWNER,
            secrets=self.secrets,
            selections={**everything, **(selections or {})},
            key=SecretStr("the-masking-key-" + secrets.token_hex(8)),
            run="r7a1",
            scratch=self.scratch,
        )

    def watch(self, progress: Progress) -> None:
        """Remember what was shown."""
        self.seen.append(progress)

    def rows(self, job: CopyJob, query: str) -> list[tuple[object, ...]]:
        """What `query` finds in the copy."""
        with admin(self.trial, job.incoming) as connection:
            return connection.execute(query).fetchall()


def digests(cluster: Cluster, database: str, *, without: Iterable[str] = ()) -> dict[str, str]:
    """One digest for the rows of each relation, materialised views included, and one for each sequence."""
    found: dict[str, str] = {}
    with admin(cluster, database) as connection:
        connection.execute("SET search_path = ''; SET extra_float_digits = 3")
        for schema, name, kind in connection.execute(_RELATIONS).fetchall():
            query = _DIGEST.format(
                what=sql.SQL("last_value, is_called" if kind == "S" else "*"),
                only=sql.SQL("ONLY" if kind == "r" else ""),
                table=sql.Identifier(schema, name),
            )
            row = connection.execute(query).fetchone()
            found[f"{schema}.{name}"] = str(row and row[0])
        for loid, content in connection.execute(
            "SELECT oid::text, md5(pg_catalog.lo_get(oid)) FROM pg_catalog.pg_largeobject_metadata"
        ):
            found[f"large object {loid}"] = content
    return {name: digest for name, digest in found.items() if name not in set(without)}


def told(report: CopyReport) -> str:
    """A report's words in one string, to look for what must not be in them."""
    return repr(report.facts())
