"""The incoming database: born closed, alike in its locale, and never taken for anybody else's."""

from __future__ import annotations

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from infra.postgres.incoming import create_incoming, drop_made, is_closed
from infra.postgres.tag import Standing, Tag, read_tag, tag_statement, tagged
from policy.errors import Refused
from policy.names import RunId, incoming_name
from tests.integration.swapped_server import LATER, NOW, RUN, Server


def test_the_incoming_database_is_born_closed(server: Server) -> None:
    name = server.incoming()
    with pytest.raises(psycopg.OperationalError, match="CONNECT privilege"):
        server.open(name, role=server.user)
    with server.open() as session:
        assert is_closed(session, name)
        assert not is_closed(session, server.database)
        tag = read_tag(session, name)
    assert tag == Tag(standing=Standing.INCOMING, database=server.database, run=RUN, at=NOW)


def test_one_that_was_left_open_is_closed_again(server: Server) -> None:
    name = server.incoming()
    with server.open() as session:
        session.execute(f"GRANT CONNECT ON DATABASE {name} TO PUBLIC, {server.user}")
        create_incoming(session, server.database, RUN, at=NOW, encoding="UTF8")
        assert is_closed(session, name)


def test_the_new_database_takes_the_locale_of_the_old_one(server: Server) -> None:
    name = server.incoming()
    with server.open() as session:
        rows = session.execute(
            "SELECT count(DISTINCT (datcollate, datctype, datlocprovider, datlocale, encoding)), count(*) "
            "FROM pg_database WHERE datname = ANY (%s)",
            [[name, server.database]],
        ).fetchone()
    assert rows == (1, 2)


def test_only_what_a_run_made_is_dropped(server: Server) -> None:
    name = server.incoming()
    with server.open() as session:
        for other in (server.database, incoming_name(server.database, LATER)):
            with pytest.raises(Refused, match="was not made by r1a1"):
                drop_made(session, other, RUN)
        session.execute(
            tag_statement(name, Tag(standing=Standing.INCOMING, database=server.database, run=LATER, at=NOW))
        )
        with pytest.raises(Refused, match="is tagged as made by r2a1"):
            drop_made(session, name, RUN)
        session.execute(
            tag_statement(name, Tag(standing=Standing.INCOMING, database=server.database, run=RUN, at=NOW))
        )
        assert drop_made(session, name, RUN)
        assert not drop_made(session, name, RUN)


def test_look_alikes_of_others_are_not_taken_for_ours(server: Server) -> None:
    word = server.database.removeprefix("swap_")
    with psycopg.connect(server.cluster.dsn(), autocommit=True) as admin:
        for name, comment in (
            (f"look_{word}__prev_r7a1", None),
            (f"like_{word}__prev_r8a1", "somebody else's"),
            (f"same_{word}__prev_r9a1", 'freshet {"standing": "prev"}'),
        ):
            admin.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))
            if comment:
                admin.execute(f"COMMENT ON DATABASE {name} IS '{comment.replace(chr(39), chr(39) * 2)}'")
        admin.execute(f"CREATE DATABASE near_{word}__prev_r6a1")
        tag = Tag(standing=Standing.PREVIOUS, database=f"other_{word}", run=RunId("r6a1"), at=NOW)
        admin.execute(tag_statement(f"near_{word}__prev_r6a1", tag))
        assert [each.name for each in tagged(admin) if word in each.name] == []
