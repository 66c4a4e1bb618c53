"""Generated columns: a virtual one costs nothing, a stored one is announced, and neither leaves anything to keep."""

from __future__ import annotations

import django
import pytest
from django.db import connections, migrations, models
from django.db.models import F

from tests.operations.bookshop import assert_ends_as_stock, column_names, open_shop, plan
from tests.project import Project

pytestmark = pytest.mark.skipif(django.VERSION < (5,), reason="GeneratedField came with Django 5.0")

if django.VERSION >= (5,):
    STORED = migrations.AddField(
        "book",
        "twice",
        models.GeneratedField(expression=F("pages") * 2, output_field=models.IntegerField(), db_persist=True),
    )
    VIRTUAL = migrations.AddField(
        "book",
        "twice",
        models.GeneratedField(expression=F("pages") * 2, output_field=models.IntegerField(), db_persist=False),
    )
    AWAY = migrations.RemoveField("book", "twice")


def _has_virtual_columns() -> bool:
    return bool(getattr(connections["default"].features, "supports_virtual_generated_columns", False))


def test_a_stored_column_is_announced_and_goes_forth_and_back_and_forth(project: Project) -> None:
    open_shop(project)
    old_book = project.model("Book")
    project.migration(STORED)

    (step,) = plan(project).steps
    project.apply()
    old_book.objects.create(title="by old code", author_id=1, pages=4)
    project.rollback()
    old_book.objects.create(title="by old code", author_id=1, pages=5)
    project.apply()

    assert not step.online
    assert step.note == "no other session can use the table while PostgreSQL computes every row"
    assert project.sql("SELECT twice FROM shop_book ORDER BY id") == [(20,), (8,), (10,)]
    assert_ends_as_stock(project)


def test_a_stored_column_gets_another_type_forth_and_back_and_forth(project: Project) -> None:
    open_shop(project)
    project.live(project.migration(STORED))
    field = models.GeneratedField(expression=F("pages") * 2, output_field=models.BigIntegerField(), db_persist=True)
    project.migration(migrations.AlterField("book", "twice", field))

    project.apply()
    project.rollback()
    project.apply()

    assert project.sql("SELECT twice FROM shop_book") == [(20,)]
    assert_ends_as_stock(project)


def test_a_virtual_column_makes_nobody_wait_and_goes_forth_and_back_and_forth(project: Project) -> None:
    open_shop(project)
    if not _has_virtual_columns():
        pytest.skip("virtual columns need Django 6.0 and PostgreSQL 18")
    project.migration(VIRTUAL)

    planned = plan(project)
    project.apply()
    project.rollback()
    project.apply()

    assert all(step.online for step in planned.steps)
    assert project.sql("SELECT twice FROM shop_book") == [(20,)]
    assert_ends_as_stock(project)


@pytest.mark.parametrize("finalizing", [False, True], ids=["open", "finalized"])
def test_a_removed_column_stays_for_old_code_and_is_dropped_at_finalize(project: Project, finalizing: bool) -> None:
    open_shop(project)
    project.live(project.migration(STORED))
    project.finalize()
    old_book = project.model("Book")
    project.migration(AWAY)

    project.apply()
    old = old_book.objects.get().twice
    project.model("Book").objects.create(title="by new code", author_id=1, pages=4)
    if finalizing:
        project.finalize()
        assert [name for name in column_names(project, "shop_book") if "twice" in name] == []
    project.rollback()

    assert old == 20
    assert project.sql("SELECT twice FROM shop_book ORDER BY id") == [(20,), (8,)]
    project.finalize()
    assert project.differences() == []
