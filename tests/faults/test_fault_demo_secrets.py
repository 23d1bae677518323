"""After the demonstration: no secret of the stack in anything that it wrote, nor in any process meanwhile."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

from infra.stack import keyring
from infra.stack.layout import PROJECT, Layout
from infra.stack.ports import Ports
from infra.stack.processes import carrying, end
from tests.faults.canaries import Canaries
from tests.faults.processes_seen import ProcessesSeen
from tests.ports import free_base

Record = Callable[[str, object], None]
PASSFILES = ".pgpass"
SUPERVISOR = "supervisord.conf"
"""Files in which a program has to find the one word that it logs in with; nobody else may read them."""
SHORTEST = 16


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """A state directory whose stack is ended whatever the test did."""
    folder = tmp_path / "state"
    yield folder
    end(carrying(folder), grace_s=5)


def demonstrate(state: Path, said: Path) -> int:
    """`freshet demo` as `make demo` calls it, left running afterwards so that its servers can be asked."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("FRESHET_", "PREFECT_"))
    }
    with said.open("wb") as log:
        demo = subprocess.run(
            [
                str(Path(sys.executable).with_name("freshet")), "demo", "--keep",
                "--port-base", str(free_base()),
            ],
            cwd=PROJECT,
            env={**kept, "FRESHET_STATE_DIR": str(state)},
            stdout=log,
            stderr=log,
            timeout=800,
            check=False,
        )  # fmt: skip
    return demo.returncode


def tokens_of(layout: Layout) -> dict[str, str]:
    """Every secret of the stack, by the name of its file; each is a random word that `freshet up` made."""
    words = {
        path.name: path.read_text(encoding="utf-8").strip()
        for path in layout.secrets.iterdir()
        if not path.name.startswith("pgpass")
    }
    assert len(set(words.values())) == len(words)
    assert min(map(len, words.values())) >= SHORTEST
    return words


def configured(state: Path, tokens: Mapping[str, str]) -> list[Path]:
    """The files that programs read their own password from: closed, and nothing but that password in them."""
    found = [path for path in state.rglob("*") if path.suffix == PASSFILES or path.name == SUPERVISOR]
    for path in found:
        text = path.read_text(encoding="utf-8")
        assert path.stat().st_mode & 0o077 == 0, f"{path} is open to others"
        holds = [name for name, token in tokens.items() if token in text]
        assert len(holds) <= 1, f"{path} holds more than its own: {holds}"
    return found


def tables(layout: Layout, tokens: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Every table of every database of every cluster, as text: the ledger, Prefect's, and the hosted ones."""
    ports = Ports.stored(layout.ports)
    assert ports is not None
    for cluster, port in (("control", ports.control), ("live", ports.live), ("trial", ports.trial)):
        password = tokens[keyring.ADMIN[cluster]]
        login = make_conninfo(host="127.0.0.1", port=port, user="postgres", password=password)
        with psycopg.connect(login, dbname="postgres") as admin:
            names = admin.execute(
                "SELECT datname::text FROM pg_database WHERE datallowconn AND NOT datistemplate"
            ).fetchall()
        for (database,) in names:
            with psycopg.connect(login, dbname=database) as session:
                found = session.execute(
                    "SELECT schemaname::text, tablename::text FROM pg_tables"
                    " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
                ).fetchall()
                for schema, table in found:
                    rows = session.execute(
                        SQL("SELECT t::text FROM {} AS t").format(Identifier(schema, table))
                    )
                    yield f"{cluster} {database} {schema}.{table}", "\n".join(str(row) for (row,) in rows)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_demonstration_writes_no_secret(state: Path, tmp_path: Path, record_property: Record) -> None:
    said = tmp_path / "said.log"
    with ProcessesSeen() as seen:
        code = demonstrate(state, said)
    assert code == 0, said.read_text(encoding="utf-8", errors="replace")[-3000:]
    layout = Layout(state)
    tokens = tokens_of(layout)
    assert len(tokens) > 10, "hardly any secret is known, so little would be found"
    canaries = Canaries(tokens)
    found = canaries.in_bytes(said.read_bytes(), "what it said")
    for number, line in enumerate(seen.lines):
        found += canaries.in_bytes(line, f"command line {number}: {line[:200]!r}")
    for number, environment in enumerate(seen.environments):
        found += canaries.in_bytes(environment, f"environment {number}")
    found += canaries.in_folder(state, apart=[layout.secrets, *configured(state, tokens)])
    asked = 0
    for place, text in tables(layout, tokens):
        asked += 1
        found += canaries.in_text(text, place)
    record_property("demo_secrets", len(tokens))
    record_property("demo_places", canaries.places)
    record_property("demo_mib", canaries.bytes >> 20)
    record_property("demo_looks_at_processes", seen.looks)
    record_property("demo_secrets_found", len(found))
    canaries.note(found)
    # What this test claims to have looked at was there.
    assert list(layout.mail.iterdir()), "no mail"
    assert list((state / "runs").iterdir()), "no run folder"
    assert list(layout.logs.glob("*.log")), "no log"
    assert asked > 40
    assert seen.looks > 50
    assert any(b"ansible" in line for line in seen.lines), "no playbook was seen at work"
    assert found == []


@pytest.mark.parametrize(
    "written",
    [
        lambda token: token,
        lambda token: quote(token, safe=""),
        *(
            lambda token, before=before: base64.b64encode(f"{before}{token}:more".encode()).decode()
            for before in ("", "u", "ur")
        ),
    ],
    ids=["plain", "quoted", "base64, first", "base64, second", "base64, third"],
)
def test_a_secret_in_a_log_would_be_found(tmp_path: Path, written: Callable[[str], str]) -> None:
    """Without this, the test above might find nothing for the wrong reason."""
    secrets = keyring.create(tmp_path, keyring.STACK)
    tokens = {path.name: path.read_text(encoding="utf-8").strip() for path in secrets.directory.iterdir()}
    log = tmp_path / "state" / "clusters" / "live" / "server.log"
    log.parent.mkdir(parents=True)
    log.write_bytes(b"\0\xff before " + written(tokens["live-owner"]).encode() + b" after\n")
    assert Canaries(tokens).in_folder(tmp_path / "state") == [f"{log}: secret live-owner"]


def test_a_secret_that_a_process_carries_would_be_found() -> None:
    token = "t0ken/of+one=process"
    child = "import sys; print(flush=True); sys.stdin.read()"
    with (
        ProcessesSeen() as seen,
        subprocess.Popen(
            [sys.executable, "-c", child, f"--password={token}-on-the-line"],
            env={**os.environ, "TOLD": f"{token}-in-the-environment"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process,
    ):
        assert process.stdout is not None
        process.stdout.readline()
        before = seen.looks
        while seen.looks < before + 2:
            assert process.poll() is None
        process.communicate()
    for kept, word in ((seen.lines, "-on-the-line"), (seen.environments, "-in-the-environment")):
        canaries = Canaries({"word": token + word})
        assert [each for data in kept for each in canaries.in_bytes(data, "process")]
