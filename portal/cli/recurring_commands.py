"""`freshet recurring …`: refreshes that come back, such as every first Saturday."""

from __future__ import annotations

from datetime import date, time
from typing import Annotated

import typer

from policy.errors import Refused
from policy.maintenance_window import Weekday
from policy.names import CustomerName, Environment, SiteId
from policy.recurrence import Which
from portal.cli.output import answers, say, show_json, show_table
from tasks import manage
from tasks.recurring import add_recurring, end_recurring, recurring_view, skip_recurring
from tasks.world import open_world

recurring_app = typer.Typer(
    name="recurring", help="Refreshes that come back: make, skip and end them.", no_args_is_help=True
)

Customer = Annotated[str, typer.Option(help="short name, such as lakeside")]
Site = Annotated[str, typer.Option(help="sandbox, staging or preview")]
As = Annotated[
    str | None,
    typer.Option(
        "--as", metavar="EMAIL", help="act for this contact, with the contact's rights and time zone"
    ),
]


@recurring_app.command("add")
@answers
def add_command(
    customer: Customer,
    site: Site,
    day: Annotated[str, typer.Option(help="mon, tue, wed, thu, fri, sat or sun")],
    at: Annotated[str, typer.Option(metavar="02:00", help="local time: the contact's, or the customer's")],
    every: Annotated[
        str, typer.Option(help="every, every-other, first, second, third, fourth or last (of the month)")
    ] = "every",
    until: Annotated[str | None, typer.Option(metavar="2027-06-30", help="the last day")] = None,
    as_email: As = None,
) -> None:
    """Let a refresh come back.

    For example: freshet recurring add --customer lakeside --site sandbox --every first --day sat --at 02:00
    """
    world = open_world()
    if every not in set(Which):
        raise Refused(f"every: write one of {', '.join(Which)}")
    if day not in set(Weekday):
        raise Refused(f"day: write one of {', '.join(Weekday)}")
    made = add_recurring(
        world,
        manage.principal(world, as_email),
        _site(customer, site),
        Which(every),
        Weekday(day),
        _time(at),
        until=None if until is None else _day(until, "until"),
    )
    say(f"{made.site}: {made.sentence}")


@recurring_app.command("list")
@answers
def list_command(
    as_email: As = None,
    as_json: Annotated[bool, typer.Option("--json", help="for machines: stable keys, UTC times")] = False,
) -> None:
    """Show what comes back, and when next."""
    world = open_world()
    found = recurring_view(world, manage.principal(world, as_email))
    if as_json:
        show_json(found)
        return
    show_table(
        ["site", "every", "next", "skipped", "asked by"],
        [
            (
                f"{r['customer']}/{r['site']}",
                r["every"],
                ", ".join(n["day"] for n in r["next"]),
                ", ".join(r["skipped"]),
                r["asked_by"],
            )
            for r in found
        ],
    )


@recurring_app.command("skip")
@answers
def skip_command(
    customer: Customer,
    site: Site,
    day: Annotated[str, typer.Argument(metavar="2026-12-05", help="the date to leave out")],
    as_email: As = None,
) -> None:
    """Leave one date out; at most two in a row."""
    world = open_world()
    left = skip_recurring(world, manage.principal(world, as_email), _site(customer, site), _day(day, "date"))
    say(f"{left.site}: {left.sentence}, without {', '.join(d.isoformat() for d in sorted(left.skipped))}")


@recurring_app.command("end")
@answers
def end_command(customer: Customer, site: Site, as_email: As = None) -> None:
    """Let it not come back any more; a request that was made already stays."""
    world = open_world()
    ended = end_recurring(world, manage.principal(world, as_email), _site(customer, site))
    say(f"{ended.site}: no longer {ended.sentence}")


def _site(customer: str, site: str) -> SiteId:
    if site not in set(Environment):
        raise Refused(f"site: '{site[:40]}' is not one of {', '.join(Environment)}")
    return SiteId(CustomerName(customer), Environment(site))


def _time(text: str) -> time:
    try:
        found = time.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is not None or found.second or found.microsecond:
        raise Refused("at: this is not a time of day; write it like 02:00")
    return found


def _day(text: str, field: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise Refused(f"{field}: this is not a date; write it like 2026-12-05") from None
