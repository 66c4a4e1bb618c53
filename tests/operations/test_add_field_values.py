"""What rows get in a new column: what stock gives them, and distinct values where they must be."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, migrations, models, transaction
from django.utils import timezone

from segue.core.errors import FailedAndUndone, NeedsPerson
from segue.core.plan import Phase
from tests.operations import steps
from tests.operations.bookshop import RAW_BOOK, assert_ends_as_stock, column_names, open_shop, plan
from tests.project import Project


def _two_books(project: Project) -> Any:
    open_shop(project)
    project.sql(RAW_BOOK, ["Gaban"])
    return project.model("Book")


def _add(project: Project, name: str, field: Any) -> str:
    return project.migration(migrations.AddField("book", name, field))


def _values(project: Project, name: str) -> list[Any]:
    return [value for (value,) in project.sql(f'SELECT "{name}" FROM shop_book ORDER BY id')]


def test_rows_that_are_there_get_one_value_of_a_callable_and_each_row_of_old_code_a_fresh_one(project: Project) -> None:
    old_book = _two_books(project)
    project.migration(
        migrations.AddField("book", "code", models.UUIDField(default=uuid.uuid4)),
        migrations.AddField("book", "made", models.DateTimeField(default=timezone.now)),
    )

    project.apply()
    for title in ("a", "b"):
        old_book.objects.create(title=title, author_id=1, pages=1)

    codes, times = _values(project, "code"), _values(project, "made")
    assert codes[0] == codes[1]
    assert len(set(codes)) == 3
    assert times[0] == times[1]
    assert times[1] < times[2] < times[3] < timezone.now() + timedelta(minutes=1)


def test_a_callable_that_only_python_has_gives_old_codes_rows_its_one_value_and_the_plan_says_so(
    project: Project,
) -> None:
    old_book = _two_books(project)
    _add(project, "lucky", models.IntegerField(default=steps.seven))

    (step, _) = plan(project).steps
    project.apply()
    old_book.objects.create(title="by old code", author_id=1, pages=1)

    assert step.note == (
        "old code's rows get the one value that all others get: tests.operations.steps.seven runs in Python only"
    )
    assert _values(project, "lucky") == [7, 7, 7]


def test_every_row_gets_a_value_of_its_own_in_a_unique_column(project: Project) -> None:
    old_book = _two_books(project)
    _add(project, "code", models.UUIDField(default=uuid.uuid4, unique=True))

    project.apply()
    for title in ("a", "b"):
        old_book.objects.create(title=title, author_id=1, pages=1)

    assert len(set(_values(project, "code"))) == 4
    project.stock()
    project.finalize()
    assert project.differences() == []


@pytest.mark.parametrize("default", [5, steps.seven], ids=["constant", "callable"])
def test_one_value_for_many_rows_of_a_unique_column_is_refused_before_anything_is_changed(
    project: Project, default: Any
) -> None:
    _two_books(project)
    _add(project, "code", models.IntegerField(default=default, unique=True))

    with pytest.raises(FailedAndUndone) as caught:
        project.apply()

    assert str(caught.value).splitlines()[0] == (
        "shop.0002_step failed and was taken back: shop_book has more than one row, and all would get one value in "
        "code, which must be unique; add it with null=True, fill it in a data migration, and alter it after that."
    )
    assert "code" not in column_names(project, "shop_book")


def test_one_row_keeps_the_default_of_a_unique_column_and_finalize_asks_for_those_of_old_code(project: Project) -> None:
    open_shop(project)
    old_book = project.model("Book")
    _add(project, "code", models.IntegerField(default=5, unique=True))
    project.apply()
    old_book.objects.create(title="a", author_id=1, pages=1)
    old_book.objects.create(title="b", author_id=1, pages=1)

    with pytest.raises(NeedsPerson) as caught:
        project.finalize()
    project.sql("UPDATE shop_book SET code = id WHERE code IS NULL")
    project.finalize()

    assert str(caught.value).splitlines()[0] == (
        "see that every row of shop_book has a value in code failed: there are 2 rows of shop_book without a value in "
        "code, written by code that does not know the column: give each one."
    )
    assert _values(project, "code") == [5, 2, 3]
    project.stock()
    assert project.differences() == []


def test_a_required_column_without_default_is_refused_where_there_are_rows(project: Project) -> None:
    _two_books(project)
    _add(project, "code", models.IntegerField())

    with pytest.raises(FailedAndUndone) as caught:
        project.apply()

    assert str(caught.value).splitlines()[0] == (
        "shop.0002_step failed and was taken back: shop_book has rows, and code is required and has no default; "
        "add it with null=True, fill it in a data migration, and alter it after that."
    )


def test_a_required_column_without_default_comes_to_an_empty_table_as_with_stock(project: Project) -> None:
    open_shop(project)
    for alias in ("default", "stock"):
        project.sql("DELETE FROM shop_book", alias=alias)
    _add(project, "code", models.IntegerField())

    project.apply()
    project.model("Book", at="0001_step").objects.create(title="by old code", author_id=1, pages=1)
    project.sql("UPDATE shop_book SET code = 1")

    assert_ends_as_stock(project)


def test_a_reference_by_default_to_a_row_that_is_not_there_fails_as_with_stock_and_no_row_is_moved(
    project: Project,
) -> None:
    _two_books(project)
    _add(project, "owner", models.ForeignKey("shop.author", models.CASCADE, default=77, related_name="+"))

    with pytest.raises(FailedAndUndone, match='violates foreign key constraint "shop_book_owner_id_'):
        project.apply()

    assert project.sql("SELECT count(*) FROM shop_book") == [(2,)]
    assert project.sql("SELECT count(*) FROM segue_quarantine") == [(0,)]


def test_rows_against_the_check_of_a_new_column_fail_as_with_stock(project: Project) -> None:
    _two_books(project)
    _add(project, "code", models.PositiveIntegerField(default=-1))

    with pytest.raises(FailedAndUndone, match="has 2 rows that shop_book_code_check forbids"):
        project.apply()

    assert project.sql("SELECT count(*) FROM pg_constraint WHERE conname = 'shop_book_code_check'") == [(0,)]


def test_new_code_cannot_leave_a_required_column_empty_once_every_row_has_a_value(project: Project) -> None:
    _two_books(project)
    _add(project, "code", models.UUIDField(default=uuid.uuid4, unique=True))

    project.apply()

    with pytest.raises(IntegrityError, match='null value in column "code"'), transaction.atomic():
        project.sql("INSERT INTO shop_book (title, author_id, pages, language, code) VALUES ('', 1, 1, '', NULL)")


def test_the_plan_fills_in_batches_and_waits_with_nothing_but_the_default(project: Project) -> None:
    _two_books(project)
    _add(project, "code", models.UUIDField(default=uuid.uuid4, unique=True))

    planned = plan(project)

    assert [(str(step.phase), step.title) for step in planned.steps] == [
        ("expand", "add column shop_book.code"),
        ("backfill", "fill shop_book.code where it is empty"),
        ("expand", "build unique index shop_book_code_key on shop_book"),
        ("expand", "make unique index shop_book_code_key a constraint of shop_book"),
        ("validate", "make shop_book.code NOT NULL, part 1 of 3"),
        ("validate", "make shop_book.code NOT NULL, part 2 of 3"),
        ("validate", "make shop_book.code NOT NULL, part 3 of 3"),
        ("contract", "drop the default of shop_book.code"),
    ]
    assert all(step.online for step in planned.steps)
    assert all(step.phase is not Phase.CONTRACT or step.forward.locks for step in planned.steps)


def test_names_of_63_bytes_are_cut_where_postgresql_cuts_them(project: Project) -> None:
    wide = migrations.CreateModel(
        "Wide", [("id", models.BigAutoField(primary_key=True))], {"db_table": "shop_" + "é" * 25}
    )
    project.live(project.migration(wide))
    name = "a_column_whose_name_is_" + "é" * 15
    project.migration(
        migrations.AddField("wide", "one", models.PositiveIntegerField(unique=True, null=True, db_column=name))
    )

    project.apply()

    assert_ends_as_stock(project)


def test_a_name_that_is_taken_gets_the_number_that_postgresql_gives_it(project: Project) -> None:
    open_shop(project)
    for alias in ("default", "stock"):
        project.sql("CREATE TABLE shop_book_code_key (id integer)", alias=alias)
        project.sql("ALTER TABLE shop_author ADD CONSTRAINT shop_book_code_check CHECK (id > 0)", alias=alias)
    _add(project, "code", models.PositiveIntegerField(unique=True, null=True))

    project.apply()

    assert_ends_as_stock(project)
