"""`freshet release …`: what can be installed, and what runs where."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from infra.ledger import installed
from policy.releases import newest_packs, rank
from portal.cli.output import answers, show_json, show_table
from tasks.world import open_world

release_app = typer.Typer(
    name="release", help="What can be installed, and what runs where.", no_args_is_help=True
)


@release_app.command("list")
@answers
def list_command(
    as_json: Annotated[bool, typer.Option("--json", help="for machines: stable keys")] = False,
) -> None:
    """Show the published releases; of each line only the newest pack can be asked for."""
    world = open_world()
    estate = world.estate()
    with world.ledger.transaction() as connection:
        running = installed.versions(connection)
    newest = {
        (pack.application, pack.version)
        for application in estate.applications
        for pack in newest_packs(estate, application, world.clock.now())
    }
    found: list[dict[str, Any]] = [
        {
            "application": release.application,
            "version": release.version,
            "line": release.line,
            "kind": release.kind.value,
            "published": release.published.isoformat(),
            "newest_of_line": (release.application, release.version) in newest,
            "installed_on": sorted(
                key
                for customer in estate.customers.values()
                for key in (webapp.key for webapp in customer.webapps.values())
                if running.get(key) == release.version
            ),
            "sha256": release.sha256,
        }
        for release in sorted(
            estate.releases, key=lambda release: (release.application, rank(release.version))
        )
    ]
    if as_json:
        show_json(found)
        return
    show_table(
        ["application", "version", "line", "kind", "published", "can be chosen", "runs on"],
        [
            (
                r["application"],
                r["version"],
                r["line"],
                r["kind"],
                r["published"],
                "yes" if r["newest_of_line"] else "",
                ", ".join(r["installed_on"]),
            )
            for r in found
        ],
    )
