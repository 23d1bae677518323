"""Whether an application's role has the shape of `docs/guide/applications.md`, seen from its files.

Invariant: nothing is run, and every finding is told at once, each with the remedy.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import yaml

from infra.checks_file import load_checks
from infra.protection_file import load_protection
from infra.roles import role_of
from policy.errors import Refused
from policy.names import ApplicationName

STAGES = (
    "preflight", "stage_release", "hold", "maintenance_on", "stop", "switch", "migrate", "start",
    "maintenance_off", "put_back", "clean_up", "install",
)  # fmt: skip
"""Every role has a task file for each of them."""


class _Loader(yaml.SafeLoader):
    """Reads task files, in which Ansible has a tag of its own."""


def _text(loader: _Loader, node: yaml.ScalarNode) -> object:
    return loader.construct_scalar(node)


_Loader.add_constructor("!unsafe", _text)


def shape_findings(application: ApplicationName, playbooks: Path | None = None) -> tuple[str, ...]:
    """What the role of `application` lacks."""
    role = role_of(application) if playbooks is None else playbooks / "roles" / f"app_{application}"
    if not role.is_dir():
        return (f"playbooks/roles/app_{application} does not exist; make it, see docs/guide/applications.md",)
    return tuple(_findings(application, role, playbooks))


def _findings(application: ApplicationName, role: Path, playbooks: Path | None) -> Iterator[str]:
    for stage in STAGES:
        yield from _of_stage(role.name, role / "tasks" / f"{stage}.yml", stage)
    try:
        checks = load_checks(application, playbooks)
    except Refused as refused:
        yield from refused.findings
    else:
        for what, there in {
            "signs in": "{admin.password}" in str(checks) or "'basic'" in str(checks),
            "looks at the database": any(check.sql for check in checks.checks),
            "compares with how it was before": any(check.compares for check in checks.checks),
            "expects the release's version": "{expect.version}" in str(checks),
        }.items():
            if not there:
                yield f"checks.yml of {application}: no check {what}; an upgrade needs one"
    try:
        load_protection(application, None if playbooks is None else playbooks / "roles")
    except Refused as refused:
        yield from refused.findings


def _of_stage(role: str, path: Path, stage: str) -> Iterator[str]:
    if not path.is_file():
        yield f"{role}: stage {stage}: tasks/{stage}.yml is missing; write it, or import a shared role's"
        return
    try:
        # The loader is a safe one with a single tag more, for texts.
        tasks = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506 - the loader is a safe one
    except yaml.YAMLError:
        yield f"{role}: stage {stage}: tasks/{stage}.yml is not YAML"
        return
    if not isinstance(tasks, list) or not tasks or not all(isinstance(task, dict) for task in tasks):
        yield f"{role}: stage {stage}: tasks/{stage}.yml holds no list of tasks"
