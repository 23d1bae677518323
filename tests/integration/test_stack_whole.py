"""The whole embedded stack, Prefect included: started, used, looked at and stopped through the command."""

from __future__ import annotations

import base64
import json
import smtplib
import time
import urllib.parse
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import typer
from psycopg import sql
from typer.testing import CliRunner, Result

from infra.aws_client import client
from infra.ledger import requests
from infra.secrets import SecretFiles
from infra.settings import Settings
from infra.settings import settings as settings_now
from infra.stack import settings_file
from infra.stack.processes import carrying
from policy.names import RequestId, SecretName, SiteId
from policy.permissions import engineer
from policy.request import Status
from policy.wish import Wish
from portal.cli import stack_commands
from portal.cli.estate_commands import estate_app
from tasks import manage
from tasks.prefect_runs import make_run
from tasks.submit import submit
from tasks.world import open_world
from tests.ports import free_base

app = typer.Typer()
stack_commands.register(app)
app.add_typer(estate_app, name="estate")


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A running stack's state directory; every command of this module works on it."""
    folder = tmp_path_factory.mktemp("whole") / "state"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FRESHET_STATE_DIR", str(folder))
        patch.delenv("FRESHET_ESTATE", raising=False)
        settings_now.cache_clear()
        answer = run("up", "--port-base", str(free_base()))
        try:
            assert answer.exit_code == 0, answer.output
            yield folder
        finally:
            answer = run("down")
            settings_now.cache_clear()
        assert answer.exit_code == 0, answer.output
        assert carrying(folder) == []


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


@pytest.fixture
def settings(state: Path) -> Settings:
    return Settings(_env_file=state / "settings.env")


def login(
    state: Path, settings: Settings, *, server: str, user: str, secret: str, database: str
) -> psycopg.Connection:
    ports = json.loads((state / "ports.json").read_text())
    password = SecretFiles(settings.secrets_dir).read(SecretName(secret)).get_secret_value()
    return psycopg.connect(
        host="127.0.0.1", port=ports[server], user=user, password=password, dbname=database, autocommit=True
    )


def test_doctor_finds_nothing_missing(state: Path) -> None:
    answer = run("doctor", "--json")
    found = {entry["subject"]: entry for entry in json.loads(answer.stdout)}
    assert answer.exit_code == 0, answer.stdout
    assert {
        "control",
        "live",
        "trial",
        "aws",
        "mail",
        "supervisor",
        "prefect-server",
        "prefect-worker",
    } <= set(found)
    assert found["ledger"]["said"].endswith("migrations applied")
    assert found["estate"]["said"].endswith("2 customers")


def test_a_second_up_leaves_every_process_as_it_is(state: Path) -> None:
    before = {process.pid for process in carrying(state)}
    answer = run("up")
    assert answer.exit_code == 0, answer.output
    assert answer.output.count("runs already") == 8
    assert "deployments" not in answer.output
    assert before <= {process.pid for process in carrying(state)}
    refused = run("up", "--port-base", str(free_base()))
    assert refused.exit_code == 2
    assert "run `freshet down` first" in refused.stderr


def test_prefect_keeps_its_state_in_postgresql(state: Path, settings: Settings) -> None:
    pools = httpx.post(f"{settings.prefect_api}/work_pools/filter", json={}, timeout=10).json()
    assert [pool["type"] for pool in pools if pool["name"] == "freshet"] == ["process"]
    with login(
        state, settings, server="control", user="prefect", secret="prefect", database="prefect"
    ) as connection:
        assert connection.execute("SELECT name FROM work_pool WHERE name = 'freshet'").fetchone() == (
            "freshet",
        )
    assert not list((state / "prefect").rglob("*.db"))


def test_each_role_can_do_its_work_and_no_more(state: Path, settings: Settings) -> None:
    name = sql.Identifier("stack_test_production")
    with login(
        state, settings, server="live", user="live_owner", secret="live-owner", database="postgres"
    ) as owner:
        owner.execute(sql.SQL("CREATE DATABASE {}").format(name))
    production = {"server": "live", "database": "stack_test_production"}
    with login(state, settings, user="live_owner", secret="live-owner", **production) as owner:
        owner.execute("CREATE TABLE pupil (name text); INSERT INTO pupil VALUES ('one')")
    with login(state, settings, user="live_reader", secret="live-reader", **production) as reader:
        assert reader.execute("SELECT name FROM pupil").fetchone() == ("one",)
        reader.execute("SET default_transaction_read_only = off")
        for forbidden in ("DELETE FROM pupil", "CREATE TABLE mine (x int)", "DROP TABLE pupil"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                reader.execute(forbidden.encode())
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            reader.execute("ALTER DATABASE stack_test_production RENAME TO gone")
    with (
        login(state, settings, user="live_owner", secret="live-owner", **production) as idle,
        login(
            state, settings, server="live", user="live_owner", secret="live-owner", database="postgres"
        ) as owner,
    ):
        pid = idle.info.backend_pid
        assert owner.execute("SELECT pg_terminate_backend(%s, 5000)", [pid]).fetchone() == (True,)
        owner.execute(sql.SQL("DROP DATABASE {}").format(name))
    for server, user in (("live", "live_reader"), ("trial", "trial_owner"), ("control", "freshet")):
        secret = {"live_reader": "live-reader", "trial_owner": "trial-owner", "freshet": "ledger"}[user]
        database = "freshet" if user == "freshet" else "postgres"
        with login(state, settings, server=server, user=user, secret=secret, database=database) as connection:
            row = connection.execute(
                "SELECT rolsuper, rolcreaterole FROM pg_roles WHERE rolname = %s", [user]
            )
            assert row.fetchone() == (False, False)
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        login(state, settings, server="control", user="prefect", secret="prefect", database="freshet")


def test_the_ledger_is_reached_without_a_password_in_sight(settings: Settings) -> None:
    with psycopg.connect(f"{settings.ledger} passfile={settings.ledger_passfile}") as connection:
        assert connection.execute("SELECT count(*) > 0 FROM migration").fetchone() == (True,)


def test_queues_and_topic_are_wired(settings: Settings) -> None:
    sqs, sns = client("sqs", settings), client("sns", settings)
    url = sqs.get_queue_url(QueueName=settings.queue)["QueueUrl"]
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["RedrivePolicy"])["Attributes"]
    assert json.loads(attributes["RedrivePolicy"])["maxReceiveCount"] == 3
    topics = [t["TopicArn"] for t in sns.list_topics()["Topics"]]
    topic = next(arn for arn in topics if arn.endswith(f":{settings.status_topic}"))
    sns.publish(TopicArn=topic, Message="something changed")
    log = sqs.get_queue_url(QueueName=settings_file.STATUS_LOG_QUEUE)["QueueUrl"]
    received = sqs.receive_message(QueueUrl=log, WaitTimeSeconds=5)["Messages"]
    assert [message["Body"] for message in received] == ["something changed"]


def test_mail_is_caught_and_can_be_read(state: Path, settings: Settings) -> None:
    message = EmailMessage()
    message["From"] = "updates@hosting.example.org"
    message["To"] = "dana.brooks@lakeside.example.org"
    message["Subject"] = "Scheduled: Größe 5"
    message.set_content("Your update begins at 04:00.\n")
    message.add_attachment(b"BEGIN:VCALENDAR", maintype="text", subtype="calendar", filename="update.ics")
    host, _, port = settings.smtp.partition(":")
    with smtplib.SMTP(host, int(port), timeout=10) as server:
        server.send_message(
            message, to_addrs=["dana.brooks@lakeside.example.org", "blind@lakeside.example.org"]
        )
    listed = json.loads(run("mail", "--json").stdout)
    assert [mail["subject"] for mail in listed] == ["Scheduled: Größe 5"]
    assert listed[0]["to"] == ["dana.brooks@lakeside.example.org", "blind@lakeside.example.org"]
    assert listed[0]["attachments"] == ["update.ics"]
    assert "begins at 04:00" in run("mail", "1").stdout
    assert run("mail", "9").exit_code == 2
    assert json.loads(run("mail", "--json", "--to", "nobody@example.org").stdout) == []
    assert all(path.stat().st_mode & 0o077 == 0 for path in (state / "mail").iterdir())


def test_no_secret_outside_its_file(state: Path) -> None:
    """Looked for in everything written and in every process's command line and environment."""
    secrets = {
        path.name: path.read_text().strip()
        for path in (state / "secrets").iterdir()
        if "pgpass" not in path.name
    }
    assert len(secrets) >= 13
    haystacks = {
        str(path): path.read_bytes()
        for path in state.rglob("*")
        if path.is_file() and not {"secrets", "supervisord.conf"} & set(path.parts)
    }
    for process in carrying(state):
        folder = Path("/proc") / str(process.pid)
        haystacks[f"{process.pid} cmdline"] = (folder / "cmdline").read_bytes()
        haystacks[f"{process.pid} environ"] = (folder / "environ").read_bytes()
    assert len(haystacks) > 100
    for name, value in secrets.items():
        forms = {value.encode(), base64.b64encode(value.encode()), urllib.parse.quote(value).encode()}
        found = [place for place, text in haystacks.items() if any(form in text for form in forms)]
        assert found == [], name
    for path in (state / "secrets").iterdir():
        assert path.stat().st_mode & 0o077 == 0, path


def test_the_rendered_estate_is_right_and_an_edited_one_is_kept(state: Path) -> None:
    answer = run("estate", "check", str(state / "estate.yaml"), "--json")
    assert json.loads(answer.stdout) == {"file": str(state / "estate.yaml"), "valid": True, "findings": []}
    estate = state / "estate.yaml"
    edited = estate.read_text().replace("undo_days: 7", "undo_days: 9")
    estate.write_text(edited)
    answer = run("up")
    assert answer.exit_code == 0
    assert "was edited by hand" in answer.output
    assert estate.read_text() == edited


def forms(settings: Settings, name: str) -> list[dict[str, Any]]:
    """Prefect's runs of that name."""
    asked = {"flow_runs": {"name": {"any_": [name]}}}
    answer = httpx.post(f"{settings.prefect_api}/flow_runs/filter", json=asked, timeout=10)
    return list(answer.raise_for_status().json())


def when(settings: Settings, name: str, state: str, key: str = "") -> dict[str, Any]:
    """The run of that name, as soon as it is in `state`, with a description that has `key` in it."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        for run in forms(settings, name):
            if run["state"]["name"] == state and key in described(settings, run):
                return run
        time.sleep(0.5)
    raise AssertionError(f"{name}: {[run['state'] for run in forms(settings, name)]}")


def described(settings: Settings, run: dict[str, Any]) -> str:
    """What Prefect's page shows above the form."""
    keyset = run["state"]["state_details"].get("run_input_keyset") or {}
    if "description" not in keyset:
        return ""
    answer = httpx.get(
        f"{settings.prefect_api}/flow_runs/{run['id']}/input/{keyset['description']}", timeout=10
    )
    return answer.text


def resume(settings: Settings, run: dict[str, Any], **given: str) -> str:
    """Press `Resume` on the form; what the server said."""
    url = f"{settings.prefect_api}/flow_runs/{run['id']}/resume"
    return str(httpx.post(url, json={"run_input": given}, timeout=10).raise_for_status().json()["status"])


def test_a_question_is_answered_on_prefects_form(settings: Settings) -> None:
    world = open_world(settings)
    asker = engineer(settings.engineer)

    later = datetime.now(UTC) + timedelta(days=3)
    wish = Wish(site=SiteId.parse("lakeside/sandbox"), version=None, refresh=True, at=later)
    first = submit(world, wish, asker).request.id
    manage.ask(world, first, "May the reports of last term go?")

    def status(number: RequestId) -> Status:
        with world.ledger.transaction() as connection:
            return requests.get(connection, number).status

    make_run(settings.prefect_api, "dispatch/dispatch", name="dispatch", parameters={}, at=None, key="trial")
    name = f"{first} lakeside/sandbox question"
    form = when(settings, name, "Suspended", "May the reports of last term go?")
    assert resume(settings, form) == "REJECT", "an empty form is no answer"
    assert resume(settings, form, by="somebody@else.example.org", answer="Yes.") == "ACCEPT"
    form = when(settings, name, "Suspended", "Your answer was not taken")
    assert status(first) is Status.PENDING_INPUT
    assert resume(settings, form, by="dana.brooks@lakeside.example.org", answer="Yes, they may.") == "ACCEPT"
    done = when(settings, name, "Completed")
    assert done["state"]["message"].startswith(f"{first} for lakeside/sandbox is ")
    assert status(first) in {Status.TO_BE_SCHEDULED, Status.SCHEDULED}

    manage.ask(world, first, "And the photographs?")
    waiting = when(settings, name, "Suspended", "And the photographs?")
    manage.answer(world, first, None, "Those too.")
    closed = when(settings, name, "Cancelled")
    assert closed["id"] == waiting["id"]
    assert closed["state"]["message"] == "The question is not open any more."
    manage.cancel(world, first, None, "Only a trial.")
