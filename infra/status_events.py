"""Status events for other systems: schema `freshet.status/v1`, published to an SNS topic.

Invariant: one event for each change of a request's status, at least once, with the outbox key as its id; a
subscriber can filter by site and status without reading the body.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from infra.aws_client import calling, client
from infra.settings import Settings
from policy.errors import Refused, Unavailable
from policy.request import Kind, Outcome, Status

if TYPE_CHECKING:
    from mypy_boto3_sns.client import SNSClient

SCHEMA = "freshet.status/v1"
PUBLISHED = "docs/schema/freshet.status.v1.json"


class StatusEvent(BaseModel):
    """One change of one request's status."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        title=SCHEMA,
        json_schema_extra={
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$id": "urn:freshet:schema:status:v1",
        },
    )

    schema_: Literal["freshet.status/v1"] = Field(alias="schema", description="the version of this format")
    event: int = Field(description="the change's number; grows, also from one request to another")
    request: str = Field(description="the request, for example R42")
    kind: Kind = Field(description="what is done")
    site: str = Field(description="customer/environment")
    from_: Status | None = Field(alias="from", description="null when the request was just accepted")
    to: Status = Field(description="the status now")
    outcome: Outcome | None = Field(description="how it ended; null while it is open")
    at: AwareDatetime = Field(description="when it changed")
    scheduled_for: AwareDatetime | None = Field(
        default=None, description="the confirmed start, if there is one"
    )
    reason: str = Field(description="one plain sentence, or empty")


def schema() -> dict[str, Any]:
    """The JSON Schema of an event, as published in `docs/schema`."""
    published = StatusEvent.model_json_schema(by_alias=True, mode="serialization")
    for name, words in {"Kind": "The work.", "Status": "A status.", "Outcome": "An outcome."}.items():
        published["$defs"][name]["description"] = words
    return published


class StatusTopic:
    """The topic that other systems subscribe to."""

    def __init__(self, settings: Settings) -> None:
        self._topic = settings.status_topic
        self._sns: SNSClient = client("sns", settings, attempts=2)
        self._arn = self._topic if self._topic.startswith("arn:") else ""

    def publish(self, key: str, payload: Mapping[str, object]) -> None:
        """Publish the event that `payload` holds.

        Args:
            key: the event's id, in the attribute `message_id`.
            payload: as the outbox kept it.

        Raises:
            Unavailable: the topic does not take it now.
            Refused: the payload is no status event.
        """
        try:
            event = StatusEvent.model_validate(dict(payload))
        except ValidationError as error:
            fields = ", ".join(sorted({".".join(map(str, item["loc"])) for item in error.errors()}))
            raise Refused(f"outbox {key}: it is not a status event; wrong are {fields}") from None
        body = event.model_dump(mode="json", by_alias=True)
        attributes = {
            "message_id": key,
            "site": event.site,
            "request": event.request,
            "status": event.to.value,
        }
        with calling(f"status topic {self._topic}", refusals=("InvalidParameter", "InvalidParameterValue")):
            self._sns.publish(
                TopicArn=self._found(),
                Message=json.dumps(body, ensure_ascii=False),
                MessageAttributes={
                    name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
                },
            )

    def _found(self) -> str:
        if not self._arn:
            for page in self._sns.get_paginator("list_topics").paginate():
                for topic in page["Topics"]:
                    if topic["TopicArn"].rpartition(":")[2] == self._topic:
                        self._arn = topic["TopicArn"]
                        return self._arn
            raise Unavailable(f"status topic {self._topic}: there is none; create it, or set its ARN")
        return self._arn
