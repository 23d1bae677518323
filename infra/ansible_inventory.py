"""What a playbook is told: its hosts and variables, in an inventory file of its own folder.

Invariant: variables come as inventory variables, the weakest kind, because extra variables would outrank
what a role finds on the host. Every text is marked unsafe, so that braces in a customer's text are never
evaluated. No secret's value is among them, only the path of its file.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import yaml

from infra.secrets import SecretFiles
from policy.errors import Refused, Unavailable
from policy.machines import Host
from policy.names import SecretName

KNOWN_HOSTS = "known-hosts"
"""The file in the secrets' folder with the hosts' public keys; without it the user's own file counts."""


class _Text(str):
    __slots__ = ()


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - PyYAML's signature
        return True


_Dumper.add_representer(_Text, lambda dumper, data: dumper.represent_scalar("!unsafe", str(data), style='"'))


def write_inventory(
    path: Path,
    *,
    hosts: Sequence[Host],
    variables: Mapping[str, object],
    secrets: SecretFiles,
) -> None:
    """Write the inventory of one playbook run to `path`, mode 600.

    Raises:
        Refused: a variable's name is not one, its value is of a kind that has no place in YAML, or a host's
            connection is unknown.
    """
    for name in variables:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            raise Refused(f"variable '{name}': use lower-case letters, digits and underscores")
    inventory = {
        "webapp": {
            "hosts": {str(host.name): _host(host, secrets, path.parent) for host in hosts},
            "vars": _plain(dict(variables)),
        }
    }
    path.touch(mode=0o600)
    path.write_text(yaml.dump(inventory, Dumper=_Dumper, allow_unicode=True, width=4096), encoding="utf-8")


def secret_files(value: object) -> Iterator[Path]:
    """Every path that `value` holds under a key ending in `_file`."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if str(key).endswith("_file") and isinstance(inner, str | Path):
                yield Path(inner)
            else:
                yield from secret_files(inner)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for inner in value:
            yield from secret_files(inner)


def _host(host: Host, secrets: SecretFiles, private: Path) -> dict[str, object]:
    if host.connection == "local":
        return {
            "ansible_connection": "local",
            "ansible_python_interpreter": _Text(sys.executable),
            # What a killed module leaves behind goes with the private folder.
            "ansible_remote_tmp": _Text(private / "modules"),
        }
    if host.connection != "ssh":
        raise Refused(f"host '{host.name}': connection '{host.connection}' is unknown; use local or ssh")
    told: dict[str, object] = {
        "ansible_connection": "ssh",
        "ansible_host": _Text(host.address or host.name),
        "ansible_port": host.port or 22,
        "ansible_python_interpreter": "/usr/bin/python3",
    }
    if host.user:
        told["ansible_user"] = _Text(host.user)
    if host.key:
        key = secrets.path(SecretName(host.key))
        if not key.is_file():
            raise Unavailable(f"host '{host.name}': its private key, secret '{host.key}', is not at {key}")
        told["ansible_ssh_private_key_file"] = _Text(key.absolute())
    known = secrets.directory / KNOWN_HOSTS
    if known.is_file():
        told["ansible_ssh_common_args"] = _Text(f'-o UserKnownHostsFile="{known.absolute()}"')
    return told


def _plain(value: object) -> object:
    if isinstance(value, bool | int | float) or value is None:
        return value
    if isinstance(value, str | Path):
        return _Text(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, Sequence):
        return [_plain(inner) for inner in value]
    raise Refused(
        f"variable of kind {type(value).__name__}: only texts, numbers, lists and mappings can be passed"
    )
