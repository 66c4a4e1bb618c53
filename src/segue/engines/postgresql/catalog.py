"""What the catalog says: the facts that a translation needs, and whether two databases have the same schema.

Reads only. Tables are named as Django names them; a table outside the search path is "schema"."table".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from segue.core.archive import Contents
from segue.core.change import Kind
from segue.engines.postgresql.activity import Cursor
from segue.engines.postgresql.qualified import qualified

# Defaults that give every row of a transaction the same value: literals, and the time of its start.
_STEADY = re.compile(
    r"""\(?(-?[\d.]+|'(?:[^']|'')*'|true|false|now\(\)|statement_timestamp\(\)|CURRENT_\w+)\)?(::.*)?"""
)

RETIRED_SCHEMA = "segue_retired"
BURIED_COLUMN = "segue_retired_"

_NAME = (
    'CASE WHEN pg_table_is_visible(c.oid) THEN c.relname::text ELSE format(\'"%%s"."%%s"\', n.nspname, c.relname) END'
)


@dataclass(frozen=True, kw_only=True)
class ForeignKey:
    """A foreign key constraint; `definition` is what ADD CONSTRAINT takes.

    `while_open` is the definition while old code may run, where that is another.
    """

    name: str
    table: str
    to_table: str
    columns: tuple[str, ...]
    to_columns: tuple[str, ...]
    definition: str
    while_open: str = ""


@dataclass(frozen=True, kw_only=True)
class Column:
    """What decides whether code that does not know the column can insert, and what its twin must be.

    `identity` is what GENERATED … AS IDENTITY says, `sequence` the quoted name of the one that a serial column
    owns; `steady` says that the default is the same for every row.
    """

    not_null: bool
    default: str
    fills_itself: bool
    unique: bool
    type: str = ""
    identity: str = ""
    sequence: str = ""
    steady: bool = True
    comment: str | None = None


@dataclass(frozen=True, kw_only=True)
class Index:
    """An index that is no constraint's; `definition` is the CREATE INDEX that makes it."""

    name: str
    definition: str


@dataclass(frozen=True, kw_only=True)
class UniqueIndex:
    """A unique index: the CREATE UNIQUE INDEX that makes it, its keys and its condition as SQL."""

    definition: str
    keys: tuple[str, ...]
    where: str
    nulls_are_equal: bool


class Catalog:
    """Facts about the tables of one connection."""

    def __init__(self, cursor: Callable[[], Any], quote: Callable[[str], str]) -> None:
        self._cursor = cursor
        self._quote = quote
        # Tables that get another name at finalize.
        self.named: dict[str, str] = {}
        self._expected_columns: dict[tuple[str, str], Column] = {}
        self._expected_indexes: dict[str, str] = {}

    def _rows(self, sql: str, params: list[Any]) -> list[Any]:
        with self._cursor() as cursor:
            cursor.execute(sql, params)
            rows: list[Any] = cursor.fetchall()
        return rows

    def expect(self, table: str, place: str, contents: Contents) -> None:
        """Answer from now on as if what an archive holds lay in the database already: in a plan it never will."""
        for name in contents.indexes:
            self._expected_indexes[name] = table
            if contents.of.kind is Kind.TABLE:
                self._expected_indexes[qualified(place, name)] = qualified(place, table)
        if contents.of.kind is Kind.COLUMN:
            value = contents.columns[-1]
            self._expected_columns[table, place] = Column(
                not_null=False,
                default=value.default,
                fills_itself=False,
                unique=False,
                type=value.type,
                steady=bool(_STEADY.fullmatch(value.default)),
                comment=value.comment or None,
            )

    def id(self, table: str) -> int:
        """Return what the server calls the table, whatever its name, 0 where there is none."""
        return int(self._rows("SELECT coalesce(to_regclass(%s)::oid::bigint, 0)", [self._quote(table)])[0][0])

    def exists(self, table: str) -> bool:
        """Whether the table, view or index is there."""
        return bool(self._rows("SELECT to_regclass(%s) IS NOT NULL", [self._quote(table)])[0][0])

    def relation_kind(self, name: str) -> str:
        """Return PostgreSQL's letter for what has the name: r a table, v a view; "" for nothing."""
        rows = self._rows("SELECT relkind::text FROM pg_class WHERE oid = to_regclass(%s)::oid", [self._quote(name)])
        return str(rows[0][0]) if rows else ""

    def rows_estimated(self, table: str) -> int:
        """Return how many rows the table had when it was last analyzed, 0 where that is unknown."""
        rows = self._rows("SELECT reltuples FROM pg_class WHERE oid = to_regclass(%s)::oid", [self._quote(table)])
        return max(0, int(rows[0][0])) if rows else 0

    def has_trigger(self, table: str, name: str) -> bool:
        """Whether the table has a trigger of that name."""
        return bool(
            self._rows(
                "SELECT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = to_regclass(%s)::oid AND tgname = %s)",
                [self._quote(table), name],
            )[0][0]
        )

    def is_watched(self, table: str, column: str) -> bool:
        """Whether a trigger fires for updates that name this column, and not for those that only change it."""
        return bool(
            self._rows(
                "SELECT EXISTS (SELECT FROM pg_trigger t JOIN pg_attribute a ON a.attrelid = t.tgrelid "
                "AND a.attnum = ANY (t.tgattr) "
                "WHERE t.tgrelid = to_regclass(%s)::oid AND a.attname = %s)",
                [self._quote(table), column],
            )[0][0]
        )

    def column(self, table: str, column: str) -> Column | None:
        """Return the facts of one column, None where there is none."""
        rows = self._rows(
            """
            SELECT a.attnotnull, coalesce(pg_get_expr(d.adbin, d.adrelid), ''),
                   a.attidentity <> '' OR a.attgenerated <> '',
                   EXISTS (SELECT FROM pg_index i WHERE i.indrelid = a.attrelid AND i.indisunique
                           AND a.attnum = ANY(i.indkey::smallint[])),
                   format_type(a.atttypid, a.atttypmod),
                   CASE a.attidentity WHEN 'a' THEN 'ALWAYS' WHEN 'd' THEN 'BY DEFAULT' ELSE '' END,
                   CASE WHEN a.attidentity = '' THEN pg_get_serial_sequence(%s, a.attname) END,
                   col_description(a.attrelid, a.attnum)
            FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
            WHERE a.attrelid = to_regclass(%s)::oid AND a.attname = %s AND NOT a.attisdropped
            """,
            [self._quote(table), self._quote(table), column],
        )
        if not rows:
            return self._expected_columns.get((table, column))
        not_null, default, fills_itself, unique, type_, identity, sequence, comment = rows[0]
        return Column(
            not_null=not_null,
            default=default,
            fills_itself=fills_itself,
            unique=unique,
            type=type_,
            identity=identity,
            sequence=sequence or "",
            steady=bool(_STEADY.fullmatch(default)),
            comment=comment,
        )

    def foreign_keys(self, table: str, column: str | None = None) -> list[ForeignKey]:
        """Return the foreign keys from and to the table, or those from and to one column of it."""
        rows = self._rows(
            f"""
            WITH named AS (
                SELECT c.oid, {_NAME} AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            )
            SELECT k.conname, child.name, parent.name, pg_get_constraintdef(k.oid),
                   ARRAY(SELECT attname::text FROM unnest(k.conkey) WITH ORDINALITY u(num, pos)
                         JOIN pg_attribute ON attrelid = k.conrelid AND attnum = u.num ORDER BY pos),
                   ARRAY(SELECT attname::text FROM unnest(k.confkey) WITH ORDINALITY u(num, pos)
                         JOIN pg_attribute ON attrelid = k.confrelid AND attnum = u.num ORDER BY pos),
                   k.conrelid = to_regclass(%s)::oid, k.confrelid = to_regclass(%s)::oid
            FROM pg_constraint k
            JOIN named child ON child.oid = k.conrelid JOIN named parent ON parent.oid = k.confrelid
            WHERE k.contype = 'f' AND k.conparentid = 0 AND to_regclass(%s)::oid IN (k.conrelid, k.confrelid)
            ORDER BY k.conrelid, k.conname
            """,
            [self._quote(table)] * 3,
        )
        return [
            ForeignKey(
                name=name,
                table=child,
                to_table=parent,
                columns=tuple(columns),
                to_columns=tuple(to_columns),
                definition=definition.removesuffix(" NOT VALID"),
            )
            for name, child, parent, definition, columns, to_columns, outgoing, incoming in rows
            if column is None or (outgoing and column in columns) or (incoming and column in to_columns)
        ]

    def indexes(self, table: str, column: str) -> list[Index]:
        """Return the indexes that hold the column and back no constraint."""
        rows = self._rows(
            """
            SELECT c.relname, pg_get_indexdef(i.indexrelid)
            FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
            JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attname = %s
            WHERE i.indrelid = to_regclass(%s)::oid AND a.attnum = ANY(i.indkey::smallint[])
              AND NOT EXISTS (SELECT FROM pg_constraint k
                              WHERE k.conindid = i.indexrelid AND k.contype IN ('p','u','x'))
            ORDER BY c.relname
            """,
            [column, self._quote(table)],
        )
        return [Index(name=name, definition=definition) for name, definition in rows]

    def constraints_on(self, table: str, column: str) -> list[str]:
        """Return the unique, check and exclusion constraints that hold the column; not-null ones left out."""
        rows = self._rows(
            """
            SELECT k.conname FROM pg_constraint k
            JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attname = %s
            WHERE k.conrelid = to_regclass(%s)::oid AND k.contype IN ('u','c','x') AND a.attnum = ANY(k.conkey)
            ORDER BY k.conname
            """,
            [column, self._quote(table)],
        )
        return [row[0] for row in rows]

    def constraint(self, table: str, name: str) -> str:
        """Return what ADD CONSTRAINT would take for the table's constraint of that name, "" where there is none."""
        rows = self._rows(
            "SELECT pg_get_constraintdef(oid) FROM pg_constraint "
            "WHERE conrelid = to_regclass(%s)::oid AND conname = %s",
            [self._quote(table), name],
        )
        return str(rows[0][0]) if rows else ""

    def primary_key(self, table: str) -> tuple[str, ...]:
        """Return the columns of the table's primary key in their order."""
        rows = self._rows(
            """
            SELECT a.attname::text FROM pg_index i, unnest(i.indkey::smallint[]) WITH ORDINALITY u(num, pos)
            JOIN pg_attribute a ON a.attnum = u.num
            WHERE i.indrelid = to_regclass(%s)::oid AND i.indisprimary AND a.attrelid = i.indrelid ORDER BY u.pos
            """,
            [self._quote(table)],
        )
        return tuple(row[0] for row in rows)

    def index_table(self, name: str) -> str | None:
        """Return the table of a valid index of that name, "" for an invalid one, None where there is none."""
        rows = self._rows(
            f"""
            SELECT CASE WHEN i.indisvalid AND i.indisready THEN {_NAME} ELSE '' END
            FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE i.indexrelid = to_regclass(%s)::oid
            """,
            [self._quote(name)],
        )
        return str(rows[0][0]) if rows else self._expected_indexes.get(name)

    def relations_of(self, table: str) -> list[str]:
        """Return the names of the table's indexes and of the sequences that go with it."""
        rows = self._rows(
            """
            SELECT c.relname::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
            WHERE i.indrelid = to_regclass(%s)::oid
            UNION SELECT s.relname::text FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
            WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
              AND d.refobjid = to_regclass(%s)::oid AND d.deptype IN ('a', 'i')
            ORDER BY 1
            """,
            [self._quote(table)] * 2,
        )
        return [row[0] for row in rows]

    def relation_owner(self, name: str) -> str:
        """Return the table that an index or a sequence of that name belongs to, "" where there is none."""
        rows = self._rows(
            f"""
            SELECT {_NAME} FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid IN (
                SELECT indrelid FROM pg_index WHERE indexrelid = to_regclass(%s)::oid
                UNION SELECT refobjid FROM pg_depend WHERE objid = to_regclass(%s)::oid
                    AND classid = 'pg_class'::regclass AND refclassid = 'pg_class'::regclass
                    AND deptype IN ('a', 'i') AND refobjsubid > 0)
            """,
            [self._quote(name)] * 2,
        )
        return str(rows[0][0]) if rows else ""

    def is_unique_index(self, name: str) -> bool:
        """Whether an index of that name is there and refuses duplicates."""
        rows = self._rows(
            "SELECT indisunique FROM pg_index WHERE indexrelid = to_regclass(%s)::oid", [self._quote(name)]
        )
        return bool(rows and rows[0][0])

    def unique_index(self, table: str, name: str) -> UniqueIndex | None:
        """Return what a unique index of the table is, None where there is none of that name."""
        rows = self._rows(
            """
            SELECT pg_get_indexdef(i.indexrelid),
                   ARRAY(SELECT pg_get_indexdef(i.indexrelid, n, false) FROM generate_series(1, i.indnkeyatts) n),
                   coalesce(pg_get_expr(i.indpred, i.indrelid), ''),
                   coalesce((to_jsonb(i) ->> 'indnullsnotdistinct')::boolean, false)
            FROM pg_index i WHERE i.indrelid = to_regclass(%s)::oid AND i.indexrelid = to_regclass(%s)::oid
              AND i.indisunique
            """,
            [self._quote(table), self._quote(name)],
        )
        if not rows:
            return None
        definition, keys, where, nulls_are_equal = rows[0]
        return UniqueIndex(definition=definition, keys=tuple(keys), where=where, nulls_are_equal=nulls_are_equal)

    def is_partitioned(self, table: str) -> bool:
        """Whether the table's rows lie in partitions."""
        rows = self._rows("SELECT relkind = 'p' FROM pg_class WHERE oid = to_regclass(%s)::oid", [self._quote(table)])
        return bool(rows and rows[0][0])

    def has_collation(self, name: str, locale: str, provider: str, is_deterministic: bool) -> bool:
        """Whether a collation of that name is there and the same; PostgreSQL 15 and 17 renamed its columns."""
        rows = self._rows(
            """
            SELECT EXISTS (
                SELECT FROM pg_collation c WHERE c.collname = %s AND c.collnamespace = current_schema()::regnamespace
                AND c.collprovider = %s AND c.collisdeterministic = %s AND lower(%s) IN (
                    lower(c.collcollate), lower(to_jsonb(c) ->> 'colliculocale'), lower(to_jsonb(c) ->> 'colllocale')))
            """,
            [name, {"libc": "c", "icu": "i", "builtin": "b"}.get(provider, ""), is_deterministic, locale],
        )
        return bool(rows[0][0])

    def own_constraint(self, table: str, column: str, kind: str) -> str:
        """Return the name of a proved constraint of this column alone, "" for none; `kind` is its letter: u, c or p."""
        rows = self._rows(
            """
            SELECT k.conname FROM pg_constraint k JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attname = %s
            WHERE k.conrelid = to_regclass(%s)::oid AND k.contype = %s AND k.convalidated
              AND k.conkey = ARRAY[a.attnum] AND k.conname NOT LIKE '%%segue\\_not\\_null'
            ORDER BY k.oid
            """,
            [column, self._quote(table), kind],
        )
        return str(rows[0][0]) if rows else ""

    def primary_key_name(self, table: str) -> str:
        """Return the name of the table's primary key, "" where it has none."""
        rows = self._rows(
            "SELECT conname FROM pg_constraint WHERE conrelid = to_regclass(%s)::oid AND contype = 'p'",
            [self._quote(table)],
        )
        return str(rows[0][0]) if rows else ""

    def own_sequence(self, table: str, column: str) -> str:
        """Return the sequence that numbers the column and goes with it, as SQL, "" where there is none."""
        rows = self._rows(
            """
            SELECT s.oid::regclass::text FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
            JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
            WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
              AND d.refobjid = to_regclass(%s)::oid AND d.deptype IN ('a', 'i') AND a.attname = %s
            """,
            [self._quote(table), column],
        )
        return str(rows[0][0]) if rows else ""

    def relation_name(self, table: str) -> str:
        """Return a table's name as the catalog has it or will have it, without its schema and cut by PostgreSQL."""
        if table in self.named:
            return self.named[table].encode()[:63].decode(errors="ignore")
        rows = self._rows("SELECT relname FROM pg_class WHERE oid = to_regclass(%s)::oid", [self._quote(table)])
        return str(rows[0][0]) if rows else table

    def is_taken(self, table: str, name: str, *, besides: str, by_relation: bool) -> bool:
        """Whether a constraint, or also a relation, in the table's schema has the name.

        What belongs to the column `besides` alone does not count.
        """
        rows = self._rows(
            """
            WITH own AS (
                SELECT t.oid, t.relnamespace, a.attnum FROM pg_class t
                LEFT JOIN pg_attribute a ON a.attrelid = t.oid AND a.attname = %s WHERE t.oid = to_regclass(%s)::oid
            )
            SELECT EXISTS (
                SELECT FROM pg_constraint k, own WHERE k.connamespace = own.relnamespace AND k.conname = %s
                AND (k.conrelid, k.conkey) IS DISTINCT FROM (own.oid, ARRAY[own.attnum])
            ) OR %s AND EXISTS (
                SELECT FROM own, pg_class c LEFT JOIN pg_index i ON i.indexrelid = c.oid
                WHERE c.relnamespace = own.relnamespace AND c.relname = %s
                AND (i.indrelid, i.indkey::text) IS DISTINCT FROM (own.oid, own.attnum::text)
            )
            """,
            [besides, self._quote(table), name, by_relation, name],
        )
        return bool(rows[0][0])

    def is_volatile(self, expression: str) -> bool:
        """Whether an expression calls a function that may give each row another value."""
        called = [name.lower() for name in re.findall(r"(\w+)\"?\s*\(", expression)]
        return bool(
            self._rows("SELECT EXISTS (SELECT FROM pg_proc WHERE provolatile = 'v' AND proname = ANY(%s))", [called])[
                0
            ][0]
        )

    def is_checked_domain(self, type_: str) -> bool:
        """Whether a type is a domain with constraints: adding a column of it looks at every row."""
        return bool(
            self._rows(
                "SELECT EXISTS (SELECT FROM pg_type t WHERE t.oid = to_regtype(%s)::oid AND t.typtype = 'd' "
                "AND (t.typnotnull OR EXISTS (SELECT FROM pg_constraint k WHERE k.contypid = t.oid)))",
                [type_],
            )[0][0]
        )


_DESCRIPTIONS = {
    "table": """
        SELECT c.relname, concat_ws(' ', c.relkind, c.relpersistence, obj_description(c.oid, 'pg_class'))
        FROM pg_class c WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r','p','v','m')
    """,
    "column": """
        SELECT c.relname || '.' || a.attname,
               concat_ws(' ', format_type(a.atttypid, a.atttypmod), CASE WHEN a.attnotnull THEN 'NOT NULL' END,
                         'default ' || pg_get_expr(d.adbin, d.adrelid),
                         nullif('identity ' || a.attidentity::text, 'identity '),
                         nullif('generated ' || a.attgenerated::text, 'generated '),
                         (SELECT 'collate ' || collname FROM pg_collation l
                          WHERE l.oid = a.attcollation AND l.collname <> 'default'), col_description(c.oid, a.attnum))
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r','p','v','m')
          AND a.attnum > 0 AND NOT a.attisdropped
    """,
    "index": """
        SELECT t.relname || '.' || c.relname,
               concat_ws(' ', pg_get_indexdef(i.indexrelid), CASE WHEN NOT i.indisvalid THEN 'INVALID' END)
        FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid
        WHERE c.relnamespace = current_schema()::regnamespace
    """,
    "constraint": """
        SELECT t.relname || '.' || k.conname, pg_get_constraintdef(k.oid)
        FROM pg_constraint k JOIN pg_class t ON t.oid = k.conrelid
        WHERE k.connamespace = current_schema()::regnamespace AND k.contype <> 'n'
    """,
    "sequence": """
        SELECT c.relname, format_type(s.seqtypid, NULL)
        FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid
        WHERE c.relnamespace = current_schema()::regnamespace
    """,
    "trigger": """
        SELECT c.relname || '.' || t.tgname, pg_get_triggerdef(t.oid)
        FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
        WHERE c.relnamespace = current_schema()::regnamespace AND NOT t.tgisinternal
    """,
}

# Segue's own tables, and what it buried. Columns, indexes and constraints of a buried column follow it.
_OWN = """
    SELECT relname FROM pg_class WHERE relname LIKE 'segue\\_%'
    AND relnamespace = current_schema()::regnamespace
"""
_OF_BURIED_COLUMNS = """
    SELECT c.relname || '.' || a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
    WHERE a.attname LIKE 'segue\\_%' AND c.relnamespace = current_schema()::regnamespace
"""


def differences(left: Any, right: Any, *, ignore: frozenset[str] = frozenset()) -> list[str]:
    """Return how the current schemas of two connections differ, one sentence a difference.

    Left out: Segue's own tables, buried objects, the order of columns, and the names in `ignore` (a table,
    "table.column" or "table.index"). Takes psycopg or Django connections; locks nothing.
    """
    ours, theirs = _describe(left, ignore), _describe(right, ignore)
    found = []
    for kind in _DESCRIPTIONS:
        for name in sorted(ours[kind].keys() | theirs[kind].keys()):
            one, other = ours[kind].get(name), theirs[kind].get(name)
            if one is None:
                found.append(f"{kind} {name} is missing on the left: {other}")
            elif other is None:
                found.append(f"{kind} {name} is missing on the right: {one}")
            elif one != other:
                found.append(f"{kind} {name} differs: {one} | {other}")
    return found


def _describe(connection: Any, ignore: frozenset[str]) -> dict[str, dict[str, str]]:
    with connection.cursor() as cursor:
        hidden = ignore | {row[0] for row in _all(cursor, _OWN)} | {row[0] for row in _all(cursor, _OF_BURIED_COLUMNS)}
        return {
            kind: {
                name: text
                for name, text in _all(cursor, sql)
                if name not in hidden and name.split(".", 1)[0] not in hidden
            }
            for kind, sql in _DESCRIPTIONS.items()
        }


def _all(cursor: Cursor, sql: str) -> list[Any]:
    cursor.execute(sql)
    return cursor.fetchall()
