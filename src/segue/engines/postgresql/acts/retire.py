"""Acts that hide objects in place of dropping them, bring them back, and settle what the way back meets.

Builds values only; the facts come from the catalog, the statements are complete. A column that is retired
stays under its own name, with what code that does not know it would trip over taken away; a table stays too,
with its foreign keys detached. `bury` gives either another name, so that the old name is free.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import replace

from segue.core.change import Act, LockMode, Retired, TableLock
from segue.engines.postgresql.acts.blocks import block, fail_if_any, literal
from segue.engines.postgresql.catalog import BURIED_COLUMN, RETIRED_SCHEMA, Column, ForeignKey
from segue.engines.postgresql.qualified import beside, qualified, relation_of, schema_of

Quote = Callable[[str], str]

_MAX_NAME_BYTES = 63


def exclusive(*tables: str) -> tuple[TableLock, ...]:
    """ACCESS EXCLUSIVE on each table."""
    return tuple(TableLock(table=table, mode=LockMode.ACCESS_EXCLUSIVE) for table in tables)


def share_row(*tables: str) -> tuple[TableLock, ...]:
    """SHARE ROW EXCLUSIVE on each table: what adding a foreign key takes on both sides."""
    return tuple(TableLock(table=table, mode=LockMode.SHARE_ROW_EXCLUSIVE) for table in tables)


def weak(*tables: str) -> tuple[TableLock, ...]:
    """SHARE UPDATE EXCLUSIVE on each table: it holds up no reader or writer."""
    return tuple(TableLock(table=table, mode=LockMode.SHARE_UPDATE_EXCLUSIVE) for table in tables)


def detach(key: ForeignKey, quote: Quote) -> Act:
    """Drop a foreign key constraint; PostgreSQL locks both tables for it."""
    return Act(
        statements=(f"ALTER TABLE {quote(key.table)} DROP CONSTRAINT {quote(key.name)}",),
        locks=exclusive(key.table, key.to_table),
    )


def attach(key: ForeignKey, quote: Quote) -> tuple[Act, ...]:
    """Put a foreign key back: enforced from now on first, then proved for the rows that are there."""
    alter = f"ALTER TABLE {quote(key.table)}"
    definition = key.while_open or key.definition
    return (
        Act(
            statements=(f"{alter} ADD CONSTRAINT {quote(key.name)} {definition} NOT VALID",),
            locks=share_row(key.table, key.to_table),
        ),
        Act(statements=(f"{alter} VALIDATE CONSTRAINT {quote(key.name)}",), locks=weak(key.table)),
    )


def exchange(key: ForeignKey, quote: Quote) -> tuple[Act, ...]:
    """Replace the foreign key of the open window by the one that stock Django makes, under the same name."""
    alter = f"ALTER TABLE {quote(key.table)}"
    beside = replace(key, name=label("segue_", key.name), while_open="")
    return (
        *attach(beside, quote),
        Act(
            statements=(
                f"{alter} DROP CONSTRAINT {quote(key.name)}",
                f"{alter} RENAME CONSTRAINT {quote(beside.name)} TO {quote(key.name)}",
            ),
            locks=exclusive(key.table, key.to_table),
        ),
    )


def relax(table: str, name: str, facts: Column, default: str, quote: Quote) -> tuple[Act, tuple[Act, ...]] | None:
    """Return how to let code that does not know the column insert, and how to take that back.

    None where it can already, with the value that code which knows it expects. `default` is SQL, "" for none: for
    a unique column one that gives each row another value, because the second row would collide, and NULLs do not.
    """
    if facts.default or facts.fills_itself or not (facts.not_null or default):
        return None
    alter = f"ALTER TABLE {quote(table)} ALTER COLUMN {quote(name)}"
    locks = exclusive(table)
    if default:
        return (
            Act(statements=(f"{alter} SET DEFAULT {default}",), locks=locks),
            (Act(statements=(f"{alter} DROP DEFAULT",), locks=locks, against_new_code=True),),
        )
    return (
        Act(statements=(f"{alter} DROP NOT NULL",), locks=locks),
        tighten_where_possible(table, name, quote),
    )


def tighten(table: str, name: str, quote: Quote) -> tuple[Act, ...]:
    """Make a column NOT NULL without scanning it under a strong lock.

    A validated check lets SET NOT NULL skip its scan:
    https://www.postgresql.org/docs/current/sql-altertable.html#SQL-ALTERTABLE-DESC-SET-DROP-NOT-NULL
    """
    alter = f"ALTER TABLE {quote(table)}"
    check = quote(not_null_check(name))
    return (
        Act(
            statements=(f"{alter} ADD CONSTRAINT {check} CHECK ({quote(name)} IS NOT NULL) NOT VALID",),
            locks=exclusive(table),
        ),
        Act(statements=(f"{alter} VALIDATE CONSTRAINT {check}",), locks=weak(table)),
        Act(
            statements=(
                f"{alter} ALTER COLUMN {quote(name)} SET NOT NULL",
                f"{alter} DROP CONSTRAINT {check}",
            ),
            locks=exclusive(table),
        ),
    )


def untighten(table: str, name: str, quote: Quote) -> Act:
    """Take back what an interrupted `tighten` may have left: its check."""
    check = quote(not_null_check(name))
    return Act(
        statements=(f"ALTER TABLE {quote(table)} DROP CONSTRAINT IF EXISTS {check}",),
        locks=exclusive(table),
        background=True,
    )


def require_values(table: str, name: str, quote: Quote) -> Act:
    """Fail, telling how many, when rows lack a value: without a lock that holds up anybody."""
    message = f" of {table} without a value in {name}, written by code that does not know the column: give each one."
    rows = f"{quote(table)} WHERE {quote(name)} IS NULL"
    return Act(statements=(fail_if_any(rows, message, error="not_null_violation"),))


def require_few_rows(table: str, name: str, at_most: int | None, quote: Quote) -> tuple[str, ...]:
    """Return the statement that fails where stock would: a required column without a value for the rows, or a
    unique one with the same value for each. Nothing where there may be any number of rows.
    """
    if at_most is None:
        return ()
    message = (
        f"{table} has more than one row, and all would get one value in {name}, which must be unique"
        if at_most
        else f"{table} has rows, and {name} is required and has no default"
    )
    remedy = "; add it with null=True, fill it in a data migration, and alter it after that."
    return (
        block(
            f"IF (SELECT count(*) FROM (SELECT FROM {quote(table)} LIMIT {at_most + 1}) segue_few) > {at_most} THEN "
            "RAISE EXCEPTION USING ERRCODE = 'integrity_constraint_violation', "
            f"MESSAGE = {literal(message + remedy)}; END IF"
        ),
    )


def tighten_where_possible(table: str, name: str, quote: Quote) -> tuple[Act, ...]:
    """Make a column NOT NULL again on the way back, unless a row has been written without a value meanwhile.

    Such a row stays, and the column stays nullable: a rollback must not stop half way for it, nor wait for it.
    """
    enforce, prove, settle = (
        replace(act, background=True, against_new_code=True) for act in tighten(table, name, quote)
    )
    alter, check = f"ALTER TABLE {quote(table)}", quote(not_null_check(name))
    give_up = f"EXCEPTION WHEN check_violation THEN {alter} DROP CONSTRAINT {check}"
    proved = f"EXISTS (SELECT FROM pg_constraint WHERE conrelid = {literal(quote(table))}::regclass AND conname = "
    proved += f"{literal(not_null_check(name))} AND convalidated)"
    return (
        enforce,
        replace(prove, statements=(block(f"{prove.statements[0]}; {give_up}"),)),
        replace(settle, statements=(block(f"IF {proved} THEN {'; '.join(settle.statements)}; END IF"),)),
    )


def drop_index_beside_key(table: str, index: str, quote: Quote) -> Act:
    """Drop the index that stood in for a primary key, if the table has one again; else it goes on standing in."""
    relation = f"{literal(quote(table))}::regclass"
    key = f"EXISTS (SELECT FROM pg_index WHERE indrelid = {relation} AND indisprimary)"
    drop = f"DROP INDEX IF EXISTS {quote(beside(table, index))}"
    return Act(statements=(block(f"IF {key} THEN {drop}; END IF"),), locks=exclusive(table), background=True)


def primary_key_where_possible(table: str, column: str, name: str, index: str, quote: Quote) -> Act:
    """Make an index the primary key again on the way back, unless a row has no value or there is another key."""
    relation = f"{literal(quote(table))}::regclass"
    tight = f"SELECT attnotnull FROM pg_attribute WHERE attrelid = {relation} AND attname = {literal(column)}"
    other = f"EXISTS (SELECT FROM pg_index WHERE indrelid = {relation} AND indisprimary)"
    add = f"ALTER TABLE {quote(table)} ADD CONSTRAINT {quote(name)} PRIMARY KEY USING INDEX {quote(index)}"
    return Act(
        statements=(block(f"IF ({tight}) AND NOT {other} THEN {add}; END IF"),),
        locks=exclusive(table),
        background=True,
        against_new_code=True,
    )


def bury_column(retired: Retired, grave: str, quote: Quote, *, known_as: Retired | None = None) -> Act:
    """Rename a retired column out of the way; its values stay, and are found by what new code knew the column as."""
    place, now = label(f"{BURIED_COLUMN}{grave}_", retired.name), retired.place or retired.name
    known = known_as or retired
    return Act(
        statements=(f"ALTER TABLE {quote(retired.table)} RENAME COLUMN {quote(now)} TO {quote(place)}",),
        locks=exclusive(retired.table),
        revives=(retired,),
        retires=(replace(retired, name=known.name, definition=known.definition, place=place, in_use=False),),
    )


def bury_table(
    retired: Retired,
    grave: str,
    quote: Quote,
    *,
    known_as: Retired | None = None,
    columns: Iterable[tuple[str, str]] = (),
) -> Act:
    """Move a retired table with its indexes, constraints and sequences into a schema of its own.

    There it has the names by which new code knew it: `columns` are pairs of what one is called and was known as.
    """
    schema = shorten(f"{RETIRED_SCHEMA}_{grave}")
    buried = replace(known_as or retired, place=schema, in_use=False)
    alter = f"ALTER TABLE {quote(schema)}.{quote(retired.table)} RENAME"
    is_renamed = buried.table != retired.table
    return Act(
        statements=(
            f"CREATE SCHEMA IF NOT EXISTS {quote(schema)}",
            f"ALTER TABLE {quote(retired.table)} SET SCHEMA {quote(schema)}",
            *(f"{alter} COLUMN {quote(now)} TO {quote(name)}" for now, name in columns),
            *([f"{alter} TO {quote(buried.table)}"] if is_renamed else []),
        ),
        locks=exclusive(retired.table),
        revives=(retired,),
        retires=(buried,),
        renames=((retired.table, buried.table),) if is_renamed else (),
    )


def bury_where_it_lies(retired: Retired, known_as: Retired, columns: Iterable[tuple[str, str]], quote: Quote) -> Act:
    """Let a retired table that has a schema of its own already be known there as new code knew it."""
    schema = schema_of(retired.table)
    buried = replace(known_as, place=schema, in_use=False)
    alter = f"ALTER TABLE {quote(retired.table)} RENAME"
    is_renamed = buried.table != relation_of(retired.table)
    return Act(
        statements=(
            *(f"{alter} COLUMN {quote(now)} TO {quote(name)}" for now, name in columns),
            *([f"{alter} TO {quote(buried.table)}"] if is_renamed else []),
        ),
        locks=exclusive(retired.table),
        revives=(retired,),
        retires=(buried,),
        renames=((retired.table, qualified(schema, buried.table)),) if is_renamed else (),
    )


def unbury_table(retired: Retired, current_schema: str, quote: Quote) -> tuple[str, ...]:
    """Return the statements that move a buried table back, or none."""
    if not retired.place:
        return ()
    return (
        f"ALTER TABLE {quote(retired.place)}.{quote(retired.table)} SET SCHEMA {quote(current_schema)}",
        drop_grave(retired.place, quote),
    )


def drop_grave(schema: str, quote: Quote) -> str:
    """Return a statement that drops the schema that a table was buried in, unless something else lies there."""
    dropped = f"DROP SCHEMA IF EXISTS {quote(schema)}"
    return block(f"{dropped}; EXCEPTION WHEN dependent_objects_still_exist THEN NULL")


def quarantine(key: ForeignKey, nullable: bool, release: str, literal: Quote, quote: Quote) -> tuple[str, ...]:
    """Return statements that move the rows whose parent is gone into quarantine.

    A row whose reference may be NULL stays and loses only the reference; another leaves the table. Either
    way its whole image is kept. A key that cascades must not be attached yet to a table that rows leave here.
    """
    child, column = quote(key.table), quote(key.columns[0])
    orphaned = (
        f"c.{column} IS NOT NULL AND NOT EXISTS (SELECT FROM {quote(key.to_table)} p "
        f"WHERE p.{quote(key.to_columns[0])} = c.{column})"
    )
    reason = f"{key.table}.{key.columns[0]} has no row in {key.to_table}"
    trouble = "reference" if nullable else "orphan"
    into = 'INSERT INTO "segue_quarantine" '
    into += '("release", "table", "reason", "kind", "object", "definition", "row", "at") '
    values = f"SELECT {literal(release)}, {literal(key.table)}, {literal(reason)}, '{trouble}', "
    values += f"{literal(key.columns[0])}, {literal(key.definition)}, to_jsonb(c), now()"
    if nullable:
        return (
            f"{into}{values} FROM {child} c WHERE {orphaned}",
            f"UPDATE {child} c SET {column} = NULL WHERE {orphaned}",
        )
    return (f"WITH c AS (DELETE FROM {child} c WHERE {orphaned} RETURNING c.*) {into}{values} FROM c",)


def until_settled(statements: tuple[str, ...]) -> str:
    """Return one statement that repeats these until none finds a row: what leaves may have had rows of its own."""
    counted = " ".join(f"{statement}; GET DIAGNOSTICS n = ROW_COUNT; moved := moved + n;" for statement in statements)
    return (
        f"DO $segue$ DECLARE n bigint; moved bigint; BEGIN LOOP moved := 0; {counted} "
        "EXIT WHEN moved = 0; END LOOP; END $segue$"
    )


def label(prefix: str, name: str, suffix: str = "") -> str:
    """Return prefix, name and suffix in one identifier; a long name is told apart by a hash in place of its tail."""
    whole = prefix + name + suffix
    if len(whole.encode()) <= _MAX_NAME_BYTES:
        return whole
    ending = f"_{hashlib.sha256(name.encode()).hexdigest()[:8]}{suffix}"
    return (prefix + name).encode()[: _MAX_NAME_BYTES - len(ending)].decode(errors="ignore") + ending


def not_null_check(column: str) -> str:
    """Return the name of the check that stands in for NOT NULL while its column is proved."""
    return label("", column, "_segue_not_null")


def shorten(name: str) -> str:
    """Return the name cut to what PostgreSQL keeps of it, 63 bytes, never through a character."""
    if schema := schema_of(name):
        return qualified(shorten(schema), shorten(relation_of(name)))
    return name.encode()[:_MAX_NAME_BYTES].decode(errors="ignore")
