select coalesce(json_object_agg(name, version), '{}') from (
  select concat(collprovider, ' ', quote_ident(n.nspname), '.', quote_ident(collname), ' ', collencoding) as name,
         pg_collation_actual_version(c.oid) as version
  from pg_collation c join pg_namespace n on n.oid = c.collnamespace
  where n.nspname = 'pg_catalog'
  union all
  select 'database ' || datname, pg_database_collation_actual_version(oid) from pg_database
) found where version is not null
