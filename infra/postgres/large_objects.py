"""Large objects: their contents by page, their comments and grants.

Invariant: a large object arrives with the same number and the same bytes, holes included, or not at all; the
target's owner owns it.
"""

from __future__ import annotations

import psycopg
from psycopg import sql

from infra.postgres.carrier import Carried, Carrier, Load
from infra.postgres.selection import Selection

_STAGING = "CREATE TEMPORARY TABLE freshet_pages (loid oid, pageno int4, data bytea) ON COMMIT DROP"
_MADE = """
SELECT count(pg_catalog.lo_create(made.loid)) FROM (SELECT unnest(%s::oid[]) AS loid) AS made
"""
_FILLED = """
SELECT pg_catalog.lo_put(loid, pageno::bigint * %s, data)
  FROM pg_temp.freshet_pages ORDER BY loid, pageno
"""
_ABOUT = """
SELECT m.oid, pg_catalog.obj_description(m.oid, 'pg_largeobject') AS comment,
       ARRAY(SELECT ARRAY[CASE a.grantee WHEN 0 THEN NULL ELSE pg_get_userbyid(a.grantee)::text END,
                          a.privilege_type::text]
               FROM aclexplode(m.lomacl) a WHERE a.grantee <> m.lomowner) AS grants
  FROM pg_catalog.pg_largeobject_metadata m
"""


def bring_large_objects(
    source: psycopg.Connection, target: psycopg.Connection, carrier: Carrier, selection: Selection
) -> tuple[Carried, tuple[str, ...]]:
    """Bring every large object that `selection` takes; what was carried, and the grants left out.

    Raises:
        StepFailed: a server refused something.
        Unavailable: a session was lost.
    """
    if not selection.rows:
        return Carried(rows=0, bytes=0), ()
    chosen = sql.SQL("SELECT DISTINCT loid FROM pg_catalog.pg_largeobject WHERE {where}").format(
        where=selection.where or sql.SQL("true")
    )
    about = source.execute(
        sql.SQL(_ABOUT + " WHERE {all} OR m.oid IN ({chosen})").format(
            all=sql.Literal(selection.where is None), chosen=chosen
        )
    ).fetchall()
    page = source.execute("SELECT current_setting('block_size')::int / 4").fetchone()
    target.execute(_STAGING)
    carried = carrier.carry(
        Load(
            what="large objects",
            take=sql.SQL(
                "COPY (SELECT loid, pageno, data FROM pg_catalog.pg_largeobject WHERE {where}) "
                "TO STDOUT (FORMAT binary)"
            ).format(where=selection.where or sql.SQL("true")),
            put=sql.SQL("COPY pg_temp.freshet_pages FROM STDIN (FORMAT binary)").format(),
        )
    )
    target.execute(_MADE, [[number for number, _, _ in about]])
    target.execute(_FILLED, [page[0] if page else 2048])
    roles = {name for (name,) in target.execute("SELECT rolname FROM pg_roles")}
    left_out = []
    for number, comment, grants in about:
        if comment is not None:
            target.execute(
                sql.SQL("COMMENT ON LARGE OBJECT {number} IS {comment}").format(
                    number=sql.Literal(number), comment=sql.Literal(comment)
                )
            )
        for grantee, right in grants:
            if grantee is not None and grantee not in roles:
                left_out.append(f'a grant: role "{grantee}" does not exist')
                continue
            target.execute(
                sql.SQL("GRANT {right} ON LARGE OBJECT {number} TO {grantee}").format(
                    right=sql.SQL("UPDATE" if right == "UPDATE" else "SELECT"),
                    number=sql.Literal(number),
                    grantee=sql.Identifier(grantee) if grantee is not None else sql.SQL("PUBLIC"),
                )
            )
    target.commit()
    return carried, tuple(dict.fromkeys(left_out))
