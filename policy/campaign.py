"""A group's upgrade: everybody in it, a few first, and a breaker before it harms many.

Invariant: a customer is taken at most once at a time; a ring opens only when every earlier one is through and
has soaked; while the breaker is open nobody is begun, and what runs is brought to its end. One failure stops
nobody else until the breaker does, except among the canaries, who are there for that.

A campaign is a value: each thing that happens gives the next one, so that it can be kept, replayed and
tested. It decides whom to ask for next; asking, planning and running are the request's own affair.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from policy.errors import Refused
from policy.names import CustomerName, GroupName, RequestId, Version
from policy.request import Outcome


class Progress(StrEnum):
    """Where one customer stands in the campaign."""

    WAITING = "waiting"
    UNDER_WAY = "under way"
    DONE = "done"
    PUT_BACK = "put back"
    STUCK = "stuck"
    MISSED = "missed"
    EXCLUDED = "excluded"


class Stage(StrEnum):
    """Where the campaign as a whole stands."""

    RUNNING = "running"
    SOAKING = "soaking"
    PAUSED = "paused"
    STOPPED = "stopped by the breaker"
    DONE = "done"


_FAILED = frozenset({Progress.PUT_BACK, Progress.STUCK})
_OVER = frozenset({Progress.DONE, Progress.EXCLUDED, Progress.MISSED}) | _FAILED
_BY_OUTCOME: Mapping[Outcome, Progress] = {
    Outcome.DONE: Progress.DONE,
    Outcome.PUT_BACK: Progress.PUT_BACK,
    Outcome.STUCK: Progress.STUCK,
    Outcome.EXPIRED: Progress.MISSED,
    Outcome.CANCELLED: Progress.EXCLUDED,
    Outcome.SUPERSEDED: Progress.EXCLUDED,
}


@dataclass(frozen=True, kw_only=True)
class Breaker:
    """When to stop.

    Attributes:
        failures: so many failed runs.
        share: or this share of those that ended, once `from_ended` have.
        canary_failures: so many failed runs in the first ring.
    """

    failures: int = 3
    share: float = 0.2
    from_ended: int = 5
    canary_failures: int = 1


@dataclass(frozen=True, kw_only=True)
class Member:
    """One customer in the campaign.

    Attributes:
        ring: 0 for the canaries.
        request: what was asked for it last.
        ended_at: when that ended.
        forgiven: its failure was looked at, and the breaker no longer counts it.
    """

    customer: CustomerName
    ring: int
    progress: Progress = Progress.WAITING
    request: RequestId | None = None
    ended_at: datetime | None = None
    reason: str = ""
    forgiven: bool = False

    @property
    def failed(self) -> bool:
        """Counts for the breaker."""
        return self.progress in _FAILED and not self.forgiven


@dataclass(frozen=True, kw_only=True)
class Campaign:
    """The upgrade of one group to one version.

    Attributes:
        soak: how long a ring is watched before the next one begins.
        parallel: how many customers are under way at once.
        paused: why nobody further is begun; empty when it is not paused.
    """

    name: str
    group: GroupName
    version: Version
    members: tuple[Member, ...]
    soak: timedelta
    parallel: int
    breaker: Breaker = Breaker()
    paused: str = ""

    def member(self, customer: CustomerName) -> Member:
        """How `customer` stands.

        Raises:
            Refused: it is not part of the campaign.
        """
        for member in self.members:
            if member.customer == customer:
                return member
        raise Refused(f"customer: {customer} is not part of {self.name}")

    def stage(self, now: datetime) -> Stage:
        """Where the campaign stands."""
        if all(member.progress in _OVER for member in self.members):
            return Stage.DONE
        if self.tripped is not None:
            return Stage.STOPPED
        if self.paused:
            return Stage.PAUSED
        opens = self._opens()
        return Stage.SOAKING if opens is not None and opens > now else Stage.RUNNING

    @property
    def tripped(self) -> str | None:
        """Why the breaker is open, in plain words; None while it is closed."""
        failed = [member for member in self.members if member.failed]
        canaries = [member for member in failed if member.ring == 0]
        ended = [m for m in self.members if m.progress in _FAILED or m.progress is Progress.DONE]
        if len(canaries) >= self.breaker.canary_failures:
            return f"{len(canaries)} of the first ring failed ({_names(canaries)})"
        if len(failed) >= self.breaker.failures:
            return f"{len(failed)} customers failed ({_names(failed)})"
        if len(ended) >= self.breaker.from_ended and len(failed) > self.breaker.share * len(ended):
            return f"{len(failed)} of {len(ended)} customers failed ({_names(failed)})"
        return None

    def next(self, now: datetime) -> tuple[CustomerName, ...]:
        """Whom to ask for now, in the order of the rings and of the names."""
        if self.stage(now) is not Stage.RUNNING:
            return ()
        ring = self._ring()
        free = self.parallel - sum(member.progress is Progress.UNDER_WAY for member in self.members)
        ready = [m.customer for m in self.members if m.ring == ring and m.progress is Progress.WAITING]
        return tuple(sorted(ready)[: max(0, free)])

    def asked(self, customer: CustomerName, request: RequestId, now: datetime) -> Campaign:
        """`request` was accepted for `customer`.

        Raises:
            Refused: it is not this customer's turn.
        """
        if customer not in self.next(now):
            raise Refused(f"customer: it is not the turn of {customer} in {self.name}; {self.sentence(now)}")
        return self._with(
            replace(self.member(customer), progress=Progress.UNDER_WAY, request=request, ended_at=None)
        )

    def ended(self, request: RequestId, outcome: Outcome, at: datetime, reason: str = "") -> Campaign:
        """`request` ended. A request that the campaign does not wait for changes nothing."""
        for member in self.members:
            if member.request == request and member.progress is Progress.UNDER_WAY:
                progress = _BY_OUTCOME[outcome]
                return self._with(replace(member, progress=progress, ended_at=at, reason=reason))
        return self

    def cleared(self, request: RequestId, outcome: Outcome) -> Campaign:
        """A person made a stuck site whole: as before, or finished by hand."""
        for member in self.members:
            if member.request == request and member.progress is Progress.STUCK:
                return self._with(replace(member, progress=_BY_OUTCOME[outcome]))
        return self

    def retried(self, request: RequestId) -> Campaign:
        """`request`, which was put back or missed its date, was given a new chance: it is under way again."""
        for member in self.members:
            if member.request == request and member.progress in {Progress.PUT_BACK, Progress.MISSED}:
                again = replace(member, progress=Progress.UNDER_WAY, ended_at=None, reason="", forgiven=False)
                return self._with(again)
        return self

    def exclude(self, customer: CustomerName, reason: str) -> Campaign:
        """Leave `customer` out.

        Raises:
            Refused: without a reason, or while it is under way or stuck.
        """
        member = self.member(customer)
        if not reason.strip():
            raise Refused(f"reason: say why {customer} is left out of {self.name}")
        if member.progress in {Progress.UNDER_WAY, Progress.STUCK, Progress.DONE}:
            raise Refused(f"customer: {customer} is {member.progress.value} and cannot be left out any more")
        return self._with(replace(member, progress=Progress.EXCLUDED, reason=reason))

    def include(self, customer: CustomerName) -> Campaign:
        """Take `customer` again: one that was left out, missed its date, or failed and was put back.

        Raises:
            Refused: it is in the campaign, or stuck.
        """
        member = self.member(customer)
        if member.progress not in {Progress.EXCLUDED, Progress.MISSED, Progress.PUT_BACK}:
            raise Refused(f"customer: {customer} is {member.progress.value} and cannot be taken again")
        return self._with(Member(customer=customer, ring=member.ring))

    def pause(self, reason: str) -> Campaign:
        """Begin nobody further until it is resumed.

        Raises:
            Refused: without a reason.
        """
        if not reason.strip():
            raise Refused(f"reason: say why {self.name} is paused")
        return replace(self, paused=reason)

    def resume(self, reason: str) -> Campaign:
        """Go on after a pause or an open breaker: the failures so far were looked at.

        Raises:
            Refused: without a reason.
        """
        if not reason.strip():
            raise Refused(f"reason: say why {self.name} may go on")
        members = tuple(replace(m, forgiven=True) if m.progress in _FAILED else m for m in self.members)
        return replace(self, paused="", members=members)

    def counts(self) -> Mapping[Progress, int]:
        """How many customers stand where."""
        found = Counter(member.progress for member in self.members)
        return {progress: found[progress] for progress in Progress if found[progress]}

    def sentence(self, now: datetime) -> str:
        """Where it stands, in plain words."""
        stage = self.stage(now)
        because = {Stage.STOPPED: self.tripped, Stage.PAUSED: self.paused}.get(stage)
        counts = ", ".join(f"{count} {progress.value}" for progress, count in self.counts().items())
        return f"{self.name} is {stage.value}{f' ({because})' if because else ''}: {counts}"

    def _ring(self) -> int | None:
        """The first ring that is not through."""
        return min((m.ring for m in self.members if m.progress not in _OVER), default=None)

    def _opens(self) -> datetime | None:
        """When the present ring may begin; None when nothing was before it or it has begun."""
        ring = self._ring()
        if ring is None or any(m.ring == ring and m.request is not None for m in self.members):
            return None
        ends = [m.ended_at for m in self.members if m.ring < ring and m.ended_at is not None]
        return max(ends) + self.soak if ends else None

    def _with(self, changed: Member) -> Campaign:
        members = tuple(changed if m.customer == changed.customer else m for m in self.members)
        return replace(self, members=members)


def rings(
    customers: Iterable[CustomerName], canaries: Iterable[CustomerName], sizes: Iterable[int] = ()
) -> tuple[Member, ...]:
    """The members of a campaign: the canaries, then rings of `sizes`, then everybody else.

    Raises:
        Refused: a canary is not among the customers.
    """
    first, everybody = sorted(set(canaries)), sorted(set(customers))
    strangers = [customer for customer in first if customer not in everybody]
    if strangers:
        raise Refused(f"canaries: {', '.join(strangers)} do not belong to the group")
    rest = [customer for customer in everybody if customer not in first]
    members = [Member(customer=customer, ring=0) for customer in first]
    for ring, size in enumerate([*sizes, len(rest)], start=1):
        taken, rest = rest[:size], rest[size:]
        members.extend(Member(customer=customer, ring=ring) for customer in taken)
    return tuple(members)


def _names(members: Iterable[Member]) -> str:
    return ", ".join(member.customer for member in members)
