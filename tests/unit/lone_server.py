"""An estate of one database server on one host, for what is declared beside the estate's file."""

from __future__ import annotations

from datetime import timedelta

from policy.estate import Estate
from policy.machines import DatabaseServer, Host, Login
from policy.names import HostName, SecretName, ServerName

SERVER = ServerName("live")


def lone_server(*, port: int) -> Estate:
    """The server `live`, which listens on `port`, and the host `db1`."""
    host = Host(name=HostName("db1"), connection="ssh")
    server = DatabaseServer(
        name=SERVER,
        host="db1.example.org",
        port=port,
        production=True,
        system_identifier=None,
        owner=Login(user="owner", secret=SecretName("live-owner")),
        reader=None,
    )
    return Estate(
        name="tests",
        undo=timedelta(days=7),
        servers={server.name: server},
        hosts={host.name: host},
        applications={},
        releases=(),
        groups={},
        customers={},
        contacts={},
        freezes=(),
    )
