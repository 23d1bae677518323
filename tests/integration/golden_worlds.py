"""Worlds in which golden images are built: Lakeside's, with the estate at hand."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from infra.clock import SetClock
from infra.postgres.golden_image import Golden, Kept, kept_images, read_golden
from infra.settings import Settings
from policy.estate import Estate
from policy.names import ServerName, golden_name
from tasks.golden_build import build_images
from tasks.world import World
from tests.integration.refreshes import LAKESIDE, Refreshes

TRIAL = ServerName("trial")


@dataclass(frozen=True, kw_only=True, eq=False)
class Declared(World):
    """A world whose estate is at hand."""

    declared: Estate

    def estate(self) -> Estate:
        return self.declared


def world_of(lakeside: Refreshes, **estate: Any) -> Declared:  # noqa: ANN401 - the estate's fields
    lakeside.baseline = lakeside.baseline or lakeside.production_digests()
    return Declared(
        settings=Settings(state_dir=lakeside.folder, ledger=lakeside.ledger._conninfo, lease_seconds=30),
        ledger=lakeside.ledger,
        secrets=lakeside.secrets,
        clock=SetClock(datetime.now(UTC)),
        declared=replace(lakeside.estate, **estate),
    )


def build(world: World) -> Golden:
    (built,) = build_images(world, LAKESIDE, lambda _: None)
    return built.image


def everything_kept(lakeside: Refreshes) -> dict[str, Kept]:
    with lakeside.owner("postgres") as session:
        return {each.name: each for each in kept_images(session) if each.database == lakeside.sandbox}


def read(lakeside: Refreshes) -> Golden | None:
    with lakeside.owner("postgres") as session:
        return read_golden(session, golden_name(lakeside.sandbox))


def expire(lakeside: Refreshes) -> None:
    """As if the builder had not been heard of for long."""
    with lakeside.ledger.transaction() as connection:
        connection.execute(
            "update golden_build set renewed_at = now() - interval '1 hour' where ended_at is null"
        )
