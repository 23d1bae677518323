"""The file `settings.env`: what the processes of this stack need to know, written by `freshet up`.

Invariant: names, addresses and paths only. A secret is named there by its file, never by its value.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from dotenv import dotenv_values

from infra.stack.layout import PROJECT, Layout
from infra.stack.ports import Ports

_OTHERS = ("PREFECT_", "AWS_", "FRESHET_", "PYTHONDONTWRITEBYTECODE")
"""Not inherited: what would contradict the settings, and what would have every run compile Prefect again."""

LEDGER_PASSFILE = "pgpass-ledger"
REGION = "us-east-1"
QUEUE = "freshet-requests"
DEAD_LETTER_QUEUE = "freshet-requests-dead"
STATUS_TOPIC = "freshet-status"
STATUS_LOG_QUEUE = "freshet-status-log"
BUCKET = "freshet-evidence"
ONE_SENDER = "AIDAIT2UOQQY3AUEKVGXU"
"""The endpoint reports this principal for everybody; here it is a portal that speaks for its users."""


def settings_of(layout: Layout, ports: Ports) -> dict[str, str]:
    """The settings of every process that works with this stack."""
    return {
        "FRESHET_HOME": str(PROJECT),
        "FRESHET_STATE_DIR": str(layout.state),
        "FRESHET_ESTATE": os.environ.get("FRESHET_ESTATE") or str(layout.estate),
        "FRESHET_ROLES": os.environ.get("FRESHET_ROLES") or "[]",
        "FRESHET_SECRETS_DIR": str(layout.secrets),
        "FRESHET_LEDGER": f"host=127.0.0.1 port={ports.control} dbname=freshet user=freshet",
        "FRESHET_LEDGER_PASSFILE": str(layout.secrets / LEDGER_PASSFILE),
        "FRESHET_AWS_ENDPOINT": f"http://127.0.0.1:{ports.aws}",
        "FRESHET_AWS_REGION": REGION,
        "FRESHET_QUEUE": QUEUE,
        "FRESHET_DEAD_LETTER_QUEUE": DEAD_LETTER_QUEUE,
        "FRESHET_STATUS_TOPIC": STATUS_TOPIC,
        "FRESHET_SENDERS": json.dumps({ONE_SENDER: {"speaks_for_others": True}}),
        "FRESHET_SMTP": f"127.0.0.1:{ports.smtp}",
        "FRESHET_PREFECT_API": f"http://127.0.0.1:{ports.prefect}/api",
        # The endpoint is on this machine and believes everybody; these only keep real accounts out of it.
        "AWS_ACCESS_KEY_ID": "embedded",
        "AWS_SECRET_ACCESS_KEY": "embedded",
        "AWS_DEFAULT_REGION": REGION,
        "PREFECT_HOME": str(layout.prefect),
        "PREFECT_API_URL": f"http://127.0.0.1:{ports.prefect}/api",
        # Without bounds a client hangs for two minutes on a server that went away.
        "PREFECT_CLIENT_MAX_RETRIES": "2",
        "PREFECT_API_REQUEST_TIMEOUT": "10",
        # Without a server a flow fails; it must not quietly start one of its own on SQLite.
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
        "PREFECT_LOGGING_COLORS": "false",
        # What a run says of itself stands beside Prefect's own lines.
        "PREFECT_LOGGING_EXTRA_LOGGERS": "freshet",
        "PREFECT_CLI_PROMPT": "false",
        "DO_NOT_TRACK": "1",
        # Releases are installed by uv, which trusts what the machine trusts.
        "UV_SYSTEM_CERTS": "1",
    }


def write(path: Path, settings: Mapping[str, str]) -> None:
    """Write `settings` to `path` in one step, for `infra.settings` and for a shell's `. settings.env`."""
    lines = ["# Written by `freshet up`; holds no secret."]
    lines += [f"{name}='{value}'" for name, value in settings.items()]
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text("\n".join(lines) + "\n", encoding="utf-8")
    aside.replace(path)


def read(path: Path) -> dict[str, str]:
    """The settings in `path`; none when it is absent."""
    return {
        name: value for name, value in dotenv_values(path, interpolate=False).items() if value is not None
    }


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """The environment of a program of the stack: this one's, without what would contradict `settings`."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_OTHERS) or name == "FRESHET_FAILPOINT"
    }
    programs = str(Path(sys.executable).parent)
    path = os.pathsep.join([programs, inherited.get("PATH", os.defpath)])
    # Prefect's worker keeps what it stores in a folder of fixed name there, which another user's would own.
    temporary = str(Path(settings["FRESHET_STATE_DIR"]) / "tmp")
    return {**inherited, **settings, "PATH": path, "TMPDIR": temporary, "PYTHONUNBUFFERED": "1"}
