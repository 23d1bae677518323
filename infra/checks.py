"""Runs an application's health checks against one site, through the same door as its users.

Invariant: a site is healthy only after several good rounds in a row. An answer that cannot be had yet
(refused, 5xx, slow) is waited for until the deadline; a definite wrong answer, given again and again, ends
the waiting early, because every second of it is downtime.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import httpx
import psycopg

from infra.checks_file import Check, Checks, load_checks
from infra.checks_round import Baseline, Round, Subject, Wrong, door_pass
from policy.errors import Unavailable

__all__ = [
    "Baseline", "CheckResult", "Checks", "Subject",
    "door_pass", "healthy", "load_checks", "run_checks", "take_baseline",
]  # fmt: skip

ROUND_PAUSE_S = 0.25
"""After a round that was not good: a site that starts is left to itself meanwhile."""

GOOD_PAUSE_S = 0.1
"""After a good one: its users wait for the next."""

DEFINITE_ROUNDS = 3


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """What one check found in its last round.

    Attributes:
        definite: the site answered, and the answer is wrong: waiting will not change it.
        evidence: what was seen, short, without secrets.
    """

    name: str
    title: str
    good: bool
    seconds: float
    evidence: str
    definite: bool = False


def healthy(results: tuple[CheckResult, ...]) -> bool:
    """Whether every check was good."""
    return bool(results) and all(result.good for result in results)


def take_baseline(checks: Checks, subject: Subject) -> Baseline:
    """Look how the site is now; a query or request that fails is left out, and its check says so later."""
    values: dict[str, object] = {}
    with Round(checks, subject, {}, Baseline()) as now:
        for check in checks.checks:
            try:
                if check.sql:
                    values[check.name] = now.query(check.sql.query)
                elif check.latency:
                    values[check.name] = now.latency(check.latency)
            except (psycopg.Error, httpx.HTTPError, Wrong, Unavailable):
                continue
    return Baseline(values=values)


def run_checks(
    checks: Checks,
    subject: Subject,
    *,
    expect: Mapping[str, str],
    baseline: Baseline | None = None,
    deadline_s: float | None = None,
    good_in_a_row: int | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> tuple[CheckResult, ...]:
    """Check the site until it is healthy, definitely is not, or the deadline passes.

    Args:
        checks: what to check.
        subject: the site.
        expect: `version` and whatever else the role's checks name, for example `schema_version`.
        baseline: from `take_baseline` before the work; checks that compare with it are left out without one.
        deadline_s: instead of the role's own.
        good_in_a_row: instead of the role's own.
        cancelled: asked between rounds; when it says so the last results are returned as they are.

    Returns:
        The last round's results; ask `healthy` about them.
    """
    ends = time.monotonic() + (deadline_s or checks.deadline_s)
    wanted = good_in_a_row or checks.good_in_a_row
    good = 0
    wrong: dict[str, int] = {}
    while True:
        results = _one_round(checks, subject, expect, baseline)
        good = good + 1 if healthy(results) else 0
        wrong = {
            result.name: wrong.get(result.name, 0) + 1
            for result in results
            if result.definite and not result.good
        }
        decided = good >= wanted or any(count >= DEFINITE_ROUNDS for count in wrong.values())
        if decided or cancelled():
            return results
        if time.monotonic() > ends:
            return results if not healthy(results) else _too_late(results, good, wanted)
        time.sleep(GOOD_PAUSE_S if good else ROUND_PAUSE_S)


def _one_round(
    checks: Checks, subject: Subject, expect: Mapping[str, str], baseline: Baseline | None
) -> tuple[CheckResult, ...]:
    before = baseline or Baseline()
    with Round(checks, subject, expect, before) as now:
        return tuple(
            _result(check, now)
            for check in checks.checks
            if not set(check.needs) - set(expect) and (not check.compares or check.name in before.values)
        )


def _result(check: Check, now: Round) -> CheckResult:
    begun = time.monotonic()
    good, definite = False, False
    try:
        evidence = now.check(check)
        good = True
    except Wrong as wrong:
        evidence, definite = str(wrong), wrong.definite
    except httpx.HTTPError as error:
        evidence = f"no answer: {type(error).__name__}"
    except psycopg.Error as error:
        evidence = f"database: {error.sqlstate or type(error).__name__}"
    except Unavailable as error:
        evidence = str(error)
    return CheckResult(
        name=check.name,
        title=check.title,
        good=good,
        seconds=round(time.monotonic() - begun, 3),
        evidence=evidence.replace(now.sign_in[1], "***"),
        definite=definite,
    )


def _too_late(results: tuple[CheckResult, ...], good: int, wanted: int) -> tuple[CheckResult, ...]:
    said = CheckResult(
        name="steady",
        title="Good several times in a row",
        good=False,
        seconds=0.0,
        evidence=f"only {good} of {wanted} good rounds before the deadline",
    )
    return (*results, said)
