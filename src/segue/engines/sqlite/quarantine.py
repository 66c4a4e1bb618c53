"""Quarantine: what cannot go back, as JSON for a person, and as an archive for the same migration's next apply.

Every method runs in its caller's transaction.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from django.db import IntegrityError
from django.utils import timezone

from segue.core.change import Kind, Retired
from segue.engines.sqlite.archive import VALUE, Archives, alike, same

# The archive's column that says which line of the quarantine a row is.
LINE = "segue_line"


class Quarantine:
    """What one release cannot put back while it carries out one migration."""

    def __init__(self, connection: Any, archives: Archives, *, release: str, migration: str) -> None:
        self._connection = connection
        self._archives = archives
        self._release = release
        self._migration = migration

    def put(
        self, table: str, columns: Mapping[str, str], rest: str, reason: str, params: Sequence[Any] | None = None
    ) -> int:
        """Put rows' images into quarantine; return how many.

        `columns` are the image's names for columns of `r`, which is what the query's FROM and WHERE, `rest`, calls it.
        """
        quote = self._archives.quote
        # An expression has no declared type, so that none of Django's converters changes a value.
        rows = self._archives.rows(f"SELECT {', '.join(f'+r.{quote(c)}' for c in columns.values())} {rest}", params)
        for row in rows:
            self.line(table, dict(zip(columns, row, strict=True)), reason)
        return len(rows)

    def line(self, table: str, row: Mapping[str, Any], reason: str) -> int:
        """Put one row's image into quarantine; return the line's number."""
        now = self._connection.ops.adapt_datetimefield_value(timezone.now())
        image = json.dumps({column: _plain(value) for column, value in row.items()})
        with self._connection.cursor() as cursor:
            cursor.execute(
                'INSERT INTO segue_quarantine ("release", "table", "reason", "row", "at") VALUES (%s, %s, %s, %s, %s)',
                [self._release, table, reason, image, now],
            )
            return int(cursor.lastrowid)

    # What the same migration's next apply takes in again

    def keep_row(
        self, table: str, source: str, where: str, params: Sequence[Any], reason: str, into: Retired | None
    ) -> Retired:
        """Put a whole row `r` of a table into quarantine and into an archive, a new one without `into`.

        It is read from `source`, which has the table's columns.
        """
        archives, columns = self._archives, self._archives.columns(source)
        if into is None or set(archives.columns(into.place)) != {LINE, *columns}:
            into = self._new(Kind.ROWS, table, self._migration, columns)
        plain = ", ".join(f"+r.{archives.quote(c)}" for c in columns)
        (row,) = archives.rows(f"SELECT {plain} FROM {archives.quote(source)} AS r WHERE {where}", params)
        self._archive(into, columns, row, self.line(table, dict(zip(columns, row, strict=True)), reason))
        return into

    def keep_value(
        self, table: str, column: str, image: Mapping[str, Any], reason: str, into: Retired | None
    ) -> Retired:
        """Put one value of a row into quarantine and into an archive, a new one without `into`.

        The image is the row's key and the value, in this order.
        """
        *key, _ = image
        if into is None:
            into = self._new(Kind.VALUES, table, column, (*key, VALUE))
        self._archive(into, (*key, VALUE), tuple(image.values()), self.line(table, image, reason))
        return into

    def _new(self, kind: Kind, table: str, name: str, columns: Sequence[str]) -> Retired:
        place = self._archives.make((LINE, *columns))
        return Retired(kind=kind, table=table, name=name, definition=self._definition, place=place)

    def _archive(self, into: Retired, columns: Sequence[str], row: Sequence[Any], line: int) -> None:
        names, marks = self._archives.names((LINE, *columns)), ", ".join(["%s"] * (len(columns) + 1))
        self._archives.execute(
            f"INSERT INTO {self._archives.quote(into.place)} ({names}) VALUES ({marks})", [line, *row]
        )

    @property
    def _definition(self) -> str:
        return f"left out by the way back of {self._migration}"

    def is_left_out(self, kept: Retired) -> bool:
        """Whether an archive holds what this migration's way back has left out of a table that is there."""
        return kept.definition == self._definition and not Archives.is_archive(kept.table)

    def take_in(self, kept: Retired) -> bool:
        """Put back what fits by now, but for what a person has settled; whether nothing is left."""
        archives, place = self._archives, self._archives.quote(kept.place)
        archives.require(kept)
        unsettled = "SELECT id FROM segue_quarantine WHERE settled_at IS NULL"
        archives.execute(f"DELETE FROM {place} WHERE {LINE} NOT IN ({unsettled})")
        take = self._take_row if kept.kind is Kind.ROWS else self._take_value
        columns = tuple(column for column in archives.columns(kept.place) if column != LINE)
        for (line,) in archives.rows(f"SELECT {LINE} FROM {place} ORDER BY {LINE} DESC"):
            if take(kept, columns, line):
                archives.execute(f"DELETE FROM {place} WHERE {LINE} = %s", [line])
                now = self._connection.ops.adapt_datetimefield_value(timezone.now())
                archives.execute("UPDATE segue_quarantine SET settled_at = %s WHERE id = %s", [now, line])
        return not archives.has_rows(kept.place)

    def _take_row(self, kept: Retired, columns: Sequence[str], line: int) -> bool:
        """Insert the row, unless the table's shape refuses or changes it."""
        archives, names = self._archives, self._archives.names(columns)
        if set(archives.columns(kept.table)) != set(columns):
            return False
        table, place = archives.quote(kept.table), archives.quote(kept.place)
        unchanged = " AND ".join(same(f"r.{archives.quote(c)}", f"t.{archives.quote(c)}") for c in columns)
        key = [archives.quote(c) for c in archives.key(kept.table)]
        is_there = f"SELECT 1 FROM {place} r, {table} t WHERE r.{LINE} = %s AND {alike('t', key, 'r', key)}"
        if not key or archives.rows(is_there, [line]):
            return False
        try:
            archives.execute(f"INSERT INTO {table} ({names}) SELECT {names} FROM {place} WHERE {LINE} = %s", [line])
        except IntegrityError:
            return False
        if archives.rows(f"{is_there} AND {unchanged}", [line]):
            return True
        ours = ", ".join(f"+r.{name}" for name in key)
        archives.execute(
            f"DELETE FROM {table} WHERE ({', '.join(key)}) IN (SELECT {ours} FROM {place} r WHERE {LINE} = %s)", [line]
        )
        return False

    def _take_value(self, kept: Retired, columns: Sequence[str], line: int) -> bool:
        """Write the value where there is none, unless the column refuses or changes it."""
        archives, column = self._archives, self._archives.quote(kept.name)
        if kept.name not in archives.columns(kept.table):
            return False
        key = [archives.quote(c) for c in columns if c != VALUE]
        table, place = archives.quote(kept.table), archives.quote(kept.place)
        value = f"SELECT r.{VALUE} FROM {place} r WHERE r.{LINE} = %s AND {alike('r', key, table, key)}"
        put = f"UPDATE OR IGNORE {table} SET {column} = ({value}) WHERE {column} IS NULL AND EXISTS ({value})"
        put_some = archives.execute(put, [line, line])
        unchanged = same(f"r.{VALUE}", f"{table}.{column}")
        if archives.rows(f"SELECT 1 FROM {table} WHERE EXISTS ({value} AND {unchanged})", [line]):
            return True
        if put_some:
            archives.execute(f"UPDATE {table} SET {column} = NULL WHERE EXISTS ({value})", [line])
        return False


def _plain(value: Any) -> Any:
    """Return a value as JSON has it: a blob in hexadecimal, an infinite number by its name."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return str(value)
    return value
