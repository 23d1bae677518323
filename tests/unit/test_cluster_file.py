"""Where servers' files lie is taken as a whole or refused with every finding."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.postgres.cluster_file import load_clusters
from policy.errors import Refused
from policy.estate import Estate
from tests.unit.lone_server import SERVER, lone_server

WHOLE = """\
clusters:
  live:
    host: db1
    bin: /usr/lib/postgresql/18/bin
    data: /srv/pg/18
    service: postgresql-18
    prefix: [runuser, -u, postgres, --]
    timeout_s: 60
"""


@pytest.fixture
def estate() -> Estate:
    return lone_server(port=5433)


def test_what_the_role_is_told(tmp_path: Path, estate: Estate) -> None:
    path = tmp_path / "clusters.yaml"
    assert load_clusters(path, estate) == {}
    path.write_text(WHOLE)
    files = load_clusters(path, estate)[SERVER]
    assert files.host.name == "db1"
    assert files.variables() == {
        "cluster": {
            "bin": "/usr/lib/postgresql/18/bin",
            "data": "/srv/pg/18",
            "service": "postgresql-18",
            "port": 5433,
            "prefix": ["runuser", "-u", "postgres", "--"],
            "environment": {},
            "timeout_s": 60.0,
        }
    }


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("live:", "other:", "the estate has no database server 'other'"),
        ("host: db1", "host: db2", "the estate has no host 'db2'"),
        ("data: /srv/pg/18", "data: srv/pg", "absolute path"),
        ("data: /srv/pg/18", "data: '/srv/*'", "wildcards"),
        ("service: postgresql-18", "service: 'a b'", "service"),
        ("timeout_s: 60", "timeout_s: 0", "timeout_s"),
        ("timeout_s: 60", "time: 60", "time"),
        ("clusters:", "cluster:", "clusters"),
        ("    host: db1\n", "", "host"),
    ],
)
def test_a_mistake_is_refused_with_its_place(
    tmp_path: Path, estate: Estate, old: str, new: str, words: str
) -> None:
    path = tmp_path / "clusters.yaml"
    assert old in WHOLE
    path.write_text(WHOLE.replace(old, new))
    with pytest.raises(Refused, match=words) as refused:
        load_clusters(path, estate)
    assert all(finding.startswith("clusters.yaml") for finding in refused.value.findings)
