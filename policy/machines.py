"""The machines of the estate: hosts of web applications and database servers, and how each is reached.

Invariant: no password and no key stands here, only the name of the secret that holds it.
"""

from __future__ import annotations

from dataclasses import dataclass

from policy.names import HostName, SecretName, ServerName


@dataclass(frozen=True, kw_only=True)
class Host:
    """A machine that runs web applications; reached through Ansible only."""

    name: HostName
    connection: str
    address: str | None = None
    port: int | None = None
    user: str | None = None
    key: SecretName | None = None


@dataclass(frozen=True, kw_only=True)
class Login:
    """A database role and where its password is kept."""

    user: str
    secret: SecretName


@dataclass(frozen=True, kw_only=True)
class DatabaseServer:
    """A PostgreSQL server.

    Attributes:
        production: holds Production databases; never a target of a refresh.
        system_identifier: the cluster's own identity as pinned in the estate (fence three), or None before
            it was pinned.
        owner: creates, renames and drops databases here.
        reader: can only read (fence four); present on servers that hold Production.
        slots: how many runs may work on this server at once.
        busy_share: percent of the time for which the streams of a copy together read here while others work.
        most_mb_per_s: upper bound of all streams of a copy together, in megabytes a second; None is none.
        disk_gb: what its databases may hold together, in gigabytes; None when nobody told.
    """

    name: ServerName
    host: str
    port: int
    production: bool
    system_identifier: str | None
    owner: Login
    reader: Login | None
    slots: int = 2
    busy_share: int = 25
    most_mb_per_s: int | None = None
    disk_gb: int | None = None
