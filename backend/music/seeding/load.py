"""Brings rows into a table: COPY on PostgreSQL, executemany elsewhere.

Columns are named explicitly and taken from the table as it is, so loading works at every migration state:
a table without the v1.1 columns is filled without them. Ids are left to the database, which keeps its
sequence right.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper

from .rows import Batch


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table as it is in one database."""

    name: str
    columns: list[str]
    last_id: int


def find_table(connection: BaseDatabaseWrapper, name: str, wanted_columns: Iterable[str]) -> Table | None:
    """The table with those of the wanted columns that it has; None if there is no such table."""
    with connection.cursor() as cursor:
        if name not in connection.introspection.table_names(cursor):
            return None
        existing = {column.name for column in connection.introspection.get_table_description(cursor, name)}
        cursor.execute(f"SELECT COALESCE(MAX(id), 0) FROM {connection.ops.quote_name(name)}")
        (last_id,) = cursor.fetchone()
    return Table(name=name, columns=[column for column in wanted_columns if column in existing], last_id=last_id)


def load(connection: BaseDatabaseWrapper, table: Table, batches: Iterable[Batch]) -> None:
    """Insert every batch; wants a transaction around it. Holds a few batches in memory, however many come.

    Moments are written without an offset: both engines then read them in the connection's own time zone.
    """
    insert = _copy if connection.vendor == "postgresql" else _execute_many
    with connection.cursor() as cursor, connection.wrap_database_errors:
        insert(
            cursor,
            connection.ops.quote_name(table.name),
            [connection.ops.quote_name(column) for column in table.columns],
            batches,
        )


def _copy(cursor: CursorWrapper, table: str, columns: list[str], batches: Iterable[Batch]) -> None:
    # Here, because a developer on SQLite may have no libpq.
    from psycopg.copy import QueuedLibpqWriter

    # Queued: rows are made while the server takes in those before them.
    writer = QueuedLibpqWriter(cursor)
    with cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN", writer=writer) as copy:
        for batch in batches:
            copy.write("\n".join(map("\t".join, batch)) + "\n")


def _execute_many(cursor: CursorWrapper, table: str, columns: list[str], batches: Iterable[Batch]) -> None:
    values = ", ".join(["%s"] * len(columns))
    for batch in batches:
        cursor.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({values})", batch)


def refresh_statistics(connection: BaseDatabaseWrapper, table: Table) -> None:
    """Let the planner know the new rows. VACUUM, where there is one, also enables index-only scans.

    PostgreSQL refuses VACUUM within a transaction.
    """
    verb = "VACUUM (ANALYZE)" if connection.vendor == "postgresql" else "ANALYZE"
    with connection.cursor() as cursor:
        cursor.execute(f"{verb} {connection.ops.quote_name(table.name)}")
