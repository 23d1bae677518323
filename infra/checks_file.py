"""An application's health checks as its role declares them in `checks.yml`: data, no code.

Invariant: a `Checks` that exists is complete and its texts use only names that will be known when it is run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from infra.roles import role_of
from policy.errors import Refused
from policy.names import ApplicationName

PLACEHOLDER = re.compile(r"\{([a-z]+)\.([a-z_]+)\}")
SIZE_LIMIT = 256 * 1024

Identifier = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Expectation(_Model):
    """What an answer must be like."""

    status: tuple[int, ...] = (200,)
    json_values: dict[str, JsonValue] = Field(default_factory=dict, alias="json")
    """JSON pointer → the value there; texts may hold placeholders."""
    contains: tuple[str, ...] = ()
    headers: dict[str, str] = Field(default_factory=dict)


class Saved(_Model):
    """Where a value for later steps is found in an answer; exactly one of the three."""

    json_pointer: str | None = Field(default=None, alias="json")
    cookie: str | None = None
    pattern: str | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(place is not None for place in (self.json_pointer, self.cookie, self.pattern)) != 1:
            raise ValueError("give exactly one of json, cookie and pattern")
        return self


class HttpStep(_Model):
    """One request and what its answer must be like.

    Attributes:
        request: method and path, for example `GET /v1/`.
        sign_in: `basic` sends the administrator's name and password.
    """

    request: str = Field(pattern=r"^(GET|HEAD|POST|PUT|PATCH|DELETE) /\S*$")
    sign_in: Literal["none", "basic"] = "none"
    headers: dict[str, str] = Field(default_factory=dict)
    json_body: JsonValue = Field(default=None, alias="json")
    form: dict[str, str] | None = None
    expect: Expectation = Expectation()
    save: dict[Identifier, Saved] = Field(default_factory=dict)


class SqlLook(_Model):
    """A query with one value, and what it must be; exactly one of the three expectations."""

    query: str
    equals: str | None = None
    equals_before: bool = False
    at_least: float | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.equals is not None) + self.equals_before + (self.at_least is not None) != 1:
            raise ValueError("give exactly one of equals, equals_before and at_least")
        return self


class Latency(_Model):
    """How quick a request must be, compared with what it was before."""

    request: str = Field(pattern=r"^GET /\S*$")
    sign_in: Literal["none", "basic"] = "none"
    samples: int = Field(default=5, ge=1, le=50)
    at_most_times: float = Field(default=3.0, ge=1)
    slack_s: float = Field(default=0.5, ge=0)


class Check(_Model):
    """One thing that must be so; exactly one of `http`, `sql` and `latency`.

    Attributes:
        title: what an engineer reads in the report.
        needs: expectations without which the check does not apply.
        clean_up: statements that remove what the check left in the database; they run before it, for what an
            interrupted one left, and after it, however it went.
    """

    name: Identifier
    title: str
    needs: tuple[Identifier, ...] = ()
    http: tuple[HttpStep, ...] = ()
    sql: SqlLook | None = None
    latency: Latency | None = None
    clean_up: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _one(self) -> Self:
        if bool(self.http) + (self.sql is not None) + (self.latency is not None) != 1:
            raise ValueError("give exactly one of http, sql and latency")
        return self

    @property
    def compares(self) -> bool:
        """Whether it compares with how the site was before."""
        return self.latency is not None or (self.sql is not None and self.sql.equals_before)


class Checks(_Model):
    """All checks of an application.

    Attributes:
        administrator: the account that signs in; its password is a secret of the customer.
        good_in_a_row: so many rounds must be good, one after the other.
        deadline_s: within this time; warming up is not failing.
        expectations: names that `expect` may give, beside `version`.
    """

    application: str
    administrator: str = Field(pattern=r"^[A-Za-z0-9._@+-]{1,64}$")
    good_in_a_row: int = Field(default=2, ge=1, le=20)
    deadline_s: float = Field(default=30, gt=0, le=3600)
    expectations: tuple[Identifier, ...] = ()
    checks: tuple[Check, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [check.name for check in self.checks]
        if len(names) != len(set(names)):
            raise ValueError("two checks have the same name")
        known = {"version", *self.expectations}
        for check in self.checks:
            saved = {name for step in check.http for name in step.save}
            for text in _texts(check.model_dump(by_alias=True)):
                for group, name in PLACEHOLDER.findall(text):
                    if not (
                        (group == "expect" and name in known)
                        or (group == "saved" and name in saved)
                        or (group, name) in {("admin", "user"), ("admin", "password"), ("round", "token")}
                    ):
                        raise ValueError(f"check {check.name}: nothing gives {{{group}.{name}}}")
            unknown = set(check.needs) - known
            if unknown:
                raise ValueError(
                    f"check {check.name}: needs {', '.join(sorted(unknown))}, which is undeclared"
                )
        return self


def load_checks(application: ApplicationName, playbooks: Path | None = None) -> Checks:
    """Read the checks of `application` from its role.

    Args:
        application: whose checks.
        playbooks: where its role lies, when it is not where roles are looked for.

    Raises:
        Refused: there are none, or they are not as documented; each finding names the place.
    """
    role = role_of(application) if playbooks is None else playbooks / "roles" / f"app_{application}"
    path = role / "checks.yml"
    shown = f"checks.yml of {application}"
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise Refused(
            f"{shown}: the role app_{application} has none; see docs/guide/applications.md"
        ) from None
    if len(text) > SIZE_LIMIT:
        raise Refused(f"{shown}: larger than {SIZE_LIMIT // 1024} KiB")
    try:
        loaded = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise Refused(f"{shown}{line}: not YAML") from None
    try:
        checks = Checks.model_validate(loaded)
    except ValidationError as error:
        raise Refused(
            *(
                f"{shown}: {'.'.join(str(part) for part in found['loc']) or 'the whole'}: {found['msg']}"
                for found in error.errors(include_input=False, include_url=False)
            )
        ) from None
    if checks.application != application:
        raise Refused(f"{shown}: application: is '{checks.application}', should be '{application}'")
    return checks


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield str(key)
            yield from _texts(inner)
    elif isinstance(value, Sequence):
        for inner in value:
            yield from _texts(inner)
