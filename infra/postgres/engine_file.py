"""The door through which changes of a server's version come in: `engines.yaml` beside the estate's file.

Invariant: a declaration is accepted as a whole or refused with every finding; what it names exists in the
estate. Without the file no server can be upgraded.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from infra.declared_file import read_declared
from infra.postgres.engine import Engine, Mode, Place
from policy.errors import Refused
from policy.estate import Estate
from policy.names import HostName, SecretName, ServerName

FILE = "engines.yaml"


def _folder(value: object) -> str:
    text = str(value)
    if not text.startswith("/") or text.endswith("/") or any(c in text for c in "*?[]'\"\\$\n"):
        raise ValueError("it takes an absolute path without a slash at its end, quotation marks or wildcards")
    return text


Folder = Annotated[str, BeforeValidator(_folder)]
Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9@%+=:,./_-]{1,200}$")]


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class PlaceShape(_Shape):
    """One version on its host."""

    bin: Folder
    data: Folder
    service: Word | None = None


class SuperuserShape(_Shape):
    """The role that made the cluster."""

    user: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]{0,62}$")] = "postgres"
    secret: Word | None = None


class EngineShape(_Shape):
    """One server."""

    host: Word
    superuser: SuperuserShape = SuperuserShape()
    old: PlaceShape
    new: PlaceShape
    mode: Mode = Mode.AUTO
    address: Word = "127.0.0.1"
    prefix: tuple[Word, ...] = ()
    jobs: Annotated[int, Field(ge=1, le=64)] = 2
    full_analyze: bool = False
    timeout_s: Annotated[float, Field(gt=0, le=86_400)] = 7200.0
    environment: Mapping[Word, str] = {}


class EnginesShape(_Shape):
    """The whole file."""

    engines: Mapping[str, EngineShape]


def load_engine(path: Path, estate: Estate, server: ServerName) -> Engine:
    """What the file at `path` declares of `server`.

    Raises:
        Refused: the file has mistakes, or says nothing of this server.
    """
    shape = read_declared(path, EnginesShape)
    if shape is None:
        raise Refused(
            f"server '{server}': no change of version is declared; write {path} "
            "(docs/guide/engine-upgrades.md)"
        )
    unknown = sorted(set(shape.engines) - set(estate.servers))
    if unknown:
        raise Refused(f"{path.name}: the estate has no database server {', '.join(unknown)}")
    if server not in shape.engines:
        raise Refused(f"server '{server}': {path.name} declares no change of its version")
    return _engine(shape.engines[server], estate, server, path.name)


def _engine(shape: EngineShape, estate: Estate, server: ServerName, file: str) -> Engine:
    host = HostName(shape.host)
    if host not in estate.hosts:
        raise Refused(f"{file}: {server}.host: the estate has no host '{host}'; declare it under `hosts`")
    secret = shape.superuser.secret
    return Engine(
        server=estate.servers[server],
        host=estate.hosts[host],
        superuser=shape.superuser.user,
        secret=None if secret is None else SecretName(secret),
        old=Place(bin=shape.old.bin, data=shape.old.data, service=shape.old.service),
        new=Place(bin=shape.new.bin, data=shape.new.data, service=shape.new.service),
        mode=shape.mode,
        address=shape.address,
        prefix=shape.prefix,
        jobs=shape.jobs,
        full_analyze=shape.full_analyze,
        timeout_s=shape.timeout_s,
        environment=tuple(sorted(shape.environment.items())),
    )
