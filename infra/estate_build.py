"""From the estate's checked parts to its nouns, with every reference resolved.

Invariant: a part that is wrong is left out and reported once; what refers to it is not reported again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from infra import estate_shape as shape
from infra.estate_findings import Findings
from policy.estate import Application, Contact, Customer, Estate, Group, Release, Site, WebApp
from policy.machines import DatabaseServer, Host, Login
from policy.maintenance_window import Freeze, Window
from policy.names import (
    ApplicationName,
    CustomerName,
    EmailAddress,
    Environment,
    GroupName,
    HostName,
    ServerName,
    SiteId,
    WebAppName,
)

AnyShape = TypeVar("AnyShape", bound=BaseModel)
Noun = TypeVar("Noun")
LARGEST_LOCK = 4 * 1024 * 1024


class Builder:
    """Builds one estate.

    Args:
        head: the top level.
        findings: takes what is wrong.
        folder: the folder of the file, to which locks are relative.

    Attributes:
        windows: every window that the file declares, used or not; known once built.
    """

    def __init__(self, head: shape.HeadShape, findings: Findings, folder: Path) -> None:
        self._head = head
        self._findings = findings
        self._folder = folder
        self.windows: dict[str, Window] = {}

    def build(self) -> Estate:
        """The estate; complete only if nothing was found wrong."""
        head = self._head
        self.windows = self._section("windows", shape.WindowShape, self._window)
        return Estate(
            name=head.estate,
            undo=timedelta(days=head.undo_days),
            concurrent_runs=head.concurrent_runs,
            golden_every=timedelta(hours=head.golden_every_hours),
            golden_oldest=timedelta(hours=head.golden_oldest_hours),
            servers={
                ServerName(k): v
                for k, v in self._section("database_servers", shape.ServerShape, self._server).items()
            },
            hosts={HostName(k): v for k, v in self._section("hosts", shape.HostShape, self._host).items()},
            applications={
                ApplicationName(k): Application(name=ApplicationName(k))
                for k in self._section("applications", shape.ApplicationShape, lambda _name, part: part)
            },
            releases=self._releases(),
            groups={
                GroupName(k): v for k, v in self._section("groups", shape.GroupShape, self._group).items()
            },
            customers={
                CustomerName(k): v
                for k, v in self._section("customers", shape.CustomerShape, self._customer).items()
            },
            contacts={
                EmailAddress(k): v
                for k, v in self._section("contacts", shape.ContactShape, self._contact).items()
            },
            freezes=tuple(self._section("freezes", shape.FreezeShape, self._freeze).values()),
        )

    def _section(
        self, section: str, of: type[AnyShape], noun: Callable[[str, AnyShape], Noun]
    ) -> dict[str, Noun]:
        entries: Mapping[str, Any] = getattr(self._head, section)
        return self._entries(entries, (section,), of, noun)

    def _entries(
        self,
        entries: Mapping[str, Any],
        path: tuple[str, ...],
        of: type[AnyShape],
        noun: Callable[[str, AnyShape], Noun],
    ) -> dict[str, Noun]:
        built = {}
        for key, value in entries.items():
            good = self._findings.key(shape.KEYS[path[-1]], key, path)
            # `kinto:` with nothing after it is an application without settings.
            part = self._findings.shape(of, {} if value is None else value, (*path, key))
            if good and part is not None:
                built[key] = noun(key, part)
        return built

    def _window(self, name: str, part: shape.WindowShape) -> Window:
        return Window(
            name=name,
            zone=part.zone,
            days=frozenset(part.days),
            start=part.start,
            length=part.length,
            valid_from=part.valid_from,
            valid_until=part.valid_until,
        )

    def _named_windows(self, names: list[str], path: tuple[str | int, ...]) -> tuple[Window, ...]:
        for index, name in enumerate(names):
            self._findings.reference(self._head.windows, name, "window", (*path, "windows", index))
        return tuple(self.windows[name] for name in dict.fromkeys(names) if name in self.windows)

    def _server(self, name: str, part: shape.ServerShape) -> DatabaseServer:
        reader = part.reader
        return DatabaseServer(
            name=ServerName(name),
            host=part.host,
            port=part.port,
            production=part.production,
            system_identifier=part.system_identifier,
            owner=Login(user=part.owner.user, secret=part.owner.secret),
            reader=Login(user=reader.user, secret=reader.secret) if reader else None,
            slots=part.slots,
            busy_share=part.busy_share,
            most_mb_per_s=part.most_mb_per_s,
            disk_gb=part.disk_gb,
        )

    def _host(self, name: str, part: shape.HostShape) -> Host:
        return Host(name=HostName(name), **dict(part))

    def _releases(self) -> tuple[Release, ...]:
        built = []
        for index, value in enumerate(self._head.releases):
            path = ("releases", index)
            part = self._findings.shape(shape.ReleaseShape, value, path)
            if part is None:
                continue
            self._findings.reference(
                self._head.applications, part.application, "application", (*path, "application")
            )
            self._lock(part, path)
            built.append(Release(**{**dict(part), "follow_up": part.follow_up or ""}))
        return tuple(built)

    def _lock(self, part: shape.ReleaseShape, path: tuple[str | int, ...]) -> None:
        file = self._folder / part.lock
        try:
            if file.stat().st_size > LARGEST_LOCK:
                self._findings.add((*path, "lock"), "the file is larger than 4 MiB", "name a lock file")
                return
            found = hashlib.sha256(file.read_bytes()).hexdigest()
        except OSError as error:
            problem = f"the file cannot be read ({error.strerror})"
            self._findings.add((*path, "lock"), problem, f"put it at {file}, or correct the path")
            return
        if found != part.sha256:
            self._findings.add(
                (*path, "sha256"),
                f"the lock file's SHA-256 is {found}",
                "restore the file, or, if it was meant to change, publish it under this digest",
            )

    def _group(self, name: str, part: shape.GroupShape) -> Group:
        windows = self._named_windows(part.windows, ("groups", name))
        return Group(name=GroupName(name), title=part.title, kind=part.kind, windows=windows)

    def _customer(self, name: str, part: shape.CustomerShape) -> Customer:
        path = ("customers", name)
        customer = CustomerName(name)
        if part.group is not None:
            self._findings.reference(self._head.groups, part.group, "group", (*path, "group"))

        def webapp(key: str, app: shape.WebAppShape) -> WebApp:
            here = (*path, "webapps", key)
            applications = self._head.applications
            self._findings.reference(applications, app.application, "application", (*here, "application"))
            for index, host in enumerate(app.hosts):
                self._findings.reference(self._head.hosts, host, "host", (*here, "hosts", index))
            return WebApp(
                customer=customer,
                name=WebAppName(key),
                application=app.application,
                hosts=tuple(app.hosts),
                variables=app.variables,
            )

        def site(key: str, given: shape.SiteShape) -> Site:
            here = (*path, "sites", key)
            self._findings.reference(part.webapps, given.webapp, "web application", (*here, "webapp"))
            servers = self._head.database_servers
            self._findings.reference(servers, given.server, "database server", (*here, "server"))
            return Site(id=SiteId(customer, Environment(key)), **dict(given))

        webapps = self._entries(part.webapps, (*path, "webapps"), shape.WebAppShape, webapp)
        sites = self._entries(part.sites, (*path, "sites"), shape.SiteShape, site)
        return Customer(
            name=customer,
            title=part.title,
            zone=part.zone,
            group=part.group,
            auto_updated=part.auto_updated,
            windows=self._named_windows(part.windows, path),
            webapps={WebAppName(key): value for key, value in webapps.items()},
            sites={Environment(key): value for key, value in sites.items()},
        )

    def _audience(
        self, part: shape.ContactShape | shape.FreezeShape, path: tuple[str | int, ...]
    ) -> dict[str, frozenset[Any]]:
        for index, customer in enumerate(part.customers):
            self._findings.reference(self._head.customers, customer, "customer", (*path, "customers", index))
        for index, group in enumerate(part.groups):
            self._findings.reference(self._head.groups, group, "group", (*path, "groups", index))
        return {"customers": frozenset(part.customers), "groups": frozenset(part.groups)}

    def _contact(self, email: str, part: shape.ContactShape) -> Contact:
        audience = self._audience(part, ("contacts", email))
        return Contact(email=EmailAddress(email), name=part.name, zone=part.zone, role=part.role, **audience)

    def _freeze(self, name: str, part: shape.FreezeShape) -> Freeze:
        audience = self._audience(part, ("freezes", name))
        return Freeze(
            name=name,
            zone=part.zone,
            first=part.first,
            last=part.last,
            reason=part.reason,
            yearly=part.yearly,
            **audience,
        )
