"""A table in a schema of its own, because old code has another one of its name, or still uses that name.

Whatever belongs to it lies there under the name that it is to keep, so that finalize only moves the table. Builds
SQL only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from segue.engines.postgresql.acts import retire
from segue.engines.postgresql.acts.retire import label
from segue.engines.postgresql.qualified import relation_of, schema_of

Quote = Callable[[str], str]

_PREFIX = "segue_new_"


def _clipped(text: str, size: str) -> str:
    """Return SQL for as much of a text as fits so many bytes."""
    lengths = f"generate_series(char_length({text}), 0, -1)"
    return f"(SELECT left({text}, k) FROM {lengths} k WHERE octet_length(left({text}, k)) <= {size} LIMIT 1)"


# As `implicit.object_name`: the longer part gives way.
_NEXT_NAME = (
    "one := octet_length(relation); two := octet_length(made.of_column); WHILE one + two > 63 - "
    "octet_length(made.label || n) - CASE made.of_column WHEN '' THEN 1 ELSE 2 END LOOP "
    "IF one > two THEN one := one - 1; ELSE two := two - 1; END IF; END LOOP; "
    f"wanted := concat_ws('_', {_clipped('relation', 'one')}, "
    f"nullif({_clipped('made.of_column', 'two')}, ''), made.label || n);"
)


def schema_for(table: str, number: int) -> str:
    """Return the name of a schema for a table that is made beside another one."""
    return label(_PREFIX, f"{number}_{table}" if number else table)


def opened(place: str, quote: Quote, literal: Quote) -> tuple[str, ...]:
    """Return statements that make a table's schema, with the privileges that the current one gives.

    Those on what will be made there are given by ALTER DEFAULT PRIVILEGES IN SCHEMA; without a schema it holds anyway.
    """
    schema = schema_of(place)
    grantee = "CASE given.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(given.grantee)) END"
    return (
        f"CREATE SCHEMA IF NOT EXISTS {quote(schema)}",
        "DO $segue$ DECLARE given record; BEGIN "
        "FOR given IN SELECT x.grantee FROM pg_namespace n, aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner)))"
        " x WHERE n.oid = current_schema()::regnamespace AND x.privilege_type = 'USAGE' LOOP "
        f"EXECUTE format('GRANT USAGE ON SCHEMA %I TO %s', {literal(schema)}, {grantee}); END LOOP; "
        "FOR given IN SELECT d.defaclobjtype, x.grantee, x.privilege_type, x.is_grantable "
        "FROM pg_default_acl d, aclexplode(d.defaclacl) x WHERE d.defaclnamespace = current_schema()::regnamespace "
        "AND d.defaclrole = current_user::regrole AND d.defaclobjtype IN ('r', 'S') LOOP "
        "EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA %I GRANT %s ON %s TO %s%s', "
        f"{literal(schema)}, given.privilege_type, "
        f"CASE given.defaclobjtype WHEN 'r' THEN 'TABLES' ELSE 'SEQUENCES' END, {grantee}, "
        "CASE WHEN given.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END); END LOOP; END $segue$",
    )


def numbered(
    place: str, named: Iterable[str], going: Iterable[str], others: Iterable[str], quote: Quote, literal: Quote
) -> str:
    """Return a statement that gives a new table's parts the numbers that PostgreSQL gives where a name is taken.

    It named them in a schema where none is. In the current one are the tables that stay, and those that are `going`
    by the time the table comes; in `others` lie tables that come too. What the migration itself has `named` keeps its
    name, or fails as with stock Django.
    """
    oid = f"{literal(quote(place))}::regclass"
    leaving = _array((f"to_regclass({literal(quote(table))})::oid" for table in going), "oid")
    chosen = _array(map(literal, named), "text")
    here = "ANY (schemas)"
    schemas = _array(["current_schema()", *map(literal, others)], "text")
    column = "(SELECT attname::text FROM pg_attribute WHERE attrelid = {} AND attnum = {})"
    parts = (
        "SELECT 'INDEX' AS kind, c.relname::text AS name, "
        f"CASE WHEN i.indisprimary THEN '' ELSE {column.format('i.indrelid', 'i.indkey[0]')} END AS of_column, "
        "CASE WHEN i.indisprimary THEN 'pkey' WHEN i.indisunique THEN 'key' ELSE 'idx' END AS label "
        f"FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = {oid} "
        f"UNION ALL SELECT 'SEQUENCE', s.relname::text, {column.format('d.refobjid', 'd.refobjsubid')}, 'seq' "
        f"FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S' WHERE d.refobjid = {oid} "
        "AND d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i') "
        "UNION ALL SELECT 'CONSTRAINT', k.conname::text, "
        f"coalesce({column.format('k.conrelid', 'k.conkey[1]')}, ''), 'check' "
        f"FROM pg_constraint k WHERE k.conrelid = {oid} AND k.contype = 'c'"
    )
    taken = (
        "(made.kind <> 'CONSTRAINT' AND EXISTS (SELECT FROM pg_class r WHERE r.relname = wanted "
        f"AND r.relnamespace = {here} AND r.oid <> ALL (leaving) AND NOT EXISTS (SELECT FROM pg_index i "
        "WHERE i.indexrelid = r.oid AND i.indrelid = ANY (leaving)) AND NOT EXISTS (SELECT FROM pg_depend d "
        "WHERE d.classid = 'pg_class'::regclass AND d.objid = r.oid AND d.refclassid = 'pg_class'::regclass "
        "AND d.refobjid = ANY (leaving) AND d.deptype IN ('a', 'i')))) OR (made.kind <> 'SEQUENCE' AND EXISTS ("
        f"SELECT FROM pg_constraint k WHERE k.conname = wanted AND k.connamespace = {here} "
        "AND k.conrelid <> ALL (leaving)))"
    )
    failed = "RAISE EXCEPTION USING ERRCODE = 'duplicate_table', MESSAGE = format('relation %I already exists', wanted)"
    rename = (
        f"CASE made.kind WHEN 'CONSTRAINT' THEN format('ALTER TABLE %s RENAME CONSTRAINT %I TO %I', {oid}, made.name, "
        f"wanted) ELSE format('ALTER %s %I.%I RENAME TO %I', made.kind, {literal(schema_of(place))}, made.name, "
        "wanted) END"
    )
    return (
        f"DO $segue$ DECLARE made record; wanted text; n integer; leaving oid[] := {leaving}; "
        f"chosen text[] := {chosen}; relation text; one integer; two integer; "
        f"schemas oid[] := ARRAY(SELECT oid FROM pg_namespace WHERE nspname = ANY ({schemas})); "
        f"BEGIN SELECT relname INTO relation FROM pg_class WHERE oid = {oid}; "
        f"FOR made IN {parts} LOOP wanted := made.name; n := 0; "
        "CONTINUE WHEN made.kind = 'CONSTRAINT' AND wanted = ANY (chosen); "
        f"WHILE {taken} LOOP IF made.name = ANY (chosen) THEN {failed}; END IF; "
        f"n := n + 1; {_NEXT_NAME} END LOOP; "
        f"IF wanted <> made.name THEN EXECUTE {rename}; END IF; END LOOP; END $segue$"
    )


def moved(place: str, name: str, schema: str, quote: Quote) -> tuple[str, ...]:
    """Return the statements that let the table have its name in `schema`, and drop the schema that it lay in."""
    alone = relation_of(place)
    renamed = f"ALTER TABLE {quote(place)} RENAME TO {quote(name)}"
    return (
        *([renamed] if alone != name else []),
        f"ALTER TABLE {quote(schema_of(place))}.{quote(name)} SET SCHEMA {quote(schema)}",
        retire.drop_grave(schema_of(place), quote),
    )


def _array(values: Iterable[str], kind: str) -> str:
    return f"ARRAY[{', '.join(values)}]::{kind}[]"
