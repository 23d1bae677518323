"""The five fences: each holds alone when the other four are gone, and Production stays as it is."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from infra.postgres import fences
from infra.postgres.fences import SIGN, check_fences, guard, look
from infra.postgres.marker import Marker, read_marker, write_marker
from infra.postgres.roles_sql import roles_script
from infra.stack.cluster import bin_dir
from policy.errors import Refused
from policy.estate import Target
from policy.names import CustomerName, Environment, ServerName
from tests.integration.refreshes import LAKESIDE, PRODUCTION, Refreshes, admin

FENCES = ("type_fence", "marker_fence", "identity_fence", "credential_fence", "sign_fence")


@pytest.fixture
def lakeside(empty: Refreshes) -> Iterator[Refreshes]:
    """With the sign of the fifth fence on Production's server."""
    with admin(empty.live) as session:
        session.execute(SQL("CREATE ROLE {} NOLOGIN").format(Identifier(SIGN)))
    empty.fill("CREATE TABLE person (name text); INSERT INTO person VALUES ('canary')")
    empty.baseline = empty.production_digests()
    try:
        yield empty
    finally:
        with admin(empty.live) as session:
            session.execute(SQL("DROP ROLE {}").format(Identifier(SIGN)))


def only(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the other four fences away."""
    for fence in FENCES:
        if fence != name:
            monkeypatch.setattr(fences, fence, lambda *_: ())


def checked(made: Refreshes, target: Target | None = None, *, on: psycopg.Connection | None = None) -> None:
    """Check as a run would, with the target's session standing in `on`."""
    with made.reader() as source, on or made.owner(made.sandbox) as session:
        check_fences(
            made.source,
            target or made.target,
            source_connection=source,
            target_connection=session,
            secrets=made.secrets,
        )


def reversed_target(made: Refreshes) -> Target:
    """A target whose name leads to Production: the estate's file has the wrong port."""
    live, trial = made.estate.servers[ServerName("live")], made.estate.servers[ServerName("trial")]
    wrong = replace(trial, port=live.port)
    return Target(site=made.target.site, server=wrong)


def forged_target(made: Refreshes) -> Target:
    """A target that is Production, made past the type's own check."""
    target = object.__new__(Target)
    object.__setattr__(target, "site", made.source.site)
    object.__setattr__(target, "server", made.source.server)
    return target


def test_a_right_refresh_passes_all_five(lakeside: Refreshes) -> None:
    checked(lakeside)
    with lakeside.owner(lakeside.sandbox) as session:
        guard(session, lakeside.target)


def test_the_type_cannot_be_built_for_production(lakeside: Refreshes) -> None:
    with pytest.raises(Refused, match="cannot be the target of a refresh"):
        lakeside.estate.target(PRODUCTION)
    with pytest.raises(Refused, match="cannot be the target of a refresh"):
        Target(site=lakeside.target.site, server=lakeside.source.server)


@pytest.mark.parametrize(
    ("fence", "said"),
    [
        ("type_fence", "never a target"),
        ("marker_fence", "says by its marker that it is lakeside/production"),
        ("identity_fence", "are the same database"),
        ("credential_fence", "who owns targets"),
        ("sign_fence", f"carries the role '{SIGN}'"),
    ],
)
def test_each_fence_alone_stops_a_refresh_that_runs_the_wrong_way(
    lakeside: Refreshes, monkeypatch: pytest.MonkeyPatch, fence: str, said: str
) -> None:
    only(fence, monkeypatch)
    target = forged_target(lakeside) if fence == "type_fence" else reversed_target(lakeside)
    if fence == "credential_fence":
        # The worst case: the owner of the targets has an account on Production with the same password.
        target = replace(target, server=replace(target.server, owner=lakeside.source.server.owner))
    with pytest.raises(Refused) as refused:
        checked(lakeside, target, on=lakeside.owner(lakeside.production))
    assert said in str(refused.value)


def test_the_right_refresh_passes_each_fence_alone(
    lakeside: Refreshes, monkeypatch: pytest.MonkeyPatch
) -> None:
    for fence in FENCES:
        with monkeypatch.context() as patch:
            only(fence, patch)
            checked(lakeside)


@pytest.mark.parametrize("which", ["source", "target"])
def test_an_absent_marker_is_refused_with_the_remedy(lakeside: Refreshes, which: str) -> None:
    database = lakeside.production if which == "source" else lakeside.sandbox
    lakeside.fill("DROP SCHEMA freshet CASCADE", database=database)
    lakeside.baseline = lakeside.production_digests()
    with pytest.raises(Refused, match=r"has no marker.*freshet estate roles --sql"):
        checked(lakeside)


@pytest.mark.parametrize(
    ("marker", "said"),
    [
        (Marker(environment=Environment.STAGING, customer=LAKESIDE), "it is lakeside/staging"),
        (Marker(environment=Environment.SANDBOX, customer=CustomerName("harbor")), "it is harbor/sandbox"),
    ],
)
def test_a_marker_of_another_site_is_refused(lakeside: Refreshes, marker: Marker, said: str) -> None:
    with lakeside.owner(lakeside.sandbox) as session:
        write_marker(session, marker)
    with pytest.raises(Refused, match=said):
        checked(lakeside)


def test_a_marker_that_makes_no_sense_is_refused(lakeside: Refreshes) -> None:
    lakeside.fill("UPDATE freshet.marker SET environment = 'nonsense'", database=lakeside.sandbox)
    with pytest.raises(Refused, match="its marker names an unknown environment"):
        checked(lakeside)
    lakeside.fill("DROP TABLE freshet.marker; CREATE TABLE freshet.marker (x int)", database=lakeside.sandbox)
    with pytest.raises(Refused, match="holds something else"):
        checked(lakeside)


def test_a_cluster_that_is_not_pinned_or_not_the_pinned_one_is_refused(lakeside: Refreshes) -> None:
    for pin, said in (
        (None, "does not pin its system_identifier"),
        ("1", "is not the cluster that the estate pins"),
    ):
        target = replace(lakeside.target, server=replace(lakeside.target.server, system_identifier=pin))
        with pytest.raises(Refused, match=said):
            checked(lakeside, target)
        with lakeside.owner(lakeside.sandbox) as session, pytest.raises(Refused, match=said):
            guard(session, target)


def test_the_guard_stops_a_session_that_writes_in_the_wrong_place(lakeside: Refreshes) -> None:
    target = reversed_target(lakeside)
    with lakeside.owner(lakeside.production) as session, pytest.raises(Refused, match="carries the role"):
        guard(session, target)


@pytest.mark.parametrize(
    ("grant", "said"),
    [
        ("ALTER ROLE live_reader CREATEDB", "may create databases"),
        ("ALTER ROLE live_reader CREATEROLE", "may create roles"),
        ("GRANT pg_write_all_data TO live_reader", "is a member of pg_write_all_data"),
        ("GRANT live_owner TO live_reader", "owns the database"),
        ("GRANT INSERT ON person TO live_reader", "may write person"),
        ("GRANT CREATE ON SCHEMA public TO live_reader", "may create in schema public"),
    ],
)
def test_a_reader_that_could_write_is_refused(lakeside: Refreshes, grant: str, said: str) -> None:
    back = {
        "ALTER": grant.replace("CREATE", "NOCREATE"),
        "GRANT": grant.replace("GRANT", "REVOKE", 1).replace(" TO ", " FROM "),
    }[grant[:5]]
    with admin(lakeside.live, lakeside.production) as session:
        session.execute(grant.encode())
        try:
            with pytest.raises(Refused, match=said):
                checked(lakeside)
        finally:
            session.execute(back.encode())


def test_the_roles_of_a_refresh_cannot_harm_production(lakeside: Refreshes) -> None:
    with lakeside.session("live_reader", lakeside.production) as session:
        for statement in (
            "INSERT INTO person VALUES ('x')",
            "TRUNCATE person",
            "DROP TABLE person",
            "CREATE TABLE mine (x int)",
            "UPDATE freshet.marker SET environment = 'sandbox'",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                session.execute(statement.encode())
    with lakeside.session("live_reader", "postgres") as session:
        for statement in ("DROP DATABASE {}", "ALTER DATABASE {} RENAME TO gone"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                session.execute(SQL(statement).format(Identifier(lakeside.production)))
    word = lakeside.secrets.path(lakeside.target.server.owner.secret).read_text().strip()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(lakeside.live.dsn("postgres", "trial_owner"), password=word)


def test_what_a_database_says_of_itself(lakeside: Refreshes) -> None:
    with lakeside.reader() as session:
        seen = look(session)
    assert seen.system_identifier == lakeside.live.system_identifier()
    assert seen.signed
    assert seen.marker == Marker(environment=Environment.PRODUCTION, customer=LAKESIDE)


def test_the_script_of_roles_makes_what_the_fences_ask_for(lakeside: Refreshes, tmp_path: Path) -> None:
    """Run as printed, by psql, twice; only the questions for passwords are left out."""
    for name, cluster in (("live", lakeside.live), ("trial", lakeside.trial)):
        server = lakeside.estate.servers[ServerName(name)]
        script = roles_script(lakeside.estate, server)
        assert script.count("\\password") == (2 if server.production else 1)
        path = tmp_path / f"{name}.sql"
        path.write_text("\n".join(line for line in script.splitlines() if "\\password" not in line))
        lakeside.fill(
            "DROP SCHEMA freshet CASCADE",
            database=lakeside.production if server.production else lakeside.sandbox,
        )
        for _ in range(2):
            subprocess.run(
                [bin_dir(cluster.version) / "psql", "-X", "-q", "-f", path, cluster.dsn()],
                check=True,
                capture_output=True,
            )
    lakeside.baseline = lakeside.production_digests()
    checked(lakeside)
    with lakeside.owner(lakeside.sandbox) as session:
        assert read_marker(session) == Marker(environment=Environment.SANDBOX, customer=LAKESIDE)
