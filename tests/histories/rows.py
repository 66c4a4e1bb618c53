"""Rows for any models of any state, the same in every database, and what became of them.

Written and read with SQL of its own: third parties' fields and managers have opinions about values.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from zlib import crc32

from django.db import DatabaseError, connections, models, transaction

from segue.core.change import Alias
from tests.histories.projects import Make

Row = dict[str, Any]
Rows = dict[str, dict[Any, Row]]

_EACH = 3
_TRIES = 12
# Django makes these itself, after every migration.
_DJANGOS = frozenset({"django_content_type", "auth_permission"})


@dataclass(frozen=True, kw_only=True)
class Written:
    """A row as it was written: the table and the values of its columns."""

    table: str
    key: Any
    values: Mapping[str, Any]


@dataclass
class Writer:
    """Makes rows from what one database has, each with values that no other has, and inserts them anywhere.

    `keeps_null` are the "table.column" that may be NULL: those that no later migration tightens. `unique` are the
    columns of a table that some migration wants to be unique together.
    """

    alias: str
    special: Mapping[str, Make]
    number: int = 100
    keeps_null: set[str] = field(default_factory=set)
    unique: dict[str, set[tuple[str, ...]]] = field(default_factory=dict)

    def fill(self, apps: Any) -> list[Written]:
        """Insert rows until every model has a few; return them, parents first."""
        written: list[Written] = []
        for model in parents_first(tables_of(apps)):
            missing = _EACH - _count(self.alias, model)
            for _ in range(missing if model._meta.db_table not in _DJANGOS else 0):
                written += self._insert_new(model)
        return written

    def add(self, apps: Any, labels: set[str]) -> list[Written]:
        """Insert one row of each of some models."""
        written: list[Written] = []
        for model in parents_first(tables_of(apps)):
            if model._meta.label_lower in labels and model._meta.db_table not in _DJANGOS:
                written += self._insert_new(model)
        return written

    def make(self, model: Any) -> Written | None:
        """Return a row that could be inserted, None where it has nothing to refer to."""
        self.number += 1
        values = {}
        for column in model._meta.local_concrete_fields:
            if getattr(column, "generated", False):
                continue
            value = self._value(model, column)
            if value is None and not column.null:
                return None
            values[column.column] = value
        key = model._meta.pk.column
        return Written(table=model._meta.db_table, key=values[key], values=values)

    def _insert_new(self, model: Any) -> list[Written]:
        for _ in range(_TRIES):
            row = self.make(model)
            if row is None:
                break  # There is nothing to refer to.
            if not self._has_twin(row) and not insert(self.alias, row):
                return [row]
        return []

    def _has_twin(self, row: Written) -> bool:
        """Whether a row is there already that a later migration will not allow beside this one."""
        quote = connections[self.alias].ops.quote_name
        with connections[self.alias].cursor() as cursor:
            for columns in self.unique.get(row.table, ()):
                values = [row.values.get(c) for c in columns]
                if any(value is None for value in values):
                    continue
                where = " AND ".join(f"{quote(c)} = %s" for c in columns)
                cursor.execute(f"SELECT FROM {quote(row.table)} WHERE {where}", values)
                if cursor.fetchone() is not None:
                    return True
        return False

    def _is_unique(self, model: Any, column: Any) -> bool:
        return column.unique or (column.column,) in self.unique.get(model._meta.db_table, ())

    def _value(self, model: Any, column: Any) -> Any:
        name = f"{model._meta.db_table}.{column.column}"
        if name in self.special:
            return self.special[name](self.number)
        unique = self._is_unique(model, column)
        if column.remote_field is not None:
            return self._reference(column, unique=unique)
        if column.null and name in self.keeps_null and self.number % 3 == 0 and not unique:
            return None
        if column.choices and not unique:
            choices = [value for value, _ in column.flatchoices if value is not None]
            return choices[self.number % len(choices)] if choices else None
        return _plain(str(column.db_type(connections[self.alias])), self.number)

    def _reference(self, column: Any, *, unique: bool) -> Any:
        target = column.target_field
        parents = _column(self.alias, target.model._meta.db_table, target.column)
        if unique:
            used = set(_column(self.alias, column.model._meta.db_table, column.column))
            parents = [key for key in parents if key not in used]
        return parents[crc32(f"{column.column} {self.number}".encode()) % len(parents)] if parents else None


def _plain(type_: str, n: int) -> Any:
    size = [int(digits) for digits in re.findall(r"\d+", type_)]
    kind = type_.split("(")[0].strip()
    if kind in ("varchar", "char"):
        return str(n)[-(size[0] if size else 9) :]
    if kind.startswith("numeric"):
        return Decimal(n % 10 ** (size[0] - size[1])) if size else Decimal(n)
    made: dict[str, Any] = {
        "text": lambda: f"{n} '%s' ü",
        "citext": lambda: str(n),
        "smallint": lambda: n % 30_000,
        "integer": lambda: n,
        "bigint": lambda: n,
        "serial": lambda: n,
        "bigserial": lambda: n,
        "double precision": lambda: float(n),
        "boolean": lambda: n % 2 == 0,
        "date": lambda: date(2020, 1, 1) + timedelta(days=n % 3000),
        "time": lambda: time(n % 24),
        "timestamp with time zone": lambda: datetime(2015, 1, 1, tzinfo=UTC) + timedelta(hours=n),
        "interval": lambda: timedelta(seconds=n),
        "uuid": lambda: uuid.UUID(int=n),
        "jsonb": lambda: json.dumps({"n": n}),
        "bytea": lambda: str(n).encode(),
        "inet": lambda: f"10.0.{n // 256 % 256}.{n % 256}",
        "tsvector": lambda: "",
    }
    return made[kind]()


def insert(alias: str, row: Written, names: Iterable[Alias] = ()) -> str:
    """Insert a row where the database may have other names for things; return why not, "" when it is there."""
    tables = {a.table: a.place for a in names if not a.column}
    columns = {(a.table, a.column): a.place for a in names if a.column}
    table = tables.get(row.table, row.table)
    quote = connections[alias].ops.quote_name
    places = ", ".join(quote(columns.get((table, c), columns.get((row.table, c), c))) for c in row.values)
    marks = ", ".join(["%s"] * len(row.values))
    try:
        with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
            cursor.execute(f"INSERT INTO {quote(table)} ({places}) VALUES ({marks})", [*row.values.values()])
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    except DatabaseError as error:
        return str(error).strip().splitlines()[0]
    return ""


@contextmanager
def undone(alias: str) -> Iterator[None]:
    """Leave nothing of what the block writes."""
    with transaction.atomic(using=alias):
        yield
        transaction.set_rollback(True, using=alias)


def aliases(alias: str) -> list[Alias]:
    """Return what new code is told of the names in a database."""
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT table_name, column_name, place FROM segue_alias ORDER BY id")
        return [Alias(table=table, column=column, place=place) for table, column, place in cursor.fetchall()]


# Models


def tables_of(apps: Any) -> list[Any]:
    """Return every model of a state that has a table, those between two that refer to many included."""
    found = apps.get_models(include_auto_created=True)
    return [m for m in found if m._meta.managed and not m._meta.proxy and not m._meta.swapped]


def parents_first(found: list[Any]) -> list[Any]:
    """Return models so that what must be referred to comes before what refers; circles come last as they are."""
    ordered: list[Any] = []
    left = list(found)
    while left:
        done = {m._meta.label for m in ordered}
        ready = [m for m in left if _needs(m) <= done] or left
        ordered += ready
        left = [m for m in left if m not in ready]
    return ordered


def _needs(model: Any) -> set[str]:
    return {
        f.related_model._meta.label
        for f in model._meta.local_concrete_fields
        if f.remote_field and f.related_model is not model
    }


# What is there


def _count(alias: str, model: Any) -> int:
    return len(_column(alias, model._meta.db_table, model._meta.pk.column))


def _column(alias: str, table: str, column: str) -> list[Any]:
    quote = connections[alias].ops.quote_name
    with connections[alias].cursor() as cursor:
        cursor.execute(f"SELECT {quote(column)} FROM {quote(table)} ORDER BY 1")
        return [value for (value,) in cursor.fetchall()]


def rows(alias: str, apps: Any) -> Rows:
    """Return every value of every row that the models of a state see: table, primary key, column."""
    found: Rows = {}
    quote = connections[alias].ops.quote_name
    with connections[alias].cursor() as cursor:
        for model in tables_of(apps):
            names = [f.column for f in model._meta.local_concrete_fields]
            table = model._meta.db_table
            cursor.execute(f"SELECT {', '.join(map(quote, names))} FROM {quote(table)}")
            made = [dict(zip(names, map(_comparable, values), strict=True)) for values in cursor.fetchall()]
            found[table] = {row[model._meta.pk.column]: row for row in made}
    return found


def _comparable(value: Any) -> Any:
    return bytes(value) if isinstance(value, memoryview) else value


@dataclass(frozen=True, kw_only=True)
class Lost:
    """A value that is another now, or a row that is gone: then `column` is empty."""

    table: str
    key: Any
    column: str = ""
    was: Any = None
    now: Any = None

    def __str__(self) -> str:
        if not self.column:
            return f"{self.table}: the row {self.key} is gone"
        return f"{self.place} of row {self.key} was {self.was!r} and is {self.now!r}"

    @property
    def place(self) -> str:
        """The table, and the column if it is a value."""
        return f"{self.table}.{self.column}" if self.column else self.table


def lost(before: Rows, after: Rows) -> list[Lost]:
    """Return each row or value of `before` that `after` has not."""
    found = []
    for table, by_key in before.items():
        for key, values in by_key.items():
            now = after.get(table, {}).get(key)
            if now is None:
                found.append(Lost(table=table, key=key))
                continue
            found += [
                Lost(table=table, key=key, column=column, was=value, now=now.get(column))
                for column, value in values.items()
                if now.get(column, ...) != value
            ]
    return found


def made_at_random(apps: Any) -> set[str]:
    """Return the "table.column" whose default is another at each call, or the moment of it."""
    return {
        f"{model._meta.db_table}.{f.column}"
        for model in tables_of(apps)
        for f in model._meta.local_concrete_fields
        if is_random(f)
    }


def is_random(column: models.Field[Any, Any]) -> bool:
    """Whether a field has another value each time that it is left to itself."""
    if getattr(column, "auto_now", False) or getattr(column, "auto_now_add", False):
        return True
    if not column.has_default() or not callable(column.default):
        return False
    return isinstance(column.default(), date) or column.default() != column.default()


def make_same(alias: str, apps: Any, wanted: Rows) -> None:
    """Give a database the rows of another; whole tables, because two rows may have exchanged unique values."""
    there = rows(alias, apps)
    quote = connections[alias].ops.quote_name
    with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        for table in {one.table for one in (*lost(wanted, there), *lost(there, wanted))}:
            cursor.execute(f"DELETE FROM {quote(table)}")
            for values in wanted[table].values():
                marks = ", ".join(["%s"] * len(values))
                names = ", ".join(map(quote, values))
                cursor.execute(f"INSERT INTO {quote(table)} ({names}) VALUES ({marks})", [*values.values()])


def number_on(alias: str) -> None:
    """Let every sequence go on after the greatest key that is there."""
    with connections[alias].cursor() as cursor:
        cursor.execute(
            """
            SELECT format('SELECT setval(%L, (SELECT coalesce(max(%I), 0) + 1 FROM %s), false)',
                          s.oid::regclass, a.attname, c.oid::regclass)
            FROM pg_class s JOIN pg_depend d ON d.objid = s.oid AND d.deptype IN ('a', 'i')
            JOIN pg_class c ON c.oid = d.refobjid
            JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.refobjsubid
            WHERE s.relkind = 'S' AND d.classid = 'pg_class'::regclass
              AND c.relnamespace = 'public'::regnamespace AND c.relname NOT LIKE 'segue%'
            """
        )
        for (statement,) in cursor.fetchall():
            cursor.execute(statement)


def lay_in_order(alias: str) -> None:
    """Let the rows of every table lie in the order of their keys: code that asks for no order reads them so."""
    with connections[alias].cursor() as cursor:
        cursor.execute(
            """
            SELECT format('CLUSTER %1$s USING %2$I; ALTER TABLE %1$s SET WITHOUT CLUSTER', t.oid::regclass, c.relname)
            FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid
            WHERE i.indisprimary AND t.relnamespace = 'public'::regnamespace AND t.relname NOT LIKE 'segue%'
            """
        )
        for (statement,) in cursor.fetchall():
            cursor.execute(statement)


def sequences_of(alias: str, tables: set[str]) -> set[str]:
    """Return the sequences that columns of these tables own."""
    with connections[alias].cursor() as cursor:
        cursor.execute(
            """
            SELECT s.relname FROM pg_class s JOIN pg_depend d ON d.objid = s.oid AND d.deptype IN ('a', 'i')
            JOIN pg_class c ON c.oid = d.refobjid
            WHERE s.relkind = 'S' AND d.classid = 'pg_class'::regclass AND c.relname = ANY(%s)
            """,
            [list(tables)],
        )
        return {name for (name,) in cursor.fetchall()}
