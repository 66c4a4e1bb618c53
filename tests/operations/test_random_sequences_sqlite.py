"""For generated evolutions on SQLite: forth is as stock Django, back loses nothing, and forth again ends as before."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.db import connections
from django.db.migrations.executor import MigrationExecutor
from hypothesis import HealthCheck, Phase, given, settings

from segue.core.errors import FailedAndUndone
from tests.operations.sqlite.evolutions import (
    BASE,
    Contents,
    Evolution,
    Writer,
    base_state,
    contents,
    differences,
    evolutions,
    missing,
    nameless,
)
from tests.operations.sqlite.shop import ALIAS, Shop

_EVERY_RUN = settings(
    max_examples=6,
    deadline=None,
    derandomize=True,
    database=None,
    print_blob=True,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[*HealthCheck],
)
_SLOW = settings(
    max_examples=400,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[*HealthCheck],
)
_STOCK = "sqlite_stock"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file with the base models and rows, to copy."""
    with Shop.on(tmp_path_factory.mktemp("base")) as shop:
        shop.migration(*BASE)
        shop.apply()
        Writer(base_state().apps, ALIAS).insert(each=3)
    return shop.database


@pytest.fixture(scope="module")
def numbers() -> Iterator[itertools.count[int]]:
    yield itertools.count(1)


@contextmanager
def evolved(template: Path, folder: Path, evolution: Evolution) -> Iterator[tuple[Shop, Path]]:
    """A project with the evolution's migrations on a copy of the template, and another copy for stock Django."""
    folder.mkdir()
    with Shop.on(folder) as shop:
        shutil.copy(template, shop.database)
        shop.migration(*BASE)
        for operations in evolution.migrations:
            shop.migration(*operations)
        stock = folder / "stock.sqlite3"
        shutil.copy(template, stock)
        database = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(stock)}
        connections.settings[_STOCK] = connections.configure_settings({"default": {}, _STOCK: database})[_STOCK]
        try:
            yield shop, stock
        finally:
            connections[_STOCK].close()
            del connections[_STOCK], connections.settings[_STOCK]
    shutil.rmtree(folder)


@_EVERY_RUN
@given(evolution=evolutions())
def test_there_and_back_and_there_again_loses_nothing(
    template: Path, tmp_path_factory: pytest.TempPathFactory, numbers: itertools.count[int], evolution: Evolution
) -> None:
    folder = tmp_path_factory.getbasetemp() / f"evolution_{next(numbers)}"
    with evolved(template, folder, evolution) as (shop, stock):
        _there_and_back_and_there_again(shop, stock, evolution)


@pytest.mark.slow
@_SLOW
@given(evolution=evolutions())
def test_there_and_back_and_there_again_loses_nothing_in_many_evolutions(
    template: Path, tmp_path_factory: pytest.TempPathFactory, numbers: itertools.count[int], evolution: Evolution
) -> None:
    folder = tmp_path_factory.getbasetemp() / f"evolution_{next(numbers)}"
    with evolved(template, folder, evolution) as (shop, stock):
        _there_and_back_and_there_again(shop, stock, evolution)


def _there_and_back_and_there_again(shop: Shop, stock: Path, evolution: Evolution) -> None:
    old = contents(shop.database)
    stock_failed = _migrate_with_stock(f"{len(evolution.migrations) + 1:04}_step")

    try:
        shop.apply()
    except FailedAndUndone as error:
        assert stock_failed is not None, f"only Segue fails: {error}"
        _same(contents(shop.database), old, "a failure leaves everything as it was")
        return
    if stock_failed is None and not evolution.may_revive and "another" not in repr(evolution):
        _same(contents(shop.database), contents(stock), "forth is as stock Django")
    new_code = Writer(evolution.state().apps, ALIAS, number=1_000)
    new_code.insert()
    new_code.update()
    new = contents(shop.database)

    shop.apply("0001")

    back = contents(shop.database)
    _same(nameless(back), nameless(old), "back the schema is as it was")
    assert shop.rows("PRAGMA foreign_key_check") == []
    _untouched_are_back(old, back, new_code, evolution)

    shop.apply()

    _same(contents(shop.database), new, "forth again everything is as new code had it")
    assert shop.rows("SELECT * FROM segue_quarantine WHERE settled_at IS NULL") == []

    shop.apply("0001")
    again = contents(shop.database)
    _same(again, back, "back again everything is as it was before")
    Writer(base_state().apps, ALIAS, number=2_000).insert()
    written = contents(shop.database)
    try:
        shop.apply()
    except FailedAndUndone:
        # What old code has written since contradicts a new constraint, as it would with stock.
        _same(contents(shop.database), written, "a failure leaves everything as it was")
        return
    now = contents(shop.database)
    lost = [line for table in new.rows for line in missing(new, now, table)]
    left = shop.rows("SELECT * FROM segue_quarantine WHERE settled_at IS NULL")
    assert len(lost) <= len(left), "\n".join(["what new code had written is gone:", *lost, *map(str, left)])


def _migrate_with_stock(to: str) -> Exception | None:
    connection = connections[_STOCK]
    try:
        MigrationExecutor(connection).migrate([("shop", to)])
    except Exception as error:  # Whatever stock fails with, Segue may fail too.
        return error
    finally:
        connection.close()
    return None


def _same(one: Contents, other: Contents, promise: str) -> None:
    found = differences(one, other)
    assert not found, "\n".join([f"{promise}; yet:", *found])


def _untouched_are_back(old: Contents, back: Contents, new_code: Writer, evolution: Evolution) -> None:
    state = evolution.state()
    lost: list[str] = []
    for model in base_state().apps.get_models():
        table, becomes = model._meta.db_table, evolution.becomes(model.__name__)
        touched: set[str] = set()
        if becomes is not None:
            last = state.apps.get_model("shop", becomes)._meta.db_table.strip('"')
            touched = {str(pk) for name, pk in new_code.touched if name == last}
        rows = {key: row for key, row in old.rows[table].items() if key[0].strip("'") not in touched}
        lost += missing(Contents({}, {table: rows}), back, table)
    assert not lost, "\n".join(["what new code has not touched is as it was; yet:", *lost])
