"""A session on a database server, as the owner of its databases, for statements about whole databases.

Invariant: it stands in `postgres`, never in a database that is about to be renamed, copied or dropped.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from infra.postgres.session import connect
from policy.estate import Site
from tasks.step import Work


@contextmanager
def server_session(work: Work, site: Site) -> Iterator[psycopg.Connection]:
    """An autocommit session on the server of `site`.

    Raises:
        Unavailable: the server does not let the owner in.
        Busy: another worker took the run over.
    """
    server = work.estate.servers[site.server]
    with connect(server, "postgres", server.owner, work.secrets, run=work.run, autocommit=True) as session:
        # A worker that was frozen before this is refused; one frozen after it finds its session ended.
        work.prove()
        yield session
