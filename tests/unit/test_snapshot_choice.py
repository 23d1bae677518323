"""Which kind of snapshot is chosen: the first against which nothing speaks, with a reason for each other."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

import pytest

from infra.postgres.snapshot_choice import Parts, choose, kind_named
from infra.postgres.snapshot_kind import Demand, Kind
from policy.errors import Refused


@dataclass
class Told:
    """A snapshot that says what it was told to say, and remembers that it was asked."""

    kind: Kind
    reason: str = ""
    asked: list[Demand] = field(default_factory=list)

    def why_not(self, demand: Demand) -> str:
        self.asked.append(demand)
        return self.reason

    def is_taken(self) -> bool:
        raise AssertionError("choosing takes nothing")

    def take(self, *, at: datetime) -> int:
        raise AssertionError(f"choosing takes nothing {at}")

    def prove(self) -> None:
        raise AssertionError("choosing takes nothing")

    def restore(self, *, at: datetime) -> bool:
        raise AssertionError(f"choosing takes nothing {at}")

    def is_restored(self) -> bool:
        raise AssertionError("choosing takes nothing")

    def drop(self) -> bool:
        raise AssertionError("choosing takes nothing")


def ways(**reasons: str) -> dict[Kind, Told]:
    return {Kind(name): Told(Kind(name), reason) for name, reason in reasons.items()}


def parts(told: dict[Kind, Told]) -> dict[Kind, Parts]:
    return {kind: [each] for kind, each in told.items()}


DEMAND = Demand(size=10)


@pytest.mark.parametrize(
    ("reasons", "expected"),
    [
        ({"dump": "", "template": "", "physical": ""}, Kind.TEMPLATE),
        ({"dump": "", "template": "no room", "physical": ""}, Kind.PHYSICAL),
        ({"dump": "", "template": "no room", "physical": "shared"}, Kind.DUMP),
        ({"dump": "", "template": "no right", "rds": ""}, Kind.RDS),
    ],
)
def test_the_first_against_which_nothing_speaks(reasons: dict[str, str], expected: Kind) -> None:
    told = ways(**reasons)
    absent = {kind: "not here" for kind in Kind if kind not in told}
    chosen = choose(parts(told), DEMAND, absent=absent)
    assert chosen.kind is expected
    assert list(chosen.parts) == [told[expected]]
    others = set(Kind) - {expected}
    assert set(chosen.why_not) == {kind.value for kind in others}, "every other kind has its reason"
    for kind, reason in reasons.items():
        if reason:
            assert chosen.why_not[kind] == reason
    for kind in absent:
        assert chosen.why_not[kind.value] == "not here"


def test_what_costs_a_look_is_asked_only_when_it_may_be_chosen() -> None:
    told = ways(template="", physical="", dump="")
    choose(parts(told), DEMAND, absent={})
    assert (told[Kind.TEMPLATE].asked, told[Kind.PHYSICAL].asked) == ([DEMAND], [])


def test_what_the_estate_asks_for_is_taken_or_refused_with_the_reason() -> None:
    told = ways(template="", physical="the server is shared", dump="")
    wanted = Demand(size=10, wanted=Kind.DUMP)
    chosen = choose(parts(told), wanted, absent={Kind.RDS: "not of AWS"})
    assert chosen.kind is Kind.DUMP
    assert chosen.why_not["template"] == "the estate asks for another"
    for kind, words in ((Kind.PHYSICAL, "physical: the server is shared"), (Kind.RDS, "rds: not of AWS")):
        with pytest.raises(Refused, match=words):
            choose(parts(told), Demand(size=10, wanted=kind), absent={Kind.RDS: "not of AWS"})
    with pytest.raises(Refused, match="'tape' is unknown; use template, physical, rds, dump"):
        kind_named("tape")


def test_one_database_that_cannot_be_kept_so_speaks_for_all() -> None:
    good, bad = Told(Kind.TEMPLATE), Told(Kind.TEMPLATE, "another owns it")
    dump = Told(Kind.DUMP)
    chosen = choose({Kind.TEMPLATE: [good, bad], Kind.DUMP: [dump]}, DEMAND, absent={})
    assert (chosen.kind, chosen.why_not["template"]) == (Kind.DUMP, "another owns it")


def test_room_is_counted_for_all_databases_together() -> None:
    assert (
        Demand(size=5 * 10**9, room=4 * 10**9).too_large == "it has 5.0 GB, and the server can spare 4.0 GB"
    )
    assert Demand(size=5 * 10**9, room=5 * 10**9).too_large == ""
    assert Demand(size=5 * 10**9).too_large == ""
