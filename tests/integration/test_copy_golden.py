"""The golden image: cloned closed, used only while it is true, replaced in one move."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import psycopg
import pytest
from pydantic import SecretStr

from infra.postgres.golden import GoldenClone
from infra.postgres.golden_build import build_golden
from infra.postgres.golden_image import Golden, read_golden
from infra.postgres.incoming import is_closed
from infra.postgres.methods import CopyJob, choose
from infra.postgres.progress import unwatched
from infra.postgres.selection import Selection
from infra.postgres.stream import Stream
from policy.errors import Refused
from tests.integration.copied_shop import CANARY, PERSON, everything_in, words
from tests.integration.copies import Copies, admin


@pytest.fixture
def kept(copies: Copies, job: CopyJob) -> Iterator[CopyJob]:
    """A job whose golden image has been built, with a name for its clone."""
    named = replace(job, golden=f"shop{secrets.token_hex(4)}__golden")
    build_golden(named, Stream())
    yield replace(named, incoming=f"shop__in_r{secrets.randbelow(10**8) + 1}a1")
    with admin(copies.trial) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {named.golden}")


def image_of(copies: Copies, job: CopyJob) -> Golden:
    with admin(copies.trial) as connection:
        image = read_golden(connection, job.golden or "")
    assert image is not None
    return image


def test_a_clone_is_masked_closed_and_whole(copies: Copies, kept: CopyJob) -> None:
    offers = (GoldenClone(), Stream())
    method, _ = choose(offers, kept)
    assert method.name == "golden"
    copies.made.append((copies.trial, kept.incoming))
    report = method.copy(kept, copies.watch)
    assert CANARY not in everything_in(copies, kept)
    assert copies.rows(kept, "SELECT count(*) FROM person") == [(3000,)]
    assert copies.rows(kept, "SELECT count(*) FROM product") == [(60000,)]
    assert report.as_of.isoformat() == image_of(copies, kept).as_of
    assert report.rows == 3000 + 800 + 60000 + 3
    with admin(copies.trial) as connection:
        assert is_closed(connection, kept.incoming)
        owner = connection.execute(
            "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = %s", [kept.incoming]
        ).fetchone()
    assert owner == ("copy_owner",)
    method.copy(kept, copies.watch)  # a second attempt replaces the first
    assert copies.rows(kept, "SELECT count(*) FROM person") == [(3000,)], (
        "a second attempt replaces the first"
    )


def test_nobody_may_enter_the_image(copies: Copies, kept: CopyJob) -> None:
    with pytest.raises(psycopg.OperationalError, match="not currently accepting connections"):
        psycopg.connect(copies.trial.dsn(kept.golden or ""))


def test_an_image_that_is_not_true_any_more_is_not_used(copies: Copies, kept: CopyJob) -> None:
    mask = {PERSON: Selection(columns={"email": words("'other' || id")})}
    for changed, reason in (
        (replace(kept, key=SecretStr("another key")), "policy or its key changed"),
        (replace(kept, selections={**kept.selections, **mask}), "policy or its key changed"),
        (replace(kept, golden_max_age=timedelta(0)), "allowed are 0.0 days"),
        (replace(kept, golden=None), "no golden image is kept"),
        (replace(kept, golden="nothing__golden"), "there is no golden image 'nothing__golden'"),
        (replace(kept, source_database="postgres"), "made from another database"),
        (replace(kept, fingerprint="of another schema"), "schema changed"),
    ):
        offer = GoldenClone().offer(changed)
        assert not offer.applies
        assert reason in offer.why
        with pytest.raises(Refused):
            GoldenClone().copy(changed, unwatched)
    with admin(copies.live, kept.source_database) as connection:
        connection.execute("CREATE INDEX added ON product (title)")
        try:
            assert "schema changed" in GoldenClone().offer(kept).why
        finally:
            connection.execute("DROP INDEX added")
    assert GoldenClone().offer(kept).applies


def test_a_new_image_takes_the_name_of_the_old_one(copies: Copies, kept: CopyJob) -> None:
    before = image_of(copies, kept)
    build_golden(replace(kept, incoming=copies.incoming()), Stream())
    after = image_of(copies, kept)
    assert after.as_of > before.as_of
    with admin(copies.trial) as connection:
        names = connection.execute(
            "SELECT datname, datallowconn FROM pg_database WHERE datname LIKE %s", [f"{kept.golden}%"]
        ).fetchall()
    assert names == [(kept.golden, False)]


def test_a_build_that_fails_leaves_the_old_image(copies: Copies, kept: CopyJob) -> None:
    before = image_of(copies, kept)
    broken = {PERSON: Selection(columns={"email": words("'one for all'")})}
    spoiled = replace(kept, incoming=copies.incoming(), selections={**kept.selections, **broken})
    with pytest.raises(Exception, match="person"):
        build_golden(spoiled, Stream())
    assert image_of(copies, kept) == before


def test_only_an_incoming_name_is_ever_replaced(kept: CopyJob) -> None:
    with pytest.raises(Refused, match="not an incoming one"):
        GoldenClone().copy(replace(kept, incoming="postgres"), unwatched)


def test_a_look_alike_is_no_image(copies: Copies, kept: CopyJob) -> None:
    with admin(copies.trial) as connection:
        for comment in (
            "freshet golden nonsense",
            "the one of somebody else",
            'freshet golden {"source": "x"}',
        ):
            connection.execute(f"COMMENT ON DATABASE {kept.golden} IS '{comment}'")
            assert read_golden(connection, kept.golden or "") is None
    assert not GoldenClone().offer(kept).applies
