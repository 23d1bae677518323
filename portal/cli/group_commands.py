"""`freshet group …`: upgrade a state or consortium as one, a few customers first, stopped by a breaker."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Annotated

import typer

from infra.ledger import campaigns, installed
from policy.campaign import Breaker, Campaign, Progress
from policy.errors import Refused
from policy.free_text import free_text
from policy.names import CustomerName, Environment, GroupName, SiteId, Version
from portal.cli.output import answers, say, show_json, show_table
from tasks import manage
from tasks.begin_campaign import GroupWish, begin_campaign
from tasks.campaign_view import campaign_view
from tasks.campaigns import change_campaign
from tasks.world import World, open_world

group_app = typer.Typer(
    name="group", help="Upgrade a group as one: canaries, rings, a breaker.", no_args_is_help=True
)

_SIZE = re.compile(r"[1-9][0-9]{0,3}")

Group = Annotated[str, typer.Argument(metavar="GROUP", help="as in the estate, such as coastal")]
Site = Annotated[str, typer.Option(help="which of each customer's sites")]
Reason = Annotated[str, typer.Option(help="why; kept with the campaign")]
Json = Annotated[bool, typer.Option("--json", help="for machines: stable keys, UTC times")]


@group_app.command("upgrade")
@answers
def upgrade_command(
    group: Group,
    version: Annotated[str, typer.Option(help="release to upgrade to")],
    site: Site = "production",
    canary: Annotated[
        list[str] | None, typer.Option(help="customer that goes first; the first by name if none is given")
    ] = None,
    rings: Annotated[str, typer.Option(help="sizes of the rings after the canaries, such as 2,5,20")] = "",
    soak_hours: Annotated[float, typer.Option(help="how long a ring is watched before the next")] = 24.0,
    parallel: Annotated[int, typer.Option(help="how many customers are under way at once")] = 2,
    max_failures: Annotated[int, typer.Option(help="the breaker opens at so many failures")] = 3,
    max_share: Annotated[int, typer.Option(help="or at more than this percentage of those that ended")] = 20,
    exclude: Annotated[list[str] | None, typer.Option(help="customer to leave out; needs --reason")] = None,
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Begin the upgrade of a whole group in its window.

    For example: freshet group upgrade coastal --version 26.5.0 --canary cove --rings 2,5 --soak-hours 48
    """
    world = open_world()
    why = free_text(reason, "reason") if exclude else ""
    wish = GroupWish(
        group=GroupName(group),
        version=Version(version),
        environment=_environment(site),
        canaries=[CustomerName(name) for name in canary or []],
        ring_sizes=_sizes(rings),
        soak=timedelta(hours=soak_hours),
        parallel=parallel,
        breaker=Breaker(failures=max_failures, share=max_share / 100),
        excluded={CustomerName(name): why for name in exclude or []},
    )
    kept = begin_campaign(world, manage.principal(world, None), wish)
    _show(world, kept.campaign.name, as_json=as_json)


@group_app.command("show")
@answers
def show_command(group: Group, site: Site = "production", as_json: Json = False) -> None:
    """Show how far the group's newest upgrade is, customer by customer."""
    world = open_world()
    _show(world, _newest(world, group, site), as_json=as_json)


@group_app.command("list")
@answers
def list_command(as_json: Json = False) -> None:
    """Show every group upgrade, oldest first."""
    world = open_world()
    with world.ledger.transaction() as connection:
        names = campaigns.names(connection)
    found = [campaign_view(world, name) for name in names]
    if as_json:
        show_json(found)
        return
    columns = ("name", "site", "version", "stage", "begun_at", "done_at")
    show_table([column.replace("_", " ") for column in columns], [[f[c] for c in columns] for f in found])


@group_app.command("pause")
@answers
def pause_command(group: Group, reason: Reason, site: Site = "production") -> None:
    """Begin nobody further; requests that have not begun are put on hold."""
    words = free_text(reason, "reason")
    _change(group, site, "pause", words, lambda campaign: campaign.pause(words))


@group_app.command("resume")
@answers
def resume_command(group: Group, reason: Reason, site: Site = "production") -> None:
    """Go on after a pause or an open breaker; the failures so far no longer count."""
    words = free_text(reason, "reason")
    _change(group, site, "resume", words, lambda campaign: campaign.resume(words))


@group_app.command("exclude")
@answers
def exclude_command(
    group: Group,
    customer: Annotated[str, typer.Argument(help="who is left out")],
    reason: Reason,
    site: Site = "production",
) -> None:
    """Leave a customer out that is not under way."""
    name, words = CustomerName(customer), free_text(reason, "reason")
    _change(group, site, "exclude", f"{name}: {words}", lambda campaign: campaign.exclude(name, words))


@group_app.command("include")
@answers
def include_command(
    group: Group,
    customer: Annotated[str, typer.Argument(help="who is taken again")],
    reason: Reason,
    site: Site = "production",
) -> None:
    """Take a customer again that was left out, missed its date, or failed and was put back."""
    name, words = CustomerName(customer), free_text(reason, "reason")
    world = _change(group, site, "include", f"{name}: {words}", lambda campaign: campaign.include(name))
    webapp = world.estate().webapp(SiteId(name, _environment(site)))
    with world.ledger.transaction() as connection:
        # Somebody has looked at it: a release that failed there may be tried again.
        installed.acknowledge(connection, webapp=webapp.key)


@group_app.command("end")
@answers
def end_command(group: Group, reason: Reason, site: Site = "production") -> None:
    """Leave everybody out who was not begun; what is under way is brought to its end."""
    words = free_text(reason, "reason")

    def end(campaign: Campaign) -> Campaign:
        for member in campaign.members:
            if member.progress is Progress.WAITING:
                campaign = campaign.exclude(member.customer, words)
        return campaign

    _change(group, site, "end", words, end)


def _change(group: str, site: str, verb: str, reason: str, act: Callable[[Campaign], Campaign]) -> World:
    world = open_world()
    name = _newest(world, group, site)
    change_campaign(world, manage.principal(world, None), name, verb, reason, act)
    _show(world, name, as_json=False)
    return world


def _newest(world: World, group: str, site: str) -> str:
    with world.ledger.transaction() as connection:
        return campaigns.newest(connection, GroupName(group), _environment(site))


def _show(world: World, name: str, *, as_json: bool) -> None:
    found = campaign_view(world, name)
    if as_json:
        show_json(found)
        return
    say(found["sentence"])
    columns = ("customer", "ring", "progress", "request", "status", "scheduled_for", "took_min", "reason")
    show_table(
        [column.replace("_", " ") for column in columns],
        [[member[column] for column in columns] for member in found["customers"]],
    )


def _environment(site: str) -> Environment:
    if site not in set(Environment):
        raise Refused(f"site: '{site[:40]}' is not one of {', '.join(Environment)}")
    return Environment(site)


def _sizes(text: str) -> list[int]:
    sizes = [size.strip() for size in text.split(",")] if text.strip() else []
    if not all(_SIZE.fullmatch(size) for size in sizes):
        raise Refused("rings: write the sizes as numbers with commas between them, such as 2,5,20")
    return [int(size) for size in sizes]
