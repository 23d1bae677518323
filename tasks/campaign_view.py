"""What is shown of a group's upgrade: how far it is, ring by ring, and each customer with its request.

Invariant: one shape for the command and the report; keys are stable, times are UTC in ISO form.
"""

from __future__ import annotations

from typing import Any

from infra.ledger import campaigns, requests, runs
from infra.ledger.connection import Connection
from policy.campaign import Member
from tasks.view import iso
from tasks.world import World


def campaign_view(world: World, name: str) -> dict[str, Any]:
    """The campaign `name` with all its customers.

    Raises:
        Refused: there is none.
    """
    now = world.clock.now()
    with world.ledger.transaction() as connection:
        kept = campaigns.get(connection, name)
        members = [_member(connection, member) for member in kept.campaign.members]
    campaign = kept.campaign
    return {
        "name": campaign.name,
        "group": str(campaign.group),
        "site": kept.environment.value,
        "version": str(campaign.version),
        "stage": campaign.stage(now).value,
        "sentence": campaign.sentence(now),
        "paused": campaign.paused or None,
        "stopped_because": campaign.tripped,
        "soak_hours": campaign.soak.total_seconds() / 3600,
        "parallel": campaign.parallel,
        "breaker": {
            "failures": campaign.breaker.failures,
            "share": campaign.breaker.share,
            "canary_failures": campaign.breaker.canary_failures,
        },
        "begun_by": str(kept.begun_by),
        "begun_at": iso(kept.begun_at),
        "done_at": iso(kept.done_at),
        "counts": {progress.value: count for progress, count in campaign.counts().items()},
        "customers": members,
    }


def _member(connection: Connection, member: Member) -> dict[str, Any]:
    request = None if member.request is None else requests.get(connection, member.request)
    run = None if member.request is None else runs.last(connection, member.request)
    took = None if run is None or run.ended_at is None else run.ended_at - run.started_at
    return {
        "customer": str(member.customer),
        "ring": member.ring,
        "progress": member.progress.value,
        "request": None if member.request is None else str(member.request),
        "status": None if request is None else request.status.value,
        "scheduled_for": None if request is None else iso(request.scheduled_for),
        "ended": iso(member.ended_at),
        "took_min": None if took is None else round(took.total_seconds() / 60, 1),
        "reason": member.reason or (request.reason if request is not None else ""),
        "forgiven": member.forgiven,
    }
