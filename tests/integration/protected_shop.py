"""A shop's tables, their rows, and the protection policy that covers them."""

from __future__ import annotations

from infra.protection_file import parse_protection
from policy.names import ApplicationName
from policy.protection import Protection

KEY = "a key of at least sixteen characters"
SHOP = """
CREATE DOMAIN postcode_us AS varchar(10) CHECK (VALUE ~ '^[0-9]{5}$');
CREATE TYPE level AS ENUM ('low', 'high');
CREATE TABLE "Shop" (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "Name" text NOT NULL, open boolean);
CREATE TABLE customer (
    id bigint PRIMARY KEY, shop integer NOT NULL REFERENCES "Shop", parent bigint,
    email varchar(40) UNIQUE NOT NULL, phone text, zip postcode_us, born date, seen timestamptz,
    tags text[], score smallint, level level, extra jsonb,
    shout text GENERATED ALWAYS AS (upper(email)) STORED);
CREATE TABLE invoice (
    id bigint PRIMARY KEY, customer bigint REFERENCES customer, amount numeric(10,2), mailed_to varchar(40));
CREATE TABLE line (
    invoice bigint NOT NULL REFERENCES invoice, n integer, note char(20), PRIMARY KEY (invoice, n));
CREATE TABLE visit (at date NOT NULL, customer bigint, address inet) PARTITION BY RANGE (at);
CREATE TABLE visit_2025 PARTITION OF visit FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE visit_2026 PARTITION OF visit FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
"""
ROWS = """
INSERT INTO "Shop" ("Name", open) VALUES ('North', true), ('South', false);
INSERT INTO customer SELECT n, 1 + n % 2, NULLIF(n - 1, 0), 'person' || n || '@customers.example.net',
    '+1 312 444 ' || n, '60601', date '1950-01-01' + n * 31, now() - n * interval '1 hour',
    ARRAY['vip', 'person' || n], n % 100, 'low',
    jsonb_build_object('email', 'person' || n || '@customers.example.net', 'size', n, 'secret', 'x')
    FROM generate_series(1, 200) AS n;
INSERT INTO customer (id, shop, email) VALUES (999, 1, 'nulls@customers.example.net');
INSERT INTO invoice SELECT n, 1 + n % 200, n, 'person' || (1 + n % 200) || '@customers.example.net'
    FROM generate_series(1, 400) AS n;
INSERT INTO invoice VALUES (1000, NULL, 1, NULL);
INSERT INTO line SELECT i, n, 'note ' || n
    FROM generate_series(1, 400) AS i, generate_series(1, 2) AS n;
INSERT INTO line VALUES (1000, 1, NULL);
INSERT INTO visit SELECT date '2025-06-01' + n * 3, n, ('10.0.0.' || n)::inet
    FROM generate_series(1, 100) AS n;
"""
POLICY = """
version: 1
tables:
  Shop: {columns: {id: keep, Name: keep, open: keep}}
  customer:
    columns:
      id: keep
      shop: keep
      parent: 'null'
      email: email
      phone: phone
      zip: postcode
      born: date_within_year
      seen: date_within_year
      tags: {each: token}
      score: {mask: number, from: 0, to: 99}
      level: keep
      extra: {json: {email: email, size: keep}}
  invoice: {columns: {id: keep, customer: keep, amount: keep, mailed_to: email}}
  line: {columns: {invoice: keep, n: keep, note: free_text}}
  visit: {columns: {at: keep, customer: keep, address: ip_address}}
"""


def protection(text: str) -> Protection:
    return parse_protection(ApplicationName("shop"), text, file="protection.yml")
