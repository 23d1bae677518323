"""Whatever is typed after `freshet` or into Prefect's form: one of four exit codes, and a whole ledger."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from infra.stack.cluster import Cluster
from policy.errors import Refused
from portal.cli.app import app
from tasks.ask_by_form import UpdateRequest, ask_by_form
from tests.fuzz.mutations import ALPHABET, NASTY
from tests.integration.request_worlds import DANA, ENGINEER, LI, RequestWorld, request_world
from tests.integration.terminals import terminal_in

QUICK, MANY = 120, 1_500
GOOD = (
    "lakeside", "harbor", "mesa", "sandbox", "staging", "production", "preview", "R1", "R2", "R3", "R7", "r1",
    "R01", "26.5.0", "24.1.1", "27.0.0", "2026-11-22 02:00", "2999-12-31 04:00", "2026-03-08 02:30", "02:00",
    "Scheduled", "server:trial", "customer:lakeside", "everything", "coastal", DANA, LI, ENGINEER, "a reason",
)  # fmt: skip
COMMANDS = (
    *("request submit --customer ? --site ? --refresh --as ? --at ? --note ?",) * 3,
    *("request submit --customer ? --site ? --version ?",) * 3,
    "request list --status ? --customer ? --as ?", "request show ?", "request cancel ? --as ?",
    "request delete ?", "request defer ? --reason ?", "request resume ?", "request ask ? ?",
    "request answer ? ?", "request reschedule ? --at ? --as ?", "request retry ?", "request undo ?",
    "request clear ? --reason ?", "queue show", "queue pause --reason ? --scope ?", "queue resume --scope ?",
    "release list", "report ?", "group upgrade ? --version ?", "group show ?", "group pause ? --reason ?",
    "group exclude ? ? --reason ?",
    "estate check", "estate show", "? ?", "request ? ?",
)  # fmt: skip
CODES = frozenset({0, 2, 3, 4})


@pytest.fixture
def world(live_cluster: Cluster, trial_cluster: Cluster, tmp_path: Path) -> Iterator[RequestWorld]:
    with request_world(live_cluster, trial_cluster, tmp_path) as made:
        made.install("lakeside/live", "23.1.0")
        with terminal_in(made):
            yield made


def words(dice: random.Random) -> str:
    """Something right in a wrong place, or something that is right nowhere."""
    roll = dice.random()
    if roll < 0.6:
        return dice.choice(GOOD)
    if roll < 0.9:
        return dice.choice(NASTY)
    return "".join(dice.choices(ALPHABET, k=dice.randrange(60)))


def type_in(number: int, seed: int) -> int:
    """Type `number` command lines; return how many were carried out."""
    dice, runner, done = random.Random(seed), CliRunner(), 0  # noqa: S311 - inputs, not secrets
    for _ in range(number):
        # No shell and no kernel passes a NUL in an argument.
        line = [
            words(dice).replace("\0", "") if word == "?" else word
            for word in dice.choice(COMMANDS).split()
        ]  # fmt: skip
        result = runner.invoke(app, line)
        assert result.exit_code in CODES, (line, result.exit_code, result.exception)
        assert result.exception is None or isinstance(result.exception, SystemExit), line
        assert "Traceback" not in result.output
        assert result.exit_code == 0 or result.stderr or result.output, f"{line} is refused without a word"
        done += result.exit_code == 0
    return done


def whole(world: RequestWorld) -> None:
    """No request without its story, no story without its request, nothing told of what is not there."""
    with world.world.ledger.transaction() as connection:
        for what, wrong in {
            "a request without its submission": (
                "select number from request r where not exists"
                " (select from event e where e.request = r.number and e.verb = 'submit')"
            ),
            "two submissions of a request": (
                "select request from event where verb = 'submit' group by request having count(*) > 1"
            ),
            "a status that its last event does not tell": (
                "select number from request r where (r.outcome is not null) <> exists"
                " (select from event e where e.request = r.number and e.outcome is not null)"
            ),
            "two that wait for the same": (
                "select site, kind from request where outcome is null group by site, kind having count(*) > 1"
            ),
            "a run that nobody began": "select id from run",
            "text that nobody could read": (
                r"select number from request where note ~ '[\x01-\x08\x0b\x0e-\x1f]'"
            ),
        }.items():
            assert connection.execute(wrong).fetchall() == [], what


def test_any_command_line_is_carried_out_or_refused(
    world: RequestWorld, record_property: Callable[[str, object], None]
) -> None:
    assert type_in(QUICK, 6) > 5, "hardly anything was carried out, so little was tried"
    whole(world)
    record_property("fuzz_inputs", QUICK)


def test_any_form_is_submitted_or_refused(
    world: RequestWorld, record_property: Callable[[str, object], None]
) -> None:
    dice, done = random.Random(66), 0  # noqa: S311 - inputs, not secrets
    for _ in range(QUICK):
        given = {name: words(dice) for name in ("customer", "site", "contact", "version", "at", "note")}
        if dice.random() < 0.5:
            given |= {"customer": "lakeside", "site": "sandbox", "contact": DANA, "version": "", "at": ""}
            given[dice.choice(["at", "note", "version", "site"])] = words(dice)
        try:
            done += bool(ask_by_form(UpdateRequest.model_validate({**given, "refresh": True})))
        except (Refused, ValidationError):
            continue
    assert done
    whole(world)
    record_property("fuzz_inputs", QUICK)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_1_500_command_lines_leave_the_ledger_whole(
    world: RequestWorld, record_property: Callable[[str, object], None]
) -> None:
    assert type_in(MANY, 666) > 50
    whole(world)
    record_property("fuzz_inputs", MANY)
