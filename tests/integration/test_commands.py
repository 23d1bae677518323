"""The `freshet` command on a real ledger: exit codes, keys, refusals, and the zone of whoever asks."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

import pytest

from infra.ledger import requests
from infra.settings import settings
from infra.stack.cluster import Cluster
from policy.journal import Finish
from policy.names import RequestId
from tests.integration.request_worlds import DANA, LI, request_world
from tests.integration.terminals import Terminal, terminal_in
from tests.ports import free_port

REQUEST_KEYS = [
    "id",
    "kind",
    "customer",
    "site",
    "version",
    "refresh",
    "status",
    "outcome",
    "asked_by",
    "asked_at",
    "not_before",
    "start_by",
    "scheduled_for",
    "attempt",
    "undoes",
    "campaign",
    "reason",
]
PLACE_KEYS = ["position", "line", "eta", "done_from", "done_by", "waiting_because", "paused"]
DETAIL_KEYS = [
    *REQUEST_KEYS,
    "note",
    "question",
    "answer",
    "superseded_by",
    "eta_told",
    "run",
    "started",
    "ended",
    "cause",
    "steps",
    "events",
    "report",
]


@pytest.fixture
def terminal(live_cluster: Cluster, trial_cluster: Cluster, tmp_path: Path) -> Iterator[Terminal]:
    with request_world(live_cluster, trial_cluster, tmp_path) as world:
        world.clock.at = datetime.now(UTC)
        world.install("lakeside/live", "23.1.0")
        with terminal_in(world) as made:
            yield made


def test_a_request_from_the_command_to_the_list(terminal: Terminal) -> None:
    said = terminal.says(
        "request", "submit", "--customer", "lakeside", "--site", "sandbox", "--refresh", "--as", DANA
    )
    assert said == "R1: lakeside/sandbox, To Be Scheduled\n"
    terminal.plan()
    (line,) = terminal.json("request", "list")
    assert list(line) == REQUEST_KEYS
    assert (line["id"], line["status"], line["asked_by"]) == ("R1", "Scheduled", DANA)
    found = terminal.json("request", "show", "R1")
    assert list(found) == DETAIL_KEYS + PLACE_KEYS
    assert [event["verb"] for event in found["events"]] == ["submit", "schedule"]
    assert found["eta_told"]["done_from"] <= found["eta_told"]["done_by"]
    assert found["position"] == 1
    assert "R1" in terminal.says("request", "list")
    shown = terminal.says("request", "show", "R1")
    assert "status     Scheduled" in shown
    assert "promised   done between" in shown


def test_the_queue_for_people_and_for_machines(terminal: Terminal) -> None:
    terminal.says("request", "submit", "--customer", "lakeside", "--site", "sandbox", "--refresh")
    terminal.says(
        "request", "submit", "--customer", "lakeside", "--site", "production", "--version", "26.5.0"
    )
    terminal.plan()
    queue = terminal.json("queue", "show")
    assert list(queue) == ["at", "pauses", "running", "waiting", "eta_accuracy"]
    assert [list(entry) for entry in queue["waiting"]] == [REQUEST_KEYS + PLACE_KEYS] * 2
    assert list(queue["eta_accuracy"]) == ["promises", "median_error_min", "p90_error_min", "kept_percent"]
    for entry in queue["waiting"]:
        assert datetime.fromisoformat(entry["eta"]) <= datetime.fromisoformat(entry["done_by"])
        assert entry["position"] >= 1
        assert entry["waiting_because"][0].isupper()
        assert entry["waiting_because"].endswith(".")
    assert "0 running, 2 waiting" in terminal.says("queue", "show")


def test_the_pause_switch(terminal: Terminal) -> None:
    terminal.says("request", "submit", "--customer", "lakeside", "--site", "sandbox", "--refresh")
    said = terminal.says(
        "queue", "pause", "--reason", "Storage incident", "--scope", "server:trial", "--wait"
    )
    assert said.splitlines() == [
        "paused server:trial: Storage incident",
        "server:trial is at rest: nothing runs under the pause",
    ]
    terminal.plan()
    found = terminal.json("request", "show", "R1")
    assert found["status"] == "To Be Scheduled"
    assert "Storage incident" in found["paused"]
    assert "PAUSED server:trial: Storage incident" in terminal.says("queue", "show")
    (held,) = terminal.json("queue", "show")["pauses"]
    assert list(held) == ["scope", "reason", "by", "since", "until", "at_rest"]
    assert "scope: " in terminal.says("queue", "pause", "--reason", "x", "--scope", "server:moon", code=2)
    assert "reason: " in terminal.says("queue", "pause", "--reason", " ", code=2)
    assert terminal.says("queue", "resume", "--scope", "server:trial") == "resumed server:trial\n"
    assert terminal.says("queue", "resume") == "all was not paused\n"


SUBMIT = ("request", "submit", "--customer", "lakeside")


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("request", "submit", "--customer", "nowhere", "--site", "sandbox", "--refresh"), "customer"),
        (("request", "submit", "--customer", "Lake side\n", "--site", "sandbox", "--refresh"), "customer"),
        ((*SUBMIT, "--site", "moon", "--refresh"), "site"),
        ((*SUBMIT, "--site", "production", "--refresh"), "site"),
        ((*SUBMIT, "--site", "sandbox"), "refresh"),
        ((*SUBMIT, "--site", "production", "--version", "24.0.0"), "version"),
        ((*SUBMIT, "--site", "production", "--version", "newest"), "version"),
        ((*SUBMIT, "--site", "sandbox", "--refresh", "--at", "2020-01-01 02:00"), "at"),
        ((*SUBMIT, "--site", "sandbox", "--refresh", "--at", "tonight"), "at"),
        ((*SUBMIT, "--site", "sandbox", "--refresh", "--as", "eve@elsewhere.example.org"), "as"),
        ((*SUBMIT, "--site", "sandbox", "--refresh", "--as", "no address"), "e-mail address"),
        ((*SUBMIT, "--site", "sandbox", "--refresh", "--as", LI), "customer"),
        ((*SUBMIT, "--site", "sandbox", "--refresh", "--note", "\x1b[2J"), "note"),
        (("request", "show", "R99"), "request"),
        (("request", "show", "42"), "request"),
        (("request", "cancel", "R99"), "request"),
        (("request", "list", "--status", "Lost"), "status"),
        (("request", "list", "--customer", "nowhere"), "customer"),
    ],
)
def test_a_refusal_names_its_field_exits_with_2_and_writes_nothing(
    terminal: Terminal, arguments: tuple[str, ...], field: str
) -> None:
    said = terminal.says(*arguments, code=2)
    assert said.startswith(f"refused: {field}: ")
    assert "\x1b" not in said
    assert terminal.world.rows("request", "event", "outbox") == {"request": 0, "event": 0, "outbox": 0}


def test_wrong_usage_exits_with_2(terminal: Terminal) -> None:
    for arguments in (["request", "submit"], ["request", "defer", "R1"], ["queue", "pause"], ["nonsense"]):
        assert terminal.run(*arguments).exit_code == 2


def test_a_ledger_that_is_away_exits_with_3(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRESHET_LEDGER", f"host=127.0.0.1 port={free_port()} dbname=freshet user=freshet")
    settings.cache_clear()
    said = terminal.says("request", "list", code=3)
    assert said.startswith("the ledger does not answer")
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(("finish", "code"), [(Finish.DONE, 0), (Finish.PUT_BACK, 1), (Finish.STUCK, 4)])
def test_waiting_for_the_end_exits_as_it_ended(terminal: Terminal, finish: Finish, code: int) -> None:
    world = terminal.world

    def work() -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with world.world.ledger.transaction() as connection:
                asked = requests.find(connection)
            if asked:
                terminal.plan()
                world.carry_out(RequestId("R1"), finish, took=timedelta(0))
                return
            time.sleep(0.05)

    worker = threading.Thread(target=work)
    worker.start()
    result = terminal.run(*SUBMIT, "--site", "sandbox", "--refresh", "--wait")
    worker.join()
    assert result.exit_code == code, result.output
    lines = [line.split(" ", 2)[2] for line in result.stdout.splitlines()[1:]]
    ends = "Completed" if finish is Finish.DONE else "Unable to Complete"
    assert lines[-1].startswith(ends)
    assert [line.partition(":")[0] for line in lines] == [
        "To Be Scheduled",
        "Scheduled",
        "Not Started",
        "In Progress",
        ends,
    ]


def test_the_life_of_a_request_at_the_terminal(terminal: Terminal) -> None:
    terminal.says(*SUBMIT, "--site", "sandbox", "--refresh", "--as", DANA)
    terminal.plan()
    day = (datetime.now(UTC) + timedelta(days=3)).strftime("%Y-%m-%d")
    said = terminal.says("request", "reschedule", "R1", "--at", f"{day} 02:00", "--as", DANA)
    assert said == "R1: Scheduled - Moved on request.\n"
    at = datetime.fromisoformat(terminal.json("request", "show", "R1")["scheduled_for"])
    assert (
        f"{at.astimezone(terminal.world.world.estate().contacts[DANA].zone):%Y-%m-%d %H:%M}" == f"{day} 02:00"
    )
    assert "Deferred - Auditors" in terminal.says("request", "defer", "R1", "--reason", "Auditors")
    terminal.says("request", "resume", "R1")
    assert "Pending Input" in terminal.says("request", "ask", "R1", "May the reports go?")
    assert terminal.json("request", "show", "R1")["question"] == "May the reports go?"
    terminal.says("request", "answer", "R1", "Yes", "--as", DANA)
    assert terminal.json("request", "show", "R1")["answer"] == "Yes"
    assert "refused: request: there is no R1" in terminal.says("request", "cancel", "R1", "--as", LI, code=2)
    terminal.says("request", "cancel", "R1", "--as", DANA)
    assert "cannot be cancelled" in terminal.says("request", "cancel", "R1", code=2)
    assert "refused: action: " in terminal.says("request", "clear", "R1", "--reason", "Mended", code=2)
    assert terminal.says("request", "delete", "R1", "--as", DANA) == "R1: deleted from the list\n"
    assert terminal.json("request", "list") == []
    assert terminal.json("request", "show", "R1")["outcome"] == "cancelled"


def test_the_list_hides_what_is_completed_and_what_is_not_theirs(terminal: Terminal) -> None:
    terminal.says(*SUBMIT, "--site", "sandbox", "--refresh", "--as", DANA)
    terminal.says("request", "submit", "--customer", "harbor", "--site", "sandbox", "--refresh", "--as", LI)
    terminal.plan()
    terminal.world.carry_out(RequestId("R1"), took=timedelta(0))
    ids = {
        "all": (),
        "hidden": ("--hide-completed",),
        "dana": ("--as", DANA),
        "li": ("--as", LI),
        "done": ("--status", "completed"),
        "harbor": ("--customer", "harbor"),
    }
    found = {
        name: [line["id"] for line in terminal.json("request", "list", *more)] for name, more in ids.items()
    }
    assert found == {
        "all": ["R1", "R2"],
        "hidden": ["R2"],
        "dana": ["R1"],
        "li": ["R2"],
        "done": ["R1"],
        "harbor": ["R2"],
    }


def test_the_command_says_which_version_it_is(terminal: Terminal) -> None:
    assert terminal.run("--version").stdout == f"freshet {version('freshet')}\n"
