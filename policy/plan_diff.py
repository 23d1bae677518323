"""What is different between two plans, and why: nobody's date changes without a stated reason.

Invariant: every request that starts at another time in the second plan is told, with the reason that decides
its new time and with the changes of the queue that can have caused it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from policy.explain import explain
from policy.local_time import for_people
from policy.names import RequestId
from policy.plan import Placement, Plan, Reason
from policy.waiting import Queue, Use


@dataclass(frozen=True, kw_only=True)
class Shift:
    """A request whose start is another now.

    Attributes:
        was: its start in the first plan, or None when it had none.
        now: its start in the second plan, or None when it has none any more.
        reason: what decides the new start.
        causes: what changed in the queue, nearest first: those changes that touch the same things as this
            request; when none does, every change.
    """

    request: RequestId
    was: datetime | None
    now: datetime | None
    reason: Reason
    causes: tuple[str, ...]

    def sentence(self, zone: ZoneInfo) -> str:
        """The change in plain words."""
        because = f" ({'; '.join(self.causes)})" if self.causes else ""
        why = explain(self.reason, zone)
        if self.now is None:
            return f"{self.request} has no date any more{because}: {why}"
        moved = (
            "gets a date" if self.was is None else "starts later" if self.now > self.was else "starts sooner"
        )
        return f"{self.request} {moved}, {for_people(self.now, zone)}{because}: {why}"


def diff_plans(before: tuple[Queue, Plan], after: tuple[Queue, Plan]) -> tuple[Shift, ...]:
    """Every request in both plans that starts at another time in the second, with the reason."""
    old, new = before[1], after[1]
    changes = _changes(before[0], after[0])
    uses = {waiting.id: {use.resource for use in waiting.uses} for waiting in after[0].waiting}
    shifts = []
    for request, answer in new.answers.items():
        if request not in old.answers:
            continue
        was, now = _start(old, request), answer.start if isinstance(answer, Placement) else None
        if was == now:
            continue
        near = tuple(
            words for words, touched in changes.items() if touched is None or touched & uses[request]
        )
        shifts.append(
            Shift(
                request=request,
                was=was,
                now=now,
                reason=answer.reason,
                causes=near or tuple(changes),
            )
        )
    return tuple(shifts)


def _start(plan: Plan, request: RequestId) -> datetime | None:
    placement = plan.placement(request)
    return None if placement is None else placement.start


def _changes(before: Queue, after: Queue) -> Mapping[str, frozenset[str] | None]:
    """What changed between two queues, in words, with the resources that it touches; None is everything."""
    found: dict[str, frozenset[str] | None] = {**_who_waits(before, after), **_what_runs(before, after)}
    if before.pauses != after.pauses:
        found["the queue was paused or resumed"] = None
    if before.capacities != after.capacities:
        found["the limits changed"] = None
    if before.now != after.now:
        found["time went on"] = None
    return dict(sorted(found.items(), key=lambda change: (change[1] is None, change[0])))


def _who_waits(before: Queue, after: Queue) -> Mapping[str, frozenset[str]]:
    old = {waiting.id: waiting for waiting in before.waiting}
    new = {waiting.id: waiting for waiting in after.waiting}
    began = {work.run.request for work in after.running}
    found = {}
    for request in old.keys() - new.keys():
        words = f"{request} began" if request in began else f"{request} left the queue"
        found[words] = _touched(old[request].uses)
    for request in new.keys() - old.keys():
        found[f"{request} was asked for"] = _touched(new[request].uses)
    for request in old.keys() & new.keys():
        if old[request] != new[request]:
            found[f"{request} changed"] = _touched(old[request].uses + new[request].uses)
    return found


def _what_runs(before: Queue, after: Queue) -> Mapping[str, frozenset[str]]:
    still = {work.run: work for work in after.running}
    found = {}
    for work in before.running:
        if work.run not in still:
            found[f"{work.run} ended"] = _touched(work.uses)
        elif still[work.run].until > work.until:
            found[f"{work.run} takes longer"] = _touched(work.uses)
    return found


def _touched(uses: Iterable[Use]) -> frozenset[str]:
    return frozenset(use.resource for use in uses)
