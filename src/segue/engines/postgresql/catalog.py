"""What the catalog says: the facts that a translation needs, and whether two databases have the same schema.

Reads only. Tables are named as Django names them; a table outside the search path is "schema"."table".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from segue.engines.postgresql.activity import Cursor

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
    """What decides whether code that does not know the column can insert."""

    not_null: bool
    default: str
    fills_itself: bool
    unique: bool


@dataclass(frozen=True, kw_only=True)
class Index:
    """An index that is no constraint's; `definition` is the CREATE INDEX that makes it."""

    name: str
    definition: str


class Catalog:
    """Facts about the tables of one connection."""

    def __init__(self, cursor: Callable[[], Any], quote: Callable[[str], str]) -> None:
        self._cursor = cursor
        self._quote = quote

    def _rows(self, sql: str, params: list[Any]) -> list[Any]:
        with self._cursor() as cursor:
            cursor.execute(sql, params)
            rows: list[Any] = cursor.fetchall()
        return rows

    def exists(self, table: str) -> bool:
        """Whether the table, view or index is there."""
        return bool(self._rows("SELECT to_regclass(%s) IS NOT NULL", [self._quote(table)])[0][0])

    def column(self, table: str, column: str) -> Column | None:
        """Return the facts of one column, None where there is none."""
        rows = self._rows(
            """
            SELECT a.attnotnull, coalesce(pg_get_expr(d.adbin, d.adrelid), ''),
                   a.attidentity <> '' OR a.attgenerated <> '',
                   EXISTS (SELECT FROM pg_index i WHERE i.indrelid = a.attrelid AND i.indisunique
                           AND a.attnum = ANY(i.indkey::smallint[]))
            FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
            WHERE a.attrelid = to_regclass(%s)::oid AND a.attname = %s AND NOT a.attisdropped
            """,
            [self._quote(table), column],
        )
        if not rows:
            return None
        not_null, default, fills_itself, unique = rows[0]
        return Column(not_null=not_null, default=default, fills_itself=fills_itself, unique=unique)

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
        return str(rows[0][0]) if rows else None


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
    WHERE a.attname LIKE 'segue\\_retired\\_%'
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
