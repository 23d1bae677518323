"""Names from outside become these value types once, at the door; inside nobody passes a bare string.

Invariant: a value that exists is valid. Patterns are matched as a whole, so a trailing newline is refused,
and lengths leave room for derived names (PostgreSQL cuts names at 63 bytes, and cut names collide).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Self

from policy.errors import Refused


class Name(str):
    """A checked string. Subclasses give the pattern and the words for the error."""

    pattern: ClassVar[re.Pattern[str]]
    what: ClassVar[str]
    rule: ClassVar[str]
    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Check `text`.

        Raises:
            Refused: `text` does not match; the message shows at most 60 printable characters of it.
        """
        if not cls.pattern.fullmatch(text):
            shown = "".join(c if c.isprintable() else "?" for c in text[:60])
            raise Refused(f"{cls.what}: '{shown}' is not valid; {cls.rule}")
        return super().__new__(cls, text)


class CustomerName(Name):
    """A customer's short name, as in the estate's file."""

    pattern = re.compile(r"(?=.{1,30}\Z)[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
    what = "customer"
    rule = "use lower-case letters, digits and single hyphens, starting with a letter, at most 30 characters"
    __slots__ = ()


class GroupName(CustomerName):
    """A state, consortium or partner."""

    what = "group"
    __slots__ = ()


class WebAppName(CustomerName):
    """A web application's instance: the processes that serve one or several sites."""

    what = "web application"
    __slots__ = ()


class ServerName(CustomerName):
    """A database server's short name, as in the estate's file."""

    what = "database server"
    __slots__ = ()


class HostName(CustomerName):
    """A host's short name, as in the estate's file."""

    what = "host"
    __slots__ = ()


class ApplicationName(Name):
    """A hosted application; its role is `app_<name>`."""

    pattern = re.compile(r"[a-z][a-z0-9_]{0,29}")
    what = "application"
    rule = "use lower-case letters, digits and underscores, starting with a letter, at most 30 characters"
    __slots__ = ()


class DatabaseName(Name):
    """A database that the estate declares. `__` is kept for the names derived from a run."""

    pattern = re.compile(r"(?!.*__)[a-z][a-z0-9_]{0,38}[a-z0-9]")
    what = "database"
    rule = (
        "use lower-case letters, digits and single underscores, starting with a letter and "
        "ending with a letter or digit, 2 to 40 characters"
    )
    __slots__ = ()


class Version(Name):
    """A release's version: digits and dots, for example `26.5.0`."""

    pattern = re.compile(r"(?:0|[1-9][0-9]{0,5})(?:\.(?:0|[1-9][0-9]{0,5})){1,3}")
    what = "version"
    rule = "use numbers joined by dots, such as 26.5.0"
    __slots__ = ()

    @property
    def parts(self) -> tuple[int, ...]:
        """The numbers, for ordering."""
        return tuple(int(part) for part in self.split("."))


class VersionLine(Name):
    """A line of releases of which only the newest pack may be chosen, for example `26`."""

    pattern = re.compile(r"(?:0|[1-9][0-9]{0,5})(?:\.(?:0|[1-9][0-9]{0,5})){0,2}")
    what = "version line"
    rule = "use numbers joined by dots, such as 26 or 26.5"
    __slots__ = ()


class EmailAddress(Name):
    """An e-mail address that may be written into a header."""

    pattern = re.compile(r"[A-Za-z0-9._%+'-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,200})\.[A-Za-z]{2,20}")
    what = "e-mail address"
    rule = "write it as name@example.org"
    __slots__ = ()


class SecretName(Name):
    """The name of a secret; its value is only ever read from a file at the moment of use."""

    pattern = re.compile(r"[a-z][a-z0-9-]{0,59}")
    what = "secret"
    rule = "use lower-case letters, digits and hyphens, starting with a letter, at most 60 characters"
    __slots__ = ()


class RequestId(Name):
    """A request's number as people write it: `R42`."""

    pattern = re.compile(r"R[1-9][0-9]{0,8}")
    what = "request"
    rule = "a request is written as R and its number, such as R42"
    __slots__ = ()

    @property
    def number(self) -> int:
        """The number in the ledger."""
        return int(self[1:])

    @classmethod
    def of(cls, number: int) -> Self:
        """The id of the ledger's request `number`."""
        return cls(f"R{number}")


class RunId(Name):
    """One execution of a request: `r42a1` is the first attempt at R42. Resource names derive from it."""

    pattern = re.compile(r"r[1-9][0-9]{0,8}a[1-9][0-9]{0,2}")
    what = "run"
    rule = "a run is written as r42a1"
    __slots__ = ()

    @property
    def request(self) -> RequestId:
        """The request that this run carries out."""
        return RequestId("R" + self[1:].split("a")[0])

    @property
    def attempt(self) -> int:
        """1 for the first attempt."""
        return int(self.split("a")[1])

    @classmethod
    def of(cls, request: RequestId, attempt: int) -> Self:
        """The run of `request` at its `attempt`, from 1."""
        return cls(f"r{request.number}a{attempt}")


class Environment(StrEnum):
    """What a site is for. Source: the mission's table of environments."""

    PRODUCTION = "production"
    SANDBOX = "sandbox"
    STAGING = "staging"
    PREVIEW = "preview"


@dataclass(frozen=True, order=True)
class SiteId:
    """Customer × environment, written `lakeside/sandbox`."""

    customer: CustomerName
    environment: Environment

    def __str__(self) -> str:
        return f"{self.customer}/{self.environment.value}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `customer/environment`.

        Raises:
            Refused: the text is not of that form.
        """
        customer, slash, environment = text.partition("/")
        if not slash or environment not in set(Environment):
            words = ", ".join(Environment)
            raise Refused(f"site: write customer/environment, where the environment is one of {words}")
        return cls(CustomerName(customer), Environment(environment))


def incoming_name(database: DatabaseName, run: RunId) -> str:
    """The database being built aside by `run`; at most 40 + 5 + 14 = 59 bytes."""
    return f"{database}__in_{run}"


def previous_name(database: DatabaseName, run: RunId) -> str:
    """The database that `run` replaced, kept for undo; at most 61 bytes."""
    return f"{database}__prev_{run}"


def snapshot_name(database: DatabaseName, run: RunId) -> str:
    """What a put-back of `run` restores; at most 61 bytes."""
    return f"{database}__snap_{run}"


def failed_name(database: DatabaseName, run: RunId) -> str:
    """The database that `run` left behind when it was put back, kept as evidence; at most 61 bytes."""
    return f"{database}__fail_{run}"


def golden_name(database: DatabaseName) -> str:
    """The masked image that a site's `database` is cloned from, kept beside it; at most 48 bytes."""
    return f"{database}__golden"


def building_name(database: DatabaseName, build: int) -> str:
    """The image that `build` is making; it is cloned only once it has the image's name. At most 60 bytes."""
    return f"{golden_name(database)}_b{build}"


def retired_name(database: DatabaseName) -> str:
    """The image whose place a new one is taking; at most 52 bytes."""
    return f"{golden_name(database)}_old"
