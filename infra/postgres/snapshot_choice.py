"""Which kind of snapshot is taken on a server, and why not the others.

Invariant: a kind that is not chosen is named with its reason, so that a report says why an upgrade took as
long as it did. What costs a look at a host or at AWS is asked only when a quicker kind is not possible.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from infra.postgres.snapshot_kind import Demand, Kind, Snapshot
from policy.errors import Refused

Parts = Sequence[Snapshot]
"""Snapshots of one kind that together hold every database of a web application on one server."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What was chosen for the databases on a server.

    Attributes:
        why_not: the reason for each kind that was not chosen.
    """

    kind: Kind
    parts: Parts
    why_not: Mapping[str, str]


def kind_named(word: object) -> Kind:
    """The kind that the estate calls `word`.

    Raises:
        Refused: there is no such kind.
    """
    try:
        return Kind(str(word))
    except ValueError:
        raise Refused(f"snapshot: '{str(word)[:30]}' is unknown; use {', '.join(Kind)}") from None


def choose(possible: Mapping[Kind, Parts], demand: Demand, *, absent: Mapping[Kind, str]) -> Choice:
    """The first kind, in the order of preference, against which nothing speaks.

    Args:
        possible: the snapshots of each kind that could be taken on the server.
        demand: what is to be kept, and the kind that the estate asks for, if any.
        absent: why the other kinds are not possible at all.

    Raises:
        Refused: none can be taken, or not the one that is asked for.
    """
    why_not: dict[str, str] = {kind.value: reason for kind, reason in absent.items()}
    order = list(Kind) if demand.wanted is None else [demand.wanted]
    for kind in order:
        if kind not in possible:
            continue
        parts = possible[kind]
        reason = next((found for part in parts if (found := part.why_not(demand))), "")
        if reason:
            why_not[kind.value] = reason
            continue
        rest = "a quicker kind is possible" if demand.wanted is None else "the estate asks for another"
        return Choice(
            kind=kind,
            parts=parts,
            why_not={
                **{other.value: rest for other in Kind if other is not kind and other in possible},
                **why_not,
            },
        )
    raise Refused(
        "snapshot: none can be taken: " + "; ".join(f"{kind}: {why_not[kind.value]}" for kind in order)
    )
