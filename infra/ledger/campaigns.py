"""Campaigns in the ledger: a group's upgrade as `policy.campaign` decides it, kept between its steps.

Invariant: a group has at most one open campaign for each of its environments, and who changes one holds its
row, so that two dispatchers never ask for the same customer twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import psycopg

from infra.ledger.connection import Connection, Row
from policy.campaign import Breaker, Campaign, Member, Progress
from policy.errors import Refused
from policy.names import CustomerName, EmailAddress, Environment, GroupName, RequestId, Version


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A campaign with what surrounds it.

    Attributes:
        environment: which of each customer's sites is upgraded.
        stage_told: the stage that the hosting team was last told of.
    """

    campaign: Campaign
    environment: Environment
    begun_by: EmailAddress
    begun_at: datetime
    done_at: datetime | None = None
    stage_told: str = ""


def begin(connection: Connection, kept: Kept) -> None:
    """Write a new campaign.

    Raises:
        Refused: the group has an open one for this environment.
    """
    made, breaker = kept.campaign, kept.campaign.breaker
    try:
        connection.execute(
            "insert into campaign (name, group_name, environment, version, soak_s, parallel, failures, share,"
            " from_ended, canary_failures, paused, begun_by, begun_at)"
            " values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            (
                made.name,
                made.group,
                kept.environment.value,
                made.version,
                made.soak.total_seconds(),
                made.parallel,
                breaker.failures,
                breaker.share,
                breaker.from_ended,
                breaker.canary_failures,
                made.paused,
                kept.begun_by,
                kept.begun_at,
            ),
        )
    except psycopg.errors.UniqueViolation as error:
        raise Refused(
            f"group: {made.group} has an open upgrade already; see `freshet group show {made.group}`, and "
            "end that one first"
        ) from error
    _write_members(connection, made)


def save(connection: Connection, changed: Campaign, *, done_at: datetime | None, stage_told: str) -> None:
    """Write what became of a campaign."""
    connection.execute(
        "update campaign set paused = %s, done_at = %s, stage_told = %s where name = %s",
        (changed.paused, done_at, stage_told, changed.name),
    )
    _write_members(connection, changed)


def get(connection: Connection, name: str, *, lock: bool = False) -> Kept:
    """The campaign `name`; with `lock` nobody else changes it until the transaction ends.

    Raises:
        Refused: there is none.
    """
    row = connection.execute(
        "select * from campaign where name = %s for update"
        if lock
        else "select * from campaign where name = %s",
        (name,),
    ).fetchone()
    if row is None:
        raise Refused(f"campaign: there is no {name}; `freshet group list` shows those there are")
    return _kept(connection, row)


def newest(connection: Connection, group: GroupName, environment: Environment) -> str:
    """The name of the group's newest campaign.

    Raises:
        Refused: it never had one.
    """
    row = connection.execute(
        "select name from campaign where group_name = %s and environment = %s"
        " order by begun_at desc, name desc limit 1",
        (group, environment.value),
    ).fetchone()
    if row is None:
        raise Refused(
            f"group: {group} has had no upgrade of its {environment.value} sites; begin one with "
            "`freshet group upgrade`"
        )
    return str(row["name"])


def names(connection: Connection, *, open_only: bool = False) -> list[str]:
    """The names of all campaigns, oldest first."""
    rows = connection.execute(
        "select name from campaign where not %s or done_at is null order by begun_at, name", (open_only,)
    ).fetchall()
    return [str(row["name"]) for row in rows]


def free_name(connection: Connection, group: GroupName, environment: Environment, version: Version) -> str:
    """A name for a new campaign: what it does, with a number when that was tried before."""
    stem = (
        f"{group}-{version}" if environment is Environment.PRODUCTION else f"{group}-{environment}-{version}"
    )
    taken, number = set(names(connection)), 1
    name = stem
    while name in taken:
        number += 1
        name = f"{stem}-{number}"
    return name


def open_request(connection: Connection, name: str, customer: CustomerName) -> RequestId | None:
    """The open request that was asked for `customer` within the campaign, if there is one."""
    row = connection.execute(
        "select number from request where campaign = %s and customer = %s and outcome is null",
        (name, customer),
    ).fetchone()
    return None if row is None else RequestId.of(int(str(row["number"])))


def _write_members(connection: Connection, campaign: Campaign) -> None:
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into campaign_member (campaign, customer, ring, progress, request, ended_at, reason,"
            " forgiven) values (%s, %s, %s, %s, %s, %s, %s, %s)"
            " on conflict (campaign, customer) do update set progress = excluded.progress,"
            " request = excluded.request, ended_at = excluded.ended_at, reason = excluded.reason,"
            " forgiven = excluded.forgiven",
            [
                (
                    campaign.name,
                    member.customer,
                    member.ring,
                    member.progress.value,
                    None if member.request is None else member.request.number,
                    member.ended_at,
                    member.reason,
                    member.forgiven,
                )
                for member in campaign.members
            ],
        )


def _kept(connection: Connection, row: Row) -> Kept:
    cell: dict[str, Any] = dict(row)
    rows = connection.execute(
        "select * from campaign_member where campaign = %s order by ring, customer", (cell["name"],)
    ).fetchall()
    return Kept(
        campaign=Campaign(
            name=cell["name"],
            group=GroupName(cell["group_name"]),
            version=Version(cell["version"]),
            members=tuple(_member(member) for member in rows),
            soak=timedelta(seconds=cell["soak_s"]),
            parallel=cell["parallel"],
            breaker=Breaker(
                failures=cell["failures"],
                share=cell["share"],
                from_ended=cell["from_ended"],
                canary_failures=cell["canary_failures"],
            ),
            paused=cell["paused"],
        ),
        environment=Environment(cell["environment"]),
        begun_by=EmailAddress(cell["begun_by"]),
        begun_at=cell["begun_at"],
        done_at=cell["done_at"],
        stage_told=cell["stage_told"],
    )


def _member(row: Row) -> Member:
    cell: dict[str, Any] = dict(row)
    return Member(
        customer=CustomerName(cell["customer"]),
        ring=cell["ring"],
        progress=Progress(cell["progress"]),
        request=None if cell["request"] is None else RequestId.of(cell["request"]),
        ended_at=cell["ended_at"],
        reason=cell["reason"],
        forgiven=cell["forgiven"],
    )
