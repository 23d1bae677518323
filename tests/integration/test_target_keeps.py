"""What stays the target's own: grants to roles that Production does not know; an undo that would not fit."""

from __future__ import annotations

from dataclasses import replace

import psycopg
import pytest

from infra.ledger import installed
from policy.errors import Refused
from policy.estate import Release
from policy.names import Version, VersionLine
from policy.request import Kind
from tasks.check_undo import check_undo
from tasks.undo_refresh import undo_refresh
from tests.integration.refresh_steps import carry_out
from tests.integration.refreshes import (
    Refreshes,
    admin,
)


def granted(session: psycopg.Connection, role: str) -> set[str]:
    rows = session.execute(
        "SELECT privilege_type || ' ' || table_name || coalesce('.' || column_name, '')"
        "  FROM (SELECT grantee, privilege_type, table_name, NULL AS column_name"
        "          FROM information_schema.role_table_grants"
        "        UNION ALL SELECT grantee, privilege_type, table_name, column_name"
        "          FROM information_schema.role_column_grants) AS g WHERE grantee = %s",
        [role],
    ).fetchall()
    return {str(row[0]) for row in rows}


def test_roles_that_only_the_target_has_keep_what_they_may(lakeside: Refreshes) -> None:
    lakeside.fill(
        "GRANT SELECT ON objects TO trial_user WITH GRANT OPTION;"
        "GRANT UPDATE (value) ON metadata TO trial_user;"
        "CREATE TABLE only_here (id int); GRANT SELECT ON only_here TO trial_user;"
        "CREATE SCHEMA report; GRANT USAGE ON SCHEMA report TO trial_user;"
        "GRANT EXECUTE ON FUNCTION refuse_updates() TO trial_user;"
        "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO trial_user",
        database=lakeside.sandbox,
    )
    facts = carry_out(lakeside.worker())
    assert facts["grants_kept"] == 4
    assert facts["grants_left"] == [
        "trial_user: USAGE on schema report (InvalidSchemaName)",
        "trial_user: SELECT on table public.only_here (UndefinedTable)",
    ]
    with lakeside.owner(lakeside.sandbox) as session:
        assert {"SELECT objects", "UPDATE metadata.value"} <= granted(session, "trial_user")
        assert "INSERT objects" not in granted(session, "trial_user")
        session.execute("CREATE TABLE made_later (id int)")
        assert "SELECT made_later" in granted(session, "trial_user")


def test_grants_of_roles_that_production_has_are_productions(lakeside: Refreshes) -> None:
    role = f"reports_{lakeside.sandbox}"
    for cluster in (lakeside.live, lakeside.trial):
        with admin(cluster) as session:
            session.execute(f"CREATE ROLE {role}")
    lakeside.fill(f"GRANT SELECT ON metadata TO {role}")
    lakeside.fill(f"GRANT DELETE ON objects TO {role}", database=lakeside.sandbox)
    assert carry_out(lakeside.worker())["grants_kept"] == 0
    with lakeside.owner(lakeside.sandbox) as session:
        assert granted(session, role) == {"SELECT metadata", *column_rights(session, role)}


def column_rights(session: psycopg.Connection, role: str) -> set[str]:
    """What the right to a table says of its columns."""
    return {name for name in granted(session, role) if name.startswith("SELECT metadata.")}


def test_an_undo_is_refused_when_the_web_application_was_upgraded_since(lakeside: Refreshes) -> None:
    carry_out(lakeside.worker("r1a1"))
    (old,) = lakeside.estate.releases
    new = replace(old, version=Version("26.5.0"), line=VersionLine("26"))
    undo = lakeside.worker("r2a1", kind=Kind.UNDO, undoes="R1")
    undo.estate = replace(lakeside.estate, releases=(old, new))
    assert check_undo.do(undo)["comes_back"] == f"{lakeside.sandbox}__prev_r1a1"
    webapp = undo.estate.webapp(undo.request.site)
    record(lakeside, webapp.key, new)
    for step in (check_undo, undo_refresh):
        with pytest.raises(Refused, match=r"runs 26\.5\.0 since.*belongs to 23\.1\.0.*a new refresh"):
            step.do(undo)
    with lakeside.owner(lakeside.sandbox) as session:
        assert session.execute("SELECT count(*) FROM objects WHERE id = 'old'").fetchone() == (0,)
    record(lakeside, webapp.key, old)
    undo_refresh.do(undo)
    with lakeside.owner(lakeside.sandbox) as session:
        assert session.execute("SELECT count(*) FROM objects WHERE id = 'old'").fetchone() == (1,)
    with pytest.raises(Refused, match="is gone"):
        check_undo.do(lakeside.worker("r3a1", kind=Kind.UNDO, undoes="R1"))


def record(lakeside: Refreshes, webapp: str, release: Release) -> None:
    with lakeside.ledger.transaction() as connection:
        installed.record(connection, webapp=webapp, release=release, run=None)
