"""Where the files of database servers lie: `clusters.yaml` beside the estate's file.

Invariant: the file is accepted as a whole or refused with every finding; a server that it does not name is
never stopped for a snapshot. Without the file none is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from infra.declared_file import read_declared
from infra.postgres.engine import Place
from infra.postgres.engine_file import Folder, Word
from policy.errors import Refused
from policy.estate import Estate
from policy.machines import DatabaseServer, Host
from policy.names import ServerName

FILE = "clusters.yaml"


@dataclass(frozen=True, kw_only=True)
class ServerFiles:
    """One server's files on its host.

    Attributes:
        host: the machine that it runs on.
        place: its programs, its data directory and, if any, its systemd unit.
        prefix: words before each command that make it the server's user; none when the user who logs in is.
        environment: added to the server's environment.
        timeout_s: one play may take so long.
    """

    server: DatabaseServer
    host: Host
    place: Place
    prefix: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    timeout_s: float = 7200.0

    def variables(self) -> dict[str, object]:
        """What the role `postgres_snapshot` is told."""
        return {
            "cluster": {
                "bin": self.place.bin,
                "data": self.place.data,
                "service": self.place.service or "",
                "port": self.server.port,
                "prefix": list(self.prefix),
                "environment": dict(self.environment),
                "timeout_s": self.timeout_s,
            }
        }


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class ClusterShape(_Shape):
    """One server."""

    host: Word
    bin: Folder
    data: Folder
    service: Word | None = None
    prefix: tuple[Word, ...] = ()
    environment: Mapping[Word, str] = {}
    timeout_s: Annotated[float, Field(gt=0, le=86_400)] = 7200.0


class ClustersShape(_Shape):
    """The whole file."""

    clusters: Mapping[str, ClusterShape]


def load_clusters(path: Path, estate: Estate) -> Mapping[ServerName, ServerFiles]:
    """What the file at `path` declares, by server; nothing when there is no file.

    Raises:
        Refused: the file has mistakes.
    """
    shape = read_declared(path, ClustersShape)
    if shape is None:
        return {}
    found: dict[ServerName, ServerFiles] = {}
    findings = []
    for name, told in shape.clusters.items():
        server = next((server for server in estate.servers.values() if server.name == name), None)
        host = next((host for host in estate.hosts.values() if host.name == told.host), None)
        if server is None:
            findings.append(f"{path.name}: the estate has no database server '{name}'")
        elif host is None:
            findings.append(f"{path.name}: {name}.host: the estate has no host '{told.host}'")
        else:
            found[server.name] = _files(told, server, host)
    if findings:
        raise Refused(*findings)
    return found


def _files(told: ClusterShape, server: DatabaseServer, host: Host) -> ServerFiles:
    return ServerFiles(
        server=server,
        host=host,
        place=Place(bin=told.bin, data=told.data, service=told.service),
        prefix=told.prefix,
        environment=tuple(sorted(told.environment.items())),
        timeout_s=told.timeout_s,
    )
