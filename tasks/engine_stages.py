"""A server's change of version on its host, as the role `postgres_engine` needs to hear of it.

Invariant: every playbook of such a run goes through here, after a proof of the run's epoch; secrets are told
as paths of files.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from infra.ansible import StageResult, run_stages
from infra.ansible_events import Outcome, TaskEvent
from infra.postgres import engine as engines
from infra.postgres.engine import Engine, Session
from infra.postgres.engine_file import FILE, load_engine
from infra.roles import PLAYBOOKS
from policy.estate import WebApp
from tasks.step import Work

PLAYBOOK = PLAYBOOKS / "engine.yml"


def engine_of(work: Work) -> Engine:
    """The declared change of the server that holds the request's site.

    Raises:
        Refused: none is declared, or the declaration has mistakes.
    """
    server = work.estate.site(work.request.site).server
    return load_engine(work.settings.estate.parent / FILE, work.estate, server)


def webapps_on(work: Work, engine: Engine) -> tuple[WebApp, ...]:
    """Every web application that the server serves: all of them are without a database meanwhile."""
    found = {
        work.estate.webapp(site.id).key: work.estate.webapp(site.id)
        for customer in work.estate.customers.values()
        for site in customer.sites.values()
        if site.server == engine.server.name
    }
    return tuple(found[key] for key in sorted(found))


def engine_stages(
    work: Work, engine: Engine, *names: str, check: bool = False, timeout_s: float | None = None
) -> StageResult:
    """Carry out stages of the role on the server's host.

    Args:
        work: the run.
        engine: the server.
        names: the stages, in order.
        check: only look what would change.
        timeout_s: all of it may take so long; as the declaration says unless given.

    Raises:
        StepFailed: a task failed; the message is its own words.
        Unavailable: the host was not reached.
    """
    recorded = work.fact("check_engine", "template")
    template = tuple(str(word) for word in recorded) if isinstance(recorded, list | tuple) else ()
    work.prove()
    return run_stages(
        playbook=PLAYBOOK,
        hosts=[engine.host],
        variables=engines.variables(engine, work.secrets, template),
        stages=names,
        run=work.run,
        epoch=work.epoch,
        scratch=work.scratch,
        secrets=work.secrets,
        timeout_s=engine.timeout_s if timeout_s is None else timeout_s,
        on_event=lambda event: _tell(work, event),
        check=check,
    )


def put_back(work: Work, engine: Engine) -> None:
    """Let the old version serve again, whatever was done; once a run is enough, a run only goes back once."""
    told = work.scratch / "engine-put-back"
    if not told.exists():
        engine_stages(work, engine, "put_back")
        told.touch(mode=0o600)


@contextmanager
def engine_session(work: Work, engine: Engine, database: str = "postgres") -> Iterator[Session]:
    """An autocommit session of the server's superuser.

    Raises:
        Unavailable: the server does not let it in.
    """
    with engines.session(engine, database, work.secrets, run=work.run) as session:
        yield session


def _tell(work: Work, event: TaskEvent) -> None:
    if event.outcome is Outcome.STARTED:
        work.say(f"{event.stage}: {event.task}")
