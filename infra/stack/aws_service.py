"""A moto server as the endpoint of SQS, SNS, S3 and SES, with the queues, topic and bucket that Freshet uses.

Invariant: its memory is lost when it stops, so what Freshet needs there is created at every start; nothing
that must survive is kept there (a request is safe once the ledger has it).
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Mapping

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from infra.stack import settings_file
from infra.stack.daemon import Daemon
from infra.stack.layout import Layout
from infra.stack.ports import Ports, is_free
from infra.stack.program_service import ProgramService
from policy.errors import Unavailable

RECEIVES_BEFORE_DEAD = 3
_CONFIG = Config(connect_timeout=2, read_timeout=3, retries={"total_max_attempts": 1})


class AwsService(ProgramService):
    """The endpoint and what is in it."""

    within_s = 60.0
    name = "aws"
    what = "AWS endpoint (SQS, SNS, S3, SES)"
    after: tuple[str, ...] = ()

    def __init__(self, *, layout: Layout, ports: Ports, settings: Mapping[str, str]) -> None:
        self.ports: tuple[int, ...] = (ports.aws,)
        self._endpoint = f"http://127.0.0.1:{ports.aws}"
        self._session = boto3.Session(
            aws_access_key_id="embedded",
            aws_secret_access_key="embedded",  # noqa: S106 - the endpoint believes everybody
            region_name=settings_file.REGION,
        )
        self.daemon = Daemon(
            command=[
                sys.executable, "-m", "moto.server",
                "--host", "127.0.0.1", "--port", str(ports.aws),
            ],
            state=layout.state,
            log=layout.logs / f"{self.name}.log",
            environment=settings_file.environment(settings),
            directory=layout.state,
        )  # fmt: skip

    def start(self, stopping: threading.Event) -> None:
        """Start it and create what Freshet uses."""
        super().start(stopping)
        try:
            self._furnish()
        except (BotoCoreError, ClientError) as error:
            raise Unavailable(f"the AWS endpoint refused what Freshet needs there: {error}") from error

    def ailment(self) -> str | None:
        """What is missing there."""
        sqs = self._session.client("sqs", endpoint_url=self._endpoint, config=_CONFIG)
        try:
            known = {url.rpartition("/")[2] for url in sqs.list_queues().get("QueueUrls", [])}
        except (BotoCoreError, ClientError) as error:
            return f"{self._endpoint} does not answer ({type(error).__name__})"
        wanted = {settings_file.QUEUE, settings_file.DEAD_LETTER_QUEUE, settings_file.STATUS_LOG_QUEUE}
        missing = ", ".join(sorted(wanted - known))
        return f"the queue {missing} is missing; run `freshet up`" if missing else None

    def silence(self) -> str | None:
        """What keeps it from answering."""
        if is_free(self.ports[0]):
            return f"nobody listens on port {self.ports[0]}"
        sqs = self._session.client("sqs", endpoint_url=self._endpoint, config=_CONFIG)
        try:
            sqs.list_queues()
        except (BotoCoreError, ClientError) as error:
            return f"{self._endpoint} does not answer ({type(error).__name__})"
        return None

    def _furnish(self) -> None:
        sqs = self._session.client("sqs", endpoint_url=self._endpoint, config=_CONFIG)
        sns = self._session.client("sns", endpoint_url=self._endpoint, config=_CONFIG)

        def queue(name: str) -> str:
            url = sqs.create_queue(QueueName=name)["QueueUrl"]
            return sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"][
                "QueueArn"
            ]

        dead = queue(settings_file.DEAD_LETTER_QUEUE)
        redrive = json.dumps({"deadLetterTargetArn": dead, "maxReceiveCount": RECEIVES_BEFORE_DEAD})
        requests = sqs.create_queue(QueueName=settings_file.QUEUE)["QueueUrl"]
        sqs.set_queue_attributes(
            QueueUrl=requests, Attributes={"VisibilityTimeout": "30", "RedrivePolicy": redrive}
        )
        log = queue(settings_file.STATUS_LOG_QUEUE)
        topic = sns.create_topic(Name=settings_file.STATUS_TOPIC)["TopicArn"]
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=log, Attributes={"RawMessageDelivery": "true"})
        s3 = self._session.client("s3", endpoint_url=self._endpoint, config=_CONFIG)
        s3.create_bucket(Bucket=settings_file.BUCKET)
        ses = self._session.client("ses", endpoint_url=self._endpoint, config=_CONFIG)
        ses.verify_domain_identity(Domain="hosting.example.org")
