"""`freshet request …`: ask for work and look at it; `portal.cli.request_changes` has what changes it."""

from __future__ import annotations

from typing import Annotated

import typer

from infra.ledger import requests
from policy.errors import Refused
from policy.local_time import parse_when
from policy.names import CustomerName, Environment, RequestId, SiteId, Version
from policy.request import Kind, Request, Status
from policy.wish import Wish
from portal.cli.following import seconds, show_and_leave
from portal.cli.output import answers, say, show_json, show_table
from tasks import manage
from tasks.queue_view import place_of
from tasks.submit import submit
from tasks.view import detail, view
from tasks.world import open_world

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
    show_and_leave(world, request, wait=wait, as_json=as_json)


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
                (s["name"], s["state"], seconds(s["seconds"]), seconds(s["undo_seconds"]), s["error"])
                for s in found["steps"]
            ],
        )
    say("")
    show_table(
        ["at", "what", "by", "to", "reason"],
        [(e["at"], e["verb"], e["by"], e["to"], e["reason"]) for e in found["events"]],
    )


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
