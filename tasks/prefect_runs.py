"""Prefect runs, as the dispatcher makes, looks at and withdraws them.

Invariant: a failing Prefect is `Unavailable`; nothing that Prefect says decides what is done to a site.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import State
from prefect.exceptions import ObjectNotFound, PrefectException
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_CLIENT_MAX_RETRIES,
    PREFECT_SERVER_ALLOW_EPHEMERAL_MODE,
    temporary_settings,
)
from prefect.states import Cancelled, Completed, Failed, Scheduled

from policy.errors import Unavailable
from policy.request import Outcome


@contextmanager
def _prefect(api: str) -> Iterator[SyncPrefectClient]:
    told = {
        PREFECT_API_URL: api,
        PREFECT_CLIENT_MAX_RETRIES: 2,
        # Without a server this must fail; it must not start one of its own.
        PREFECT_SERVER_ALLOW_EPHEMERAL_MODE: False,
    }
    try:
        with temporary_settings(updates=told), get_client(sync_client=True) as client:
            yield client
    except (httpx.HTTPError, PrefectException, OSError, RuntimeError) as error:
        raise Unavailable(f"Prefect does not answer ({type(error).__name__})") from error


def make_run(
    api: str,
    deployment: str,
    *,
    name: str,
    parameters: Mapping[str, str],
    at: datetime | None,
    key: str,
    tags: Sequence[str] = (),
) -> UUID:
    """Make a run of `deployment` (named `flow/deployment`), scheduled for `at`, or for now.

    Args:
        api: Prefect's address.
        deployment: which.
        name: what an engineer reads in the list of runs.
        parameters: of the flow.
        at: when it starts, aware.
        key: the same key gives the same run, however often it is asked for.
        tags: for filters in Prefect's pages.

    Raises:
        Unavailable: Prefect does not answer, or does not know the deployment.
    """
    with _prefect(api) as client:
        found = client.read_deployment_by_name(deployment)
        made = client.create_flow_run_from_deployment(
            found.id,
            name=name,
            parameters=dict(parameters),
            state=Scheduled(scheduled_time=at or datetime.now(UTC)),
            idempotency_key=key,
            tags=list(tags),
        )
        return made.id


def has_ended(api: str, flow_run: UUID) -> bool:
    """Whether a Prefect run is over, or gone.

    Raises:
        Unavailable: Prefect does not answer.
    """
    with _prefect(api) as client:
        try:
            found = client.read_flow_run(flow_run)
        except ObjectNotFound:
            return True
        return found.state is not None and found.state.is_final()


def settle_run(api: str, flow_run: UUID, outcome: Outcome, message: str) -> bool:
    """Show how the request of a Prefect run really ended, when Prefect does not know.

    A run whose server went away stays Running for ever, or is taken for crashed.

    Returns:
        Whether anything had to be changed.

    Raises:
        Unavailable: Prefect does not answer.
    """
    truth: State[None]
    match outcome:
        case Outcome.DONE:
            truth = Completed(message=message)
        case Outcome.PUT_BACK:
            truth = Failed(name="Put Back", message=message)
        case Outcome.STUCK:
            truth = Failed(name="Stuck", message=message)
        case _:
            truth = Cancelled(message=message)
    with _prefect(api) as client:
        try:
            state = client.read_flow_run(flow_run).state
            if state is None or (state.is_final() and not state.is_crashed()):
                return False
            client.set_flow_run_state(flow_run, truth, force=True)
        except ObjectNotFound:
            return False
    return True


def withdraw_run(api: str, flow_run: UUID, reason: str) -> None:
    """Cancel a Prefect run that has not begun, or waits for an answer, and show `reason` with it.

    One that is over stays as it ended.

    Raises:
        Unavailable: Prefect does not answer.
    """
    with _prefect(api) as client:
        try:
            state = client.read_flow_run(flow_run).state
            if state is None or not state.is_final():
                client.set_flow_run_state(flow_run, Cancelled(message=reason))
        except ObjectNotFound:
            return  # Somebody deleted it: just as withdrawn.
