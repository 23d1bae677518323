"""The masked stream: nothing raw arrives, nothing is silently left out, and failures say where, not what."""

from __future__ import annotations

import secrets
from dataclasses import replace

import pytest
from pydantic import SecretStr

from infra.postgres.dump import Dump
from infra.postgres.fingerprint import fingerprint
from infra.postgres.methods import CopyJob, Throttle, choose
from infra.postgres.progress import Progress, unwatched
from infra.postgres.rds import Rds
from infra.postgres.selection import Selection
from infra.postgres.stream import Stream
from policy.errors import Refused
from tests.integration.copied_shop import CANARY, PERSON, assert_no_sessions, everything_in, words
from tests.integration.copies import Copies, admin, digests


def test_what_is_masked_never_arrives(copies: Copies, job: CopyJob) -> None:
    before = digests(copies.live, job.source_database)
    report = Stream().copy(job, copies.watch)
    assert CANARY not in everything_in(copies, job)
    assert copies.rows(job, "SELECT count(DISTINCT email), min(code) FROM person WHERE about = '{}'") == [
        (3000, "zz  ")
    ]
    assert copies.rows(job, "SELECT count(*) FROM visit JOIN person USING (email)") == [(800,)]
    assert copies.rows(job, "SELECT count(*) FROM log") == [(0,)]
    assert copies.rows(job, "SELECT count(*) FROM mails") == [(3000,)]
    assert copies.rows(job, "SELECT count(*) FROM part_a") == [(3,)], (
        "a masked key moves rows to their partition"
    )
    assert copies.rows(job, "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND reltuples < 0") == [(0,)]
    assert report.rows == 3000 + 800 + 60000 + 3
    assert report.bytes > 3_000_000
    assert report.left_out == ()
    assert digests(copies.live, job.source_database) == before
    assert_no_sessions(copies, job)
    key = job.key.get_secret_value()
    assert key not in repr(report) + repr(job)


def test_rows_arrive_frozen(copies: Copies, shop: str) -> None:
    """Pages that everybody may see without a vacuum: without FREEZE there are none."""
    job = copies.job(shop)
    Stream().copy(job, unwatched)
    [(pages, visible)] = copies.rows(
        job, "SELECT relpages, relallvisible FROM pg_class WHERE relname = 'product'"
    )
    assert isinstance(pages, int)
    assert isinstance(visible, int)
    assert visible > pages / 2 > 100


def test_a_table_without_selection_is_refused(copies: Copies, job: CopyJob) -> None:
    bare = replace(
        job, selections={k: v for k, v in job.selections.items() if k.table not in {"log", "part"}}
    )
    offer = Stream().offer(bare)
    assert not offer.applies
    with pytest.raises(Refused) as refused:
        Stream().copy(bare, unwatched)
    assert [line.split(":")[0] for line in refused.value.findings] == [
        "table public.log",
        "table public.part_a",
        "table public.part_b",
    ]
    assert copies.rows(bare, "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace") == [
        (0,)
    ]


def test_a_mask_of_a_column_that_is_not_there_is_refused(job: CopyJob) -> None:
    wrong = replace(job, selections={**job.selections, PERSON: Selection(columns={"mail": words("'x'")})})
    with pytest.raises(Refused, match="mail, which it does not store"):
        Stream().copy(wrong, unwatched)


def test_rows_hidden_by_row_security_are_never_silently_missing(copies: Copies) -> None:
    source = copies.source(
        "SET ROLE copy_owner; CREATE TABLE t (id int); INSERT INTO t VALUES (1), (2);"
        "CREATE POLICY p ON t USING (id = 1); ALTER TABLE t ENABLE ROW LEVEL SECURITY"
    )
    job = copies.job(source)
    with admin(copies.live) as connection:
        connection.execute("ALTER ROLE copy_reader NOBYPASSRLS")
        try:
            for method in (Stream(), Dump()):
                offer = method.offer(job)
                assert not offer.applies
                assert "BYPASSRLS" in offer.why
                with pytest.raises(Refused, match="row-level security"):
                    method.copy(job, unwatched)
        finally:
            connection.execute("ALTER ROLE copy_reader BYPASSRLS")
    Stream().copy(job, unwatched)
    assert copies.rows(job, "SELECT count(*) FROM t") == [(2,)]


def test_a_reader_that_may_not_read_is_told(copies: Copies, job: CopyJob) -> None:
    with admin(copies.live) as connection:
        connection.execute("REVOKE pg_read_all_data FROM copy_reader")
        try:
            offer = Stream().offer(job)
        finally:
            connection.execute("GRANT pg_read_all_data TO copy_reader")
    assert not offer.applies
    assert "may not read public.part_a, public.part_b, public.person and 2 more" in offer.why


def test_nothing_is_built_on_a_server_of_production(job: CopyJob) -> None:
    with pytest.raises(Refused, match="holds Production"):
        replace(job, target=job.source)


def test_a_schema_that_changed_after_the_check_is_refused(copies: Copies) -> None:
    source = copies.source("SET ROLE copy_owner; CREATE TABLE t (id int)")
    with admin(copies.live, source) as connection:
        word = fingerprint(connection)
        job = replace(copies.job(source), fingerprint=word)
        connection.execute("ALTER TABLE t ADD COLUMN iban text")
        with pytest.raises(Refused, match="schema changed"):
            Stream().copy(job, unwatched)
        Stream().copy(replace(job, fingerprint=fingerprint(connection)), unwatched)


def test_grants_to_unknown_roles_and_event_triggers_are_reported(copies: Copies) -> None:
    unknown = f"only_live_{secrets.token_hex(4)}"
    source = copies.source(
        f"CREATE ROLE {unknown};"
        "CREATE TABLE t (id int); ALTER TABLE t OWNER TO copy_owner;"
        f"GRANT SELECT ON t TO copy_partner; GRANT SELECT ON t TO {unknown};"
        "CREATE FUNCTION e() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';"
        "CREATE EVENT TRIGGER watch_all ON ddl_command_end EXECUTE FUNCTION e();"
        "CREATE SUBSCRIPTION away CONNECTION 'host=192.0.2.1 password=hush'"
        " PUBLICATION p WITH (connect = false);"
        "CREATE FOREIGN DATA WRAPPER f; CREATE SERVER elsewhere FOREIGN DATA WRAPPER f;"
        "CREATE USER MAPPING FOR PUBLIC SERVER elsewhere OPTIONS (password 'hush')"
    )
    job = copies.job(source)
    try:
        report = Stream().copy(job, unwatched)
    finally:
        with admin(copies.live, source) as connection:
            connection.execute(
                "ALTER SUBSCRIPTION away DISABLE; ALTER SUBSCRIPTION away SET (slot_name = NONE)"
            )
            connection.execute("DROP SUBSCRIPTION away")
            connection.execute(f"DROP OWNED BY {unknown}; DROP ROLE {unknown}")
    assert copies.rows(job, "SELECT has_table_privilege('copy_partner', 't', 'SELECT')") == [(True,)]
    told = "\n".join(report.left_out)
    assert f'a grant: role "{unknown}" does not exist' in told
    assert "EVENT TRIGGER watch_all" in told
    assert "FOREIGN DATA WRAPPER f" in told
    assert "SERVER elsewhere" in told
    assert "USER MAPPING" in told
    assert "hush" not in told
    assert copies.rows(
        job,
        "SELECT count(*) FROM pg_subscription JOIN pg_database d ON d.oid = subdbid"
        " WHERE d.datname = current_database()",
    ) == [(0,)]


def test_progress_grows_and_the_throttle_holds(copies: Copies, job: CopyJob) -> None:
    seen: list[Progress] = []
    limit = 5_000_000
    report = Stream().copy(replace(job, throttle=Throttle(bytes_per_s=limit)), seen.append)
    shares = [progress.share for progress in seen]
    assert shares == sorted(shares)
    assert len(seen) >= 3
    assert shares[-1] < 1
    assert any(progress.eta_s is not None and progress.eta_s > 0.1 for progress in seen)
    assert report.phases["rows and big indexes"] >= report.bytes / limit * 0.8


def test_ranges_bring_the_same_rows(copies: Copies, shop: str) -> None:
    job = replace(copies.job(shop), jobs=3, throttle=Throttle(split_bytes=1 << 20))
    report = Stream().copy(job, unwatched)
    assert any("public.product was carried in 3 ranges" in note for note in report.notes)
    assert digests(copies.trial, job.incoming) == digests(copies.live, shop)


def test_the_cheapest_that_applies_is_chosen_and_the_others_say_why(
    copies: Copies, job: CopyJob, shop: str
) -> None:
    ladder = (Rds(), Dump(), Stream())
    method, offers = choose(ladder, job)
    assert method.name == "stream"
    assert [offer.applies for offer in offers] == [False, False, True]
    assert all(offer.why for offer in offers)
    method, offers = choose(ladder, copies.job(shop))
    assert method.name == "stream"
    assert [offer.applies for offer in offers] == [False, True, True]
    with pytest.raises(Refused) as refused:
        choose((Rds(), Dump()), job)
    assert len(refused.value.findings) == 2


def test_another_key_or_policy_has_another_hash(job: CopyJob) -> None:
    other_key = replace(job, key=SecretStr("another"))
    other_mask = replace(
        job, selections={**job.selections, PERSON: Selection(columns={"email": words("'x'")})}
    )
    assert len({each.policy_hash() for each in (job, other_key, other_mask)}) == 3
    assert replace(job, run="r8a1").policy_hash() == job.policy_hash()
