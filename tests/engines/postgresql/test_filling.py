"""What rows get in a new column, decided from what its field says."""

from __future__ import annotations

import uuid
from datetime import date, datetime
from typing import Any

import pytest
from django.db import models
from django.utils import timezone

from segue.engines.postgresql.editor.filling import (
    DatabaseDefault,
    Filling,
    Function,
    filling,
    function_of,
    runs_only_in_python,
)

RANDOM = Function(sql="gen_random_uuid()", distinct=True)
MOMENT = Function(sql="statement_timestamp()")
CONSTANT = DatabaseDefault(sql="5", constant=True, volatile=False)
STABLE = DatabaseDefault(sql="now()", constant=False, volatile=False)
VOLATILE = DatabaseDefault(sql="random()", constant=False, volatile=True)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"null": True}, Filling()),
        ({"constant": "5"}, Filling(at_once="5", inserted="5")),
        ({"constant": "5", "function": MOMENT}, Filling(at_once="5", inserted="statement_timestamp()")),
        ({}, Filling(at_most=0)),
        ({"constant": "5", "unique": True}, Filling(at_once="5", at_most=1)),
        ({"constant": "5", "unique": True, "function": MOMENT}, Filling(at_once="5", at_most=1)),
        (
            {"constant": "5", "unique": True, "function": RANDOM},
            Filling(one_by_one="gen_random_uuid()", inserted="gen_random_uuid()"),
        ),
        ({"database": CONSTANT}, Filling(at_once="5", inserted="5", lasting="5")),
        ({"database": CONSTANT, "unique": True}, Filling(at_once="5", lasting="5", at_most=1)),
        ({"database": STABLE}, Filling(at_once="now()", inserted="now()", lasting="now()")),
        ({"database": STABLE, "unique": True}, Filling(at_once="now()", inserted="now()", lasting="now()", at_most=1)),
        ({"database": VOLATILE}, Filling(one_by_one="random()", inserted="random()", lasting="random()")),
    ],
)
def test_rows_get_what_stock_gives_them_without_a_rewrite(given: dict[str, Any], wanted: Filling) -> None:
    plain: dict[str, Any] = {"constant": "", "function": None, "database": None, "unique": False, "null": False}

    assert filling(**{**plain, **given}) == wanted


@pytest.mark.parametrize(
    ("field", "sql"),
    [
        (models.UUIDField(default=uuid.uuid4), "gen_random_uuid()"),
        (models.CharField(default=uuid.uuid4), "gen_random_uuid()"),
        (models.DateTimeField(default=timezone.now), "statement_timestamp()"),
        (models.DateTimeField(default=datetime.now), "statement_timestamp()"),
        (models.DateTimeField(auto_now=True), "statement_timestamp()"),
        (models.DateField(default=date.today), "(statement_timestamp() AT TIME ZONE 'America/Chicago')::date"),
        (models.DateField(default=timezone.now), "(statement_timestamp() AT TIME ZONE 'America/Chicago')::date"),
        (models.DateField(auto_now_add=True), "(statement_timestamp() AT TIME ZONE 'America/Chicago')::date"),
        (models.TimeField(auto_now_add=True), "(statement_timestamp() AT TIME ZONE 'America/Chicago')::time"),
    ],
)
def test_a_function_of_the_database_stands_for_one_of_python(field: Any, sql: str) -> None:
    function = function_of(field)

    assert function is not None
    assert function.sql == sql
    assert runs_only_in_python(field) == ""


@pytest.mark.parametrize(
    ("field", "name"),
    [
        (models.IntegerField(default=5), ""),
        (models.JSONField(default=dict), ""),
        (models.TextField(), ""),
        (models.UUIDField(default=uuid.uuid1), "uuid.uuid1"),
        (models.TimeField(default=timezone.now), "django.utils.timezone.now"),
    ],
)
def test_a_callable_that_the_database_does_not_have_is_named(field: Any, name: str) -> None:
    assert function_of(field) is None
    assert runs_only_in_python(field) == name
