-- Real-looking records of a school district in Kinto's own tables, made by the database from nothing but the
-- customer's name and a count: the same arguments always give the same rows.
-- Placeholders: %(customer)s %(token)s %(records)s %(given)s %(family)s %(street)s %(city)s %(password)s
WITH
amount AS (
  SELECT greatest(%(records)s::int * 55 / 100, 1) AS students,
         greatest(%(records)s::int * 35 / 100, 1) AS guardians,
         greatest(%(records)s::int - greatest(%(records)s::int * 55 / 100, 1)
                                   - greatest(%(records)s::int * 35 / 100, 1), 1) AS staff
),
-- One line a person; `seed` is all that its fields are made of. A student lives in the household of a guardian.
person AS (
  SELECT 'guardians' AS collection, n, 'g' || n AS seed, 'g' || n AS home, n AS guardian
    FROM amount, generate_series(1, amount.guardians) AS n
  UNION ALL
  SELECT 'students', n, 's' || n, 'g' || (1 + (n - 1) %% amount.guardians), 1 + (n - 1) %% amount.guardians
    FROM amount, generate_series(1, amount.students) AS n
  UNION ALL
  SELECT 'staff', n, 't' || n, 't' || n, NULL
    FROM amount, generate_series(1, amount.staff) AS n
),
drawn AS (
  SELECT person.*,
         n %% 397 = 1 AS canary,
         %(token)s::text || left(md5(%(customer)s::text || seed), 8) AS mark,
         (hashtextextended(%(customer)s::text || seed, 1) & 2147483647)::int AS a,
         (hashtextextended(%(customer)s::text || seed, 2) & 2147483647)::int AS b,
         (hashtextextended(%(customer)s::text || home, 3) & 2147483647)::int AS h,
         (hashtextextended(%(customer)s::text || home, 4) & 2147483647)::int AS k
    FROM person
),
named AS (
  SELECT drawn.*,
         CASE WHEN canary THEN initcap(mark) ELSE (%(given)s::text[])[1 + a %% cardinality(%(given)s::text[])] END
           AS given_name,
         CASE WHEN canary THEN 'Mc' || mark ELSE (%(family)s::text[])[1 + h %% cardinality(%(family)s::text[])] END
           AS family_name,
         CASE WHEN canary THEN (1 + k %% 190) || ' ' || mark || ' Lane'
              ELSE (1 + k %% 190) || ' ' || (%(street)s::text[])[1 + (k / 190) %% cardinality(%(street)s::text[])]
         END AS street,
         (%(city)s::text[])[1 + h %% cardinality(%(city)s::text[])] AS city,
         lpad((10000 + h %% 89999)::text, 5, '0') AS postcode,
         format('+1 %%s 555 %%s', 301 + k %% 600, lpad((a %% 10000)::text, 4, '0')) AS phone,
         md5(%(customer)s::text || collection || n) AS digest,
         md5(%(customer)s::text || 'guardians' || guardian) AS guardian_digest
    FROM drawn
),
complete AS (
  SELECT named.*,
         lower(given_name || '.' || family_name) || n
           || CASE collection WHEN 'staff' THEN '@' WHEN 'students' THEN '@students.' ELSE '@families.' END
           || replace(%(customer)s::text, '_', '-') || '.example.net' AS email,
         -- Random UUIDs (version 4) by their form, so that Kinto and the policy take them for such.
         overlay(overlay(digest PLACING '4' FROM 13) PLACING 'a' FROM 17)::uuid::text AS id,
         overlay(overlay(guardian_digest PLACING '4' FROM 13) PLACING 'a' FROM 17)::uuid::text AS guardian_id
    FROM named
),
written AS (
  INSERT INTO objects (id, parent_id, resource_name, last_modified, data, deleted)
  SELECT id,
         '/buckets/district/collections/' || collection,
         'record',
         -- Kinto wants each timestamp once in a collection, to the millisecond.
         TIMESTAMP '2026-08-17 06:00:00' + n * INTERVAL '31 milliseconds',
         jsonb_build_object(
           'given_name', given_name,
           'family_name', family_name,
           'name', given_name || ' ' || family_name,
           'email', email,
           'phone', phone,
           'street', street,
           'postcode', postcode,
           'city', city
         )
         || CASE collection
              WHEN 'students' THEN jsonb_build_object(
                'birth_date', (DATE '2008-09-01' + a %% 4300)::text,
                'grade', 1 + b %% 12,
                'homeroom', chr(65 + b %% 6) || (101 + a %% 40),
                'enrolled', (DATE '2019-08-15' + (b %% 7) * 365)::text,
                'guardian', guardian_id,
                'student_number', CASE WHEN canary THEN mark ELSE lpad((700000 + n)::text, 8, '0') END)
              WHEN 'guardians' THEN jsonb_build_object(
                'relation', (ARRAY['mother', 'father', 'grandparent', 'foster parent', 'aunt', 'uncle'])[1 + b %% 6])
              ELSE jsonb_build_object(
                'birth_date', (DATE '1959-01-01' + a %% 15000)::text,
                'role', (ARRAY['teacher', 'teacher', 'teacher', 'counsellor', 'nurse', 'office'])[1 + b %% 6],
                'subject', (ARRAY['mathematics', 'history', 'music', 'chemistry', 'English', 'biology'])[1 + a %% 6],
                'school', (ARRAY['North', 'South', 'Harbour', 'Hilltop'])[1 + h %% 4] || ' School')
            END
         -- Two in three have a note, as free as people write them.
         || CASE WHEN n %% 3 > 0 THEN jsonb_build_object('notes',
              CASE n %% 6
                WHEN 1 THEN format('Spoke with %%s %%s on the phone (%%s); wants letters sent to %%s, %%s %%s.',
                                   given_name, family_name, phone, street, postcode, city)
                WHEN 2 THEN format('%%s is allergic to peanuts. In an emergency call %%s, then write to %%s.',
                                   given_name, phone, email)
                WHEN 4 THEN format('Meeting with the %%s family moved; %%s asked for an interpreter.',
                                   family_name, given_name)
                ELSE format('Left early on Tuesday. Picked up by %%s %%s at 11:40, signed at the office.',
                            given_name, family_name)
              END) ELSE '{}'::jsonb END,
         false
    FROM complete
  ON CONFLICT DO NOTHING
  RETURNING 1
),
structure AS (
  INSERT INTO objects (id, parent_id, resource_name, last_modified, data, deleted)
  SELECT 'district', '', 'bucket', TIMESTAMP '2026-08-16 06:00:00', '{}'::jsonb, false
  UNION ALL
  SELECT collection, '/buckets/district', 'collection',
         TIMESTAMP '2026-08-16 06:00:00' + position * INTERVAL '1 second', '{}'::jsonb, false
    FROM unnest(ARRAY['students', 'guardians', 'staff']) WITH ORDINALITY AS c (collection, position)
  ON CONFLICT DO NOTHING
  RETURNING 1
),
-- People who log in: the first of the staff, one of them a canary.
login AS (
  SELECT email, n FROM complete WHERE collection = 'staff' AND n <= 20
),
accounts AS (
  INSERT INTO objects (id, parent_id, resource_name, last_modified, data, deleted)
  SELECT email, email, 'account', TIMESTAMP '2026-08-16 07:00:00',
         jsonb_build_object('password', %(password)s::text), false
    FROM login
  UNION ALL
  SELECT 'teachers', '/buckets/district', 'group', TIMESTAMP '2026-08-16 07:00:00',
         jsonb_build_object('members', jsonb_agg('account:' || email ORDER BY n)), false
    FROM login
  ON CONFLICT DO NOTHING
  RETURNING 1
),
permissions AS (
  INSERT INTO access_control_entries (object_id, permission, principal)
  SELECT '/accounts/' || email, 'write', 'account:' || email FROM login
  UNION ALL
  VALUES ('/buckets/district', 'write', 'account:admin'),
         ('/buckets/district', 'read', '/buckets/district/groups/teachers')
  ON CONFLICT DO NOTHING
  RETURNING 1
)
SELECT (SELECT count(*) FROM written), (SELECT count(*) FROM structure),
       (SELECT count(*) FROM accounts), (SELECT count(*) FROM permissions)
