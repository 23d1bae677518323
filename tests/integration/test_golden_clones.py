"""Clones of golden images: made only while the image is true, and proven in what was added to it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import psycopg
import pytest

from infra.ledger import installed
from policy.errors import StepFailed
from policy.estate import Release
from policy.names import Environment, SecretName, Version, VersionLine, golden_name, incoming_name
from tasks.check_refresh import check_refresh
from tasks.copy_masked import copy_masked
from tasks.create_incoming import create_incoming
from tasks.neutralise import neutralise
from tasks.preserve import preserve
from tasks.verify_incoming import verify_incoming
from tests.integration.golden_worlds import build, read, world_of
from tests.integration.kinto_tables import LINK_ROW
from tests.integration.refresh_steps import carry_out
from tests.integration.refreshes import LAKESIDE, SANDBOX, Refreshes, admin

pytestmark = pytest.mark.usefixtures("linked")
SECRET = SecretName("mask-lakeside")


def rows_of(session: psycopg.Connection) -> str:
    tables = ("objects", "timestamps", "access_control_entries", "user_principals", "cache")
    return "\n".join(
        str(row[0])
        for table in tables
        for row in session.execute(f"SELECT t::text FROM {table} AS t")  # noqa: S608 - tables of this module
    )


def test_a_refresh_clones_the_image_and_proves_only_what_was_added(lakeside: Refreshes) -> None:
    world = world_of(lakeside)
    image = build(world)
    name = golden_name(lakeside.sandbox)
    assert (image.site, image.method) == (str(SANDBOX), "stream")
    assert image.proven
    with pytest.raises(psycopg.OperationalError, match="not currently accepting connections"):
        lakeside.owner(name)
    assert lakeside.production_digests() == lakeside.baseline
    facts = carry_out(lakeside.worker())
    assert (facts["method"], facts["neutralised"]) == ("golden", "when the golden image was built")
    assert facts["leak_probe"]["rows"] == "probed when the golden image was built"
    assert facts["kept"][0] == {"table": "public.objects", "rows": 2, "equal": 2}
    with lakeside.owner(lakeside.sandbox) as session:
        text = rows_of(session)
    for leak in ("canary", "Canary", "production-hash", "live.lakeside.example.net"):
        assert leak not in text
    assert "https://sandbox.lakeside.example.net/v1/" in text
    assert "sandbox-hash" in text, "the site's own accounts survive"
    assert image == read(lakeside), "the image stays as it was"


@pytest.mark.slow
def test_own_rows_that_name_production_are_found_in_a_clone(lakeside: Refreshes) -> None:
    build(world_of(lakeside))
    lakeside.fill(
        "INSERT INTO objects VALUES ('ann', 'ann', 'account', now(),"
        """ '{"password": "x", "home": "https://live.lakeside.example.net/ann"}')""",
        database=lakeside.sandbox,
    )
    with pytest.raises(StepFailed, match=r"a name of Production.*one of the site's own rows"):
        carry_out(lakeside.worker())


@pytest.mark.slow
def test_a_clone_whose_word_does_not_hold_is_neutralised_and_proven_as_a_whole(lakeside: Refreshes) -> None:
    """The tag says under what the image was proven; without it nothing is taken on trust."""
    build(world_of(lakeside))
    worker = lakeside.worker()
    carry_out(worker, (check_refresh, create_incoming, copy_masked))
    incoming = incoming_name(lakeside.sandbox, worker.run)
    with lakeside.owner(incoming) as session:
        session.execute("ALTER TABLE objects DISABLE TRIGGER USER")
        session.execute(LINK_ROW)
        session.execute("ALTER TABLE objects ENABLE TRIGGER USER")
    assert neutralise.do(worker) == {"neutralised": "when the golden image was built"}
    create_incoming.do(worker)
    acts = neutralise.do(worker)["neutralised"]
    assert {"what": "host name in public.objects.data", "count": 1} in acts  # type: ignore[operator]  # a list of what was done
    facts = carry_out(worker, (preserve, verify_incoming))
    assert facts["compared"]["tables"] > 0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("address", "not proven under the present policy, addresses and release"),
        pytest.param("release", "not proven under the present policy", marks=pytest.mark.slow),
        pytest.param("key", "the protection policy or its key changed", marks=pytest.mark.slow),
        pytest.param("schema", "the source's schema changed", marks=pytest.mark.slow),
        pytest.param("open", "the image was opened", marks=pytest.mark.slow),
        pytest.param("age", "allowed are 0.0 days", marks=pytest.mark.slow),
    ],
)
def test_an_image_that_does_not_hold_any_more_is_streamed_past(
    lakeside: Refreshes, change: str, reason: str
) -> None:
    build(world_of(lakeside))
    worker = lakeside.worker()
    if change == "address":
        customer = lakeside.estate.customers[LAKESIDE]
        site = replace(customer.sites[Environment.SANDBOX], url="https://other.lakeside.example.net")
        sites = {**customer.sites, Environment.SANDBOX: site}
        worker.estate = replace(lakeside.estate, customers={LAKESIDE: replace(customer, sites=sites)})
    elif change == "key":
        lakeside.secrets.path(SECRET).write_text("another key of enough characters")
    elif change == "release":
        (old,) = lakeside.estate.releases
        new = replace(old, version=Version("26.5.0"), line=VersionLine("26"))
        worker.estate = replace(lakeside.estate, releases=(old, new))
        record(lakeside, new)
    elif change == "schema":
        lakeside.fill("CREATE INDEX ON objects (deleted)")
        worker = lakeside.worker()
    elif change == "open":
        with admin(lakeside.trial) as session:
            session.execute(f"ALTER DATABASE {golden_name(lakeside.sandbox)} ALLOW_CONNECTIONS true")
    else:
        worker.estate = replace(lakeside.estate, golden_oldest=timedelta(0))
    facts = carry_out(worker)
    record(lakeside, lakeside.estate.releases[0])
    assert facts["method"] == "stream"
    assert reason in next(offer["why"] for offer in facts["offers"] if offer["method"] == "golden")
    assert facts["compared"]["values"] > 0


def record(lakeside: Refreshes, release: Release) -> None:
    with lakeside.ledger.transaction() as connection:
        installed.record(connection, webapp="lakeside/live", release=release, run=None)
