"""`freshet up`, `down`, `doctor` and `mail`: the embedded stack.

Invariant: `up` and `down` may be repeated at will, and may be interrupted at any moment.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from infra.ledger.migrate import migrate
from infra.settings import Settings
from infra.stack.doctor import examine
from infra.stack.layout import Layout
from infra.stack.mailbox import CaughtMail, caught
from infra.stack.settings_file import LEDGER_PASSFILE
from infra.stack.stack import Stack
from policy.errors import Refused
from portal.cli.output import UNAVAILABLE, answers, complain, say, show_json, show_table
from tasks.wake import wake
from tasks.world import open_world

INTERRUPTED = 130

PortBase = Annotated[
    int | None,
    typer.Option(
        "--port-base",
        metavar="N",
        help="count ports from N (default: as last time, or 15430); FRESHET_PORT_<SERVICE> sets a single one",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="for machines: stable keys, UTC times")]


def register(app: typer.Typer) -> None:
    """Add the stack's commands to `app`."""
    app.command()(up)
    app.command()(down)
    app.command()(doctor)
    app.command()(mail)


def _state() -> Path:
    return Settings().state_dir.resolve()


@answers
def up(port_base: PortBase = None) -> None:
    """Start everything that Freshet needs on this machine; what runs already is left as it is."""
    try:
        Stack.wanted(state=_state(), port_base=port_base, tell=say).up()
        woken = wake(open_world())
        if woken:
            say(f"started: {', '.join(woken)}")
    except KeyboardInterrupt:
        complain("interrupted: run `freshet up` again to go on, or `freshet down` to stop what has started")
        raise typer.Exit(INTERRUPTED) from None


@answers
def down() -> None:
    """Stop everything that `up` started, and all that descends from it."""
    try:
        Stack.existing(state=_state(), tell=say).down()
    except KeyboardInterrupt:
        complain("interrupted: run `freshet down` again to stop the rest")
        raise typer.Exit(INTERRUPTED) from None


@answers
def doctor(
    as_json: Json = False,
    apply: Annotated[
        bool, typer.Option("--migrate", help="apply the ledger's missing migrations first")
    ] = False,
) -> None:
    """Say what is missing on this machine or in the stack, and how to get it; exit code 3 if anything is."""
    stack = Stack.existing(state=_state(), tell=say)
    if apply:
        applied = migrate(stack.settings["FRESHET_LEDGER"], stack.layout.secrets / LEDGER_PASSFILE)
        if not as_json:
            say(f"ledger: applied {', '.join(applied)}" if applied else "ledger: nothing to apply")
    found = list(examine(stack))
    if as_json:
        show_json([asdict(diagnosis) for diagnosis in found])
    else:
        rows = []
        for diagnosis in found:
            said = f"{diagnosis.said}; {diagnosis.remedy}" if diagnosis.remedy else diagnosis.said
            rows.append(("ok" if diagnosis.well else "MISSING", diagnosis.subject, said))
        show_table(("", "what", "found"), rows)
    if not all(diagnosis.well for diagnosis in found):
        raise typer.Exit(UNAVAILABLE)


@answers
def mail(
    number: Annotated[
        int | None, typer.Argument(metavar="NUMBER", help="show this one; without it all are listed")
    ] = None,
    to: Annotated[str | None, typer.Option(metavar="EMAIL", help="only mails to this address")] = None,
    as_json: Json = False,
) -> None:
    """Read the mails that the embedded stack has caught."""
    mails = [one for one in caught(Layout(_state()).mail) if to is None or to in one.recipients]
    if number is not None:
        mails = [one for one in mails if one.number == number]
        if not mails:
            raise Refused(f"mail: there is no number {number}; `freshet mail` lists those that there are")
    if as_json:
        show_json([_plain(one) for one in mails])
    elif number is not None:
        _show(mails[0])
    else:
        rows = [
            (one.number, f"{one.received:%Y-%m-%d %H:%M:%S}Z", ", ".join(one.recipients), one.subject)
            for one in mails
        ]
        show_table(("no", "received", "to", "subject"), rows)


def _show(one: CaughtMail) -> None:
    say(f"From:     {one.sender}")
    say(f"To:       {', '.join(one.recipients)}")
    say(f"Received: {one.received:%Y-%m-%d %H:%M:%S} UTC")
    say(f"Subject:  {one.subject}")
    if one.attachments:
        say(f"Attached: {', '.join(one.attachments)}")
    say("")
    say(one.text)


def _plain(one: CaughtMail) -> dict[str, object]:
    return {
        "number": one.number,
        "received": one.received.isoformat(),
        "from": one.sender,
        "to": list(one.recipients),
        "subject": one.subject,
        "message_id": one.message_id,
        "text": one.text,
        "attachments": list(one.attachments),
        "file": str(one.path),
    }
