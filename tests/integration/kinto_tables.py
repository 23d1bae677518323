"""A Kinto 23's tables, with rows of Production, full of words that must not leave it, and of a Sandbox."""

from __future__ import annotations

KINTO_SCHEMA = """
CREATE TABLE objects (
    id text COLLATE "C" NOT NULL, parent_id text COLLATE "C" NOT NULL,
    resource_name text COLLATE "C" NOT NULL, last_modified timestamp NOT NULL,
    data jsonb NOT NULL DEFAULT '{}', deleted boolean NOT NULL DEFAULT false,
    PRIMARY KEY (id, parent_id, resource_name));
CREATE UNIQUE INDEX ON objects (parent_id, resource_name, last_modified DESC);
CREATE TABLE timestamps (
    parent_id text COLLATE "C" NOT NULL, resource_name text COLLATE "C" NOT NULL,
    last_modified timestamp NOT NULL, PRIMARY KEY (parent_id, resource_name));
CREATE TABLE access_control_entries (
    object_id text COLLATE "C", permission text, principal text,
    PRIMARY KEY (object_id, permission, principal));
CREATE TABLE user_principals (user_id text COLLATE "C", principal text, PRIMARY KEY (user_id, principal));
CREATE TABLE cache (key varchar(256) PRIMARY KEY, value text NOT NULL, ttl timestamp);
CREATE TABLE metadata (name varchar(128) NOT NULL, value varchar(512) NOT NULL);
CREATE FUNCTION refuse_updates() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'the application would change this row'; END $$;
CREATE TRIGGER touched BEFORE UPDATE ON objects FOR EACH ROW EXECUTE FUNCTION refuse_updates();
INSERT INTO metadata VALUES ('storage_schema_version', '23');
"""
"""The tables that Kinto 23 makes, with its habit of changing rows by trigger turned into an error."""

KINTO_ROWS = """
INSERT INTO objects SELECT 'admin', 'admin', 'account', now(), '{"password": "production-hash"}';
INSERT INTO objects SELECT m, m, 'account', now(), '{"password": "production-hash"}'
    FROM unnest(ARRAY['mary.canary@district.example.net', 'otto.canary@district.example.net']) AS m;
INSERT INTO objects VALUES ('district', '', 'bucket', now(), '{"webhook": "https://hooks.example.net/x"}');
INSERT INTO objects VALUES ('students', '/buckets/district', 'collection', now(), '{}');
INSERT INTO objects VALUES ('teachers', '/buckets/district', 'group', now(),
    '{"members": ["account:mary.canary@district.example.net", "account:admin"]}');
INSERT INTO objects SELECT gen_random_uuid(), '/buckets/district/collections/students', 'record',
    timestamp '2026-01-01' + n * interval '1 second',
    jsonb_build_object('given_name', 'Canary' || n, 'family_name', 'Mc Canary' || n,
        'email', 'canary' || n || '@families.example.net', 'phone', '+1 312 777 ' || n,
        'birth_date', '2011-03-04', 'notes', 'Call canary' || n || ' at home', 'city', 'Lake City',
        'undeclared', 'canary in a new field') FROM generate_series(1, 500) AS n;
INSERT INTO objects SELECT gen_random_uuid(), '/buckets/district', 'history', now() + n * interval '1 ms',
    '{"target": {"data": {"email": "canary@families.example.net"}}}' FROM generate_series(1, 5) AS n;
INSERT INTO timestamps SELECT DISTINCT parent_id, resource_name, now()::timestamp FROM objects;
INSERT INTO access_control_entries
    SELECT '/accounts/' || id, 'write', 'account:' || id FROM objects WHERE resource_name = 'account';
INSERT INTO access_control_entries
    VALUES ('/buckets/district', 'write', 'account:mary.canary@district.example.net');
INSERT INTO user_principals
    VALUES ('account:mary.canary@district.example.net', '/buckets/district/groups/teachers');
INSERT INTO cache VALUES ('canary-session', 'canary', now());
"""

OWN_ROWS = """
INSERT INTO objects SELECT m, m, 'account', now(), '{"password": "sandbox-hash"}'
    FROM unnest(ARRAY['admin', 'trainer@lakeside.example.org']) AS m;
INSERT INTO access_control_entries SELECT '/accounts/' || id, 'write', 'account:' || id FROM objects;
INSERT INTO objects
    SELECT 'old', '/buckets/district/collections/students', 'record', now(), '{"city": "Before"}';
"""

LINK_ROW = (
    "INSERT INTO objects VALUES (gen_random_uuid(), '/buckets/district/collections/students', 'record', "
    """now(), '{"city": "see https://live.lakeside.example.net/v1/"}')"""
)
"""Production's own address in a text of one of its rows."""
