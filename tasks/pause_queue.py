"""Pause and resume the queue, and wait until what runs under a pause has come to its end.

Invariant: a pause or its end is an event like every other, with who did it and why.
"""

from __future__ import annotations

from datetime import datetime

from infra.ledger import pauses, requests
from policy.free_text import free_text
from policy.pause import Pause, drained, scopes_of
from policy.permissions import Action, Principal, require
from tasks.queue import running_requests
from tasks.world import World


def pause_queue(
    world: World, who: Principal, scope: str, reason: str, *, until: datetime | None = None
) -> Pause:
    """Hold back everything that `scope` covers and that has not begun.

    Raises:
        Refused: no right to, an unknown scope, or no reason.
    """
    estate, now = world.estate(), world.clock.now()
    require(who, Action.PAUSE, estate, None)
    held = Pause(
        scope=pauses.scope_of(estate, scope),
        reason=free_text(reason, "reason"),
        by=str(who.email),
        at=now,
        until=until,
    )
    with world.ledger.transaction() as connection:
        pauses.pause(connection, held)
        detail = {"scope": held.scope, "until": None if until is None else until.isoformat()}
        requests.write_event(
            connection, at=now, verb="pause", actor=who.email, reason=held.reason, detail=detail
        )
    return held


def resume_queue(world: World, who: Principal, scope: str) -> bool:
    """Lift the pause of `scope`; False when there was none.

    Raises:
        Refused: no right to.
    """
    require(who, Action.PAUSE, world.estate(), None)
    with world.ledger.transaction() as connection:
        lifted = pauses.resume(connection, scope=scope)
        if lifted:
            requests.write_event(
                connection,
                at=world.clock.now(),
                verb="unpause",
                actor=who.email,
                detail={"scope": scope},
            )
    return lifted


def at_rest(world: World, held: Pause) -> bool:
    """Whether nothing under the pause `held` runs any more, so that maintenance may begin."""
    estate = world.estate()
    with world.ledger.transaction() as connection:
        running = [scopes_of(estate, request.site) for request in running_requests(connection)]
    return drained([held], running, world.clock.now())
