"""A request as it travels on the queue: schema `freshet.request/v1`.

Invariant: whatever bytes arrive, `parse_message` returns a well-formed wish or raises `Refused` with every
finding at once, each naming its field; nothing of the body is quoted unchecked. The published schema is
generated from the model here.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from infra.message_fields import note_of, time_of, zone_of
from policy.errors import Refused
from policy.names import CustomerName, EmailAddress, Environment, SiteId, Version
from policy.wish import Wish

SCHEMA: Literal["freshet.request/v1"] = "freshet.request/v1"
MAX_BYTES = 64 * 1024
MAX_NOTE = 2000
MAX_FINDINGS = 20
PUBLISHED = "docs/schema/freshet.request.v1.json"

T = TypeVar("T")
Text = Annotated[str, StringConstraints(max_length=300)]


def _pattern(expression: str, example: str) -> dict[str, Any]:
    """Tells readers of the schema the form; the value types of `policy.names` are what decides."""
    return {"pattern": expression, "examples": [example]}


class RequestMessage(BaseModel):
    """One update request."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        hide_input_in_errors=True,
        title=SCHEMA,
        json_schema_extra={
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$id": "urn:freshet:schema:request:v1",
            "anyOf": [
                {"required": ["version"], "properties": {"version": {"type": "string"}}},
                {"required": ["refresh"], "properties": {"refresh": {"const": True}}},
            ],
        },
    )

    schema_: Literal["freshet.request/v1"] = Field(alias="schema", description="the version of this format")
    message_id: uuid.UUID = Field(
        strict=False,
        description="chosen by the sender; the same content sent again is the same request",
        examples=["6b1f4f0e-5f0c-4a3e-9a59-0c8b6f3c2f11"],
    )
    customer: Text = Field(
        description="the customer's short name in the estate",
        json_schema_extra=_pattern("^[a-z][a-z0-9]*(-[a-z0-9]+)*$", "lakeside") | {"maxLength": 30},
    )
    site: Environment = Field(strict=False, description="which of the customer's sites")
    version: Text | None = Field(
        default=None,
        description="the release wanted; null asks for a database refresh only",
        json_schema_extra=_pattern(r"^(0|[1-9][0-9]{0,5})(\.(0|[1-9][0-9]{0,5})){1,3}$", "26.5.0"),
    )
    refresh: bool = Field(default=False, description="copy the site's database from Production")
    at: Text | None = Field(
        default=None,
        description="the preferred time: local to `zone`, or with an offset; null means as soon as it fits",
        json_schema_extra=_pattern(
            "^20[0-9]{2}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2})?(Z|[+-][0-9]{2}:[0-9]{2})?$",
            "2026-11-22T02:00",
        ),
    )
    zone: Text | None = Field(
        default=None,
        description="IANA time zone of a local `at`; not together with an `at` that has an offset",
        examples=["America/Chicago"],
    )
    as_: Text | None = Field(
        default=None,
        alias="as",
        description="the contact that the sender speaks for; believed only of senders that may do so",
        examples=["it@lakeside.example.org"],
    )
    note: str = Field(
        default="",
        max_length=MAX_NOTE,
        description="the asker's own words for the people who do the work; no control characters",
    )


def schema() -> dict[str, Any]:
    """The JSON Schema of a message, as published in `docs/schema`."""
    published = RequestMessage.model_json_schema(by_alias=True, mode="validation")
    published["$defs"]["Environment"]["description"] = "Which site of the customer."
    return published


def parse_message(body: str) -> Wish:
    """Read one message.

    Args:
        body: as it was received; anything.

    Raises:
        Refused: it is not a well-formed request; every finding names its field.
    """
    message = _validated(_decoded(body))
    findings: list[str] = []

    def check(field: str, make: Callable[[], T]) -> T | None:
        try:
            return make()
        except Refused as refused:
            findings.extend(f"{field}: {finding.partition(': ')[2]}" for finding in refused.findings)
            return None

    customer = check("customer", lambda: CustomerName(message.customer))
    version = check("version", lambda: None if message.version is None else Version(message.version))
    on_behalf_of = check("as", lambda: None if message.as_ is None else EmailAddress(message.as_))
    zone = check("zone", lambda: zone_of(message.zone))
    at = check("at", lambda: time_of(message.at, message.zone))
    note = check("note", lambda: note_of(message.note))
    if message.version is None and not message.refresh:
        findings.append("refresh: the message asks for nothing; give a version, or set refresh to true")
    if findings or customer is None or note is None:
        raise Refused(*findings)
    return Wish(
        site=SiteId(customer, message.site),
        version=version,
        refresh=message.refresh,
        at=at,
        zone=zone,
        on_behalf_of=on_behalf_of,
        message_digest=digest(message),
        note=note,
    )


def compose_message(
    *,
    customer: str,
    site: str,
    version: str | None = None,
    refresh: bool = False,
    at: str | None = None,
    zone: str | None = None,
    on_behalf_of: str | None = None,
    note: str = "",
    message_id: uuid.UUID | None = None,
) -> str:
    """The body of a message with these fields; the id is a new one unless given.

    Raises:
        Refused: the fields do not make a well-formed request.
    """
    body = json.dumps(
        {
            "schema": SCHEMA,
            "message_id": str(message_id or uuid.uuid4()),
            "customer": customer,
            "site": site,
            "version": version,
            "refresh": refresh,
            "at": at,
            "zone": zone,
            "as": on_behalf_of,
            "note": note,
        }
    )
    parse_message(body)
    return body


def digest(message: RequestMessage) -> str:
    """Identifies the content: the order of keys, spaces and left-out defaults make no difference."""
    canonical = json.dumps(
        message.model_dump(mode="json", by_alias=True),
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=True,
    )
    return hashlib.sha256(canonical.encode()).hexdigest()


def _decoded(body: str) -> Mapping[str, object]:
    if len(body) > MAX_BYTES or len(body.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise Refused(f"message: it is larger than {MAX_BYTES} bytes; send a shorter note")
    try:
        decoded = json.loads(body, object_pairs_hook=_unique, parse_constant=_no_constant)
    except RecursionError:
        raise Refused(f"message: it is nested too deeply; send one flat object, see {PUBLISHED}") from None
    except ValueError:
        # The decoder's own words quote the input.
        raise Refused(f"message: it is not JSON; send one object as {PUBLISHED} describes") from None
    if not isinstance(decoded, dict):
        raise Refused(f"message: it is not a JSON object; send one as {PUBLISHED} describes")
    return decoded


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        # Readers differ on which of the two counts, so neither does.
        raise Refused("message: a key stands in it twice; give each field once")
    return found


def _no_constant(_: str) -> object:
    raise Refused("message: NaN and Infinity are not JSON; remove them")


def _validated(decoded: Mapping[str, object]) -> RequestMessage:
    try:
        return RequestMessage.model_validate(decoded)
    except ValidationError as error:
        findings = [
            _finding(tuple(item["loc"]), item["type"])
            for item in error.errors(include_input=False, include_url=False, include_context=False)
        ]
        # A body of thousands of unknown keys must not become an error of thousands of lines.
        more = len(findings) - MAX_FINDINGS
        rest = [f"message: {more} more findings"] if more > 0 else []
        raise Refused(*findings[:MAX_FINDINGS], *rest) from None


def _finding(where: tuple[int | str, ...], kind: str) -> str:
    # An unknown key is the sender's own text: shown cut and printable. A key with a lone surrogate in it has
    # no place that could be named.
    key = str(where[0]) if where else "message"
    field = "".join(c if c.isprintable() and c.isascii() else "?" for c in key[:40]) or "(empty)"
    if kind == "extra_forbidden":
        fields = ", ".join(info.alias or name for name, info in RequestMessage.model_fields.items())
        return f"{field}: {SCHEMA} has no such field; remove it (the fields are {fields})"
    environments = ", ".join(Environment)
    problems = {
        "missing": "it is missing; add it",
        "literal_error": f"unknown format; this version of Freshet reads {SCHEMA}",
        "enum": f"it must be one of {environments}; correct it",
        "bool_type": "it must be true or false, without quotes; correct it",
        "string_type": "it must be text in quotes; correct it",
        "string_unicode": "it holds half a character (a lone surrogate); correct it",
        "string_too_long": "it is too long; shorten it",
        "uuid_type": "it must be a UUID in quotes; correct it",
        "uuid_parsing": "it must be a UUID; correct it",
    }
    return f"{field}: {problems.get(kind, f'it is not valid; see {PUBLISHED}')}"
