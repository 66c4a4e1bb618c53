"""What the database acknowledged, and whether it still has it.

A value counts once its request returned. A request that failed leaves the cells it touched unknown: they are
forgotten until the next acknowledged write, and so count neither as kept nor as lost.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import psycopg
from psycopg import sql

from segue.demo.record import Entry

PRIMARY_KEY = "id"

RowKey: TypeAlias = tuple[str, int]
Rows: TypeAlias = dict[RowKey, dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """The last acknowledged value of every cell, and the values of rows whose number was given out again."""

    rows: Rows
    replaced: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How many acknowledged values were looked for, and a sentence for each that is not there."""

    compared: int
    lost: tuple[str, ...]


def acknowledged(entries: Iterable[Entry]) -> Ledger:
    """What the entries of all clients add up to, in the order in which they ended.

    No two clients write the same cell, so that order decides nothing but this: a row that is inserted under
    a number that an earlier row had shows that the earlier one is gone.
    """
    rows: Rows = {}
    replaced: list[str] = []
    for entry in sorted(entries, key=lambda entry: entry.ended_at):
        for row in entry.rows:
            cells = rows.setdefault((row.table, row.pk), {})
            if entry.failure is not None:
                for column in row.values:
                    cells.pop(column, None)
                continue
            if row.is_new:
                replaced += [_was(row.table, row.pk, *cell) + "another row has its number" for cell in cells.items()]
                cells.clear()
            cells.update(row.values)
    return Ledger(rows={key: cells for key, cells in rows.items() if cells}, replaced=tuple(replaced))


def compare(ledger: Ledger, found: Rows) -> Comparison:
    """Hold acknowledged values against what the tables hold."""
    lost = [
        _loss(table, pk, column, value, found.get((table, pk)))
        for (table, pk), cells in ledger.rows.items()
        for column, value in cells.items()
        if _comparable(found.get((table, pk), {}).get(column, _ABSENT)) != _comparable(value)
    ]
    compared = sum(len(cells) for cells in ledger.rows.values()) + len(ledger.replaced)
    return Comparison(compared=compared, lost=(*ledger.replaced, *lost))


def has_all(found: Mapping[str, Any], cells: Mapping[str, Any]) -> bool:
    """Does a row hold all these values?"""
    return all(_comparable(found.get(column, _ABSENT)) == _comparable(cells[column]) for column in cells)


def read(connection: psycopg.Connection, expected: Rows) -> Rows:
    """Read the cells that a ledger names, with one query for each table and set of columns.

    A column that does not exist gives no cell, so that every value in it reads as lost.
    """
    found: Rows = {}
    existing = _existing_columns(connection)
    for (table, columns), pks in _groups(expected).items():
        readable = [column for column in columns if column in existing.get(table, ())]
        if table not in existing:
            continue
        query = sql.SQL("SELECT {} FROM {} WHERE {} = ANY(%s)").format(
            sql.SQL(", ").join(map(sql.Identifier, (PRIMARY_KEY, *readable))),
            sql.Identifier(table),
            sql.Identifier(PRIMARY_KEY),
        )
        for pk, *values in connection.execute(query, [pks]):
            found[table, pk] = dict(zip(readable, values, strict=True))
    return found


def _existing_columns(connection: psycopg.Connection) -> Mapping[str, set[str]]:
    columns: dict[str, set[str]] = defaultdict(set)
    query = (
        "SELECT table_name, column_name FROM information_schema.columns"
        " WHERE table_schema = ANY(current_schemas(false))"
    )
    for table, column in connection.execute(query):
        columns[table].add(column)
    return columns


def _groups(expected: Rows) -> Mapping[tuple[str, tuple[str, ...]], list[int]]:
    groups: dict[tuple[str, tuple[str, ...]], list[int]] = defaultdict(list)
    for (table, pk), cells in expected.items():
        groups[table, tuple(sorted(cells))].append(pk)
    return groups


_ABSENT = object()


def _comparable(value: Any) -> str:
    """A value as the ledger's file would hold it, so that a date equals its text."""
    return json.dumps(value, default=str, sort_keys=True)


def _loss(table: str, pk: int, column: str, value: Any, cells: Mapping[str, Any] | None) -> str:
    if cells is None:
        return _was(table, pk, column, value) + "the row is gone"
    now = repr(cells[column]) if column in cells else "absent"
    return f"{_was(table, pk, column, value)}now {now}"


def _was(table: str, pk: int, column: str, value: Any) -> str:
    return f"{table}.{column} of row {pk} was {value!r}; "
