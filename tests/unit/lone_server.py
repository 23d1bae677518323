"""An estate of one database server on one host, for what is declared beside the estate's file."""

from __future__ import annotations

from policy.estate import Estate
from policy.machines import Host
from policy.names import HostName, ServerName
from tests.estate_parts import estate_of, server_of

SERVER = ServerName("live")


def lone_server(*, port: int) -> Estate:
    """The server `live`, which listens on `port`, and the host `db1`."""
    host = Host(name=HostName("db1"), connection="ssh")
    server = server_of("live", production=True, host="db1.example.org", port=port, reader=None)
    return estate_of(servers=[server], hosts=[host])
