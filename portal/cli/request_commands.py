"""`freshet request …`: ask for work, look at it, move it, end it."""

from __future__ import annotations

import sys
import time
from datetime import datetime
from typing import Annotated

import typer

from infra.ledger import requests
from policy.errors import Refused
from policy.local_time import parse_when
from policy.names import CustomerName, Environment, RequestId, SiteId, Version
from policy.request import Kind, Outcome, Request, Status
from policy.wish import Wish
from portal.cli.output import NOT_DONE, STUCK, answers, console, say, show_json, show_table
from tasks import manage
from tasks.queue_view import place_of
from tasks.reschedule import reschedule
from tasks.submit import submit
from tasks.view import detail, view
from tasks.world import World, open_world

request_app = typer.Typer(
    name="request",
    help="Ask for a refresh or an upgrade, follow it, move it, take it back.",
    no_args_is_help=True,
)

REASON_WIDTH = 70

Number = Annotated[str, typer.Argument(metavar="ID", help="the request, such as R42")]
As = Annotated[
    str | None,
    typer.Option(
        "--as", metavar="EMAIL", help="act for this contact, with the contact's rights and time zone"
    ),
]
Json = Annotated[bool, typer.Option("--json", help="for machines: stable keys, UTC times")]


@request_app.command("submit")
@answers
def submit_command(
    customer: Annotated[str, typer.Option(help="short name, such as lakeside")],
    site: Annotated[str, typer.Option(help="production, sandbox, staging or preview")],
    version: Annotated[
        str | None, typer.Option(help="release to upgrade to; leave out for a refresh only")
    ] = None,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="copy Production's database into the site")
    ] = False,
    at: Annotated[str | None, typer.Option(metavar='"2026-11-22 02:00"', help="preferred local time")] = None,
    as_email: As = None,
    note: Annotated[str, typer.Option(help="your own words, kept with the request")] = "",
    wait: Annotated[bool, typer.Option("--wait", help="follow the request until it has ended")] = False,
    as_json: Json = False,
) -> None:
    """Ask for a database refresh or a version upgrade.

    For example: freshet request submit --customer lakeside --site sandbox --refresh --wait
    """
    world = open_world()
    estate = world.estate()
    principal = manage.principal(world, as_email)
    if site not in set(Environment):
        raise Refused(f"site: '{site[:40]}' is not one of {', '.join(Environment)}")
    if version is None and not refresh:
        raise Refused("refresh: say --refresh for a database refresh, or --version for an upgrade, or both")
    when = None if at is None else parse_when(at, manage.zone_of(estate, principal), world.clock.now())
    wish = Wish(
        site=SiteId(CustomerName(customer), Environment(site)),
        version=None if version is None else Version(version),
        refresh=refresh,
        at=when,
        note=note,
    )
    submitted = submit(world, wish, principal)
    request = submitted.request
    if not as_json:
        say(f"{request.id}: {request.site}, {request.status.value}")
        if submitted.superseded:
            say(f"{submitted.superseded} is done under it as well")
    if wait:
        request = follow(world, request.id, quiet=as_json)
    if as_json:
        with world.ledger.transaction() as connection:
            show_json(detail(connection, request.id))
    if wait:
        _exit_as_it_ended(request)


@request_app.command("list")
@answers
def list_command(
    status: Annotated[str | None, typer.Option(help="only this status, such as Scheduled")] = None,
    customer: Annotated[str | None, typer.Option(help="only this customer")] = None,
    hide_completed: Annotated[
        bool, typer.Option("--hide-completed", help="leave completed ones out")
    ] = False,
    as_email: As = None,
    as_json: Json = False,
) -> None:
    """Show the requests, oldest first."""
    world = open_world()
    statuses = [_status(status)] if status else []
    principal = manage.principal(world, as_email)
    estate = world.estate()
    if customer is not None:
        estate.customer(CustomerName(customer))
    with world.ledger.transaction() as connection:
        found = [
            request
            for request in requests.find(connection, statuses=statuses)
            if (customer is None or request.site.customer == customer)
            and not (hide_completed and request.status is Status.COMPLETED)
            and principal.speaks_for(request.site.customer)
        ]
    if as_json:
        show_json([view(request) for request in found])
        return
    zone = manage.zone_of(estate, principal)
    show_table(
        ["id", "site", "what", "status", "outcome", "date", "reason"],
        [
            (
                request.id,
                request.site,
                _what(request),
                request.status.value,
                "" if request.outcome is None else request.outcome.value.replace("_", " "),
                ""
                if request.scheduled_for is None
                else f"{request.scheduled_for.astimezone(zone):%Y-%m-%d %H:%M %Z}",
                _short(request.reason),
            )
            for request in found
        ],
    )


@request_app.command("show")
@answers
def show_command(number: Number, as_email: As = None, as_json: Json = False) -> None:
    """Show one request: where it stands, why, every step, every event, its report."""
    world = open_world()
    request = manage.visible(world, manage.principal(world, as_email), RequestId(number))
    with world.ledger.transaction() as connection:
        found = detail(connection, request.id)
    found.update(place_of(world, request.id))
    if as_json:
        show_json(found)
        return
    say(f"{found['id']}  {found['customer']}/{found['site']}  {_what(request)}")
    say(f"status     {found['status']}" + (f" ({found['outcome']})" if found["outcome"] else ""))
    for key in (
        "reason",
        "waiting_because",
        "paused",
        "position",
        "eta",
        "done_from",
        "done_by",
        "scheduled_for",
        "start_by",
        "started",
        "ended",
    ):
        if found.get(key):
            say(f"{key.replace('_', ' '):<10} {found[key]}")
    told = found["eta_told"]
    if told:
        said = f"done between {told['done_from']} and {told['done_by']}"
        if told["error_min"] is not None:
            said += f"; it ended {told['ended']}, off by {told['error_min']} min"
        say(f"promised   {said}")
    if found["steps"]:
        say("")
        show_table(
            ["step", "state", "seconds", "undo s", "error"],
            [
                (s["name"], s["state"], _s(s["seconds"]), _s(s["undo_seconds"]), s["error"])
                for s in found["steps"]
            ],
        )
    say("")
    show_table(
        ["at", "what", "by", "to", "reason"],
        [(e["at"], e["verb"], e["by"], e["to"], e["reason"]) for e in found["events"]],
    )


@request_app.command("cancel")
@answers
def cancel_command(
    number: Number,
    reason: Annotated[str, typer.Option(help="why; the contact is told")] = "",
    as_email: As = None,
) -> None:
    """Cancel a request that has not begun (To Be Scheduled or Scheduled)."""
    _said(manage.cancel(open_world(), RequestId(number), as_email, reason))


@request_app.command("delete")
@answers
def delete_command(number: Number, as_email: As = None) -> None:
    """Take an ended request off the list; its events stay in the ledger."""
    manage.delete(open_world(), RequestId(number), as_email)
    say(f"{number}: deleted from the list")


@request_app.command("defer")
@answers
def defer_command(
    number: Number, reason: Annotated[str, typer.Option(help="why; the contact is told")], as_email: As = None
) -> None:
    """Put a request on hold until further notice."""
    _said(manage.defer(open_world(), RequestId(number), as_email, reason))


@request_app.command("resume")
@answers
def resume_command(number: Number, as_email: As = None) -> None:
    """Take a deferred request off hold; it keeps its place in the queue."""
    _said(manage.resume(open_world(), RequestId(number), as_email))


@request_app.command("ask")
@answers
def ask_command(
    number: Number, question: Annotated[str, typer.Argument(help="what the customer has to decide")]
) -> None:
    """Put a question to the customer; the request waits as Pending Input."""
    _said(manage.ask(open_world(), RequestId(number), question))


@request_app.command("answer")
@answers
def answer_command(
    number: Number, text: Annotated[str, typer.Argument(help="the answer")], as_email: As = None
) -> None:
    """Answer the question that a request waits for."""
    _said(manage.answer(open_world(), RequestId(number), as_email, text))


@request_app.command("reschedule")
@answers
def reschedule_command(
    number: Number,
    at: Annotated[str, typer.Option(metavar='"2026-11-22 02:00"', help="the new local time")],
    reason: Annotated[str, typer.Option(help="why; the contact is told")] = "",
    as_email: As = None,
) -> None:
    """Move a waiting request to another date; the contact is told."""
    _said(reschedule(open_world(), RequestId(number), as_email, at, reason))


@request_app.command("retry")
@answers
def retry_command(number: Number, as_email: As = None) -> None:
    """Give a request that was put back or expired a new date."""
    _said(manage.retry(open_world(), RequestId(number), as_email))


@request_app.command("undo")
@answers
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
    if wait:
        _exit_as_it_ended(follow(world, request.id, quiet=False))


@request_app.command("clear")
@answers
def clear_command(
    number: Number,
    reason: Annotated[str, typer.Option(help="what was mended, kept in the ledger")],
    finished: Annotated[
        bool, typer.Option("--finished", help="the work itself was finished by hand, not taken back")
    ] = False,
) -> None:
    """Unlock a stuck site after a person has mended it."""
    _said(manage.clear(open_world(), RequestId(number), reason, finished=finished))


def follow(world: World, number: RequestId, *, quiet: bool) -> Request:
    """Wait until `number` has ended, with a line for each change; Ctrl-C ends the waiting only."""
    told = 0
    while True:
        with world.ledger.transaction() as connection:
            found = detail(connection, number)
            request = requests.get(connection, number)
        lines = [
            f"{e['to'] or e['verb']}" + (f": {e['reason']}" if e["reason"] else "") for e in found["events"]
        ]
        lines += [
            f"  {s['name']}: {s['state']} {_s(s['seconds'])}" for s in found["steps"] if s["state"] == "done"
        ]
        if not quiet:
            for line in sorted(lines[told:], key=lines.index):
                console.print(f"{datetime.now().astimezone():%H:%M:%S} {number} {line}", markup=False)
            told = max(told, len(lines))
            sys.stdout.flush()
        if request.outcome is not None:
            return request
        time.sleep(0.5)


def _exit_as_it_ended(request: Request) -> None:
    if request.outcome is Outcome.STUCK:
        raise typer.Exit(STUCK)
    if request.outcome is not Outcome.DONE:
        raise typer.Exit(NOT_DONE)


def _said(request: Request) -> None:
    say(f"{request.id}: {request.status.value}" + (f" - {request.reason}" if request.reason else ""))


def _status(text: str) -> Status:
    for status in Status:
        if status.value.lower() == text.lower():
            return status
    raise Refused(f"status: write one of {', '.join(status.value for status in Status)}")


def _what(request: Request) -> str:
    if request.kind is Kind.UPGRADE:
        return f"upgrade to {request.version}" + (" with refresh" if request.refresh else "")
    return request.kind.value


def _short(sentence: str) -> str:
    """What fits a list; `request show` has the whole of it."""
    line = " ".join(sentence.split())
    return line if len(line) <= REASON_WIDTH else f"{line[: REASON_WIDTH - 1]}…"


def _s(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.1f}"
