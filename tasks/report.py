"""The report of a run: what was asked, what was done, how long it took, and what it says about the data.

Invariant: it is made from the journal alone, so every worker writes the same one.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from policy.estate import Estate
from policy.journal import Entry, EntryState, Finish
from policy.names import RunId
from policy.request import Kind, Request

_TITLES = {
    Finish.DONE: "Completed",
    Finish.PUT_BACK: "Failed and put back: the site is as it was before",
    Finish.STUCK: "Failed and not put back: the site is locked until a person clears it",
}
_STATES = {
    EntryState.INTENDED: "failed",
    EntryState.DONE: "done",
    EntryState.UNDOING: "being put back",
    EntryState.UNDONE: "put back",
    EntryState.UNDO_FAILED: "**could not be put back**",
}


def report_of(
    estate: Estate,
    request: Request,
    run: RunId,
    journal: Sequence[Entry],
    finish: Finish,
    *,
    cause: str,
    at: datetime,
) -> str:
    """The report as Markdown.

    Args:
        estate: for the customer's title and time zone.
        request: what was asked for.
        run: the run that is reported.
        journal: its entries, in order.
        finish: how it ended.
        cause: why it turned back, or an empty string.
        at: the end, aware UTC.
    """
    customer = estate.customer(request.site.customer)
    local = at.astimezone(customer.zone)
    what = {
        Kind.REFRESH: "database refresh from Production",
        Kind.UPGRADE: f"upgrade to {request.version}{' with a database refresh' if request.refresh else ''}",
        Kind.UNDO: f"undo of {request.undoes}",
        Kind.ENGINE: f"PostgreSQL upgrade to {request.version}",
    }[request.kind]
    lines = [
        f"# {request.id}: {customer.title}, {request.site.environment.value}: {what}",
        "",
        f"**{_TITLES[finish]}**",
        "",
        f"Run `{run}`, ended {local:%Y-%m-%d %H:%M:%S %Z}, asked for by {request.asked_by}.",
        "",
    ]
    if cause:
        lines += [f"Cause: {_cell(cause)}", ""]
    lines += ["| step | result | seconds | put back in |", "|---|---|---:|---:|"]
    for entry in journal:
        lines.append(
            f"| {entry.step.replace('_', ' ')} | {_STATES[entry.state]} | {_seconds(entry.seconds)}"
            f" | {_seconds(entry.undo_seconds)} |"
        )
    facts = [(entry.step, name, value) for entry in journal for name, value in entry.facts.items()]
    if facts:
        lines += ["", "| step | fact | value |", "|---|---|---|"]
        lines += [
            f"| {step.replace('_', ' ')} | {name.replace('_', ' ')} | {_cell(value)} |"
            for step, name, value in facts
        ]
    return "\n".join(lines) + "\n"


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _cell(value: object) -> str:
    if isinstance(value, list):
        return "<br>".join(_cell(item) for item in value)
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_cell(item)}" for name, item in value.items())
    if isinstance(value, float):
        return f"{value:.2f}"
    return str(value).replace("|", "\\|").replace("\n", " ")
