"""The operations of django.contrib.postgres: extensions, collations, concurrent indexes, checks not yet proved."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.postgres import operations as postgres
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import migrations, models
from django.db.models import Q
from django.db.utils import IntegrityError

from segue.core.errors import FailedAndUndone, NeedsPerson
from tests.operations.bookshop import assert_ends_as_stock, open_shop, plan
from tests.project import Project

TITLE = models.Index(fields=["title"], name="book_title")
POSITIVE = models.CheckConstraint(condition=Q(pages__gt=0), name="positive")
NOT_PROVED = postgres.AddConstraintNotValid("book", POSITIVE)
PROVED = postgres.ValidateConstraint("book", "positive")
BYTEWISE = postgres.CreateCollation("bytewise", "C")


def _extensions(project: Project, alias: str = "default") -> list[Any]:
    return project.sql("SELECT extname FROM pg_extension WHERE extname <> 'plpgsql' ORDER BY 1", alias=alias)


def _collations(project: Project, alias: str = "default") -> list[Any]:
    return project.sql(
        "SELECT collname FROM pg_collation WHERE collnamespace = 'public'::regnamespace ORDER BY 1", alias=alias
    )


# Indexes


def test_a_concurrent_index_comes_and_goes_as_with_stock(project: Project) -> None:
    open_shop(project)
    project.migration(postgres.AddIndexConcurrently("book", TITLE), atomic=False)
    project.migration(postgres.RemoveIndexConcurrently("book", "book_title"), atomic=False)
    project.stock("0002_step")

    project.apply("0002")
    project.rollback()
    project.apply("0002")
    project.finalize()
    added = project.differences()
    project.apply()
    project.rollback()
    brought_back = project.differences()
    project.apply()

    assert added == []
    assert brought_back == []
    assert_ends_as_stock(project)


# Checks


def test_an_unproved_check_waits_for_finalize_and_goes_back_and_forth(project: Project) -> None:
    open_shop(project)
    project.migration(NOT_PROVED)
    project.stock()
    project.sql("UPDATE shop_book SET pages = -1")

    project.apply()
    project.rollback()
    project.apply()
    project.sql("UPDATE shop_book SET language = 'hi'")
    project.finalize()
    added = project.differences()
    project.rollback()
    project.finalize()
    project.apply()
    project.finalize()

    assert added == []
    assert project.differences() == []
    with pytest.raises(IntegrityError):
        project.sql("UPDATE shop_book SET pages = -2")


def test_a_check_is_proved_in_the_release_that_made_it_or_in_a_later_one(project: Project) -> None:
    open_shop(project)
    other = models.CheckConstraint(condition=Q(pages__lt=99), name="thin")
    project.migration(NOT_PROVED, PROVED, postgres.AddConstraintNotValid("book", other))
    project.migration(postgres.ValidateConstraint("book", "thin"))

    project.apply("0002")
    project.finalize()
    (step,) = plan(project).steps
    project.apply()
    project.rollback()
    project.apply()

    assert (step.phase, step.title) == ("validate", "prove check thin for every row of shop_book")
    assert_ends_as_stock(project)


def test_a_row_against_a_check_is_named_where_it_is_proved(project: Project) -> None:
    open_shop(project)
    project.migration(NOT_PROVED)
    project.sql("UPDATE shop_book SET pages = -1")
    project.apply()
    project.finalize()
    project.migration(PROVED)

    with pytest.raises(FailedAndUndone) as caught:
        project.apply()

    assert str(caught.value).splitlines()[0] == (
        "shop.0003_step failed and was taken back: shop_book has 1 row that positive forbids, CHECK ((pages > 0)): "
        "id = 1."
    )


def test_a_row_against_a_check_stops_finalize_where_it_is_proved_then(project: Project) -> None:
    open_shop(project)
    project.migration(NOT_PROVED, PROVED)
    project.sql("UPDATE shop_book SET pages = -1")
    project.apply()

    with pytest.raises(NeedsPerson) as caught:
        project.finalize()

    assert str(caught.value).splitlines()[0] == (
        'prove check positive for every row of shop_book failed: check constraint "positive" of relation "shop_book" '
        "is violated by some row"
    )
    project.sql("UPDATE shop_book SET pages = 1")
    assert_ends_as_stock(project)


def test_an_unproved_check_that_is_removed_before_finalize_is_never_made(project: Project) -> None:
    open_shop(project)
    project.migration(NOT_PROVED, PROVED)
    project.migration(migrations.RemoveConstraint("book", "positive"))

    project.apply()

    assert_ends_as_stock(project)


def test_an_unproved_check_that_was_removed_comes_back_unproved(project: Project) -> None:
    open_shop(project)
    project.migration(NOT_PROVED)
    project.apply()
    project.finalize()
    project.stock()
    project.migration(migrations.RemoveConstraint("book", "positive"))

    project.apply()
    project.rollback()
    brought_back = project.differences()
    project.apply()

    assert brought_back == []
    assert_ends_as_stock(project)


def test_an_unproved_check_of_a_new_table_is_as_stock_has_it(project: Project) -> None:
    open_shop(project)
    shelf = [("id", models.BigAutoField(primary_key=True)), ("pages", models.IntegerField())]
    project.migration(
        migrations.CreateModel("Shelf", shelf),
        postgres.AddConstraintNotValid("shelf", models.CheckConstraint(condition=Q(pages__gt=0), name="other")),
    )

    project.apply()

    assert_ends_as_stock(project)


# Extensions and collations


def test_an_extension_stays_after_a_rollback_and_goes_after_a_finalized_one(project: Project) -> None:
    open_shop(project)
    project.migration(postgres.TrigramExtension())

    project.apply()
    project.rollback()
    rolled_back = _extensions(project)
    project.apply()
    project.finalize()
    project.rollback()
    project.finalize()

    assert rolled_back == [("pg_trgm",)]
    assert _extensions(project) == []
    project.apply()
    assert_ends_as_stock(project)
    assert _extensions(project) == _extensions(project, "stock") == [("pg_trgm",)]


def test_an_extension_that_a_retired_index_needs_is_no_obstacle_in_any_direction(project: Project) -> None:
    open_shop(project)
    trigrams = GinIndex(fields=["title"], opclasses=["gin_trgm_ops"], name="trigrams")
    project.migration(postgres.TrigramExtension(), migrations.AddIndex("book", trigrams))

    project.apply()
    project.rollback()
    project.apply()
    project.finalize()
    project.rollback()
    project.apply()

    assert_ends_as_stock(project)
    assert _extensions(project) == [("pg_trgm",)]


def test_a_collation_goes_back_and_forth_with_the_column_that_has_it(project: Project) -> None:
    open_shop(project)
    column = models.CharField(max_length=9, db_collation="bytewise", default="")
    project.migration(BYTEWISE, migrations.AddField("book", "subtitle", column))

    project.apply()
    project.rollback()
    project.apply()

    assert_ends_as_stock(project)
    assert _collations(project) == [("bytewise",)]


def test_a_collation_that_nothing_needs_goes_with_the_rollback(project: Project) -> None:
    open_shop(project)
    project.migration(BYTEWISE)

    project.apply()
    project.rollback()

    assert _collations(project) == []


def test_a_removed_collation_is_there_until_finalize(project: Project) -> None:
    open_shop(project)
    project.migration(BYTEWISE)
    project.migration(postgres.RemoveCollation("bytewise", "C"))
    project.apply("0002")
    project.finalize()

    project.apply()
    open_window = _collations(project)
    project.rollback()
    rolled_back = _collations(project)
    project.apply()
    project.finalize()

    assert open_window == rolled_back == [("bytewise",)]
    assert _collations(project) == []
    project.rollback()
    assert _collations(project) == [("bytewise",)]


def test_another_collation_of_the_name_fails_the_migration_as_with_stock(project: Project) -> None:
    open_shop(project)
    project.sql("CREATE COLLATION bytewise (locale = 'POSIX')")
    project.migration(BYTEWISE)

    with pytest.raises(FailedAndUndone) as caught:
        project.apply()

    assert str(caught.value).splitlines()[0] == (
        'shop.0002_step failed and was taken back: collation "bytewise" for encoding "UTF8" already exists'
    )


# Arrays


def test_the_members_of_an_array_become_shorter(project: Project) -> None:
    def tags(most: int) -> ArrayField:
        return ArrayField(ArrayField(models.CharField(max_length=most)))

    model = migrations.CreateModel("Book", [("id", models.BigAutoField(primary_key=True)), ("tags", tags(16))])
    project.live(project.migration(model))
    project.sql("INSERT INTO shop_book (tags) VALUES ('{{short,too-long}}')")
    last = project.migration(migrations.AlterField("book", "tags", tags(5)))

    with pytest.raises(FailedAndUndone) as refused:
        project.apply()

    assert refused.value.message == (
        f"shop.{last} failed and was taken back: there is 1 row of shop_book with a tags that does not fit "
        "varchar(5)[][]\nNothing of it remains."
    )
    project.sql("UPDATE shop_book SET tags = '{{short,sweet}}'")
    project.apply()
    assert_ends_as_stock(project)
    assert project.sql("SELECT tags FROM shop_book") == [([["short", "sweet"]],)]
