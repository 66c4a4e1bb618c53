"""Archives: tables of the same database that hold what a migration drops or changes.

An archive's columns have no type, so that SQLite stores in them exactly what it was given:
https://www.sqlite.org/datatype3.html#type_affinity. Every method runs in its caller's transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.db import OperationalError
from django.db.backends.utils import strip_quotes

from segue.core.change import Retired
from segue.core.errors import StepFailed

_PREFIX = "segue_archive_"
# What an archive calls its values, so that they never meet a column of the key.
VALUE = "segue_value"


class Archives:
    """The archives of one database, and the few questions about its tables that they need."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.quote = connection.ops.quote_name

    # Archives

    def bury(self, table: str) -> str:
        """Copy every row into a new archive; return the archive's name."""
        place = self.make(self.columns(table))
        names = self.names(self.columns(table))
        self.execute(f"INSERT INTO {self.quote(place)} ({names}) SELECT {names} FROM {self.quote(table)}")
        self.raise_sequence(place, self.sequence(table))
        return place

    def bury_column(self, table: str, column: str, rest: Sequence[str], *, keyed: bool) -> str:
        """Copy a column into a new archive, beside the rest that says whose value it was; return its name.

        A rest that is `keyed` is the rows' key, and indexed for the way back.
        """
        place = self.make((*rest, VALUE), key=rest if keyed else ())
        names = self.names(rest)
        self.execute(
            f"INSERT INTO {self.quote(place)} ({self.names((*rest, VALUE))}) "
            f"SELECT {', '.join(filter(None, (names, self.quote(column))))} FROM {self.quote(table)}"
        )
        self.raise_sequence(place, self.sequence(table))
        return place

    def make(self, columns: Sequence[str], key: Sequence[str] = ()) -> str:
        """Make an empty archive; return its name."""
        place = self._free_name()
        indexed = f", PRIMARY KEY ({self.names(key)})" if key else ""
        self.execute(f"CREATE TABLE {self.quote(place)} ({self.names(columns)}{indexed})")
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

    def require(self, retired: Retired) -> None:
        """Raise StepFailed when somebody has dropped the archive."""
        if not self.columns(retired.place):
            what = retired.table if retired.table == retired.name else f"{retired.table}.{retired.name}"
            raise StepFailed(f'The table "{retired.place}", where the values of {what} were archived, is gone.')

    def rename_column(self, place: str, old: str, new: str) -> None:
        """Call an archive's column by another name, if it has it and none of that name."""
        columns = self.columns(place)
        if old in columns and new not in columns:
            quote = self.quote
            self.execute(f"ALTER TABLE {quote(place)} RENAME COLUMN {quote(old)} TO {quote(new)}")

    @staticmethod
    def is_archive(table: str) -> bool:
        """Whether a table is an archive by its name."""
        return table.startswith(_PREFIX)

    # Tables

    def columns(self, table: str) -> tuple[str, ...]:
        """Return the columns of which a table stores the values, none where there is no such table."""
        found = self.rows(f"PRAGMA table_xinfo({self.quote(table)})")
        return tuple(str(name) for _, name, *_, hidden in found if hidden == 0)

    def key(self, table: str) -> tuple[str, ...]:
        """Return the columns of a table's primary key, in its order."""
        found = [(place, name) for _, name, _, _, _, place in self.rows(f"PRAGMA table_info({self.quote(table)})")]
        return tuple(str(name) for place, name in sorted(found) if place)

    def address(self, table: str) -> tuple[str, ...]:
        """Return the quoted columns that tell a table's rows apart, in the order in which rows were written.

        https://www.sqlite.org/lang_createtable.html#rowid
        """
        names = {name.lower() for name in self.columns(table)}
        free = [alias for alias in ("rowid", "oid", "_rowid_") if alias not in names]
        for alias in free:
            try:
                self.rows(f"SELECT {alias} FROM {self.quote(table)} LIMIT 0")
            except OperationalError:
                break  # The table was made WITHOUT ROWID.
            return (alias,)
        return tuple(self.quote(column) for column in self.key(table))

    def has_rows(self, table: str) -> bool:
        """Whether a table has any."""
        return bool(self.rows(f"SELECT 1 FROM {self.quote(table)} LIMIT 1"))

    # Sequences: what comes back must not find its number given to another row

    def sequence(self, table: str) -> int | None:
        """Return the last number that AUTOINCREMENT gave out, None for a table without."""
        rows = self.rows("SELECT seq FROM sqlite_sequence WHERE name = %s", [strip_quotes(table)])
        return int(rows[0][0]) if rows else None

    def raise_sequence(self, table: str, last: int | None) -> None:
        """Let AUTOINCREMENT go on after `last`, or after its own last number where that is higher.

        sqlite_sequence may be written like any table: https://www.sqlite.org/autoinc.html
        """
        if last is None:
            return
        last = max(last, self.sequence(table) or 0)
        name = strip_quotes(table)
        self.execute("DELETE FROM sqlite_sequence WHERE name = %s", [name])
        self.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (%s, %s)", [name, last])

    # Statements

    def names(self, columns: Iterable[str]) -> str:
        """Return the columns' quoted names, between commas."""
        return ", ".join(self.quote(column) for column in columns)

    def execute(self, sql: str, params: Sequence[Any] | None = None) -> int:
        """Run a statement; return how many rows it changed. Without parameters a percent sign means itself."""
        with self._connection.cursor() as cursor:
            cursor.execute(sql, params)
            return int(cursor.rowcount)

    def set_pragma(self, name: str, value: object) -> None:
        """Set a pragma, even where a failure has left the transaction unusable for anything else."""
        self._connection.connection.execute(f"PRAGMA {name} = {value}")

    def rows(self, sql: str, params: Sequence[Any] | None = None) -> list[tuple[Any, ...]]:
        """Run a query; return its rows."""
        with self._connection.cursor() as cursor:
            cursor.execute(sql, params)
            return [tuple(row) for row in cursor.fetchall()]


def same(one: str, other: str) -> str:
    """Return the SQL of whether two values are stored alike: equal, and of one storage class.

    The unary plus takes their columns' affinity away. `one` must be a column of an archive, so that its binary
    collation counts: https://www.sqlite.org/datatype3.html#comparison_expressions
    """
    return f"(+{one} IS +{other} AND typeof({one}) = typeof({other}))"


def alike(one: str, ones: Sequence[str], other: str, others: Sequence[str]) -> str:
    """Return the SQL of whether a row of `one` has the key of a row of `other`; quoted names all.

    Only the columns of `one` can be found through an index.
    """
    return " AND ".join(f"{one}.{mine} = +{other}.{theirs}" for mine, theirs in zip(ones, others, strict=True))
