"""The target's own rows: carried over with children and sequences, checked before and compared after."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
import pytest

from infra.postgres.kept_rows import compare_kept
from infra.postgres.preserve import check_preserve, preserve
from infra.postgres.schema import read_schema
from infra.protection_file import parse_protection
from infra.stack.cluster import Cluster
from policy.errors import Refused, StepFailed
from policy.names import ApplicationName
from policy.protection import Protection
from tests.integration.scratch_database import scratch_database

TABLES = """
CREATE TABLE account (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text UNIQUE NOT NULL, local boolean,
    since timestamptz, loud text GENERATED ALWAYS AS (upper(name)) STORED);
CREATE TABLE token (
    id serial PRIMARY KEY, account int NOT NULL REFERENCES account ON DELETE CASCADE, word text);
CREATE TABLE log (token int REFERENCES token, n int, PRIMARY KEY (token, n));
CREATE TABLE setting (name text PRIMARY KEY, value text);
CREATE TABLE comment (id int PRIMARY KEY, account int REFERENCES account);
CREATE FUNCTION no_updates() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'seen'; END $$;
CREATE TRIGGER touched BEFORE INSERT OR UPDATE OR DELETE ON setting
    FOR EACH ROW EXECUTE FUNCTION no_updates();
ALTER TABLE setting DISABLE TRIGGER touched;
"""
OWN = """
INSERT INTO account (name, local, since) VALUES ('trainer', true, '2026-01-02 03:04:05.678901+02'),
    ('imported', false, NULL), (E'odd\\t\\\\N "name"', true, NULL);
INSERT INTO token (account, word) VALUES (1, 'trainer-token'), (2, 'imported-token'), (3, NULL);
INSERT INTO log VALUES (1, 1), (1, 2), (2, 1);
INSERT INTO setting VALUES ('theme', 'sandbox'), ('banner', NULL);
SELECT setval('token_id_seq', 900);
ALTER TABLE setting ENABLE TRIGGER touched;
"""
COPIED = """
INSERT INTO account (name, local, since) SELECT 'live' || n, n = 3, now() FROM generate_series(1, 3) AS n;
INSERT INTO token (account, word) SELECT n, 'live' FROM generate_series(1, 3) AS n;
INSERT INTO log VALUES (3, 1);
INSERT INTO setting VALUES ('theme', 'production'), ('extra', 'production');
ALTER TABLE setting ENABLE TRIGGER touched;
"""
POLICY = """
version: 1
tables: {}
preserve:
  - {table: setting, replace: true}
  - {table: account, where: local, children: [token, log], replace: true}
preserved_sequences: [token_id_seq]
"""


def policy(text: str = POLICY) -> Protection:
    return parse_protection(ApplicationName("shop"), text, file="protection.yml")


@dataclass
class Two:
    """The database that serves and the one that is built."""

    target: psycopg.Connection
    incoming: psycopg.Connection

    def rows(self, query: str) -> list[tuple[object, ...]]:
        return self.incoming.execute(query.encode()).fetchall()


@pytest.fixture
def two(trial_cluster: Cluster) -> Iterator[Two]:
    with (
        scratch_database(trial_cluster, TABLES, OWN) as one,
        scratch_database(trial_cluster, TABLES, COPIED) as other,
        psycopg.connect(trial_cluster.dsn(one.info.dbname)) as target,
        psycopg.connect(trial_cluster.dsn(other.info.dbname)) as incoming,
    ):
        # How values are written must not depend on what is set for either.
        one.execute(f"ALTER DATABASE {one.info.dbname} SET DateStyle TO 'SQL, DMY'")
        one.execute(f"ALTER DATABASE {one.info.dbname} SET TimeZone TO 'Asia/Kathmandu'")
        yield Two(target, incoming)


def test_rows_children_and_sequences_survive(two: Two) -> None:
    preserve(two.target, two.incoming, policy())
    assert two.rows("SELECT name, value FROM setting ORDER BY 1") == [("banner", None), ("theme", "sandbox")]
    assert two.rows("SELECT id, name FROM account ORDER BY 1") == [
        (1, "trainer"),
        (2, "live2"),
        (3, 'odd\t\\N "name"'),
    ]
    assert two.rows("SELECT id, account, word FROM token ORDER BY 1") == [
        (1, 1, "trainer-token"),
        (2, 2, "live"),
        (3, 3, None),
    ]
    assert two.rows("SELECT token, n FROM log ORDER BY 1, 2") == [(1, 1), (1, 2)]
    assert two.rows("SELECT nextval('token_id_seq')") == [(901,)]
    kept = compare_kept(two.target, two.incoming, policy())
    assert [(str(each.table), each.rows, each.equal) for each in kept] == [
        ("public.setting", 2, 2),
        ("public.account", 2, 2),
        ("public.token", 2, 2),
        ("public.log", 2, 2),
    ]


def test_preserving_again_changes_nothing(two: Two) -> None:
    preserve(two.target, two.incoming, policy())
    before = two.rows("SELECT t::text FROM account t UNION ALL SELECT t::text FROM token t ORDER BY 1")
    preserve(two.target, two.incoming, policy())
    assert (
        two.rows("SELECT t::text FROM account t UNION ALL SELECT t::text FROM token t ORDER BY 1") == before
    )


def test_without_replace_the_copys_other_rows_stay(two: Two) -> None:
    merge = policy(POLICY.replace("{table: setting, replace: true}", "{table: setting, replace: false}"))
    preserve(two.target, two.incoming, merge)
    assert two.rows("SELECT name, value FROM setting ORDER BY 1") == [
        ("banner", None),
        ("extra", "production"),
        ("theme", "sandbox"),
    ]


def test_a_row_that_others_refer_to_is_taken_over_in_place(two: Two) -> None:
    two.incoming.execute("INSERT INTO comment VALUES (1, 1)")
    two.incoming.commit()
    merge = policy("version: 1\ntables: {}\npreserve: [{table: account, where: local, replace: false}]")
    preserve(two.target, two.incoming, merge)
    assert two.rows("SELECT a.name FROM comment c JOIN account a ON a.id = c.account") == [("trainer",)]


def test_the_triggers_of_the_application_stay_as_they_were(two: Two) -> None:
    preserve(two.target, two.incoming, policy())
    assert two.rows("SELECT tgenabled::text FROM pg_trigger WHERE tgname = 'touched'") == [("O",)]


def test_rows_that_do_not_go_together_fail_the_step_and_change_nothing(two: Two) -> None:
    two.incoming.execute("INSERT INTO comment VALUES (1, 3)")
    two.incoming.execute("DELETE FROM account WHERE name = 'live2'")
    two.incoming.execute("INSERT INTO account (name, local) VALUES ('trainer', false)")
    two.incoming.commit()
    merge = policy("version: 1\ntables: {}\npreserve: [{table: account, where: local, replace: false}]")
    with pytest.raises(StepFailed, match=r"rows of public\.account do not go together .*account_name_key"):
        preserve(two.target, two.incoming, merge)
    two.incoming.rollback()
    assert two.rows("SELECT count(*) FROM account WHERE name = 'live1'") == [(1,)]


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("ALTER TABLE setting DROP COLUMN value", "public.setting.value is not in the copy's schema"),
        (
            "ALTER TABLE setting ALTER value TYPE varchar(99)",
            "is text in the target and character varying(99)",
        ),
        (
            "ALTER TABLE setting ADD must int NOT NULL DEFAULT 1",
            "public.setting.must is required in the copy",
        ),
        ("DROP TABLE setting", "the copy has no table public.setting"),
    ],
)
def test_what_does_not_fit_is_told_before(two: Two, statement: str, said: str) -> None:
    two.incoming.execute(statement.encode())
    two.incoming.commit()
    findings = check_preserve(policy(), read_schema(two.target), read_schema(two.incoming))
    assert any(said in finding for finding in findings), findings
    with pytest.raises(Refused):
        preserve(two.target, two.incoming, policy())


def test_a_child_that_does_not_refer_to_its_parent_is_told(two: Two) -> None:
    wrong = policy(POLICY.replace("children: [token, log]", "children: [setting]"))
    findings = check_preserve(wrong, read_schema(two.target), read_schema(two.incoming))
    assert findings == (
        "preserve: table public.setting has no foreign key to public.account; give it an entry of its own",
    )


def test_a_target_without_the_table_has_nothing_to_keep(two: Two) -> None:
    two.target.execute("DROP TABLE setting")
    two.target.commit()
    preserve(two.target, two.incoming, policy())
    assert two.rows("SELECT count(*) FROM setting") == [(2,)]


def test_a_lost_row_is_seen_by_the_comparison(two: Two) -> None:
    preserve(two.target, two.incoming, policy())
    two.incoming.execute("UPDATE token SET word = 'changed' WHERE id = 1")
    kept = {str(each.table): each for each in compare_kept(two.target, two.incoming, policy())}
    assert (kept["public.token"].rows, kept["public.token"].equal) == (2, 1)
