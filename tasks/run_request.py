"""Run a request from its claim to its conclusion, and say in Prefect's words how it ended.

Invariant: the state that Prefect shows is named after the ledger's outcome; "Put Back" and "Stuck" are never
the same word.
"""

from __future__ import annotations

from collections.abc import Sequence

from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.states import Cancelled, Completed, Failed

from infra.redaction import redact
from policy.errors import Busy, Refused, Unavailable
from policy.journal import Finish
from policy.names import RequestId
from policy.request import Request
from tasks.ahead import withdraw_ahead
from tasks.carry_out import carry_out
from tasks.claim import claim
from tasks.conclude import conclude
from tasks.display import Display, PlainDisplay, PrefectDisplay
from tasks.logs import quiet_logs
from tasks.step import Step
from tasks.world import World, open_world


def run_request(request: str, *steps: Step) -> State[None]:
    """Claim `request`, carry out `steps`, conclude; the body of every flow that changes a site.

    Returns:
        The Prefect state: Completed, Failed named "Put Back" or "Stuck", or Cancelled named "Not Now" when
        another worker has it or it is not due.
    """
    world = open_world()
    quiet_logs(world)
    shown = PrefectDisplay(request.lower()) if FlowRunContext.get() else PlainDisplay()
    try:
        ended, finish = attend(world, RequestId(request), steps, shown)
    except (Busy, Refused) as error:
        return Cancelled(name="Not Now", message=redact(str(error)))
    except Unavailable as error:
        return Failed(name="Interrupted", message=redact(f"{error} The next sweep takes the run over."))
    message = redact(ended.reason) or f"{ended.id} {ended.site}: {ended.status.value}"
    if finish is Finish.DONE:
        return Completed(message=message)
    return Failed(name="Put Back" if finish is Finish.PUT_BACK else "Stuck", message=message)


def attend(
    world: World, request: RequestId, steps: Sequence[Step], display: Display
) -> tuple[Request, Finish]:
    """Claim, carry out, conclude, with or without Prefect.

    Raises:
        Busy: it is not due, or another worker has it.
        Refused: there is nothing to start.
        Unavailable: the ledger is away; the run is left to the next worker.
    """
    with claim(world, request, display.say) as hold:
        try:
            ended = conclude(hold, carry_out(hold, steps, display), display)
        finally:
            withdraw_ahead(hold.run)
        # The ledger's word: another worker may have brought the run to its end meanwhile.
        return ended, Finish(str(ended.outcome))
