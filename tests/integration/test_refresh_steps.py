"""The steps of a refresh against two real clusters, in order, again, and back."""

from __future__ import annotations

import psycopg
import pytest

from infra.postgres.marker import read_marker
from infra.postgres.tag import Standing, tagged
from policy.errors import Refused, StepFailed
from policy.names import failed_name, incoming_name, previous_name
from policy.request import Kind
from tasks.check_refresh import check_refresh
from tasks.copy_masked import copy_masked
from tasks.create_incoming import create_incoming
from tasks.swap import swap
from tasks.undo_refresh import undo_refresh
from tasks.verify_incoming import verify_incoming
from tests.integration.refresh_steps import STEPS, carry_out
from tests.integration.refreshes import (
    Refreshes,
    admin,
)

CANARY = "canary"


def everything(session: psycopg.Connection) -> str:
    """All rows of all tables of the application, as one text."""
    parts = []
    for table in ("objects", "timestamps", "access_control_entries", "user_principals", "cache"):
        parts += [str(row[0]) for row in session.execute(f"SELECT t::text FROM {table} AS t ORDER BY 1")]  # noqa: S608 - tables of this module
    return "\n".join(parts)


def test_a_refresh_masks_neutralises_keeps_and_swaps(lakeside: Refreshes) -> None:
    with admin(lakeside.trial) as server:
        server.execute(f"ALTER DATABASE {lakeside.sandbox} SET statement_timeout TO '77s'")
        server.execute(f"GRANT CONNECT ON DATABASE {lakeside.sandbox} TO trial_user")
        server.execute(f"COMMENT ON DATABASE {lakeside.sandbox} IS 'the training database'")
    worker = lakeside.worker()
    facts = carry_out(worker)
    assert worker.proofs > 0
    assert facts["method"] == "stream"
    assert facts["previous"] == previous_name(lakeside.sandbox, worker.run)
    with lakeside.owner(lakeside.sandbox) as session:
        text = everything(session)
        assert CANARY not in text.lower()
        assert "production-hash" not in text
        assert session.execute("SELECT count(*) FROM objects WHERE resource_name = 'record'").fetchone() == (
            500,
        )
        # The log-ins of the Sandbox, not those of Production.
        own = session.execute(
            "SELECT id, data ->> 'password' FROM objects "
            "WHERE data ->> 'password' = 'sandbox-hash' ORDER BY 1"
        ).fetchall()
        assert own == [("admin", "sandbox-hash"), ("trainer@lakeside.example.org", "sandbox-hash")]
        # Joins survive: the masked member of the group is an account, and has the group.
        assert session.execute(
            "SELECT count(*) FROM user_principals p JOIN objects o ON p.user_id = 'account:' || o.id "
            "JOIN objects g ON g.resource_name = 'group' AND g.data -> 'members' ? p.user_id"
        ).fetchone() == (1,)
        marker = read_marker(session)
        assert marker is not None
        assert (str(marker.site), marker.source, marker.run) == (
            "lakeside/sandbox",
            "lakeside/production",
            worker.run,
        )
        assert session.execute("SHOW statement_timeout").fetchone() == ("77s",)
        assert session.execute(
            "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()"
        ).fetchone() == ("the training database",)
    lakeside.session("trial_user", lakeside.sandbox).close()
    with pytest.raises(psycopg.OperationalError, match="not currently accepting"):
        lakeside.owner(previous_name(lakeside.sandbox, worker.run))
    assert swap.done(worker)


def test_nobody_may_enter_the_incoming_database(lakeside: Refreshes) -> None:
    with admin(lakeside.trial) as server:
        server.execute(f"GRANT CONNECT ON DATABASE {lakeside.sandbox} TO trial_user")
    worker = lakeside.worker()
    carry_out(worker, STEPS[:-1])
    with pytest.raises(psycopg.OperationalError, match="CONNECT privilege"):
        lakeside.session("trial_user", incoming_name(lakeside.sandbox, worker.run))


def test_a_new_column_stops_the_refresh_and_prints_what_to_add(lakeside: Refreshes) -> None:
    lakeside.fill("ALTER TABLE user_principals ADD nickname text")
    worker = lakeside.worker()
    with pytest.raises(Refused, match=r"table public.user_principals: new columns have no rule") as refused:
        check_refresh.do(worker)
    assert "        nickname: free_text" in str(refused.value)
    # Even when nobody asked before.
    create_incoming.do(worker)
    with pytest.raises(Refused, match="nickname"):
        copy_masked.do(worker)
    create_incoming.undo(worker)


def test_every_step_may_be_repeated_by_a_second_worker(lakeside: Refreshes) -> None:
    first = lakeside.worker()
    carry_out(first, STEPS[:3])
    second = lakeside.worker()
    second.epoch = 2
    assert create_incoming.done(second)
    assert copy_masked.done(second)
    for step in STEPS[3:6]:
        assert not step.done(second)
        step.do(second)
        step.do(second)
    assert not swap.done(second)
    swap.do(second)
    assert swap.done(second)


def test_a_copy_that_was_cut_off_is_begun_anew(lakeside: Refreshes) -> None:
    worker = lakeside.worker()
    create_incoming.do(worker)
    with lakeside.session("trial_owner", incoming_name(lakeside.sandbox, worker.run)) as session:
        session.execute("CREATE TABLE objects (half text)")
    assert not copy_masked.done(worker)
    carry_out(worker, STEPS[2:])
    assert swap.done(worker)


@pytest.mark.parametrize(
    "reached", [pytest.param(n, marks=[] if n in {3, 7} else pytest.mark.slow) for n in range(1, 8)]
)
def test_undoing_from_any_step_leaves_the_target_as_it_was(lakeside: Refreshes, reached: int) -> None:
    with lakeside.owner(lakeside.sandbox) as session:
        before = everything(session)
    worker = lakeside.worker()
    carry_out(worker, STEPS[:reached])
    for step in reversed(STEPS[:reached]):
        step.undo(worker)
        step.undo(worker)
    with lakeside.owner(lakeside.sandbox) as session:
        assert everything(session) == before
    with admin(lakeside.trial) as server:
        left = [each.name for each in tagged(server)]
    # What stood under the site's name for a moment is kept as evidence.
    evidence = failed_name(lakeside.sandbox, worker.run)
    assert left == ([evidence] if reached == len(STEPS) else [])


def test_an_undo_request_brings_the_old_data_back_and_can_itself_be_taken_back(lakeside: Refreshes) -> None:
    with lakeside.owner(lakeside.sandbox) as session:
        before = everything(session)
    carry_out(lakeside.worker("r1a1"))
    with lakeside.owner(lakeside.sandbox) as session:
        refreshed = everything(session)
    undoing = lakeside.worker("r2a1", kind=Kind.UNDO, undoes="R1")
    assert not undo_refresh.done(undoing)
    facts = undo_refresh.do(undoing)
    assert facts["undone_run"] == "r1a1"
    assert undo_refresh.done(undoing)
    with lakeside.owner(lakeside.sandbox) as session:
        assert everything(session) == before
    undo_refresh.undo(undoing)
    undo_refresh.undo(undoing)
    with lakeside.owner(lakeside.sandbox) as session:
        assert everything(session) == refreshed
    with admin(lakeside.trial) as server:
        assert [each.tag.standing for each in tagged(server)] == [Standing.PREVIOUS]
    undo_refresh.do(undoing)
    with pytest.raises(Refused, match=r"the database that R1 replaced is gone"):
        undo_refresh.do(lakeside.worker("r3a1", kind=Kind.UNDO, undoes="R1"))


def test_a_copy_that_still_names_production_is_not_let_in(lakeside: Refreshes) -> None:
    worker = lakeside.worker()
    carry_out(worker, STEPS[:5])
    with lakeside.session("trial_owner", incoming_name(lakeside.sandbox, worker.run)) as session:
        session.execute("INSERT INTO metadata VALUES ('url', 'https://live.lakeside.example.net/v1')")
    with pytest.raises(StepFailed, match=r"a name of Production: public.metadata, row at"):
        verify_incoming.do(worker)


def test_an_original_in_the_copy_is_found(lakeside: Refreshes) -> None:
    worker = lakeside.worker()
    carry_out(worker, STEPS[:5])
    with lakeside.reader() as source:
        originals: dict[str, str] = dict(
            source.execute("SELECT id, data ->> 'family_name' FROM objects WHERE data ? 'email'")
        )
    with lakeside.session("trial_owner", incoming_name(lakeside.sandbox, worker.run)) as session:
        session.execute("ALTER TABLE objects DISABLE TRIGGER touched")
        for key, name in originals.items():
            session.execute(
                "UPDATE objects SET data = data || jsonb_build_object('family_name', %s::text) WHERE id = %s",
                [name, key],
            )
    with pytest.raises(
        StepFailed, match=r"an original value is in the copy: public.objects.data -> family_name"
    ):
        verify_incoming.do(worker)


def test_the_sites_own_rows_that_got_lost_are_noticed(lakeside: Refreshes) -> None:
    worker = lakeside.worker()
    carry_out(worker, STEPS[:5])
    with lakeside.session("trial_owner", incoming_name(lakeside.sandbox, worker.run)) as session:
        session.execute("DELETE FROM objects WHERE id = 'trainer@lakeside.example.org'")
    with pytest.raises(StepFailed, match=r"1 of the site's own rows of public.objects are not in the copy"):
        verify_incoming.do(worker)
