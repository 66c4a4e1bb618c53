"""Archives: tables of the same database that hold what a migration drops, and the quarantine beside them.

An archive's columns have no type, so that SQLite stores in them exactly what it was given:
https://www.sqlite.org/datatype3.html#type_affinity. Every method runs in its caller's transaction.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from django.utils import timezone

from segue.core.change import Retired
from segue.core.errors import StepFailed

_PREFIX = "segue_archive_"


class Archives:
    """The archives of one database; rows that cannot go back go into quarantine in the release's name."""

    def __init__(self, connection: Any, release: str) -> None:
        self._connection = connection
        self._release = release
        self.quote = connection.ops.quote_name

    def bury(self, table: str, columns: Sequence[str], key: Sequence[str] = ()) -> str:
        """Copy the columns of every row into a new archive; return the archive's name.

        The key is indexed for the way back; there is none where a whole table goes.
        """
        place = self._free_name()
        names = self.names(columns)
        indexed = f", PRIMARY KEY ({self.names(key)})" if key else ""
        self.execute(f"CREATE TABLE {self.quote(place)} ({names}{indexed})")
        self.execute(f"INSERT INTO {self.quote(place)} ({names}) SELECT {names} FROM {self.quote(table)}")
        self.raise_sequence(place, self.sequence(table))
        return place

    def _free_name(self) -> str:
        taken = {name.lower() for (name,) in self.rows("SELECT name FROM sqlite_master")}
        number = 1
        while f"{_PREFIX}{number}" in taken:
            number += 1
        return f"{_PREFIX}{number}"

    def drop(self, place: str) -> None:
        """Drop an archive of which everything is back or in quarantine."""
        self.execute(f"DROP TABLE {self.quote(place)}")
        self.execute("DELETE FROM sqlite_sequence WHERE name = %s", [place])

    def holds(self, retired: Retired, columns: Sequence[str]) -> bool:
        """Whether the archive has exactly these columns; raise StepFailed when somebody has dropped it."""
        found = [row[1] for row in self.rows(f"PRAGMA table_info({self.quote(retired.place)})")]
        if not found:
            what = retired.table if retired.table == retired.name else f"{retired.table}.{retired.name}"
            raise StepFailed(f'The table "{retired.place}", where the values of {what} were archived, is gone.')
        return sorted(found) == sorted(columns)

    # Sequences: what comes back must not find its number given to another row

    def sequence(self, table: str) -> int | None:
        """Return the last number that AUTOINCREMENT gave out, None for a table without."""
        rows = self.rows("SELECT seq FROM sqlite_sequence WHERE name = %s", [table])
        return int(rows[0][0]) if rows else None

    def raise_sequence(self, table: str, last: int | None) -> None:
        """Let AUTOINCREMENT go on after `last`, or after its own last number where that is higher.

        sqlite_sequence may be written like any table: https://www.sqlite.org/autoinc.html
        """
        if last is None:
            return
        last = max(last, self.sequence(table) or 0)
        self.execute("DELETE FROM sqlite_sequence WHERE name = %s", [table])
        self.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (%s, %s)", [table, last])

    # Quarantine

    def quarantine(self, table: str, columns: Sequence[str], rest: str, reason: str) -> int:
        """Put rows' images into quarantine; return how many. `rest` is a query's FROM and WHERE, of `r`."""
        with self._connection.cursor() as cursor:
            # An expression has no declared type, so that none of Django's converters changes a value.
            cursor.execute(f"SELECT {', '.join(f'+r.{self.quote(c)}' for c in columns)} {rest}")
            rows = cursor.fetchall()
            now = self._connection.ops.adapt_datetimefield_value(timezone.now())
            cursor.executemany(
                'INSERT INTO segue_quarantine ("release", "table", "reason", "row", "at") VALUES (%s, %s, %s, %s, %s)',
                [(self._release, table, reason, _image(columns, row), now) for row in rows],
            )
        return len(rows)

    # Statements

    def names(self, columns: Iterable[str]) -> str:
        """Return the columns' quoted names, between commas."""
        return ", ".join(self.quote(column) for column in columns)

    def execute(self, sql: str, params: Sequence[Any] | None = None) -> None:
        """Run a statement; without parameters a percent sign means itself."""
        with self._connection.cursor() as cursor:
            cursor.execute(sql, params)

    def rows(self, sql: str, params: Sequence[Any] | None = None) -> list[tuple[Any, ...]]:
        """Run a query; return its rows."""
        with self._connection.cursor() as cursor:
            cursor.execute(sql, params)
            return [tuple(row) for row in cursor.fetchall()]


def _image(columns: Sequence[str], row: Sequence[Any]) -> str:
    """Return a row as JSON: a blob in hexadecimal, an infinite number by its name."""
    return json.dumps({column: _plain(value) for column, value in zip(columns, row, strict=True)})


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return str(value)
    return value
