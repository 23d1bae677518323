"""Ansible module: ask a private PostgreSQL server one question whose answer is JSON."""

from __future__ import annotations

import json
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.postgres_programs import ServerError, run

DOCUMENTATION = r"""
module: postgres_query
short_description: The JSON answer of one query; changes nothing
options:
  bin: {description: "The folder of the client programs.", type: path, required: true}
  sockets: {description: "The folder of the server's socket.", type: path, required: true}
  port: {description: "The server's port.", type: int, required: true}
  superuser: {description: "The role.", type: str, required: true}
  query: {description: "The query, without parameters.", type: str, required: true}
  fact: {description: "Under which name the answer is told to the run.", type: str}
  prefix: {description: "Words before each command.", type: list, elements: str, default: []}
author: ["Freshet (@freshet)"]
"""
EXAMPLES = r"""
- name: Ask
  postgres_query:
    {bin: /opt/18/bin, sockets: /tmp/x, port: 50433, superuser: postgres, query: "select 1"}
"""
RETURN = r"""
answer: {description: "What the server said; empty when it was not asked.", type: raw, returned: always}
"""


def main() -> None:
    """Ask, unless nothing may be started that could be asked."""
    module = AnsibleModule(
        argument_spec={
            "bin": {"type": "path", "required": True},
            "sockets": {"type": "path", "required": True},
            "port": {"type": "int", "required": True},
            "superuser": {"type": "str", "required": True},
            "query": {"type": "str", "required": True},
            "fact": {"type": "str"},
            "prefix": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    asked = module.params
    if module.check_mode:
        module.exit_json(changed=False, answer=[])
    try:
        told = run(
            asked["prefix"], str(Path(asked["bin"]) / "psql"), "--no-psqlrc", "--tuples-only", "--no-align",
            f"--host={asked['sockets']}", f"--port={asked['port']}", f"--username={asked['superuser']}",
            "--no-password", "--dbname=template1", "--command", asked["query"],
        )  # fmt: skip
        answer = json.loads(told)
    except (ServerError, ValueError) as error:
        module.fail_json(msg=f"the query was not answered: {error}")
    facts = {asked["fact"]: answer} if asked["fact"] else {}
    module.exit_json(changed=False, answer=answer, freshet_facts=facts)


if __name__ == "__main__":
    main()
