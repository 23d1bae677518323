"""One round of health checks: its connections, and what each kind of check looks at.

Invariant: what is raised or returned is short evidence for a report, never a secret or a whole answer.
"""

from __future__ import annotations

import hashlib
import re
import secrets as random_tokens
import ssl
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Self

import httpx
import psycopg
from pydantic import SecretStr

from infra.checks_file import PLACEHOLDER, Check, Checks, HttpStep, Latency

REQUEST_TIMEOUT_S = 10.0
EVIDENCE_LIMIT = 200
CLIENT_ERROR = 400
SERVER_ERROR = 500


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A site as the checks see it.

    Attributes:
        url: where users reach it, without a path.
        connect: opens a session in its database, as the application's owner.
        password: of the checks' administrator account.
        webapp_key: for the pass through a closed door.
    """

    url: str
    connect: Callable[[], psycopg.Connection]
    password: SecretStr
    webapp_key: str


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """How a site was before: a value for each query and each latency, to be kept in the journal."""

    values: Mapping[str, object] = field(default_factory=dict)


def door_pass(password: SecretStr, webapp_key: str) -> str:
    """What lets a request through the closed door; the role `door` derives the same."""
    return hashlib.sha256(f"{password.get_secret_value()}:{webapp_key}".encode()).hexdigest()


@cache
def _trust() -> ssl.SSLContext:
    """What is believed about certificates; reading it for every round would be downtime."""
    return httpx.create_ssl_context(trust_env=False)


class Wrong(Exception):
    """The site answered, but not what was expected."""

    def __init__(self, evidence: str, *, definite: bool = True) -> None:
        super().__init__(evidence)
        self.definite = definite


class Round:
    """One round: its connections, its token, and the values that steps save."""

    def __init__(
        self, checks: Checks, subject: Subject, expect: Mapping[str, str], baseline: Baseline
    ) -> None:
        self.subject = subject
        self.baseline = baseline
        self.saved: dict[str, str] = {}
        self.sign_in = (checks.administrator, subject.password.get_secret_value())
        self.values: dict[str, Mapping[str, str]] = {
            "expect": expect,
            "admin": {"user": self.sign_in[0], "password": self.sign_in[1]},
            "round": {"token": random_tokens.token_hex(8)},
            "saved": self.saved,
        }
        self.http = httpx.Client(
            base_url=subject.url,
            timeout=REQUEST_TIMEOUT_S,
            trust_env=False,
            verify=_trust(),
            headers={"X-Freshet-Pass": door_pass(subject.password, subject.webapp_key)},
        )
        self.connection: psycopg.Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()
        if self.connection is not None:
            self.connection.close()

    def session(self) -> psycopg.Connection:
        """The round's database session, opened when first needed."""
        if self.connection is None or self.connection.closed:
            self.connection = self.subject.connect()
            self.connection.autocommit = True
        return self.connection

    def query(self, text: str) -> str:
        """The one value that `text` gives, as text."""
        with self.session().transaction():
            self.session().execute("SET TRANSACTION READ ONLY")
            row = self.session().execute(text.encode()).fetchone()
        if row is None:
            raise Wrong("the query gave no row")
        return str(row[0])

    def clean_up(self, statements: tuple[str, ...]) -> None:
        """Remove what a check left, this one or one that was interrupted."""
        for statement in statements:
            self.session().execute(statement.encode())

    def filled(self, text: str) -> str:
        """`text` with its placeholders replaced."""

        def value(match: re.Match[str]) -> str:
            try:
                return self.values[match[1]][match[2]]
            except KeyError:
                raise Wrong(f"nothing gave {{{match[1]}.{match[2]}}}") from None

        return PLACEHOLDER.sub(value, text)

    def step(self, step: HttpStep) -> str:
        """Make one request; returns what was seen, or raises `Wrong`."""
        method, _, path = self.filled(step.request).partition(" ")
        answer = self.http.request(
            method,
            path,
            auth=self.sign_in if step.sign_in == "basic" else None,
            headers={name: self.filled(text) for name, text in step.headers.items()},
            json=_filled(step.json_body, self.filled) if step.json_body is not None else None,
            data={name: self.filled(text) for name, text in step.form.items()} if step.form else None,
        )
        if answer.status_code not in step.expect.status:
            raise Wrong(
                f"{_shown(step.request)}: HTTP {answer.status_code} instead of "
                f"{' or '.join(str(status) for status in step.expect.status)}: {_shown(answer.text)}",
                definite=answer.status_code < SERVER_ERROR,
            )
        seen = [f"HTTP {answer.status_code}"]
        for pointer, wanted in step.expect.json_values.items():
            found, right = _at(answer, pointer), _filled(wanted, self.filled)
            if found != right:
                raise Wrong(f"{_shown(step.request)}: {pointer} is {_shown(found)}, not {_shown(right)}")
            seen.append(f"{pointer.rpartition('/')[2]} {_shown(found)}")
        for header, wanted_text in step.expect.headers.items():
            shown, right = answer.headers.get(header, "nothing"), self.filled(wanted_text)
            if shown != right:
                raise Wrong(f"{_shown(step.request)}: {header} is {_shown(shown)}, not {_shown(right)}")
            seen.append(f"{header} {_shown(shown)}")
        for text in step.expect.contains:
            if self.filled(text) not in answer.text:
                raise Wrong(f"{_shown(step.request)}: the answer does not hold '{_shown(text)}'")
        for name, place in step.save.items():
            self.saved[name] = _found(answer, place.json_pointer, place.cookie, place.pattern)
        return ", ".join(seen)

    def latency(self, look: Latency) -> float:
        """The median time of some requests, in seconds."""
        times = []
        for _ in range(look.samples):
            begun = time.perf_counter()
            answer = self.http.get(
                self.filled(look.request).partition(" ")[2],
                auth=self.sign_in if look.sign_in == "basic" else None,
            )
            if answer.status_code >= CLIENT_ERROR:
                raise Wrong(f"{look.request}: HTTP {answer.status_code}", definite=False)
            times.append(time.perf_counter() - begun)
        return round(statistics.median(times), 4)

    def check(self, check: Check) -> str:
        """What was seen; raises `Wrong` when it is not as expected."""
        if check.sql:
            return self._check_sql(check.name, check)
        if check.latency:
            before = self.baseline.values[check.name]
            now = self.latency(check.latency)
            most = float(str(before)) * check.latency.at_most_times + check.latency.slack_s
            if now > most:
                raise Wrong(f"{now:.3f} s, before {before} s, at most {most:.3f} s", definite=False)
            return f"{now:.3f} s, before {before} s"
        # An earlier check may have been killed in its middle: what it left must not make this one fail.
        self.clean_up(check.clean_up)
        try:
            seen = [self.step(step) for step in check.http]
        finally:
            self.clean_up(check.clean_up)
        return "; ".join(seen)

    def _check_sql(self, name: str, check: Check) -> str:
        look = check.sql
        if look is None:
            raise TypeError("not a query")
        found = self.query(look.query)
        if look.at_least is not None:
            if float(found) < look.at_least:
                raise Wrong(f"{found}, at least {look.at_least} expected")
            return found
        wanted = self.filled(look.equals) if look.equals is not None else str(self.baseline.values[name])
        if found != wanted:
            raise Wrong(f"{_shown(found)} instead of {_shown(wanted)}")
        return _shown(found)


def _filled(value: object, fill: Callable[[str], str]) -> object:
    if isinstance(value, str):
        return fill(value)
    if isinstance(value, dict):
        return {key: _filled(inner, fill) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, fill) for inner in value]
    return value


def _at(answer: httpx.Response, pointer: str) -> object:
    try:
        value = answer.json()
    except ValueError:
        raise Wrong("the answer is not JSON") from None
    for part in pointer.strip("/").split("/") if pointer.strip("/") else []:
        try:
            value = value[int(part)] if isinstance(value, list) else value[part]
        except (KeyError, IndexError, ValueError, TypeError):
            raise Wrong(f"the answer has no {pointer}") from None
    return value


def _found(answer: httpx.Response, pointer: str | None, cookie: str | None, pattern: str | None) -> str:
    if pointer is not None:
        return str(_at(answer, pointer))
    if cookie is not None:
        value = answer.cookies.get(cookie)
        if value is None:
            raise Wrong(f"the answer sets no cookie {cookie}")
        return str(value)
    match = re.search(pattern or "", answer.text)
    if match is None:
        raise Wrong("the answer does not hold what is looked for")
    return match.group(1)


def _shown(value: object) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= EVIDENCE_LIMIT else text[:EVIDENCE_LIMIT] + "…"
