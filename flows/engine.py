"""Engine: a PostgreSQL server goes to a newer major version, and its application comes back on it."""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.check_health import check_health
from tasks.check_may_start import check_may_start
from tasks.engine_sequence import engine_steps
from tasks.reopen import reopen
from tasks.run_request import run_request
from tasks.start_again import start_again
from tasks.take_offline import take_offline


@flow(name="engine", persist_result=False)
def engine(request: str) -> State[None]:
    """Check, rehearse and prepare; take offline, carry over, compare, start; put all back if anything fails.

    The old data directory stays whole until the run has ended well, so putting back is starting it again.

    Args:
        request: the request's number, such as R42; it must be Scheduled and due, or abandoned by its worker.
    """
    return run_request(
        request,
        *engine_steps(
            before=(check_may_start,),
            offline=(take_offline,),
            online=(start_again, check_health, reopen),
        ),
    )
