"""Submit a wish: the one door for the queue, the command, the form and the portal.

Invariant: a wish becomes one request or is refused with every reason at once; the same message gives the same
request however often it comes; nothing is half-written.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from infra.ledger import installed, requests
from infra.ledger.connection import Connection
from policy.errors import Refused
from policy.estate import Estate
from policy.free_text import free_text
from policy.lifecycle import Event, waiting
from policy.names import RequestId
from policy.permissions import Principal
from policy.request import Kind, Request
from policy.submission import asked_times, check_submission
from policy.wish import Wish
from tasks.change import announce, change
from tasks.world import World


@dataclass(frozen=True, kw_only=True)
class Submitted:
    """What became of a wish.

    Attributes:
        request: its request.
        repeated: the same message had been submitted before; nothing was written now.
        superseded: the older request whose wishes this one took over, if any.
    """

    request: Request
    repeated: bool
    superseded: RequestId | None = None


def submit(world: World, wish: Wish, principal: Principal, *, campaign: str | None = None) -> Submitted:
    """Write the request that `wish` asks for.

    Args:
        world: the ledger and the estate.
        wish: well-formed, unjudged.
        principal: on whose authority; never taken from the wish alone.
        campaign: the group's upgrade that it is part of.

    Raises:
        Refused: the wish breaks a rule; every finding names its field. Nothing was written.
        Unavailable: the ledger does not answer; submit again.
    """
    estate = world.estate()
    now = world.clock.now()
    with world.ledger.transaction() as connection:
        if wish.message_digest is not None:
            # The same message through another consumer at the same moment waits here for that one's commit.
            connection.execute(
                "select pg_advisory_xact_lock(hashtextextended(%s, 0))", (wish.message_digest,)
            )
        known = _known(connection, wish.message_digest)
        if known is not None:
            return Submitted(request=requests.get(connection, known), repeated=True)
        return _write(world, connection, estate, wish, principal, now, campaign=campaign)


def _write(
    world: World,
    connection: Connection,
    estate: Estate,
    wish: Wish,
    principal: Principal,
    now: datetime,
    *,
    campaign: str | None,
) -> Submitted:
    findings = list(check_submission(estate, principal, wish, installed.versions(connection), now))
    try:
        note = free_text(wish.note, "note", required=False)
    except Refused as refused:
        findings.extend(refused.findings)
    if findings:
        raise Refused(*findings)
    asked = asked_times(wish, now)
    older = _older(connection, wish)
    number = requests.next_number(connection)
    if older is not None:
        change(
            world,
            connection,
            estate,
            older.id,
            Event.SUPERSEDE,
            at=now,
            by=principal.actor,
            who=principal.email,
            reason=f"{wish.version} was asked for in {number}; both are done under it.",
            detail={"superseded_by": number},
        )
    wanted = Request(
        id=number,
        kind=wish.kind,
        site=wish.site,
        version=wish.version,
        refresh=wish.refresh or (older is not None and older.refresh),
        asked_by=principal.email,
        asked_at=now,
        not_before=asked.not_before,
        start_by=asked.start_by,
        campaign=campaign,
    )
    request = requests.insert(connection, wanted, webapp=estate.webapp(wish.site).key, note=note)
    if older is not None:
        requests.update(connection, older.id, {"superseded_by": number.number})
    if wish.message_digest is not None:
        connection.execute(
            "insert into intake (digest, principal, request) values (%s, %s, %s)",
            (wish.message_digest, principal.email, number.number),
        )
    announce(world, connection, estate, request, at=now, who=principal.email)
    return Submitted(request=request, repeated=False, superseded=None if older is None else older.id)


def _known(connection: Connection, digest: str | None) -> RequestId | None:
    if digest is None:
        return None
    row = connection.execute("select request, refused from intake where digest = %s", (digest,)).fetchone()
    if row is None:
        return None
    if row["refused"] is not None:
        raise Refused(str(row["refused"]))
    return RequestId.of(int(str(row["request"])))


def _older(connection: Connection, wish: Wish) -> Request | None:
    """The waiting upgrade of the same site that a newer version takes over."""
    if wish.kind is not Kind.UPGRADE or wish.version is None:
        return None
    for request in requests.find(connection, site=wish.site, open_only=True):
        if (
            request.kind is Kind.UPGRADE
            and waiting(request.status)
            and request.version is not None
            and request.version.parts < wish.version.parts
        ):
            return request
    return None
