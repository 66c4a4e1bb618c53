"""What the rows of a new column get: those that are there, and those that old code inserts while both versions run.

Decides only; the SQL is complete. Knows the Python callables that PostgreSQL has a function for: an AddField's
callable runs once, in Python, and what it gives is one constant for every row that is there.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from django.utils import timezone

# Callables whose values are all alike: what they give in SQL is what they would give in Python.
_STEADY: tuple[Any, ...] = (dict, list, set, tuple, str, bytes, int, float, bool)
_MOMENTS: tuple[Any, ...] = (timezone.now, datetime.now)


@dataclass(frozen=True, kw_only=True)
class Function:
    """An SQL expression that is evaluated for each row; `distinct` says that no two rows get the same value."""

    sql: str
    distinct: bool = False


@dataclass(frozen=True, kw_only=True)
class DatabaseDefault:
    """A field's `db_default` as SQL; one that is `volatile` gives each row a value of its own."""

    sql: str
    constant: bool
    volatile: bool


@dataclass(frozen=True, kw_only=True)
class Filling:
    """What the rows of a new column get, as SQL; "" stands for nothing.

    `at_once` is one value for every row that is there, which moves none of them; `one_by_one` is evaluated for
    each. `inserted` is what a row of old code gets, `lasting` the default that stays after finalize. There may
    be `at_most` so many rows, as stock would fail with more.
    """

    at_once: str = ""
    one_by_one: str = ""
    inserted: str = ""
    lasting: str = ""
    at_most: int | None = None


def filling(
    *, constant: str, function: Function | None, database: DatabaseDefault | None, unique: bool, null: bool
) -> Filling:
    """Return what rows get: what stock gives them, distinct values in a unique column, and a value for old code.

    `constant` is the literal of the default that stock would use, "" for none.
    """
    if database is not None:
        return _of_database_default(database, unique)
    if unique and constant and function is not None and function.distinct:
        return Filling(one_by_one=function.sql, inserted=function.sql)
    if unique and constant:
        return Filling(at_once=constant, at_most=1)
    if constant:
        return Filling(at_once=constant, inserted=function.sql if function else constant)
    return Filling() if null else Filling(at_most=0)


def _of_database_default(default: DatabaseDefault, unique: bool) -> Filling:
    if default.volatile:
        return Filling(one_by_one=default.sql, inserted=default.sql, lasting=default.sql)
    if unique and default.constant:
        # Old code would insert it a second time.
        return Filling(at_once=default.sql, lasting=default.sql, at_most=1)
    return Filling(at_once=default.sql, inserted=default.sql, lasting=default.sql, at_most=1 if unique else None)


def function_of(field: Any) -> Function | None:
    """Return the SQL that gives each row what the field's default would give it in Python, if it is known."""
    kind = field.get_internal_type()
    if getattr(field, "auto_now", False) or getattr(field, "auto_now_add", False):
        return _now(kind)
    if not callable(field.default):
        return None
    if field.default == uuid.uuid4 and kind in ("UUIDField", "CharField", "TextField"):
        return Function(sql="gen_random_uuid()", distinct=True)
    if field.default in _MOMENTS and kind != "TimeField":  # its time of day may be UTC's or the project's
        return _now(kind)
    if field.default == date.today and kind == "DateField":
        return _now(kind)
    return None


def _now(kind: str) -> Function | None:
    local = f"(statement_timestamp() AT TIME ZONE '{timezone.get_default_timezone_name()}')"
    sql = {
        "DateTimeField": "statement_timestamp()",
        "DateField": f"{local}::date",
        "TimeField": f"{local}::time",
    }.get(kind)
    return Function(sql=sql) if sql else None


def runs_only_in_python(field: Any) -> str:
    """Return the name of the callable that would give each row another value and that SQL does not have, or ""."""
    default = field.default
    if not field.has_default() or not callable(default) or default in _STEADY or function_of(field) is not None:
        return ""
    return f"{getattr(default, '__module__', '')}.{getattr(default, '__qualname__', type(default).__name__)}"
