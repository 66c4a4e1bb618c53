"""The way back: values and rows out of their archives, where what they belong to is still there.

Every function runs in its caller's transaction, with foreign keys not enforced until it ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from segue.engines.sqlite.archive import Archives


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A foreign key that the database enforces; `nullable` says whether a row may live without it."""

    column: str
    to_table: str
    to_column: str
    nullable: bool


@dataclass(frozen=True, kw_only=True)
class BuriedColumn:
    """The archived values of a column, by the key of the rows that they belong to."""

    place: str
    table: str
    key: tuple[str, ...]
    column: str
    reference: Reference | None


def value_or(archives: Archives, buried: BuriedColumn, default: str) -> str:
    """Return the SQL of a row's value: the archived one, or the default for a row that has none."""
    value = f"SELECT r.{archives.quote(buried.column)} {_of_row(archives, buried)}"
    return f"CASE WHEN {_has_value(archives, buried)} THEN ({value}) ELSE {default} END"


def count_without_value(archives: Archives, buried: BuriedColumn) -> int:
    """Return how many rows of the table have no archived value."""
    table = archives.quote(buried.table)
    rows = archives.rows(f"SELECT count(*) FROM {table} WHERE NOT {_has_value(archives, buried)}")
    return int(rows[0][0])


def put_back(archives: Archives, buried: BuriedColumn) -> None:
    """Write the archived values over what the column has."""
    table, column = archives.quote(buried.table), archives.quote(buried.column)
    value = f"SELECT r.{column} {_of_row(archives, buried)}"
    archives.execute(f"UPDATE {table} SET {column} = ({value}) WHERE {_has_value(archives, buried)}")


def settle(archives: Archives, buried: BuriedColumn) -> None:
    """Drop the archive, once the values that did not get back into the column are in quarantine."""
    table, column, columns = (
        archives.quote(buried.table),
        archives.quote(buried.column),
        (*buried.key, buried.column),
    )
    same_row = " AND ".join(f"t.{archives.quote(k)} = r.{archives.quote(k)}" for k in buried.key)
    row = f"SELECT 1 FROM {table} t WHERE {same_row}"
    rest = f"FROM {archives.quote(buried.place)} r WHERE "
    gone = f"the row of {buried.table} that had this {buried.column} is gone"
    archives.quarantine(buried.table, columns, f"{rest}NOT EXISTS ({row})", gone)
    left_out = f"{rest}EXISTS ({row}) AND NOT EXISTS ({row} AND r.{column} IS t.{column})"
    reason = _no_parent(buried.table, buried.reference) if buried.reference else "the column could not take it"
    archives.quarantine(buried.table, columns, left_out, reason)
    archives.drop(buried.place)


def put_back_table(
    archives: Archives, place: str, table: str, columns: Sequence[str], references: Sequence[Reference]
) -> None:
    """Fill a table that has just been made from its archive, and drop the archive.

    A row whose parent is gone loses the reference where that may be NULL, and leaves the table otherwise; its
    whole image is in quarantine either way. Rows that pointed at it are looked at again.
    """
    names = archives.names(columns)
    archives.execute(f"INSERT INTO {archives.quote(table)} ({names}) SELECT {names} FROM {archives.quote(place)}")
    archives.raise_sequence(table, archives.sequence(place))
    while sum(_detach_orphans(archives, table, columns, reference) for reference in references):
        pass
    archives.drop(place)


def _detach_orphans(archives: Archives, table: str, columns: Sequence[str], reference: Reference) -> int:
    column, quoted = archives.quote(reference.column), archives.quote(table)
    parent = f"SELECT 1 FROM {archives.quote(reference.to_table)} p"
    is_same = f"p.{archives.quote(reference.to_column)} = r.{column}"
    orphaned = f"r.{column} IS NOT NULL AND NOT EXISTS ({parent} WHERE {is_same})"
    found = archives.quarantine(table, columns, f"FROM {quoted} r WHERE {orphaned}", _no_parent(table, reference))
    if found and reference.nullable:
        archives.execute(f"UPDATE {quoted} AS r SET {column} = NULL WHERE {orphaned}")
    elif found:
        archives.execute(f"DELETE FROM {quoted} AS r WHERE {orphaned}")
    return found


def _no_parent(table: str, reference: Reference) -> str:
    return f"{table}.{reference.column} has no row in {reference.to_table}"


def _has_value(archives: Archives, buried: BuriedColumn) -> str:
    return f"EXISTS (SELECT 1 {_of_row(archives, buried)})"


def _of_row(archives: Archives, buried: BuriedColumn) -> str:
    """Return FROM and WHERE of a row's archived value, if its reference still holds."""
    quote = archives.quote
    # The unary plus takes the affinity away from the row's key, so that the archive's index serves.
    same = [f"r.{quote(k)} = +{quote(buried.table)}.{quote(k)}" for k in buried.key]
    if buried.reference is not None:
        value = f"r.{quote(buried.column)}"
        parent = f"SELECT 1 FROM {quote(buried.reference.to_table)} p"
        is_same = f"p.{quote(buried.reference.to_column)} = {value}"
        same.append(f"({value} IS NULL OR EXISTS ({parent} WHERE {is_same}))")
    return f"FROM {quote(buried.place)} r WHERE {' AND '.join(same)}"
