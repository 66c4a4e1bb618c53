"""Twins: a second column that holds the same facts in another name or type, kept true by a trigger.

Builds SQL only. A twin has one trigger and one function of its own. The trigger looks at every update, whatever
columns it names, fires for replication too, and runs after the table's own triggers, because PostgreSQL takes
them by name. What it does is changed by replacing the function, which locks no table.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from segue.core.change import Backfill
from segue.engines.postgresql.acts.blocks import literal

Quote = Callable[[str], str]

TWIN = "segue_twin_"
# Types without an equality operator are compared as text.
_INCOMPARABLE = ("json", "xml", "point", "polygon", "box", "circle", "line", "lseg", "path")
_RANGES = {"smallint": 16, "integer": 32, "bigint": 64}


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """How a value of one column becomes one of the other; `function` is its safe form, which never fails.

    The safe form gives NULL for what it cannot convert. `wraps` is the width in bits of an integer that keeps
    what it cannot hold modulo its range, so that a key stays unique and not null.
    """

    type: str
    cast: str = ""
    function: str = ""
    wraps: int = 0

    def of(self, value: str) -> str:
        """Return the SQL that converts a value, failing as stock Django's ALTER TYPE would."""
        if self.wraps:
            lowest, size = -(2 ** (self.wraps - 1)), 2**self.wraps
            wrapped = f"((({value} - ({lowest})) % {size}) + {size}) % {size} + ({lowest})"
            held = f"{value} BETWEEN {lowest} AND {-lowest - 1}"
            return f"(CASE WHEN {held} THEN {value} ELSE {wrapped} END)::{self.type}"
        return f"{value}{self.cast}"

    def safely(self, value: str, quote: Quote) -> str:
        """Return the SQL that converts a value, or gives NULL for one that cannot be."""
        return f"{quote(self.function)}({value})" if self.function else self.of(value)

    def create(self, source_type: str, quote: Quote) -> tuple[str, ...]:
        """Return the statement that makes the safe form, or none where it is not needed."""
        if not self.function:
            return ()
        return (
            f"CREATE OR REPLACE FUNCTION {quote(self.function)}(given {source_type}) RETURNS {self.type} "
            f"LANGUAGE plpgsql IMMUTABLE AS $segue$ DECLARE result {self.type}; BEGIN result := {self.of('given')}; "
            "RETURN result; EXCEPTION WHEN data_exception OR invalid_parameter_value THEN RETURN NULL; END $segue$",
        )


@dataclass(frozen=True, kw_only=True)
class Twin:
    """A column that old code uses, and its twin; both are named as the database names them now.

    `forth` converts old to new, `back` new to old. `default` is the old column's default where it does not
    change from row to row: it tells whether an insert has set a side. `remembers` is the column that says where the
    old one has a stand-in for NULL, if there is one. `order` places the trigger among others of its table.
    """

    table: str
    old: str
    new: str
    forth: Conversion
    back: Conversion
    default: str = ""
    remembers: str = ""
    order: int = 1

    @property
    def digest(self) -> str:
        """Eight hex characters for names that belong to this twin."""
        types = "" if self.forth.type == self.back.type else f".{self.back.type}.{self.forth.type}"
        return hashlib.sha256(f"{self.table}.{self.old}.{self.new}{types}".encode()).hexdigest()[:8]

    @property
    def trigger(self) -> str:
        """The trigger's name: after those of anybody else, and in the twins' order."""
        return f"zzzz_segue_{self.order:03}_{self.digest}"

    @property
    def function(self) -> str:
        """The name of the trigger's function."""
        return f"segue_twin_{self.digest}"


def compared(sql: str, type_: str) -> str:
    """Return the value in a form that has an equality operator."""
    return f"({sql})::text" if type_.startswith(_INCOMPARABLE) and not type_.startswith("jsonb") else sql


def integer_bits(type_: str) -> int:
    """Return the width of an integer type, 0 for another type."""
    return _RANGES.get(type_, 0)


def fill(twin: Twin, quote: Quote, *, revived: bool = False, leniently: bool = False) -> Backfill:
    """Return the backfill that makes the twin true; a revived twin keeps what the old column could not hold."""
    old, new = quote(twin.old), quote(twin.new)
    value = twin.forth.safely(old, quote) if leniently else twin.forth.of(old)
    if revived:
        back = compared(twin.back.safely(new, quote), twin.back.type)
        where = f"{back} IS DISTINCT FROM {compared(old, twin.back.type)}"
        if leniently:  # What has no value in the new type stays different.
            same = f"{compared(new, twin.forth.type)} IS NOT DISTINCT FROM {compared(value, twin.forth.type)}"
            where = f"{where} AND NOT ({same})"
    else:
        wanted = compared(value, twin.forth.type)
        where = f"{compared(new, twin.forth.type)} IS DISTINCT FROM {wanted}"
    return Backfill(table=twin.table, assignments=f"{new} = {value}", where=where)


def settings(twin: Twin, quote: Quote) -> str:
    """Return the statement that gives the twin the old column's privileges, statistics target and ways of storage.

    Storage and compression are for types of variable length only.
    https://www.postgresql.org/docs/current/sql-altertable.html
    """
    table = quote(twin.table)
    alter = literal(f"ALTER TABLE {table} ALTER COLUMN {quote(twin.new)} SET ")
    column = (
        f"SELECT a.*, t.typstorage FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid WHERE a.attrelid = "
        f"{literal(table)}::regclass AND a.attname = "
    )
    storage = "'STORAGE ' || CASE old.attstorage "
    storage += "WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL' WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END"
    grantee = "CASE given.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(given.grantee)) END"
    grant = literal(f"GRANT %s ({quote(twin.new).replace('%', '%%')}) ON {table.replace('%', '%%')} TO %s%s")
    return (
        "DO $segue$ DECLARE old record; new record; given record; BEGIN "
        f"{column}{literal(twin.old)} INTO old; {column}{literal(twin.new)} INTO new; "
        "IF coalesce(old.attstattarget, -1) <> -1 THEN "
        f"EXECUTE {alter} || 'STATISTICS ' || old.attstattarget; END IF; "
        "IF old.attstorage <> old.typstorage AND new.typstorage <> 'p' THEN "
        f"EXECUTE {alter} || {storage}; END IF; "
        "IF old.attcompression <> '' AND new.typstorage <> 'p' THEN "
        f"EXECUTE {alter} || 'COMPRESSION ' || CASE old.attcompression WHEN 'l' THEN 'lz4' ELSE 'pglz' END; END IF; "
        f"IF old.attoptions IS NOT NULL THEN EXECUTE {alter} || '(' || array_to_string(old.attoptions, ', ') || ')'; "
        "END IF; FOR given IN SELECT * FROM aclexplode(old.attacl) LOOP "
        f"EXECUTE format({grant}, given.privilege_type, {grantee}, "
        "CASE WHEN given.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END); END LOOP; END $segue$"
    )


def attach(twin: Twin, body: str, quote: Quote) -> tuple[str, ...]:
    """Return the statements that make the conversions, the function and the trigger."""
    table = quote(twin.table)
    return (
        *twin.forth.create(twin.back.type, quote),
        *twin.back.create(twin.forth.type, quote),
        function(twin.function, body, quote),
        f"DROP TRIGGER IF EXISTS {quote(twin.trigger)} ON {table}",
        f"CREATE TRIGGER {quote(twin.trigger)} BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW "
        f"EXECUTE FUNCTION {quote(twin.function)}()",
        f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {quote(twin.trigger)}",
    )


def detach(twin: Twin, quote: Quote) -> tuple[str, ...]:
    """Return the statements that remove what `attach` made, as far as it is there."""
    statements = [f"DROP FUNCTION IF EXISTS {quote(twin.function)}() CASCADE"]
    for conversion, source in ((twin.forth, twin.back.type), (twin.back, twin.forth.type)):
        if conversion.function:
            statements.append(f"DROP FUNCTION IF EXISTS {quote(conversion.function)}({source})")
    return tuple(statements)


def functions_anew(table: str, quote: Quote) -> str:
    """Return the statement that makes the functions of all of a table's twins anew, as they are.

    A session that has run one keeps the types of the columns that it reads, and fails when one has another.
    """
    of_table = f"tgrelid = {literal(quote(table))}::regclass AND tgname LIKE 'zzzz\\_segue%'"
    return (
        "DO $segue$ DECLARE body text; BEGIN FOR body IN SELECT pg_get_functiondef(tgfoid) FROM pg_trigger "
        f"WHERE {of_table} LOOP EXECUTE body; END LOOP; END $segue$"
    )


def function(name: str, body: str, quote: Quote) -> str:
    """Return the statement that makes or replaces a trigger's function."""
    return (
        f"CREATE OR REPLACE FUNCTION {quote(name)}() RETURNS trigger LANGUAGE plpgsql AS $segue$ "
        f"BEGIN {body} RETURN NEW; END $segue$"
    )


def follows(twin: Twin, quote: Quote) -> str:
    """The body that keeps the new column true while everybody writes the old one."""
    old, new = quote(twin.old), quote(twin.new)
    value = twin.forth.safely(f"NEW.{old}", quote)
    changed = f"{_compared_row('NEW', old, twin.back)} IS DISTINCT FROM {_compared_row('OLD', old, twin.back)}"
    return (
        f"IF TG_OP = 'INSERT' THEN NEW.{new} := {value}; "
        f"ELSIF NEW.{new} IS NULL OR {changed} THEN NEW.{new} := {value}; END IF;"
    )


def both(twin: Twin, quote: Quote) -> str:
    """The body for two versions at work: the side that changed wins, on an insert the side that was set.

    A backfill writes the new column alone, on behalf of the old one.
    """
    old, new = quote(twin.old), quote(twin.new)
    forth = f"NEW.{new} := {twin.forth.safely(f'NEW.{old}', quote)};"
    back = f"NEW.{old} := {twin.back.safely(f'NEW.{new}', quote)};"
    if twin.remembers:
        back += f" NEW.{quote(twin.remembers)} := NULL;"
    new_changed = f"{_compared_row('NEW', new, twin.forth)} IS DISTINCT FROM {_compared_row('OLD', new, twin.forth)}"
    old_changed = f"{_compared_row('NEW', old, twin.back)} IS DISTINCT FROM {_compared_row('OLD', old, twin.back)}"
    inserted = f"IF NEW.{new} IS NOT NULL THEN {back} ELSE {forth} END IF;"
    if twin.default:
        # Both sides have the default: one that differs from it has been set.
        unset_old = f"{_compared_row('NEW', old, twin.back)} IS NOT DISTINCT FROM {twin.default}"
        inserted = f"IF {unset_old} THEN {back} ELSE {forth} END IF;"
    return (
        "IF coalesce(current_setting('segue.backfill', true), '') <> 'on' THEN "
        f"IF TG_OP = 'INSERT' THEN {inserted} "
        f"ELSIF {new_changed} THEN {back} "
        f"ELSIF {old_changed} OR NEW.{new} IS NULL THEN {forth} END IF; END IF;"
    )


def _compared_row(row: str, column: str, conversion: Conversion) -> str:
    return compared(f"{row}.{column}", conversion.type)
