"""`freshet group …`: a group's upgrade begun, watched, held and ended at a terminal."""

from __future__ import annotations

import json
from functools import partial

from tests.integration.terminals import Terminal


def test_the_group_commands(terminal: Terminal) -> None:
    run = partial(terminal.says, "group")
    begun = json.loads(
        run(
            "upgrade",
            "coastal",
            "--version",
            "26.5.0",
            *("--canary", "dune", "--rings", "1,2", "--soak-hours", "48", "--parallel", "1"),
            *("--exclude", "bay", "--reason", "Audit", "--json"),
        )
    )
    assert list(begun) == [
        "name",
        "group",
        "site",
        "version",
        "stage",
        "sentence",
        "paused",
        "stopped_because",
        "soak_hours",
        "parallel",
        "breaker",
        "begun_by",
        "begun_at",
        "done_at",
        "counts",
        "customers",
    ]
    assert [(m["customer"], m["ring"], m["progress"]) for m in begun["customers"]] == [
        ("dune", 0, "waiting"),
        ("bay", 1, "excluded"),
        ("cove", 2, "waiting"),
        ("harbor", 2, "waiting"),
    ]
    assert "coastal-26.5.0 is running" in run("show", "coastal")
    assert "is paused (Exams)" in run("pause", "coastal", "--reason", "Exams")
    assert "is running" in run("resume", "coastal", "--reason", "Over")
    assert "refused: customer: lakeside is not part" in run(
        "exclude", "coastal", "lakeside", "--reason", "x", code=2
    )
    assert "refused: rings: " in run("upgrade", "coastal", "--version", "26.5.0", "--rings", "many", code=2)
    assert "refused: group: " in run("show", "allies", code=2)
    assert "1 waiting" not in run("include", "coastal", "bay", "--reason", "Audit is over")
    assert "is done" in run("end", "coastal", "--reason", "Another release comes")
    (line,) = json.loads(run("list", "--json"))
    assert line["counts"] == {"excluded": 4}
