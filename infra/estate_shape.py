"""What each part of the estate's file may say, one pydantic model a part.

Invariant: unknown keys are refused, and every value is checked from the text that was written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, time, timedelta
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, PlainValidator

from infra.estate_values import (
    address,
    clock_time,
    connection,
    day,
    digest,
    flag,
    identifier,
    length,
    name,
    number,
    text_of,
    url,
    variables_mapping,
    word,
    zone,
)
from policy.estate import GroupKind, ReleaseKind, Role
from policy.maintenance_window import Weekday
from policy.names import (
    ApplicationName,
    CustomerName,
    DatabaseName,
    EmailAddress,
    Environment,
    GroupName,
    HostName,
    SecretName,
    ServerName,
    Version,
    VersionLine,
    WebAppName,
)

# Aliases, because pydantic evaluates annotations where a field may have taken the name of its check.
Text = Annotated[str, PlainValidator(text_of)]
Flag = Annotated[bool, PlainValidator(flag)]
Port = Annotated[int, PlainValidator(number(1, 65535))]
GoldenEvery = Annotated[int, PlainValidator(number(0, 2160))]
GoldenOldest = Annotated[int, PlainValidator(number(1, 2160))]
UndoDays = Annotated[int, PlainValidator(number(0, 90))]
Percent = Annotated[int, PlainValidator(number(1, 100))]
Gigabytes = Annotated[int, PlainValidator(number(1, 1_000_000))]
MegabytesPerSecond = Annotated[int, PlainValidator(number(1, 100_000))]
Slots = Annotated[int, PlainValidator(number(1, 64))]
Zone = Annotated[ZoneInfo, PlainValidator(zone)]
Day = Annotated[date, PlainValidator(day)]
TimeOfDay = Annotated[time, PlainValidator(clock_time)]
Length = Annotated[timedelta, PlainValidator(length)]
WeekdayWord = Annotated[Weekday, PlainValidator(word(Weekday))]
Address = Annotated[str, PlainValidator(address)]
Url = Annotated[str, PlainValidator(url)]
Connection = Annotated[str, PlainValidator(connection)]
Identifier = Annotated[str, PlainValidator(identifier)]
Digest = Annotated[str, PlainValidator(digest)]
Variables = Annotated[Mapping[str, object], PlainValidator(variables_mapping)]
RoleName = Annotated[str, PlainValidator(name(DatabaseName))]
Database = Annotated[DatabaseName, PlainValidator(name(DatabaseName))]
Secret = Annotated[SecretName, PlainValidator(name(SecretName))]
Server = Annotated[ServerName, PlainValidator(name(ServerName))]
Host = Annotated[HostName, PlainValidator(name(HostName))]
WebApp = Annotated[WebAppName, PlainValidator(name(WebAppName))]
Application = Annotated[ApplicationName, PlainValidator(name(ApplicationName))]
VersionNumber = Annotated[Version, PlainValidator(name(Version))]
Line = Annotated[VersionLine, PlainValidator(name(VersionLine))]
ReleaseWord = Annotated[ReleaseKind, PlainValidator(word(ReleaseKind))]
GroupWord = Annotated[GroupKind, PlainValidator(word(GroupKind))]
RoleWord = Annotated[Role, PlainValidator(word(Role))]
Group = Annotated[GroupName, PlainValidator(name(GroupName))]
Customer = Annotated[CustomerName, PlainValidator(name(CustomerName))]


class EntryName(CustomerName):
    """What a window or a freeze is called."""

    what = "name"
    __slots__ = ()


class Shape(BaseModel):
    """A part of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class HeadShape(Shape):
    """The top level; its sections are checked entry by entry, so that one bad entry hides no other."""

    estate: Text
    undo_days: UndoDays = 7
    concurrent_runs: Slots = 4
    golden_every_hours: GoldenEvery = 0
    golden_oldest_hours: GoldenOldest = 168
    windows: dict[str, Any] = {}
    freezes: dict[str, Any] = {}
    database_servers: dict[str, Any]
    hosts: dict[str, Any]
    applications: dict[str, Any]
    releases: list[Any] = []
    groups: dict[str, Any] = {}
    customers: dict[str, Any]
    contacts: dict[str, Any]


class WindowShape(Shape):
    """An entry of `windows`."""

    zone: Zone
    days: list[WeekdayWord]
    start: TimeOfDay
    length: Length
    valid_from: Day
    valid_until: Day | None = None


class FreezeShape(Shape):
    """An entry of `freezes`."""

    zone: Zone
    first: Day
    last: Day
    reason: Text
    yearly: Flag = False
    customers: list[Customer] = []
    groups: list[Group] = []


class LoginShape(Shape):
    """A database log-in."""

    user: RoleName
    secret: Secret


class ServerShape(Shape):
    """An entry of `database_servers`."""

    host: Address
    port: Port
    production: Flag
    system_identifier: Identifier | None = None
    owner: LoginShape
    reader: LoginShape | None = None
    slots: Slots = 2
    busy_share: Percent = 25
    most_mb_per_s: MegabytesPerSecond | None = None
    disk_gb: Gigabytes | None = None


class HostShape(Shape):
    """An entry of `hosts`."""

    connection: Connection
    address: Address | None = None
    port: Port | None = None
    user: RoleName | None = None
    key: Secret | None = None


class ApplicationShape(Shape):
    """An entry of `applications`: everything about it lies in its role."""


class ReleaseShape(Shape):
    """An item of `releases`."""

    application: Application
    version: VersionNumber
    line: Line
    lock: Text
    sha256: Digest
    kind: ReleaseWord = ReleaseKind.NORMAL
    published: Day
    follow_up: Text | None = None
    expect: dict[str, Text] = {}


class GroupShape(Shape):
    """An entry of `groups`."""

    title: Text
    kind: GroupWord
    windows: list[Text] = []


class CustomerShape(Shape):
    """An entry of `customers`; its web applications and sites are checked one by one."""

    title: Text
    zone: Zone
    group: Group | None = None
    auto_updated: Flag = False
    windows: list[Text] = []
    webapps: dict[str, Any]
    sites: dict[str, Any]


class WebAppShape(Shape):
    """An entry of a customer's `webapps`."""

    application: Application
    hosts: list[Host]
    variables: Variables = {}


class SiteShape(Shape):
    """An entry of a customer's `sites`."""

    webapp: WebApp
    server: Server
    database: Database
    url: Url
    port: Port


class ContactShape(Shape):
    """An entry of `contacts`."""

    name: Text
    zone: Zone
    role: RoleWord = Role.CONTACT
    customers: list[Customer] = []
    groups: list[Group] = []


KEYS: Mapping[str, Callable[[object], object]] = {
    "database_servers": name(ServerName),
    "hosts": name(HostName),
    "applications": name(ApplicationName),
    "groups": name(GroupName),
    "customers": name(CustomerName),
    "contacts": name(EmailAddress),
    "windows": name(EntryName),
    "freezes": name(EntryName),
    "webapps": name(WebAppName),
    "sites": word(Environment),
}
"""What the keys of each section must be."""
