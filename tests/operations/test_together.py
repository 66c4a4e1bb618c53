"""AlterUniqueTogether, AlterIndexTogether and RenameIndex: under stock's names, forth and back and forth."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import migrations, models
from django.db.migrations.operations.base import Operation

from segue import render
from segue.core.errors import FailedAndUndone
from tests.operations.bookshop import assert_ends_as_stock, open_shop, plan, quarantined
from tests.project import Project

UNIQUE = migrations.AlterUniqueTogether("book", {("title", "author")})
NOT_UNIQUE = migrations.AlterUniqueTogether("book", set())
INDEXED = migrations.AlterIndexTogether("book", {("title", "pages")})
NOT_INDEXED = migrations.AlterIndexTogether("book", set())
SEVERAL = {
    "unique": [UNIQUE],
    "unique twice": [migrations.AlterUniqueTogether("book", {("title", "author"), ("language", "pages")})],
    "indexed": [INDEXED],
    "indexed twice": [migrations.AlterIndexTogether("book", {("title", "pages"), ("language", "pages")})],
    "unique and indexed": [
        migrations.AlterUniqueTogether("book", {("title", "pages")}),
        INDEXED,
    ],
}


def _indexes(project: Project) -> list[Any]:
    return project.sql(
        "SELECT indexname FROM pg_indexes WHERE tablename = 'shop_book' AND indexdef LIKE '%%title%%' ORDER BY 1", []
    )


@pytest.mark.parametrize("operations", SEVERAL.values(), ids=SEVERAL)
def test_what_is_made_together_goes_back_and_forth(project: Project, operations: list[Operation]) -> None:
    open_shop(project)
    project.migration(*operations)
    project.stock()

    project.apply()
    project.rollback()
    project.apply()
    project.finalize()
    added = project.differences()
    project.rollback()
    project.finalize()
    project.apply()
    project.finalize()

    assert added == []
    assert project.differences() == []


@pytest.mark.parametrize("operations", SEVERAL.values(), ids=SEVERAL)
def test_what_was_together_is_parted_and_brought_back(project: Project, operations: list[Operation]) -> None:
    open_shop(project)
    project.migration(*operations)
    project.apply()
    project.finalize()
    project.stock()
    project.migration(NOT_UNIQUE, NOT_INDEXED)

    project.apply()
    project.rollback()
    brought_back = project.differences()
    project.apply()
    project.finalize()
    project.rollback()
    project.finalize()
    brought_back += project.differences()
    project.apply()

    assert brought_back == []
    assert_ends_as_stock(project)


def test_fields_change_places_in_one_step(project: Project) -> None:
    open_shop(project)
    project.migration(UNIQUE, INDEXED)
    project.apply()
    project.finalize()
    project.stock()
    project.migration(
        migrations.AlterUniqueTogether("book", {("author", "title")}),
        migrations.AlterIndexTogether("book", {("pages", "title")}),
    )

    project.apply()
    project.rollback()
    project.apply()

    assert_ends_as_stock(project)


def test_duplicates_fail_the_migration_and_are_named(project: Project) -> None:
    open_shop(project)
    project.sql("INSERT INTO shop_book (title, author_id, pages, language) VALUES ('Godaan', 1, 1, 'en')")
    project.migration(UNIQUE)

    with pytest.raises(FailedAndUndone) as caught:
        project.apply()

    assert str(caught.value).splitlines()[0] == (
        "shop.0002_step failed and was taken back: shop_book has 2 rows that shop_book_title_author_id_b73220a8_uniq "
        'forbids, UNIQUE ("title", "author_id"): (Godaan,1) in 2 rows.'
    )


def test_a_rollback_that_meets_duplicates_keeps_their_images(project: Project) -> None:
    open_shop(project)
    project.migration(UNIQUE)
    project.apply()
    project.finalize()
    project.migration(NOT_UNIQUE)
    project.apply()
    project.sql("INSERT INTO shop_book (title, author_id, pages, language) VALUES ('Godaan', 1, 1, 'en')")

    project.rollback()

    assert [row["pages"] for _, _, row in quarantined(project)] == [10, 1]
    assert project.sql("SELECT count(*) FROM shop_book") == [(2,)]


def test_a_constraint_that_somebody_named_otherwise_is_found_by_its_columns(project: Project) -> None:
    open_shop(project)
    project.migration(UNIQUE)
    project.apply()
    project.finalize()
    project.stock()
    named = project.sql("SELECT conname FROM pg_constraint WHERE conrelid = 'shop_book'::regclass AND contype = 'u'")
    project.sql(f'ALTER TABLE shop_book RENAME CONSTRAINT "{named[0][0]}" TO "of a dba"')
    project.migration(NOT_UNIQUE)

    project.apply()
    project.rollback()
    brought_back = project.sql("SELECT conname FROM pg_constraint WHERE conname = 'of a dba'")
    project.apply()

    assert brought_back == [("of a dba",)]
    assert_ends_as_stock(project)


# RenameIndex


def test_an_index_is_renamed_in_both_directions(project: Project) -> None:
    open_shop(project)
    project.migration(migrations.AddIndex("book", models.Index(fields=["title"], name="first")))
    project.apply()
    project.finalize()
    project.stock()
    project.migration(migrations.RenameIndex("book", new_name="second", old_name="first"))

    project.apply()
    applied = _indexes(project)
    project.rollback()
    rolled_back = _indexes(project)
    project.apply()
    project.finalize()
    project.rollback()
    rolled_back += _indexes(project)
    project.apply()

    assert applied == [("second",)]
    assert rolled_back == [("first",), ("first",)]
    assert_ends_as_stock(project)


def test_renaming_an_index_locks_no_table_that_is_in_use(project: Project) -> None:
    open_shop(project)
    project.migration(migrations.AddIndex("book", models.Index(fields=["title"], name="first")))
    project.apply()
    project.finalize()
    project.migration(migrations.RenameIndex("book", new_name="second", old_name="first"))

    assert render.plan_lines(plan(project))[3:5] == [
        "shop.0003_step",
        "  expand    rename index first on shop_book to second  no lock on a table in use",
    ]


def test_an_index_that_there_is_not_gets_no_name_as_with_stock(project: Project) -> None:
    open_shop(project)
    state = migrations.SeparateDatabaseAndState(state_operations=[INDEXED])
    project.migration(state, migrations.RenameIndex("book", new_name="second", old_fields=("title", "pages")))

    with pytest.raises(FailedAndUndone) as caught:
        project.apply()

    assert str(caught.value).splitlines()[0] == (
        "shop.0002_step failed and was taken back: Found wrong number (0) of indexes for shop_book(title, pages)."
    )


def test_an_index_without_a_name_of_its_own_gets_one(project: Project) -> None:
    open_shop(project)
    project.migration(INDEXED)
    project.apply()
    project.finalize()
    project.stock()
    project.migration(migrations.RenameIndex("book", new_name="second", old_fields=("title", "pages")))

    project.apply()
    project.rollback()
    rolled_back = _indexes(project)
    project.apply()
    project.finalize()
    project.rollback()
    # As with stock Django, whose backward operation does nothing here.
    rolled_back += _indexes(project)
    project.apply()

    assert rolled_back == [("shop_book_title_pages_f2d71c4a_idx",), ("second",)]
    assert_ends_as_stock(project)


def test_an_index_is_made_and_renamed_in_one_release_and_the_plan_knows_its_name(project: Project) -> None:
    open_shop(project)
    project.migration(INDEXED)
    project.migration(migrations.RenameIndex("book", new_name="second", old_fields=("title", "pages")))

    titles = [step.title for step in plan(project).steps]
    project.apply()
    project.rollback()
    project.apply()

    assert titles == [
        "build index shop_book_title_pages_f2d71c4a_idx on shop_book",
        "rename index shop_book_title_pages_f2d71c4a_idx on shop_book to second",
    ]
    assert_ends_as_stock(project)


def test_an_index_without_a_name_is_told_from_a_removed_one_over_the_same_fields(project: Project) -> None:
    open_shop(project)
    project.migration(INDEXED, migrations.AddIndex("book", models.Index(fields=["title", "pages"], name="other")))
    project.apply()
    project.finalize()
    project.stock()
    project.migration(
        migrations.RemoveIndex("book", "other"),
        migrations.RenameIndex("book", new_name="second", old_fields=("title", "pages")),
    )

    project.apply()
    project.rollback()
    project.apply()

    assert_ends_as_stock(project)


def test_an_index_takes_the_name_of_one_that_is_removed_in_the_same_release(project: Project) -> None:
    open_shop(project)
    project.migration(
        migrations.AddIndex("book", models.Index(fields=["title"], name="first")),
        migrations.AddIndex("book", models.Index(fields=["pages"], name="second")),
    )
    project.apply()
    project.finalize()
    project.stock()
    project.migration(
        migrations.RemoveIndex("book", "second"),
        migrations.RenameIndex("book", new_name="second", old_name="first"),
    )

    project.apply()
    project.rollback()
    brought_back = project.differences()
    project.apply()

    assert brought_back == []
    assert_ends_as_stock(project)


def test_two_indexes_exchange_their_names(project: Project) -> None:
    open_shop(project)
    project.migration(
        migrations.AddIndex("book", models.Index(fields=["title"], name="first")),
        migrations.AddIndex("book", models.Index(fields=["pages"], name="second")),
    )
    project.apply()
    project.finalize()
    project.stock()
    project.migration(
        migrations.RenameIndex("book", new_name="third", old_name="first"),
        migrations.RenameIndex("book", new_name="first", old_name="second"),
        migrations.RenameIndex("book", new_name="second", old_name="third"),
    )

    project.apply()
    project.rollback()
    brought_back = project.differences()
    project.apply()

    assert brought_back == []
    assert_ends_as_stock(project)
