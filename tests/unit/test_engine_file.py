"""The declaration of a server's change of version is taken as a whole or refused with every finding."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.postgres.engine import Mode, variables
from infra.postgres.engine_census import differences
from infra.postgres.engine_file import load_engine
from infra.secrets import SecretFiles
from policy.errors import Refused
from policy.estate import Estate
from tests.unit.lone_server import SERVER, lone_server

WHOLE = """\
engines:
  live:
    host: db1
    superuser: {user: postgres, secret: live-superuser}
    old: {bin: /usr/lib/postgresql/16/bin, data: /srv/pg/16, service: postgresql-16}
    new: {bin: /usr/lib/postgresql/18/bin, data: /srv/pg/18}
    mode: link
    prefix: [runuser, -u, postgres, --]
"""


@pytest.fixture
def estate() -> Estate:
    return lone_server(port=5432)


def test_a_whole_declaration(tmp_path: Path, estate: Estate) -> None:
    path = tmp_path / "engines.yaml"
    path.write_text(WHOLE)
    engine = load_engine(path, estate, SERVER)
    assert engine.mode is Mode.LINK
    assert engine.host.name == "db1"
    assert engine.old.service == "postgresql-16"
    told = variables(engine, SecretFiles(tmp_path), ("--encoding=UTF8",))["engine"]
    assert isinstance(told, dict)
    assert told["password_file"] == str(tmp_path / "live-superuser")
    assert told["port"] == 5432
    assert told["template"] == ["--encoding=UTF8"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("mode: link", "mode: fast", "engines.live.mode"),
        ("    host: db1\n", "", "engines.live.host"),
        ("data: /srv/pg/18", "data: srv/pg/18", "absolute path"),
        ("data: /srv/pg/18", "data: '/srv/pg/*'", "absolute path"),
        ("data: /srv/pg/18", "data: /srv/pg/16", "directory of its own"),
        ("host: db1", "host: db2", "no host 'db2'"),
        ("  live:", "  trial:", "no database server trial"),
        ("mode: link", "password: hunter2", "Extra inputs"),
        ("mode: link", "mode: link\n    mode: copy", "twice"),
        ("    superuser", "   superuser", "engines.yaml"),
    ],
)
def test_a_mistake_is_refused(tmp_path: Path, estate: Estate, old: str, new: str, words: str) -> None:
    path = tmp_path / "engines.yaml"
    assert old in WHOLE
    path.write_text(WHOLE.replace(old, new))
    with pytest.raises(Refused) as refused:
        load_engine(path, estate, SERVER)
    assert words in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_an_undeclared_server_is_refused(tmp_path: Path, estate: Estate) -> None:
    with pytest.raises(Refused, match="no change of version is declared"):
        load_engine(tmp_path / "engines.yaml", estate, SERVER)


def test_differences_name_the_place_and_the_counts() -> None:
    before = {"the server": {"roles": "3 a"}, "database x": {"columns": "5 b"}, "database y": {}}
    after = {"the server": {"roles": "3 c"}, "database x": {"columns": "4 d"}, "database z": {}}
    assert differences(before, before) == ()
    assert differences(before, after) == (
        "database x: columns were 5 and are 4",
        "database y is gone",
        "database z is new",
        "the server: roles were 3 and are 3",
    )
