"""Extensions after a change of the server's version: each is brought to what the new programs hold.

Invariant: only an extension whose installed version the new programs would not install is touched.
"""

from __future__ import annotations

from psycopg.sql import SQL, Identifier

from infra.postgres.engine import Session

_BEHIND = """
select e.extname::text, e.extversion, a.default_version
from pg_extension e join pg_available_extensions a on a.name = e.extname
where a.default_version <> e.extversion
  and exists (select from pg_extension_update_paths(e.extname) p
              where p.source = e.extversion and p.target = a.default_version and p.path is not null)
order by 1
"""


def behind(connection: Session) -> tuple[str, ...]:
    """The extensions in the session's database that can be brought forward."""
    return tuple(str(row[0]) for row in connection.execute(_BEHIND))


def update(connection: Session) -> dict[str, str]:
    """Bring them forward; returns each one's versions as `old → new`."""
    done = {}
    for name, old, new in connection.execute(_BEHIND).fetchall():
        connection.execute(SQL("alter extension {} update").format(Identifier(str(name))))
        done[str(name)] = f"{old} → {new}"
    return done
