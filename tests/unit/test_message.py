"""The message format: what is read, what is refused and in which words, and that the schema says the same."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import jsonschema
import pytest

from infra.message import MAX_BYTES, PUBLISHED, SCHEMA, compose_message, parse_message, schema
from policy.errors import Refused
from policy.names import Environment, SiteId
from policy.request import Kind

ROOT = Path(__file__).parents[2]
ID = "6b1f4f0e-5f0c-4a3e-9a59-0c8b6f3c2f11"
GOOD: dict[str, Any] = {
    "schema": SCHEMA,
    "message_id": ID,
    "customer": "lakeside",
    "site": "staging",
    "version": "26.5.0",
    "refresh": True,
    "at": "2026-11-22T02:00",
    "zone": "America/Chicago",
    "as": "it@lakeside.example.org",
    "note": "Please call before.\nThank you — Grüße",
}


def body(**changed: object) -> str:
    return json.dumps({key: value for key, value in (GOOD | changed).items() if value is not ...})


def findings(text: str) -> tuple[str, ...]:
    with pytest.raises(Refused) as caught:
        parse_message(text)
    return caught.value.findings


def test_a_whole_message_becomes_a_wish() -> None:
    wish = parse_message(body())
    assert wish.site == SiteId(wish.customer, Environment.STAGING)
    assert str(wish.site) == "lakeside/staging"
    assert wish.version == "26.5.0"
    assert wish.kind is Kind.UPGRADE
    assert wish.refresh is True
    assert wish.at == datetime(2026, 11, 22, 2, 0)  # noqa: DTZ001 - local time as it was asked for
    assert wish.zone == ZoneInfo("America/Chicago")
    assert wish.on_behalf_of == "it@lakeside.example.org"
    assert wish.note == GOOD["note"]


def test_the_smallest_message_becomes_a_wish() -> None:
    wish = parse_message(
        json.dumps(
            {"schema": SCHEMA, "message_id": ID, "customer": "lakeside", "site": "sandbox", "refresh": True}
        )
    )
    assert (wish.version, wish.at, wish.zone, wish.on_behalf_of, wish.note) == (None, None, None, None, "")
    assert wish.kind is Kind.REFRESH


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-11-22T02:00-06:00", datetime(2026, 11, 22, 8, 0, tzinfo=UTC)),
        ("2026-11-22 02:00:00Z", datetime(2026, 11, 22, 2, 0, tzinfo=UTC)),
        ("2026-11-22T02:00+05:45", datetime(2026, 11, 21, 20, 15, tzinfo=UTC)),
    ],
)
def test_a_time_with_an_offset_is_that_instant(text: str, instant: datetime) -> None:
    at = parse_message(body(at=text, zone=None)).at
    assert at is not None
    assert at.tzinfo is not None
    assert at == instant


def test_the_digest_knows_content_not_form() -> None:
    compact = json.dumps(dict(reversed(list(GOOD.items()))), separators=(",", ":"), ensure_ascii=True)
    assert parse_message(compact).message_digest == parse_message(body()).message_digest
    assert (
        parse_message(body(zone=None, at=None)).message_digest
        == parse_message(body(zone=..., at=...)).message_digest
    )
    assert parse_message(body(message_id=ID.upper())).message_digest == parse_message(body()).message_digest


@pytest.mark.parametrize(
    "change",
    [
        {"message_id": str(uuid.UUID(int=7))},
        {"customer": "harbor"},
        {"site": "preview"},
        {"version": "26.5.1"},
        {"refresh": False},
        {"at": "2026-11-22T02:01"},
        {"zone": "America/Denver"},
        {"as": None},
        {"note": ""},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_field_counts_in_the_digest(change: dict[str, object]) -> None:
    assert parse_message(body(**change)).message_digest != parse_message(body()).message_digest


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        ({"schema": "freshet.request/v2"}, "schema: unknown format"),
        ({"schema": ...}, "schema: it is missing"),
        ({"message_id": "7"}, "message_id: it must be a UUID"),
        ({"message_id": 7}, "message_id: it must be a UUID in quotes"),
        ({"message_id": ...}, "message_id: it is missing"),
        ({"customer": "Lake Side"}, "customer: 'Lake Side' is not valid"),
        ({"customer": "lakeside\n"}, "customer: 'lakeside?' is not valid"),
        ({"customer": "lakeside'; drop table request;--"}, "customer: "),
        ({"customer": "../live"}, "customer: "),
        ({"customer": "l\u0430keside"}, "customer: "),
        ({"customer": "x" * 31}, "customer: "),
        ({"customer": "x" * 301}, "customer: it is too long"),
        ({"customer": None}, "customer: it must be text"),
        ({"site": "live"}, "site: it must be one of production, sandbox, staging, preview"),
        ({"site": 1}, "site: "),
        ({"version": "v26.5"}, "version: "),
        ({"version": "26.5.0; reboot"}, "version: "),
        ({"version": "../26"}, "version: "),
        ({"version": 26.5}, "version: it must be text"),
        ({"refresh": "true"}, "refresh: it must be true or false"),
        ({"refresh": 1}, "refresh: it must be true or false"),
        ({"refresh": False, "version": None}, "refresh: the message asks for nothing"),
        ({"at": "tomorrow"}, "at: it is not a date and time"),
        ({"at": "2026-11-22"}, "at: it is not a date and time"),
        ({"at": "2026-02-30T02:00"}, "at: there is no such date"),
        ({"at": "2026-11-22T25:00"}, "at: there is no such date"),
        ({"at": "9999-12-31T23:59"}, "at: it is not a date and time"),
        ({"at": "２０26-11-22T02:00"}, "at: it is not a date and time"),
        ({"zone": None}, "at: it has neither an offset nor a zone"),
        ({"at": "2026-11-22T02:00-06:00"}, "at: it has an offset and there is a zone as well"),
        ({"zone": "CDT"}, "zone: it is not an IANA time zone"),
        ({"zone": "../../etc/passwd"}, "zone: it is not an IANA time zone"),
        ({"zone": "America"}, "zone: it is not an IANA time zone"),
        ({"zone": "\0"}, "zone: it is not an IANA time zone"),
        ({"as": "Ann <it@lakeside.example.org>"}, "as: "),
        ({"as": "it@lakeside.example.org\r\nBcc: x@example.org"}, "as: "),
        ({"note": "a\0b"}, "note: it holds control characters"),
        ({"note": "pay \u202eevil"}, "note: it holds control characters"),
        ({"note": "\x1b[2Jgone"}, "note: it holds control characters"),
        ({"note": "\ud800"}, "note: it holds half a character"),
        ({"note": "x" * 2001}, "note: it is too long"),
        ({"asked_by": "boss@hosting.example.org"}, "asked_by: freshet.request/v1 has no such field"),
        ({"role": "engineer"}, "role: freshet.request/v1 has no such field"),
    ],
)
def test_what_is_wrong_is_refused_by_field_with_the_remedy(change: dict[str, object], finding: str) -> None:
    found = findings(body(**change))
    assert len(found) == 1
    assert found[0].startswith(finding)
    assert len(found[0]) < 400


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("", "message: it is not JSON"),
        ("nonsense", "message: it is not JSON"),
        ("\ufeff{}", "message: it is not JSON"),
        ("null", "message: it is not a JSON object"),
        ("[1]", "message: it is not a JSON object"),
        ('{"\\ud800": 1}', "message: it holds half a character"),
        ("9" * 5000, "message: it is not JSON"),
        ('{"a": NaN}', "message: NaN and Infinity are not JSON"),
        ("[" * MAX_BYTES, "message: it is nested too deeply"),
        ('{"a":' * 10_000, "message: it is nested too deeply"),
        ('{"site": "sandbox", "site": "production"}', "message: a key stands in it twice"),
        ('"' + "x" * MAX_BYTES + '"', "message: it is larger than 65536 bytes"),
        ('"' + "€" * 30_000 + '"', "message: it is larger than 65536 bytes"),
        ('"' + "\ud800" * 30_000 + '"', "message: it is larger than 65536 bytes"),
    ],
    ids=range(14),
)
def test_what_is_no_message_at_all_is_refused(text: str, finding: str) -> None:
    assert findings(text)[0].startswith(finding)


def test_every_mistake_is_told_at_once() -> None:
    found = findings(body(customer="A", version="x", at="soon", zone="moon", **{"as": "me"}))
    assert {finding.partition(":")[0] for finding in found} == {"customer", "version", "at", "zone", "as"}


def test_findings_quote_no_unchecked_text_and_stay_few() -> None:
    hostile = {f"\x1b]0;{i}\n{'secret-in-a-key' * 9}": "secret-in-a-value" for i in range(300)}
    found = findings(json.dumps(GOOD | hostile))
    assert len(found) == 21
    assert found[-1] == "message: 280 more findings"
    text = "\n".join(found)
    assert "secret-in-a-value" not in text
    assert "\x1b" not in text
    assert max(map(len, found)) < 200


def test_the_largest_message_that_fits_is_read() -> None:
    text = body()
    assert parse_message(text + " " * (MAX_BYTES - len(text.encode()))).customer == "lakeside"
    assert findings(text + " " * MAX_BYTES)[0].startswith("message: it is larger")


def test_composed_messages_are_read_back_and_new_each_time() -> None:
    first, second = (
        parse_message(compose_message(customer="lakeside", site="sandbox", refresh=True)) for _ in range(2)
    )
    assert first.site == second.site
    assert first.message_digest != second.message_digest
    again = uuid.UUID(ID)
    assert compose_message(
        customer="harbor", site="staging", version="26.5.0", message_id=again
    ) == compose_message(customer="harbor", site="staging", version="26.5.0", message_id=again)
    with pytest.raises(Refused, match="customer"):
        compose_message(customer="Harbor College", site="staging", refresh=True)


def test_the_published_schema_is_the_models() -> None:
    published = json.loads((ROOT / PUBLISHED).read_text(encoding="utf-8"))
    assert published == schema(), f"write infra.message.schema() to {PUBLISHED}"
    jsonschema.Draft202012Validator.check_schema(published)


@pytest.mark.parametrize(
    ("change", "valid"),
    [
        ({}, True),
        ({"version": None}, True),
        ({"refresh": ...}, True),
        ({"at": None, "zone": None, "as": None, "note": ...}, True),
        ({"extra": 1}, False),
        ({"customer": "Lake Side"}, False),
        ({"customer": "x" * 31}, False),
        ({"site": "live"}, False),
        ({"version": "v1"}, False),
        ({"version": None, "refresh": False}, False),
        ({"at": "soon"}, False),
        ({"note": "x" * 2001}, False),
        ({"message_id": ...}, False),
        ({"schema": "freshet.request/v0"}, False),
    ],
)
def test_schema_and_reader_agree(change: dict[str, object], *, valid: bool) -> None:
    text = body(**change)
    assert jsonschema.Draft202012Validator(schema()).is_valid(json.loads(text)) is valid
    if valid:
        parse_message(text)
    else:
        findings(text)


def test_offsets_survive_as_written() -> None:
    at = parse_message(body(at="2026-11-22T02:00-06:00", zone=None)).at
    assert at is not None
    assert at.tzinfo == timezone(timedelta(hours=-6))
