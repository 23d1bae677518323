"""Everything that pg_dump would bring arrives: the schema word for word, the rows digest for digest."""

from __future__ import annotations

import difflib
import os
import re
import subprocess
from collections.abc import Collection
from typing import Any

import pytest

from infra.postgres import indexes
from infra.postgres.archive import Archive, Entry
from infra.postgres.carrier import Carried, Carrier, Load
from infra.postgres.dump import Dump
from infra.postgres.methods import CopyMethod
from infra.postgres.stream import Stream
from infra.stack.cluster import Cluster, PostgresVersion, bin_dir
from tests.integration.copies import TORTURE, Copies, admin, digests


@pytest.fixture(scope="module")
def torture(copies: Copies) -> str:
    """The torture database; other tests only read it."""
    return copies.source(TORTURE.read_text(encoding="utf-8"))


def schema_of(cluster: Cluster, database: str) -> list[str]:
    """pg_dump's words, without those that differ from run to run."""
    done = subprocess.run(
        [bin_dir(PostgresVersion.V18) / "pg_dump", "--schema-only", "--no-statistics", cluster.dsn(database)],
        capture_output=True, text=True, check=True, env={**os.environ, "LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    return [
        line
        for line in done.stdout.splitlines()
        if not re.match(r"\\(un)?restrict |-- (Dumped|Started|Completed)", line)
    ]


def assert_same(copies: Copies, source: str, incoming: str) -> None:
    before, after = schema_of(copies.live, source), schema_of(copies.trial, incoming)
    assert not "\n".join(difflib.unified_diff(before, after, "source", "copy", lineterm="", n=2))
    assert digests(copies.trial, incoming) == digests(copies.live, source)


@pytest.mark.parametrize("method", [Stream(), Dump()], ids=lambda method: method.name)
def test_everything_arrives(copies: Copies, torture: str, method: CopyMethod) -> None:
    untouched = digests(copies.live, torture)
    job = copies.job(torture)
    with admin(copies.trial, job.incoming) as connection:
        connection.execute("CREATE EXTENSION vector")  # an owner may not; the server's people do
    offer = method.offer(job)
    assert offer.applies, offer.why
    report = method.copy(job, copies.watch)
    assert_same(copies, torture, job.incoming)
    assert report.left_out == ("COMMENT EXTENSION vector: must be owner of extension vector",)
    assert report.rows >= 300 + 3 + 900
    assert digests(copies.live, torture) == untouched
    assert not list(copies.scratch.iterdir()), "nothing is left behind in the run's folder"


def test_encrypted_sessions_bring_the_same(
    copies: Copies, torture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The programs of the wheel know no TLS, so the way that needs no bare socket is taken on purpose."""
    taken: list[str] = []
    row_by_row = Carrier._row_by_row

    def counted(carrier: Carrier, load: Load) -> Carried:
        taken.append(load.what)
        return row_by_row(carrier, load)

    monkeypatch.setattr(Carrier, "_bare", counted)
    job = copies.job(torture)
    with admin(copies.trial, job.incoming) as connection:
        connection.execute("CREATE EXTENSION vector")
    Stream().copy(job, copies.watch)
    assert len(taken) > 15
    assert_same(copies, torture, job.incoming)


def test_everything_arrives_when_every_table_counts_as_big(
    copies: Copies, torture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then every index and every foreign key between two tables comes by itself, while others still come."""
    alone: list[str] = []
    restore = Archive.restore

    def told(archive: Archive, entries: Collection[Entry], **how: Any) -> None:  # noqa: ANN401 - passed on
        if how["what"] == "building indexes":
            alone.extend(entry.title for entry in entries)
        restore(archive, entries, **how)

    monkeypatch.setattr(Archive, "restore", told)
    monkeypatch.setattr(indexes, "BIG", 0)
    job = copies.job(torture)
    with admin(copies.trial, job.incoming) as connection:
        connection.execute("CREATE EXTENSION vector")
    Stream().copy(job, copies.watch)
    keys = [title for title in alone if title.startswith("FK CONSTRAINT")]
    assert len(keys) == len(set(keys)) > 3
    assert len(alone) == len(set(alone)) > 15
    assert_same(copies, torture, job.incoming)
