-- Prefect's migrations create GIN indexes with gin_trgm_ops to speed up searches for part of a name. They need
-- the class to exist, not to help: it has no operators, so the planner never uses such an index, and every row is
-- entered as an item without keys. `void_in` is the built-in function that ignores its arguments and returns zero,
-- which GIN reads as "no keys".
CREATE FUNCTION inert_extract_value(text, internal, internal) RETURNS internal
  LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS 'void_in';
CREATE FUNCTION inert_extract_query(text, internal, int2, internal, internal, internal, internal) RETURNS internal
  LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS 'void_in';
CREATE FUNCTION inert_consistent(internal, int2, text, int4, internal, internal, internal, internal) RETURNS boolean
  LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS 'void_in';
CREATE OPERATOR CLASS gin_trgm_ops FOR TYPE text USING gin AS
  FUNCTION 1 bttextcmp(text, text),
  FUNCTION 2 inert_extract_value(text, internal, internal),
  FUNCTION 3 inert_extract_query(text, internal, int2, internal, internal, internal, internal),
  FUNCTION 4 inert_consistent(internal, int2, text, int4, internal, internal, internal, internal),
  STORAGE text;
