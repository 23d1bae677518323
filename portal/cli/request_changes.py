"""`freshet request …`, the part that changes one: move it, answer it, end it, take it back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated

import typer

from policy.names import RequestId
from policy.request import Request
from portal.cli.following import show_and_leave
from portal.cli.output import answers, say
from portal.cli.request_commands import As, Number
from tasks import manage
from tasks.reschedule import reschedule
from tasks.world import open_world


def register(request_app: typer.Typer) -> None:
    """Add the commands to `freshet request`."""
    for name, command in _COMMANDS.items():
        request_app.command(name)(answers(command))


def cancel_command(
    number: Number,
    reason: Annotated[str, typer.Option(help="why; the contact is told")] = "",
    as_email: As = None,
) -> None:
    """Cancel a request that has not begun (To Be Scheduled or Scheduled)."""
    _said(manage.cancel(open_world(), RequestId(number), as_email, reason))


def delete_command(number: Number, as_email: As = None) -> None:
    """Take an ended request off the list; its events stay in the ledger."""
    manage.delete(open_world(), RequestId(number), as_email)
    say(f"{number}: deleted from the list")


def defer_command(
    number: Number, reason: Annotated[str, typer.Option(help="why; the contact is told")], as_email: As = None
) -> None:
    """Put a request on hold until further notice."""
    _said(manage.defer(open_world(), RequestId(number), as_email, reason))


def resume_command(number: Number, as_email: As = None) -> None:
    """Take a deferred request off hold; it keeps its place in the queue."""
    _said(manage.resume(open_world(), RequestId(number), as_email))


def ask_command(
    number: Number, question: Annotated[str, typer.Argument(help="what the customer has to decide")]
) -> None:
    """Put a question to the customer; the request waits as Pending Input."""
    _said(manage.ask(open_world(), RequestId(number), question))


def answer_command(
    number: Number, text: Annotated[str, typer.Argument(help="the answer")], as_email: As = None
) -> None:
    """Answer the question that a request waits for."""
    _said(manage.answer(open_world(), RequestId(number), as_email, text))


def reschedule_command(
    number: Number,
    at: Annotated[str, typer.Option(metavar='"2026-11-22 02:00"', help="the new local time")],
    reason: Annotated[str, typer.Option(help="why; the contact is told")] = "",
    as_email: As = None,
) -> None:
    """Move a waiting request to another date; the contact is told."""
    _said(reschedule(open_world(), RequestId(number), as_email, at, reason))


def retry_command(number: Number, as_email: As = None) -> None:
    """Give a request that was put back or expired a new date."""
    _said(manage.retry(open_world(), RequestId(number), as_email))


def undo_command(
    number: Number,
    reason: Annotated[str, typer.Option(help="why")] = "",
    as_email: As = None,
    wait: Annotated[bool, typer.Option("--wait", help="follow it until it has ended")] = False,
) -> None:
    """Take a finished refresh back: the database that it replaced returns, within the undo period."""
    world = open_world()
    request = manage.undo(world, RequestId(number), as_email, reason)
    _said(request)
    show_and_leave(world, request, wait=wait, as_json=False)


def clear_command(
    number: Number,
    reason: Annotated[str, typer.Option(help="what was mended, kept in the ledger")],
    finished: Annotated[
        bool, typer.Option("--finished", help="the work itself was finished by hand, not taken back")
    ] = False,
) -> None:
    """Unlock a stuck site after a person has mended it."""
    _said(manage.clear(open_world(), RequestId(number), reason, finished=finished))


def _said(request: Request) -> None:
    say(f"{request.id}: {request.status.value}" + (f" - {request.reason}" if request.reason else ""))


_COMMANDS: Mapping[str, Callable[..., None]] = {
    "cancel": cancel_command,
    "delete": delete_command,
    "defer": defer_command,
    "resume": resume_command,
    "ask": ask_command,
    "answer": answer_command,
    "reschedule": reschedule_command,
    "retry": retry_command,
    "undo": undo_command,
    "clear": clear_command,
}
