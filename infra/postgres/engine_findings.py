"""What keeps a PostgreSQL server from being taken to another version, found by asking it while it serves.

Invariant: only looks. What can be known hours before is a finding hours before; what pg_upgrade would pass
over in silence and lose (replication slots, settings that name the old directory) is a finding as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from infra.postgres.engine import Engine, Session

_RECOVERY = "select pg_is_in_recovery()"
_BOUND = """
select name, sourcefile from pg_file_settings
where name in ('data_directory', 'hba_file', 'ident_file', 'external_pid_file')
   or position(current_setting('data_directory') in setting) > 0
order by 1
"""
_OUTSIDE = """
select distinct sourcefile from pg_file_settings
where sourcefile is not null and position(current_setting('data_directory') || '/' in sourcefile) <> 1
"""
_IN_THE_WAY: Mapping[str, str] = {
    "select database, count(*) from pg_prepared_xacts group by 1 order by 1": (
        "database '{}' has {} prepared transactions; commit or roll them back"
    ),
    "select slot_name, slot_type from pg_replication_slots order by 1": (
        "replication slot '{}' ({}) would be lost in silence; drop it, and let its reader begin anew after"
    ),
    "select coalesce(nullif(application_name, ''), client_addr::text, 'unnamed') from pg_stat_replication": (
        "standby '{}' cannot follow the new version; stop it, and make it anew after"
    ),
    "select datname from pg_database where not datallowconn and datname <> 'template0' order by 1": (
        "database '{}' lets nobody in, so it cannot be carried over; drop it, or allow connections to it"
    ),
    _BOUND: "setting {} in {} names the old directory; remove it, the new version has one of its own",
    "select coalesce(name, 'a line'), sourcefile, error from pg_file_settings where error is not null": (
        "configuration: {} in {}: {}; correct it"
    ),
    _OUTSIDE: "configuration file {} lies outside the data directory; move it in, or include it from there",
}
"""What would keep the whole server, and how it is told."""
_INSTALLER = "select rolname::text from pg_roles where oid = 10"
_EXTENSIONS = "select extname::text, extversion from pg_extension order by 1"
_SUBSCRIPTIONS = """
select subname::text from pg_subscription s join pg_database d on d.oid = s.subdbid
where datname = current_database() order by 1
"""
_DATABASE_COLLATION = """
select datcollversion, pg_database_collation_actual_version(oid)
from pg_database where datname = current_database()
"""
_COLLATIONS = """
select concat(collprovider, ' ', quote_ident(n.nspname), '.', quote_ident(collname), ' ', collencoding),
       collversion, pg_collation_actual_version(c.oid)
from pg_collation c join pg_namespace n on n.oid = c.collnamespace
where collversion is not null
order by 1
"""
_TEMPLATE = """
select pg_encoding_to_char(encoding), datlocprovider::text, datcollate, datctype,
       to_jsonb(d) ->> 'daticulocale', to_jsonb(d) ->> 'datlocale'
from pg_database d where datname = 'template0'
"""


@dataclass(frozen=True, kw_only=True)
class DatabaseLook:
    """One database as far as a change of version is concerned.

    Attributes:
        extensions: installed ones and their versions.
        collations: recorded versions of collations, as `provider schema.name encoding`.
        findings: what is in the way.
    """

    extensions: Mapping[str, str]
    collations: Mapping[str, str]
    findings: tuple[str, ...]


def server_findings(connection: Session, engine: Engine) -> tuple[str, ...]:
    """What is in the way of the whole server."""
    found: list[str] = []
    if _truth(connection, _RECOVERY):
        found.append("the server is a standby; upgrade its primary, then make the standby anew")
    installer = str(_row(connection, _INSTALLER)[0])
    if installer != engine.superuser:
        found.append(
            f"the role that made the cluster is '{installer}', not '{engine.superuser}'; name it as superuser"
        )
    for query, words in _IN_THE_WAY.items():
        found += [words.format(*row) for row in connection.execute(query.encode())]
    return tuple(found)


def look_at(connection: Session) -> DatabaseLook:
    """What one database uses, and what is in its way."""
    name = connection.info.dbname
    found = [
        f"database '{name}': subscription '{subscription}' would lose its place; drop it, make it anew after"
        for (subscription,) in connection.execute(_SUBSCRIPTIONS)
    ]
    recorded, actual = _row(connection, _DATABASE_COLLATION)
    if recorded is not None and recorded != actual:
        found.append(
            f"database '{name}' was sorted by collation version {recorded} and now meets {actual}; rebuild "
            "its indexes and run ALTER DATABASE … REFRESH COLLATION VERSION first"
        )
    collations = {} if recorded is None else {f"database {name}": str(recorded)}
    for collation, version, now in connection.execute(_COLLATIONS):
        collations[str(collation)] = str(version)
        # PostgreSQL ships hundreds that nothing uses; those that somebody made are used.
        if version != now and " pg_catalog." not in str(collation):
            found.append(
                f"database '{name}': collation {collation} is of version {version} and now {now}; rebuild "
                "what depends on it, then ALTER COLLATION … REFRESH VERSION"
            )
    extensions = {str(row[0]): str(row[1]) for row in connection.execute(_EXTENSIONS)}
    return DatabaseLook(extensions=extensions, collations=collations, findings=tuple(found))


def missing_extensions(looks: Mapping[str, DatabaseLook], available: Mapping[str, object]) -> tuple[str, ...]:
    """Extensions that some database uses and the new version does not bring."""
    return tuple(
        f"database '{database}' uses extension {name} {version}, which the new version does not bring; "
        "install it for that version, or drop the extension"
        for database, look in sorted(looks.items())
        for name, version in sorted(look.extensions.items())
        if name not in available
    )


def moved_collations(looks: Mapping[str, DatabaseLook], there: Mapping[str, object]) -> tuple[str, ...]:
    """Collations by which the new version would sort differently, so indexes would be wrong."""
    return tuple(
        f"database '{database}': collation of {name} has version {version} here and {there[name]} in the new "
        "version; use programs that are built on the same library, or mode dump, which sorts anew"
        for database, look in sorted(looks.items())
        for name, version in sorted(look.collations.items())
        if name in there and there[name] != version
    )


def template(connection: Session) -> tuple[str, ...]:
    """Initdb's words for the encoding and the locale that new databases get."""
    encoding, provider, collate, ctype, icu, locale = _row(connection, _TEMPLATE)
    words = [f"--encoding={encoding}", f"--lc-collate={collate}", f"--lc-ctype={ctype}"]
    if provider == "i":
        words += ["--locale-provider=icu", f"--icu-locale={icu or locale}"]
    elif provider == "b":
        words += ["--locale-provider=builtin", f"--builtin-locale={locale}"]
    elif provider == "c":
        words += ["--locale-provider=libc"]
    return tuple(words)


def _row(connection: Session, query: str) -> tuple[object, ...]:
    row = connection.execute(query.encode()).fetchone()
    return () if row is None else row


def _truth(connection: Session, query: str) -> bool:
    return bool(_row(connection, query)[0])
