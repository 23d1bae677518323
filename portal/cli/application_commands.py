"""`freshet application …`: prove that a hosted application's role keeps the interface."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from infra.application_shape import shape_findings
from policy.errors import Refused
from policy.names import ApplicationName
from portal.cli.output import answers, complain, say, show_json
from tasks.prove_application import prove_application

application_app = typer.Typer(
    name="application", help="Hosted applications and their roles.", no_args_is_help=True
)


@application_app.callback()
def applications() -> None:
    """Hosted applications and their roles."""


@application_app.command("check")
@answers
def check(
    name: Annotated[str, typer.Argument(metavar="NAME", help="the application; its role is app_NAME")],
    release: Annotated[
        str | None, typer.Option("--release", help="carry it out: install this release on a made-up hosting")
    ] = None,
    to: Annotated[str | None, typer.Option("--to", help="then upgrade to this one, and put it back")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="for machines: stable keys")] = False,
) -> None:
    """Prove a role against docs/guide/applications.md; exit code 2 with every finding.

    Without --release only its files are looked at, which takes no time.
    """
    application = ApplicationName(name)
    findings = list(shape_findings(application))
    if to is not None and release is None:
        raise Refused("to: say with --release from which release")
    if release is not None and not findings:
        with tempfile.TemporaryDirectory(prefix="freshet-trial-") as folder:
            findings += prove_application(
                application, release=release, to=to, folder=Path(folder), say=complain if as_json else say
            )
    if as_json:
        show_json({"application": name, "valid": not findings, "findings": findings})
    if findings:
        raise Refused(*findings)
    if not as_json:
        say(f"{name}: the role keeps the interface" + ("" if release else " as far as its files tell"))
