"""Time out: a question that nobody answers puts its request on hold, and says so.

Invariant: a question of a run under way is not touched; its run decides.
"""

from __future__ import annotations

from datetime import timedelta

from infra.ledger import requests
from policy.lifecycle import Actor, Event
from policy.names import RequestId
from policy.request import Status
from tasks.change import change
from tasks.plan import undated
from tasks.world import World


def time_out(world: World) -> int:
    """One round over the open questions.

    Returns:
        How many requests were put on hold.

    Raises:
        Unavailable: the ledger does not answer.
    """
    now = world.clock.now()
    patience = timedelta(days=world.settings.answer_days)
    with world.ledger.transaction() as connection:
        rows = connection.execute(
            "select number from request where status = 'Pending Input' and deleted_at is null"
            " and (select max(at) from event where event.request = request.number and verb = 'ask') <= %s"
            " order by number",
            (now - patience,),
        ).fetchall()
    if not rows:
        return 0
    estate = world.estate()
    for row in rows:
        with world.ledger.transaction() as connection:
            request = requests.get(connection, RequestId.of(int(str(row["number"]))), lock=True)
            if request.status is not Status.PENDING_INPUT:
                continue  # Answered a moment ago.
            change(
                world,
                connection,
                estate,
                request.id,
                Event.DEFER,
                at=now,
                by=Actor.FRESHET,
                who="dispatch",
                reason=f"No answer came within {patience.days} days. With one, hosting resumes the work.",
                columns=undated(request),
            )
    return len(rows)
