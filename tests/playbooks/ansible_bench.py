"""A bench on which small real playbooks, written on the spot, are run through the adapter over Ansible."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from infra import ansible_processes
from infra.ansible import StageResult, run_stages
from infra.ansible_events import TaskEvent
from infra.secrets import SecretFiles
from policy.machines import Host
from policy.names import HostName

LOCAL = Host(name=HostName("local"), connection="local")
WORD = "a-secret-word-41c9d7"


class Bench:
    """Runs playbooks written on the spot."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run = f"r{os.getpid() % 99999 + 1}a1"
        self.secret = folder / "word"
        self.secret.write_text(WORD + "\n")
        self.secret.chmod(0o600)
        self.events: list[TaskEvent] = []

    def playbook(self, tasks: str) -> Path:
        path = self.folder / "play.yml"
        path.write_text(
            "- hosts: webapp\n  gather_facts: false\n  any_errors_fatal: true\n  tasks:\n"
            + textwrap.indent(textwrap.dedent(tasks), "    ")
        )
        return path

    def go(
        self,
        tasks: str,
        *,
        variables: Mapping[str, object] | None = None,
        hosts: Sequence[Host] = (LOCAL,),
        timeout_s: float = 60,
        check: bool = False,
        epoch: int = 1,
        on_event: Callable[[TaskEvent], None] | None = None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> StageResult:
        return run_stages(
            playbook=self.playbook(tasks),
            hosts=hosts,
            variables={"word_file": self.secret, **(variables or {})},
            stages=["trial"],
            run=self.run,
            epoch=epoch,
            scratch=self.folder / "scratch",
            secrets=SecretFiles(self.folder),
            timeout_s=timeout_s,
            on_event=on_event or self.events.append,
            check=check,
            cancelled=cancelled,
        )

    def left(self) -> list[int]:
        """Processes of this run that are still there."""
        return list(
            ansible_processes.carrying(
                lambda environment: environment.get("FRESHET_RUN", "").startswith(self.run)
            )
        )

    def written(self) -> bytes:
        """Everything below the scratch folder, in one."""
        return b"".join(path.read_bytes() for path in (self.folder / "scratch").rglob("*") if path.is_file())


SLEEPER = """
- name: Sleep
  ansible.builtin.shell: "echo $$ > {{ mark }}; sleep 300 & sleep 300"
"""
