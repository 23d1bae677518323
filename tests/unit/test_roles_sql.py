"""The script of roles: what it grants, what it never holds, and names that have to be quoted."""

from __future__ import annotations

from dataclasses import replace

from infra.postgres.fences import SIGN
from infra.postgres.roles_sql import roles_script
from policy.estate import Estate
from policy.machines import DatabaseServer, Login
from policy.names import SecretName
from tests.estate_parts import server_of
from tests.unit.notice_estate import estate

READER = Login(user='odd "reader"', secret=SecretName("reader"))


def server(*, production: bool) -> tuple[Estate, DatabaseServer]:
    """The small estate with one server."""
    made = server_of(
        "db",
        production=production,
        owner=Login(user="hosting_owner", secret=SecretName("owner")),
        reader=READER if production else None,
    )
    return replace(estate(), servers={made.name: made}), made


def test_a_server_with_production_gets_reader_sign_and_markers() -> None:
    script = roles_script(*server(production=True))
    assert f"CREATE ROLE ' || quote_ident('{SIGN}')" in script
    assert 'GRANT pg_read_all_data, pg_read_all_stats TO "odd ""reader""";' in script
    assert "pg_write" not in script
    assert "VALUES ('production', 'lakeside', 'own')" in script
    assert script.count("\\connect ") == script.count("CREATE SCHEMA IF NOT EXISTS freshet")


def test_a_server_of_targets_gets_neither_reader_nor_sign() -> None:
    script = roles_script(*server(production=False))
    assert SIGN not in script
    assert "pg_read_all_data" not in script
    assert "GRANT pg_signal_backend" in script


def test_no_password_stands_in_the_script() -> None:
    script = roles_script(*server(production=True))
    assert "PASSWORD " not in script
    assert script.count("\\password ") == 2
