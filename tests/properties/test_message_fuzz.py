"""Whatever arrives on the queue: a wish or a refusal, never another error, never a growing process."""

from __future__ import annotations

import json
import random
import string
import time
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import count
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.message import SCHEMA, parse_message, schema
from policy.errors import Refused
from policy.names import Environment
from policy.wish import Wish

GOOD: dict[str, Any] = {
    "schema": SCHEMA,
    "message_id": "6b1f4f0e-5f0c-4a3e-9a59-0c8b6f3c2f11",
    "customer": "lakeside",
    "site": "sandbox",
    "version": "26.5.0",
    "refresh": True,
    "at": "2026-11-22T02:00",
    "zone": "America/Chicago",
    "as": "it@lakeside.example.org",
    "note": "x",
}
VALIDATOR = jsonschema.Draft202012Validator(schema())

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
near_misses = st.dictionaries(st.sampled_from([*GOOD, "role", "As", "\0"]), anything, max_size=5)


def judge(body: str) -> Wish | None:
    """Read `body` and prove what must hold of either answer."""
    wish: Wish | None = None
    findings: tuple[str, ...] = ()
    try:
        wish = parse_message(body)
    except Refused as refused:
        findings = refused.findings
    if wish is None:
        assert findings
        for finding in findings:
            field, colon, rest = finding.partition(": ")
            assert field
            assert colon
            assert rest
            assert len(finding) < 500
            assert finding.isprintable()
        return None
    assert isinstance(wish.site.environment, Environment)
    assert len(wish.message_digest or "") == 64
    assert wish.version is not None or wish.refresh
    assert wish.at is None or isinstance(wish.at, datetime)
    assert wish.at is None or (wish.at.tzinfo is None) == (wish.zone is not None)
    assert "\0" not in wish.note
    wish.note.encode()
    assert VALIDATOR.is_valid(json.loads(body)), "the reader took what the published schema forbids"
    return wish


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=200))
def test_any_text(body: str) -> None:
    judge(body)


@settings(max_examples=300, deadline=None)
@given(anything)
def test_any_json(value: object) -> None:
    judge(json.dumps(value))


@settings(max_examples=400, deadline=None)
@given(near_misses)
def test_messages_with_anything_in_their_fields(changed: dict[str, object]) -> None:
    judge(json.dumps(GOOD | changed))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_messages_cut_or_with_a_character_changed(data: st.DataObject) -> None:
    body = json.dumps(GOOD)
    at = data.draw(st.integers(0, len(body) - 1))
    judge(body[:at])
    judge(body[:at] + data.draw(st.characters()) + body[at + 1 :])


def mutations(seed: int) -> Iterator[str]:
    """Bodies without end, the same for the same seed: texts, wrong types, floods and shifted bytes."""
    dice = random.Random(seed)  # noqa: S311 - inputs, not secrets
    alphabet = string.printable + "\0\u202e\ud800é漢🙂{}[]\",:'\\"
    values: list[object] = [
        *(None, True, 0, -1, 1e308, 10**400, "", "\0", "x" * 5000, [], {}, [[[]]], "2026-13-01T00:00", "UTC"),
        *("2026-03-08T02:30", "lakeside", "26.5.0", "production", "../x", "'; --", "a@b.cc", "\ud800", "９"),
    ]
    while True:
        kind = dice.randrange(6)
        good = dict(GOOD)
        for _ in range(dice.randrange(4)):
            good[dice.choice([*GOOD, "extra", "schema "])] = dice.choice(values)
        body = json.dumps(good, ensure_ascii=dice.random() < 0.5)
        if kind == 0:
            yield "".join(dice.choices(alphabet, k=dice.randrange(120)))
        elif kind == 1:
            at = dice.randrange(len(body))
            yield body[:at] + dice.choice(alphabet) + body[at + dice.randrange(3) :]
        elif kind == 2:
            yield body[: dice.randrange(len(body))]
        elif kind == 3:
            yield dice.choice('[{"') * dice.randrange(300) + body
        elif kind == 4:
            yield body[:-1] + "," + body[1:]
        else:
            yield body


@pytest.mark.slow
@pytest.mark.timeout(280)
def test_100_000_bodies_crash_nothing_and_leave_memory_flat(
    record_property: Callable[[str, object], None],
) -> None:
    tried = count()
    bodies = (body for body, _ in zip(mutations(20261121), tried, strict=False))
    started = time.process_time()
    accepted = 0
    for _ in range(10_000):
        accepted += judge(next(bodies)) is not None
    tracemalloc.start()
    for _ in range(2_000):
        judge(next(bodies))
    before, _ = tracemalloc.get_traced_memory()
    for _ in range(2_000):
        judge(next(bodies))
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    for _ in range(86_000):
        accepted += judge(next(bodies)) is not None
    seconds = time.process_time() - started
    assert accepted > 1_000, "the inputs never get past the door, so they prove little"
    assert after - before < 200_000
    assert seconds < 60, f"{seconds:.0f} CPU-seconds"
    record_property("fuzz_inputs", next(tried))
