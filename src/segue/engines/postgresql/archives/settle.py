"""Settling the quarantine: a row or a value goes back from its image, if everything that holds for it allows it.

The image is read on the server, where it loses nothing. Nothing that was written meanwhile is overwritten.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from django.db import transaction

from segue.core.errors import StepFailed
from segue.core.quarantine import Line, Trouble
from segue.engines.postgresql.archives import description
from segue.engines.postgresql.catalog import Catalog


class Settler:
    """Everything that settling asks of PostgreSQL."""

    def __init__(self, connection: Any, translated: Callable[[], AbstractContextManager[None]]) -> None:
        self._connection = connection
        self._translated = translated
        self._quote: Callable[[str], str] = connection.ops.quote_name
        self._catalog = Catalog(connection.cursor, self._quote)

    def stands(self, table: str, name: str) -> bool:
        """Whether a constraint or index of that name holds for every row of the table."""
        return bool(self._ask(description.STANDS, [self._quote(table), name])[0][0])

    def put_back(self, line: Line, settle: Callable[[Sequence[Line]], None]) -> str:
        """Put a row or a value back and settle the line, in one transaction; return why not, "" when it is done."""
        try:
            with self._translated(), transaction.atomic(using=self._connection.alias):
                if why := self._hindrance(line):
                    return why
                if line.trouble is Trouble.ORPHAN:
                    self._insert(line)
                elif line.trouble is Trouble.CHANGED:
                    self._change_back(line)
                else:
                    self._fill(line)
                self._execute("SET CONSTRAINTS ALL IMMEDIATE")
                settle([line])
        except StepFailed as error:
            return _said(error)
        return ""

    def _hindrance(self, line: Line) -> str:
        self._execute("SET LOCAL lock_timeout = '1s'")
        key = self._catalog.primary_key(line.table)
        if not self._catalog.exists(line.table) or not key:
            return "the table is gone, or has no primary key"
        found = self._ask(f"SELECT count(*) FROM {self._matching(line, key)}", [line.id])[0][0]
        if line.trouble is Trouble.ORPHAN:
            return "another row has its key now" if found else ""
        if not found:
            return "the row is gone"
        if line.trouble is Trouble.CHANGED:
            return self._changed_again(line, key)
        if self._catalog.column(line.table, line.object) is None:
            return f"the column {line.object} is gone"
        column = self._quote(line.object)
        free = f"t.{column} IS NULL OR t.{column}::text = r.{column}::text"
        fits = self._ask(f"SELECT count(*) FROM {self._matching(line, key)} WHERE {free}", [line.id])[0][0]
        return "" if fits else f"{line.object} has another value now"

    def _changed_again(self, line: Line, key: Sequence[str]) -> str:
        """Return why values cannot be what they were before a migration's own code: somebody has changed one again."""
        for name, value in json.loads(line.definition).items():
            if self._catalog.column(line.table, name) is None:
                return f"the column {name} is gone"
            column, now = self._quote(name), json.dumps({name: value["now"]})
            listed = f"jsonb_populate_record(NULL::{self._quote(line.table)}, %s::jsonb) w"
            same = f"to_jsonb(t.{column}) IS NOT DISTINCT FROM to_jsonb(w.{column})"
            if not self._ask(f"SELECT 1 FROM {self._matching(line, key)}, {listed} WHERE {same}", [line.id, now]):
                return f"{name} has another value now"
        return ""

    def _change_back(self, line: Line) -> None:
        """Give a row the values that it had before a migration's own code."""
        values = {name: value["before"] for name, value in json.loads(line.definition).items()}
        table, names = self._quote(line.table), [self._quote(name) for name in values]
        same = " AND ".join(f"t.{self._quote(k)} = r.{self._quote(k)}" for k in self._catalog.primary_key(line.table))
        self._execute(
            f"UPDATE {table} t SET {', '.join(f'{name} = w.{name}' for name in names)} FROM {self._image(table)}, "
            f"jsonb_populate_record(NULL::{table}, %s::jsonb) w WHERE {same}",
            [line.id, json.dumps(values)],
        )

    def _matching(self, line: Line, key: Sequence[str]) -> str:
        """FROM: the row t of the table that the line's image r is of."""
        table = self._quote(line.table)
        same = " AND ".join(f"t.{self._quote(name)} = r.{self._quote(name)}" for name in key)
        return f"{self._image(table)} JOIN {table} t ON {same}"

    def _image(self, table: str) -> str:
        line = '(SELECT "row" FROM "segue_quarantine" WHERE "id" = %s) q'
        return f'{line}, jsonb_populate_record(NULL::{table}, q."row") r'

    def _insert(self, line: Line) -> None:
        """What the table computes, or has got since, is its own affair."""
        table = self._quote(line.table)
        keys = self._ask('SELECT jsonb_object_keys("row") FROM "segue_quarantine" WHERE "id" = %s', [line.id])
        given = [name for name, _ in self._ask(description.COLUMNS, [table, ""]) if (name,) in keys]
        names = ", ".join(self._quote(name) for name in given)
        values = ", ".join(f"r.{self._quote(name)}" for name in given)
        into = f"INSERT INTO {table} ({names}) OVERRIDING SYSTEM VALUE"
        self._execute(f"{into} SELECT {values} FROM {self._image(table)}", [line.id])

    def _fill(self, line: Line) -> None:
        """Only a value that is missing is filled in."""
        table, column = self._quote(line.table), self._quote(line.object)
        same = " AND ".join(f"t.{self._quote(k)} = r.{self._quote(k)}" for k in self._catalog.primary_key(line.table))
        self._execute(
            f"UPDATE {table} t SET {column} = r.{column} FROM {self._image(table)} WHERE {same} AND t.{column} IS NULL",
            [line.id],
        )

    def _ask(self, sql: str, params: list[Any]) -> list[Any]:
        with self._connection.cursor() as cursor:
            cursor.execute(sql, params)
            rows: list[Any] = cursor.fetchall()
        return rows

    def _execute(self, sql: str, params: list[Any] | None = None) -> None:
        with self._connection.cursor() as cursor:
            cursor.execute(sql, params)


def _said(error: StepFailed) -> str:
    """Return what the server said, and its detail, which names the values."""
    first, *rest = str(error).splitlines()
    detail = next((line.removeprefix("DETAIL:").strip() for line in rest if line.startswith("DETAIL:")), "")
    return f"{first} {detail}".strip()
