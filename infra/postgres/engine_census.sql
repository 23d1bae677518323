-- The census of a server, one query a block: `-- place: what`. Each gives one text a thing; versions 16 and 18 must
-- give the same. What belongs to PostgreSQL or to an extension is left out: versions differ there by right.

-- server: roles
select concat_ws(' ', rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication,
  rolbypassrls, rolconnlimit, rolvaliduntil at time zone 'UTC', md5(rolpassword)) from pg_authid where rolname
  !~ '^pg_';

-- server: memberships
select concat_ws(' ', m.roleid::regrole, m.member::regrole, m.admin_option) from pg_auth_members m where
  m.member::regrole::text !~ '^pg_';

-- server: databases
select concat_ws(' ', datname, pg_get_userbyid(datdba), pg_encoding_to_char(encoding), datlocprovider,
  datcollate, datctype, datistemplate, datconnlimit) from pg_database where datallowconn;

-- server: settings
select concat_ws(' ', coalesce(datname, '*'), coalesce(rolname, '*'), setting) from pg_db_role_setting s left
  join pg_database d on d.oid = s.setdatabase left join pg_roles r on r.oid = s.setrole, unnest(setconfig)
  setting;

-- server: tablespaces
select concat_ws(' ', spcname, pg_get_userbyid(spcowner)) from pg_tablespace;

-- database: relations
select concat_ws(' ', n.nspname, c.relname, c.relkind, c.relpersistence, pg_get_userbyid(c.relowner),
  c.relrowsecurity, c.relacl is null) from pg_class c join pg_namespace n on n.oid = c.relnamespace where
  n.nspname !~ '^pg_' and n.nspname <> 'information_schema' and not exists (select from pg_depend e where
  e.classid = 'pg_class'::regclass and e.objid = c.oid and e.deptype = 'e');

-- database: columns
select concat_ws(' ', n.nspname, c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
  a.attidentity, a.attgenerated, a.attcollation::regcollation) from pg_attribute a join pg_class c on c.oid =
  a.attrelid join pg_namespace n on n.oid = c.relnamespace where a.attnum > 0 and not a.attisdropped and
  c.relkind in ('r', 'p', 'f') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema' and not exists
  (select from pg_depend e where e.classid = 'pg_class'::regclass and e.objid = c.oid and e.deptype = 'e');

-- database: constraints
select concat_ws(' ', n.nspname, o.conrelid::regclass, o.conname, o.contype, o.convalidated) from pg_constraint
  o join pg_namespace n on n.oid = o.connamespace where o.contype <> 'n' and n.nspname !~ '^pg_' and n.nspname
  <> 'information_schema' and not exists (select from pg_depend e where e.classid = 'pg_constraint'::regclass
  and e.objid = o.oid and e.deptype = 'e');

-- database: functions
select concat_ws(' ', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid), p.prokind, md5(prosrc))
  from pg_proc p join pg_namespace n on n.oid = p.pronamespace where n.nspname !~ '^pg_' and n.nspname <>
  'information_schema' and not exists (select from pg_depend e where e.classid = 'pg_proc'::regclass and e.objid
  = p.oid and e.deptype = 'e');

-- database: types
select concat_ws(' ', n.nspname, t.typname, t.typtype) from pg_type t join pg_namespace n on n.oid =
  t.typnamespace where t.typcategory <> 'A' and n.nspname !~ '^pg_' and n.nspname <> 'information_schema' and
  not exists (select from pg_depend e where e.classid = 'pg_type'::regclass and e.objid = t.oid and e.deptype =
  'e');

-- database: triggers
select concat_ws(' ', tgrelid::regclass, tgname, tgenabled) from pg_trigger where not tgisinternal;

-- database: policies
select concat_ws(' ', polrelid::regclass, polname, polcmd) from pg_policy;

-- database: extensions
select extname from pg_extension;

-- database: extended statistics
select concat_ws(' ', stxrelid::regclass, stxname, stxkind) from pg_statistic_ext;

-- database: sequences
select concat_ws(' ', schemaname, sequencename, start_value, increment_by, min_value, max_value, cycle,
  coalesce(last_value::text, '-')) from pg_sequences;

-- database: publications
select concat_ws(' ', pubname, puballtables) from pg_publication;

-- database: comments
select concat_ws(' ', classoid::regclass, description) from pg_description where objoid >= 16384;
