"""Check whether a server can be taken to another version: all that can be known before it is closed.

Invariant: only looks. The rehearsal works on a copy of the definitions in a place of its own, so that this
may run hours before, while the server serves; a finding ends the run with everything untouched.
"""

from __future__ import annotations

from collections.abc import Mapping

from infra.postgres import engine as engines
from infra.postgres import engine_findings as findings
from infra.postgres.engine import Engine, Mode
from policy.errors import Refused, StepFailed
from tasks.engine_stages import engine_of, engine_session, engine_stages, webapps_on
from tasks.step import Step, Work


def engine_readiness(work: Work) -> Mapping[str, object]:
    """Whether the server of the request's site could be upgraded now, and what is known of it.

    Returns:
        Facts for the journal; `upgraded` says that it has the wanted version already.

    Raises:
        Refused: something is in the way; every finding, each with its remedy.
        Unavailable: the server or its host does not answer.
    """
    engine = engine_of(work)
    try:
        host = engine_stages(work, engine, "preflight")
    except StepFailed as error:
        raise Refused(f"engine: {error}") from error
    with engine_session(work, engine) as session:
        serving = engines.major(session)
        facts: dict[str, object] = {
            "system_identifier": engines.system_identifier(session),
            "serving_major": serving,
            "old_major": host.fact("old_major"),
            "new_major": host.fact("new_major"),
            "mode": host.fact("mode"),
            "bytes": host.fact("bytes"),
            "upgraded": bool(host.fact("upgraded")),
        }
        if facts["upgraded"] and serving == facts["new_major"]:
            return facts
        facts["template"] = list(findings.template(session))
        found = list(findings.server_findings(session, engine))
        wanted = work.request.version
        if wanted is not None and str(wanted) != str(facts["new_major"]):
            found.append(f"the request is for {wanted}; the programs declared are of {facts['new_major']}")
        names = engines.databases(session)
    found += _others(work, engine)
    if facts["upgraded"] or serving != facts["old_major"]:
        found.append(
            f"the server on port {engine.server.port} is of version {serving}; the declared directory is "
            f"{'already complete' if facts['upgraded'] else 'of version ' + str(facts['old_major'])}"
        )
    looks = {}
    for name in names:
        with engine_session(work, engine, name) as session:
            looks[name] = findings.look_at(session)
            found += looks[name].findings
    available = host.fact("extensions")
    found += findings.missing_extensions(looks, available if isinstance(available, Mapping) else {})
    if not found:
        found += _rehearse(work, engine, looks)
    if found:
        raise Refused(*(f"engine: {finding}" for finding in found))
    return {**facts, "extensions": {name: dict(look.extensions) for name, look in looks.items()}}


def _rehearse(work: Work, engine: Engine, looks: Mapping[str, findings.DatabaseLook]) -> tuple[str, ...]:
    try:
        rehearsal = engine_stages(work, engine, "rehearse")
    except StepFailed as error:
        return (f"the rehearsal failed: {error}",)
    there = rehearsal.fact("new_collations")
    if engine.mode is Mode.DUMP:
        return ()  # Everything is sorted anew.
    return findings.moved_collations(looks, there if isinstance(there, Mapping) else {})


def _others(work: Work, engine: Engine) -> tuple[str, ...]:
    own = work.estate.webapp(work.request.site).key
    others = [webapp.key for webapp in webapps_on(work, engine) if webapp.key != own]
    if not others:
        return ()
    finding = (
        f"the server also holds databases of {', '.join(others)}, which would be cut off without a page for "
        f"their users; move them to another server before {own} takes this one to another version"
    )
    return (finding,)


def _done(_work: Work) -> bool:
    return False


def _undo(_work: Work) -> None:
    """Looking changed nothing."""


check_engine = Step(
    name="check_engine", title="Check the server", done=_done, do=engine_readiness, undo=_undo
)
