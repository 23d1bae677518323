"""A secret that a server, a playbook or a driver says by mistake reaches nobody, by whatever way."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest

import infra.redaction
import tasks.display
import tasks.run_request
from infra.ledger import runs
from infra.redaction import Registry
from infra.stack.cluster import Cluster
from policy.errors import Busy, StepFailed, Unavailable
from policy.names import RequestId
from policy.request import Kind, Outcome
from tasks.display import PlainDisplay, PrefectDisplay
from tasks.run_request import attend, run_request
from tasks.step import Step, Work
from tests.faults.canaries import Canaries
from tests.faults.conftest import Damage
from tests.faults.ground import STAGING, Ground, leaks


@pytest.fixture(autouse=True)
def known(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> Canaries:
    """The secrets as a worker knows them, without telling the rest of the tests."""
    monkeypatch.setattr(infra.redaction, "_KNOWN", Registry())
    ground.world.secrets.register_all()
    return Canaries(ground.tokens)


def blurting(ground: Ground, *, fails: bool) -> Step:
    """A step that says a password in everything that it says."""
    word = ground.tokens["trial-owner"]

    def act(work: Work) -> Mapping[str, object]:
        work.say(f"connecting with {word}")
        if fails:
            raise StepFailed(f"the server said: no such password '{word}'")
        return {"said": f"password={word}", "all": {"of": [f"it {word}", 1]}}

    return Step(
        name="blurt", title="Say too much", done=lambda _: False, do=act, undo=lambda work: work.say(word)
    )


class Pages(PlainDisplay):
    """Keeps what is shown."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    def say(self, text: str, done: float | None = None, total: float | None = None) -> None:
        self.shown.append(f"{text} {done} {total}")

    def report(self, key: str, markdown: str) -> None:
        self.shown.append(f"{key} {markdown}")


@pytest.mark.parametrize("fails", [True, False])
def test_journal_reports_reasons_events_and_artifacts_say_no_secret(
    ground: Ground, known: Canaries, *, fails: bool
) -> None:
    request = ground.ask(Kind.REFRESH, STAGING)
    pages = Pages()
    attend(ground.world, request, [blurting(ground, fails=fails)], pages)
    ended = ground.request(request)
    assert ended.outcome is (Outcome.PUT_BACK if fails else Outcome.DONE)
    assert known.in_text("\n".join(pages.shown), "pages") == []
    assert any("[secret trial-owner]" in text for text in pages.shown)
    assert leaks(ground) == []
    with ground.world.ledger.transaction() as connection:
        run = runs.last(connection, request)
        assert run is not None
        (entry,) = runs.journal(connection, run.id)
    if fails:
        assert "[secret trial-owner]" in ended.reason
        assert "[secret trial-owner]" in str(entry.error)
    else:
        assert entry.facts["said"] == "password=[secret trial-owner]"


@pytest.mark.parametrize("error", [Busy, Unavailable])
def test_prefects_states_say_no_secret(
    ground: Ground, known: Canaries, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    monkeypatch.setattr(tasks.run_request, "open_world", lambda: ground.world)

    def refuse(*_: object) -> None:
        raise error(f"it was said: {ground.tokens['ledger']}")

    monkeypatch.setattr(tasks.run_request, "attend", refuse)
    monkeypatch.setattr(tasks.run_request, "quiet_logs", lambda _: None)
    state = run_request(RequestId("R1"))
    assert "[secret ledger]" in str(state.message)
    assert known.in_text(str(state.message), "state") == []


def test_prefects_artifacts_say_no_secret(
    ground: Ground, known: Canaries, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    monkeypatch.setattr(
        tasks.display, "create_markdown_artifact", lambda *, key, markdown: shown.append(f"{key} {markdown}")
    )
    monkeypatch.setattr(
        tasks.display, "create_progress_artifact", lambda *, description, **_: shown.append(description)
    )
    display = PrefectDisplay("r1")
    display.report("report-r1a1", f"| step | {ground.tokens['live-reader']} |")
    display.say(f"copying {ground.tokens['live-reader']}", 1, 2)
    assert len(shown) == 2
    assert known.in_text("\n".join(shown), "artifacts") == []


def test_without_redaction_a_password_reaches_the_journal_the_mails_and_the_pages(
    live_cluster: Cluster,
    trial_cluster: Cluster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    damage: Damage,
) -> None:
    """On a ground that nobody looks through at its end: this one does hold what it must not."""
    with closing(Ground(live_cluster, trial_cluster, tmp_path)) as bare:
        production = dict(bare.production_digests())
        canaries = Canaries(bare.tokens)
        for protected in (True, False):
            monkeypatch.setattr(infra.redaction, "_KNOWN", Registry())
            if protected:
                bare.world.secrets.register_all()
            request = bare.ask(Kind.REFRESH, STAGING)
            pages = Pages()
            attend(bare.world, request, [blurting(bare, fails=True)], pages)
            with bare.world.ledger.transaction() as connection:
                run = runs.last(connection, request)
                assert run is not None
                mails = connection.execute(
                    "select payload::text as text from outbox where request = %s and channel = 'mail'",
                    (request.number,),
                ).fetchall()
                written = {
                    "journal": str(runs.journal(connection, run.id)),
                    "report": str(runs.report(connection, run.id)),
                    "mails": "".join(str(mail["text"]) for mail in mails),
                    "pages": "".join(pages.shown),
                }
            found = {place for place, text in written.items() if canaries.in_text(text, place)}
            assert found == (set() if protected else set(written))
        assert dict(bare.production_digests()) == production
    damage(17, "a password that a server says stands in the journal, the report, the mails and on the pages")
