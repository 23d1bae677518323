"""Neutralising and the leak probe, on a database that has everything that could call out."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from infra.postgres.conditions import check_probes
from infra.postgres.leak_probe import leak_probe
from infra.postgres.neutralise import NOWHERE, Places, neutralise
from infra.protection_file import parse_protection
from infra.stack.cluster import Cluster
from policy.errors import Refused, StepFailed
from policy.names import ApplicationName
from policy.protection import Protection
from tests.integration.scratch_database import scratch_database

LIVE = "live.lakeside.example.net"
PLACES = Places(
    source_host=LIVE,
    target_host="sandbox.lakeside.example.net",
    source_url=f"https://{LIVE}",
    target_url="https://sandbox.lakeside.example.net",
    environment="sandbox",
)
LOUD = """
CREATE TABLE page (id int PRIMARY KEY, body jsonb, path varchar(60));
INSERT INTO page VALUES (1, '{"url": "https://LIVE/a", "n": 1}', 'https://LIVE/x'), (2, '{}', NULL);
CREATE TABLE job (id int PRIMARY KEY, active boolean);
INSERT INTO job VALUES (1, true), (2, false);
CREATE FUNCTION call_home() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN NULL; END $$;
CREATE EVENT TRIGGER on_ddl ON ddl_command_end EXECUTE FUNCTION call_home();
CREATE FUNCTION no_updates() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'seen'; END $$;
CREATE TRIGGER touched BEFORE UPDATE ON page FOR EACH ROW EXECUTE FUNCTION no_updates();
CREATE TRIGGER asleep BEFORE UPDATE ON page FOR EACH ROW EXECUTE FUNCTION no_updates();
ALTER TABLE page DISABLE TRIGGER asleep;
CREATE FOREIGN DATA WRAPPER postal OPTIONS (debug 'no');
CREATE SERVER elsewhere FOREIGN DATA WRAPPER postal OPTIONS (host 'LIVE', port '5432');
CREATE USER MAPPING FOR PUBLIC SERVER elsewhere OPTIONS (user 'x', password 'y');
CREATE SCHEMA cron;
CREATE TABLE cron.job (jobid int PRIMARY KEY, active boolean NOT NULL);
INSERT INTO cron.job VALUES (1, true);
""".replace("LIVE", LIVE)
POLICY = r"""
version: 1
tables: {}
host_columns: {page: [body, path]}
neutralise:
  - {title: no jobs, sql: "UPDATE job SET active = false WHERE active"}
  - title: say where
    sql: "INSERT INTO page VALUES (3, jsonb_build_object('at', current_setting('freshet.environment')), NULL)
      ON CONFLICT (id) DO NOTHING"
leak_probe:
  forbidden: [{title: a card number, pattern: '\m4[0-9]{15}\M'}]
  empty: [{title: no active jobs, sql: SELECT id FROM job WHERE active}]
"""


def policy(text: str = POLICY) -> Protection:
    return parse_protection(ApplicationName("shop"), text, file="protection.yml")


def states_of_triggers(session: psycopg.Connection) -> dict[str, str]:
    rows = session.execute("SELECT tgname, tgenabled::text FROM pg_trigger WHERE NOT tgisinternal").fetchall()
    return {str(name): str(state) for name, state in rows}


@pytest.fixture
def loud(trial_cluster: Cluster) -> Iterator[psycopg.Connection]:
    with scratch_database(trial_cluster, LOUD) as session:
        session.execute(f"REVOKE CONNECT ON DATABASE {session.info.dbname} FROM PUBLIC")
        with psycopg.connect(trial_cluster.dsn(session.info.dbname)) as working:
            yield working


def test_everything_that_calls_out_is_silenced_and_proven_so(loud: psycopg.Connection) -> None:
    before = leak_probe(loud, policy(), strings=[LIVE])
    assert {leak.what for leak in before.leaks} == {
        "an event trigger is enabled",
        "a password for a foreign server is stored",
        "a scheduled job is active",
        "no active jobs",
        "a name of Production",
    }
    acts = {act.title: act.count for act in neutralise(loud, policy(), PLACES)}
    loud.commit()
    assert acts["scheduled jobs (pg_cron)"] == 1
    assert acts["host name in public.page.body"] == acts["host name in public.page.path"] == 1
    assert acts["no jobs"] == 1
    assert leak_probe(loud, policy(), strings=[LIVE]).leaks == ()
    body, path = loud.execute("SELECT body, path FROM page WHERE id = 1").fetchone() or ("", "")
    assert body == {"url": "https://sandbox.lakeside.example.net/a", "n": 1}
    assert path == "https://sandbox.lakeside.example.net/x"
    assert loud.execute("SELECT body FROM page WHERE id = 3").fetchone() == ({"at": "sandbox"},)
    assert loud.execute("SELECT srvoptions FROM pg_foreign_server").fetchone() == (
        [f"host={NOWHERE}", "port=5432"],
    )


def test_neutralising_again_changes_nothing(loud: psycopg.Connection) -> None:
    neutralise(loud, policy(), PLACES)
    again = neutralise(loud, policy(), PLACES)
    assert {act.title: act.count for act in again if act.count} == {}


def test_the_applications_triggers_keep_their_state(loud: psycopg.Connection) -> None:
    neutralise(loud, policy(), PLACES)
    assert states_of_triggers(loud) == {"touched": "O", "asleep": "D"}
    with pytest.raises(psycopg.errors.RaiseException):
        loud.execute("UPDATE page SET path = 'x'")


def test_a_statement_that_fails_fails_the_step_and_leaves_nothing_half_done(loud: psycopg.Connection) -> None:
    broken = policy(POLICY.replace("UPDATE job SET active = false WHERE active", "UPDATE nowhere SET x = 1"))
    with pytest.raises(StepFailed, match='no jobs: relation "nowhere" does not exist'):
        neutralise(loud, broken, PLACES)
    loud.rollback()
    assert loud.execute("SELECT count(*) FROM cron.job WHERE active").fetchone() == (1,)


def test_a_host_column_that_is_not_there_is_refused(loud: psycopg.Connection) -> None:
    with pytest.raises(Refused, match=r"the copy has no column public\.page\.gone"):
        neutralise(loud, policy(POLICY.replace("[body, path]", "[gone]")), PLACES)


def test_the_probe_finds_patterns_and_names_places_never_values(loud: psycopg.Connection) -> None:
    neutralise(loud, policy(), PLACES)
    loud.execute("ALTER TABLE page DISABLE TRIGGER touched")
    loud.execute("""UPDATE page SET body = '{"card": "4111111111111111"}' WHERE id = 2""")
    loud.commit()
    (leak,) = leak_probe(loud, policy()).leaks
    assert leak.what == "a card number"
    assert leak.where.startswith("public.page, row at page (")
    assert "4111" not in str(leak)


def test_the_probe_reads_functions_and_views(loud: psycopg.Connection) -> None:
    loud.execute(f"CREATE VIEW home AS SELECT 'https://{LIVE}' AS url")
    loud.execute(f"CREATE FUNCTION home() RETURNS text LANGUAGE sql AS $$ SELECT '{LIVE}' $$")
    loud.commit()
    neutralise(loud, policy(), PLACES)
    loud.commit()
    found = {leak.where for leak in leak_probe(loud, policy(), strings=[LIVE]).leaks}
    assert found == {"public.home", "home()"}


def test_a_database_that_everybody_may_enter_is_a_leak(loud: psycopg.Connection) -> None:
    neutralise(loud, policy(), PLACES)
    loud.execute(f"GRANT CONNECT ON DATABASE {loud.info.dbname} TO PUBLIC")
    loud.commit()
    (leak,) = leak_probe(loud, policy()).leaks
    assert leak.what == "everybody may connect"


def test_large_tables_are_sampled_and_the_report_says_so(loud: psycopg.Connection) -> None:
    loud.execute("INSERT INTO page SELECT n, '{}', repeat('x', 50) FROM generate_series(10, 3000) AS n")
    loud.commit()
    report = leak_probe(loud, policy(), strings=["nowhere.example.net"], whole_below=50_000)
    assert set(report.sampled) == {"public.page"}
    assert 0 < report.sampled["public.page"] < 1


def test_a_subscription_is_dropped_without_asking_its_publisher(trial_cluster: Cluster) -> None:
    with scratch_database(
        trial_cluster,
        "CREATE SUBSCRIPTION reads CONNECTION 'host=192.0.2.1 dbname=x' PUBLICATION p "
        "WITH (connect = false, slot_name = 'kept_there', enabled = false)",
    ) as session, psycopg.connect(trial_cluster.dsn(session.info.dbname)) as working:  # fmt: skip
        acts = neutralise(working, policy("version: 1\ntables: {}"), PLACES)
        assert [act.title for act in acts] == ["subscription reads"]
        assert working.execute("SELECT count(*) FROM pg_subscription").fetchone() == (0,)


def test_a_probe_that_cannot_be_asked_is_not_a_clean_copy(loud: psycopg.Connection) -> None:
    broken = policy(POLICY.replace("SELECT id FROM job WHERE active}", "SELECT id FROM nowhere}"))
    with pytest.raises(StepFailed, match="could not be probed for leaks"):
        leak_probe(loud, broken)
    loud.rollback()
    found = check_probes(loud, policy(POLICY.replace("[0-9]{15}", "[0-9")))
    assert found == (
        "leak_probe 'a card number': the pattern is not one of PostgreSQL's regular expressions",
    )
    (told,) = check_probes(loud, broken)
    assert 'relation "nowhere" does not exist' in told
