"""What it costs when work waits for those who are told of it: a mail server, Prefect's server."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from email.message import EmailMessage
from typing import TypeVar

import httpx
import pytest
from prefect.settings import (
    PREFECT_API_REQUEST_TIMEOUT,
    PREFECT_API_URL,
    PREFECT_CLIENT_MAX_RETRIES,
    temporary_settings,
)

from infra.mail import SmtpTransport
from policy.errors import Unavailable
from policy.names import EmailAddress
from policy.request import Kind, Outcome
from tasks.display import PrefectDisplay
from tasks.run_request import attend
from tasks.step import Step, Work
from tests.faults.conftest import Begin, Damage
from tests.faults.declaration import CONTACT
from tests.faults.ground import STAGING, Ground
from tests.faults.killing import Trial
from tests.faults.nursery import Nursery
from tests.integration.unwell_servers import scripted
from tests.ports import free_port

pytestmark = pytest.mark.slow

DRIPS_S = 6.0
Result = TypeVar("Result")


@pytest.fixture
def ground(own_ground: Ground) -> Ground:
    """What is damaged stays so."""
    return own_ground


def test_without_the_outbox_nothing_begins_while_the_mail_server_is_away(
    ground: Ground, nursery: Nursery, begin: Begin, damage: Damage
) -> None:
    """On this ground mail leads nowhere, in this test as in every other one."""
    for without, ended in (("", True), ("outbox", False)):
        trial = Trial(ground, nursery, Kind.REFRESH)
        worker = begin(trial.request, FRESHET_TEST_WITHOUT=without)
        worker.wait()
        assert (ground.request(trial.request).outcome is Outcome.DONE) is ended, worker.log
        if not ended:
            assert "mail server 127.0.0.1:9" in str(worker.told["message"])
            assert "Check that it may start" not in worker.log
            trial.hand_over()
        assert trial.judge(Outcome.DONE) == []
    damage(16, "no refresh begins while the mail server is away")


def dripping(connection: socket.socket) -> None:
    """Says one byte at a time and no whole line, and has enough of it after a while."""
    ends = time.monotonic() + DRIPS_S
    while time.monotonic() < ends:
        connection.sendall(b"x")
        time.sleep(0.1)


def test_without_a_deadline_a_server_that_drips_holds_up_every_mail(
    monkeypatch: pytest.MonkeyPatch, damage: Damage
) -> None:
    message = EmailMessage()
    message["To"] = str(CONTACT)
    for ends_itself in (True, False):
        if not ends_itself:
            monkeypatch.setattr("infra.mail.cut_off_after", lambda *_: nullcontext())
        with scripted(dripping) as port:
            server = SmtpTransport(
                host="127.0.0.1",
                port=port,
                sender=EmailAddress("freshet@hosting.example.org"),
                timeout_s=1,
                deadline_s=1,
            )
            began = time.monotonic()
            with pytest.raises(Unavailable):
                server.send(message)
            assert (time.monotonic() - began < DRIPS_S - 1) is ends_itself
    damage(16, "one mail waits for a server that says a byte a second as long as it likes, and all behind it")


class Pages(PrefectDisplay):
    """Progress and reports as Prefect's artifacts; steps are called by themselves, for there is no flow."""

    def carry(self, title: str, act: Callable[[], Result]) -> Result:  # noqa: ARG002 - shown nowhere
        """Call `act`."""
        return act()


def copying(work: Work) -> Mapping[str, object]:
    """Tells how far it is, as a copy does."""
    work.say("copying", done=1, total=2)
    return {}


@pytest.mark.filterwarnings("ignore:Artifact creation outside of a flow:FutureWarning")
def test_without_a_display_of_its_own_a_dead_prefect_server_ends_the_work(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, damage: Damage
) -> None:
    production = dict(ground.production_digests())
    step = Step(name="copy", title="Copy", done=lambda _: False, do=copying, undo=lambda _: None)
    settings = {
        PREFECT_API_URL: f"http://127.0.0.1:{free_port()}/api",
        # As the stack sets them (`infra.stack.settings_file`).
        PREFECT_CLIENT_MAX_RETRIES: 2,
        PREFECT_API_REQUEST_TIMEOUT: 10,
    }
    for bears_it, outcome in ((True, Outcome.DONE), (False, Outcome.PUT_BACK)):
        if not bears_it:
            monkeypatch.setattr(PrefectDisplay, "_try", lambda _, show: show())
        request = ground.ask(Kind.REFRESH, STAGING)
        # The page with the report fails as well, when everything has been done and written down.
        told = nullcontext() if bears_it else pytest.raises(httpx.ConnectError)
        with temporary_settings(settings), told:
            attend(ground.world, request, [step], Pages(request.lower()))
        assert ground.request(request).outcome is outcome
    assert dict(ground.production_digests()) == production
    damage(23, "a refresh is put back because Prefect's server does not take its progress bar")
