"""`freshet golden …`: the masked images that refreshes are cloned from in seconds."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

import typer

from policy.names import CustomerName, Environment, ServerName
from portal.cli.output import answers, complain, say, show_json, show_table
from tasks.golden import Standing, drop_images, golden_view
from tasks.golden_build import Built, build_images
from tasks.logs import quiet_logs
from tasks.world import World, open_world

golden_app = typer.Typer(
    name="golden",
    help=(
        "Golden images: masked copies of Production that nobody may enter, kept beside each Sandbox, Staging "
        "and Preview. A refresh that finds a fitting one clones it instead of reading Production: seconds "
        "instead of minutes, whatever the size. The estate's golden_every_hours builds them on a schedule."
    ),
    no_args_is_help=True,
)

Json = Annotated[bool, typer.Option("--json", help="for machines: stable keys, UTC times")]
Customer = Annotated[str, typer.Argument(metavar="CUSTOMER", help="a customer's short name")]


@golden_app.command("build")
@answers
def build(
    customer: Customer,
    server: Annotated[
        str | None, typer.Option(metavar="NAME", help="only the images on this database server")
    ] = None,
    as_json: Json = False,
) -> None:
    """Build a customer's images anew; those of before are cloned until the new ones are ready.

    Production is read once, throttled, by its reader. Each site's image is masked on the way, neutralised and
    proven before it takes its name. Ends with 2 when something keeps it from beginning (every reason), 3 when
    a server does not answer or another build is under way, 4 when it failed; the images of before stay.
    """
    world = open_world()
    quiet_logs(world)
    # With --json stdout holds the result only.
    tell = complain if as_json else say
    built = build_images(
        world, CustomerName(customer), tell, server=None if server is None else ServerName(server)
    )
    if as_json:
        show_json([_built(each) for each in built])
        return
    for each in built:
        size = f"{each.image.bytes / 1e9:.2f} GB"
        say(f"{each.site}: {each.name} on {each.server}, {size}, {each.seconds:.0f} s")


@golden_app.command("list")
@answers
def list_command(
    customer: Annotated[str | None, typer.Argument(metavar="[CUSTOMER]", help="only this customer's")] = None,
    as_json: Json = False,
) -> None:
    """Show every image with its age and size, why it would not be cloned, and when the next build is due."""
    world = open_world()
    found = golden_view(world, None if customer is None else CustomerName(customer))
    if as_json:
        show_json([_standing(world, each) for each in found])
        return
    show_table(
        ("site", "server", "image", "data of (UTC)", "age", "size", "cloned", "next build"),
        [_row(world, each) for each in found],
    )
    kept = sum(each.image.bytes for each in found if each.image is not None)
    say(f"{kept / 1e9:.2f} GB in images, by the servers' count (less where files share blocks)")


@golden_app.command("drop")
@answers
def drop(
    customer: Customer,
    site: Annotated[
        Environment | None, typer.Option(help="only this site's image", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Drop a customer's images and give their space back; refreshes stream from Production then.

    Ends with 2 while a build of them is under way.
    """
    dropped = drop_images(open_world(), CustomerName(customer), site)
    if as_json:
        show_json([{"name": name, "bytes": size} for name, size in dropped])
        return
    for name, size in dropped:
        say(f"dropped {name}, {size / 1e9:.2f} GB")
    if not dropped:
        say(f"{customer} has no golden images")


def _row(world: World, each: Standing) -> tuple[object, ...]:
    image = each.image
    due = "never by itself" if each.due is None else f"{each.due:%Y-%m-%d %H:%M}"
    if each.building:
        due = "under way"
    elif each.build is not None and each.build.reason:
        due += f" (the last one {each.build.outcome}: {each.build.reason})"
    if image is None:
        return (each.site.id, each.site.server, "", "", "", "", f"no: {each.why_not}", due)
    age = image.age(world.clock.now())
    return (
        each.site.id,
        each.site.server,
        each.name,
        image.as_of[:16].replace("T", " "),
        f"{age / timedelta(hours=1):.1f} h",
        f"{image.bytes / 1e9:.2f} GB",
        f"no: {each.why_not}" if each.why_not else "yes",
        due,
    )


def _standing(world: World, each: Standing) -> dict[str, Any]:
    image = each.image
    return {
        "site": str(each.site.id),
        "server": each.site.server,
        "name": each.name if image is not None else None,
        "as_of": None if image is None else image.as_of,
        "age_s": None if image is None else round(image.age(world.clock.now()).total_seconds()),
        "bytes": None if image is None else image.bytes,
        "rows": None if image is None else image.rows,
        "built_at": None if image is None else image.built_at,
        "method": None if image is None else image.method,
        "fits": not each.why_not,
        "why_not": each.why_not or None,
        "building": each.building,
        "last_build": None
        if each.build is None
        else {
            "number": each.build.number,
            "begun_at": each.build.begun_at.isoformat(),
            "ended_at": None if each.build.ended_at is None else each.build.ended_at.isoformat(),
            "outcome": each.build.outcome,
            "reason": each.build.reason,
        },
        "due": None if each.due is None else each.due.isoformat(),
    }


def _built(each: Built) -> dict[str, Any]:
    return {
        "site": each.site,
        "server": each.server,
        "name": each.name,
        "as_of": each.image.as_of,
        "bytes": each.image.bytes,
        "rows": each.image.rows,
        "method": each.image.method,
        "seconds": round(each.seconds, 1),
    }
