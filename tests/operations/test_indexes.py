"""AddIndex and RemoveIndex: built and dropped beside the traffic, and what is there is never built twice."""

from __future__ import annotations

import pytest
from django.contrib.postgres import operations as postgres
from django.contrib.postgres.indexes import (
    BloomIndex,
    BrinIndex,
    BTreeIndex,
    GinIndex,
    GistIndex,
    HashIndex,
    OpClass,
    SpGistIndex,
)
from django.db import migrations, models
from django.db.models import Q
from django.db.models.expressions import OrderBy
from django.db.models.functions import Collate, Lower
from django.db.models.indexes import IndexExpression

from segue.core.errors import FailedAndUndone
from tests.operations.bookshop import assert_ends_as_stock, open_shop, plan
from tests.project import Project

# As django.contrib.postgres does where it is installed.
IndexExpression.register_wrappers(OrderBy, OpClass, Collate)

TITLE = models.Index(fields=["title"], name="book_title")
ADD_TITLE = migrations.AddIndex("book", TITLE)
REMOVE_TITLE = migrations.RemoveIndex("book", "book_title")

KINDS = {
    "several columns": models.Index(fields=["author", "title"], name="kind"),
    "descending": models.Index(fields=["-pages"], name="kind"),
    "partial": models.Index(fields=["title"], condition=Q(pages__gt=100), name="kind"),
    "expression": models.Index(Lower("title").desc(), "pages", name="kind"),
    "covering": models.Index(fields=["title"], include=["pages"], name="kind"),
    "operator class": models.Index(fields=["title"], opclasses=["varchar_pattern_ops"], name="kind"),
    "everything at once": models.Index(
        OpClass(Lower("title"), "text_pattern_ops").desc(),
        "pages",
        include=["language"],
        condition=Q(pages__gt=1),
        name="kind",
    ),
    "b-tree with a fill factor": BTreeIndex(fields=["title"], fillfactor=70, name="kind"),
    "gin": GinIndex(fields=["title"], opclasses=["gin_trgm_ops"], fastupdate=False, name="kind"),
    "gist": GistIndex(fields=["title"], opclasses=["gist_trgm_ops"], name="kind"),
    "sp-gist": SpGistIndex(fields=["title"], name="kind"),
    "brin": BrinIndex(fields=["pages"], autosummarize=True, pages_per_range=4, name="kind"),
    "hash": HashIndex(fields=["title"], condition=Q(pages__gt=1), name="kind"),
    "bloom": BloomIndex(fields=["title", "pages"], length=80, columns=[2, 3], name="kind"),
}
EXTENSIONS = (postgres.TrigramExtension(), postgres.BloomExtension())


def _oid(project: Project, name: str) -> object:
    return project.sql("SELECT to_regclass(%s)::oid", [name])[0][0]


@pytest.mark.parametrize("index", KINDS.values(), ids=KINDS)
def test_every_kind_of_index_comes_and_goes_as_with_stock(project: Project, index: models.Index) -> None:
    open_shop(project)
    project.migration(*EXTENSIONS, migrations.AddIndex("book", index))
    project.stock()

    project.apply()
    project.rollback()
    project.apply()
    project.finalize()
    added = project.differences()
    project.migration(migrations.RemoveIndex("book", "kind"))
    project.apply()
    project.rollback()
    brought_back = project.differences()
    project.apply()
    project.finalize()
    project.rollback()
    brought_back += project.differences()
    project.apply()

    assert added == []
    assert brought_back == []
    assert_ends_as_stock(project)


def test_an_index_is_built_without_a_lock_that_holds_up_readers_or_writers(project: Project) -> None:
    open_shop(project)
    project.migration(ADD_TITLE)

    (step,) = plan(project).steps

    assert step.title == "build index book_title on shop_book"
    assert step.forward.statements == ('CREATE INDEX CONCURRENTLY "book_title" ON "shop_book" ("title")',)
    assert [(lock.table, lock.mode.stops) for lock in step.forward.locks] == [("shop_book", "nobody")]


def test_applying_again_finds_the_index_that_the_rollback_left(project: Project) -> None:
    open_shop(project)
    project.migration(ADD_TITLE)
    project.apply()
    built = _oid(project, "book_title")

    project.rollback()
    project.apply()

    assert built is not None
    assert _oid(project, "book_title") == built


def test_a_removed_index_serves_old_code_until_finalize(project: Project) -> None:
    open_shop(project)
    project.migration(ADD_TITLE)
    project.migration(REMOVE_TITLE)
    project.apply("0002")
    project.finalize()

    project.apply()

    assert _oid(project, "book_title") is not None
    assert_ends_as_stock(project)
    assert _oid(project, "book_title") is None


def test_a_finalized_removal_is_rolled_back_by_building_the_index_again(project: Project) -> None:
    open_shop(project)
    project.migration(ADD_TITLE)
    project.migration(REMOVE_TITLE)
    project.apply("0002")
    project.stock("0002_step")
    project.apply()
    project.finalize()

    project.rollback()

    assert project.sql("SELECT indexdef FROM pg_indexes WHERE indexname = 'book_title'") == [
        ("CREATE INDEX book_title ON public.shop_book USING btree (title)",)
    ]
    assert project.differences() == []


def test_an_index_of_the_same_name_and_another_shape_replaces_the_retired_one(project: Project) -> None:
    open_shop(project)
    project.migration(ADD_TITLE)
    project.migration(REMOVE_TITLE)
    project.migration(migrations.AddIndex("book", models.Index(fields=["pages"], name="book_title")))

    project.apply()

    assert project.sql("SELECT indexdef FROM pg_indexes WHERE indexname = 'book_title'") == [
        ("CREATE INDEX book_title ON public.shop_book USING btree (pages)",)
    ]
    assert_ends_as_stock(project)


def test_a_name_that_is_taken_is_an_error_and_changes_nothing(project: Project) -> None:
    open_shop(project)
    project.migration(migrations.AddField("book", "isbn", models.CharField(max_length=13, null=True)), ADD_TITLE)
    project.sql("CREATE INDEX book_title ON shop_author (name)")

    with pytest.raises(FailedAndUndone) as caught:
        project.apply()

    assert str(caught.value) == (
        "shop.0002_step failed and was taken back: build index book_title on shop_book: the name is taken already "
        "by something that this release did not make.\n"
        "Nothing of it remains.\n"
        "Next: mend the cause and run the same command again; --traceback shows where it failed"
    )
    assert project.sql("SELECT tablename FROM pg_indexes WHERE indexname = 'book_title'") == [("shop_author",)]
    assert project.sql("SELECT name FROM django_migrations WHERE app = 'shop'") == [("0001_step",)]


def test_after_the_taken_name_is_freed_the_same_command_succeeds(project: Project) -> None:
    open_shop(project)
    project.migration(migrations.AddField("book", "isbn", models.CharField(max_length=13, null=True)), ADD_TITLE)
    project.sql("CREATE INDEX book_title ON shop_author (name)")
    with pytest.raises(FailedAndUndone):
        project.apply()
    project.sql("DROP INDEX book_title")

    project.apply()

    assert_ends_as_stock(project)


def test_an_index_that_a_model_begins_with_and_loses_in_one_migration_is_never_made(project: Project) -> None:
    open_shop(project)
    project.migration(
        migrations.CreateModel(
            "Loan",
            [("id", models.BigAutoField(primary_key=True)), ("note", models.CharField(max_length=9, db_index=True))],
            options={"indexes": [models.Index(fields=["note"], name="lost_again")]},
        ),
        migrations.RemoveIndex("Loan", "lost_again"),
        migrations.AlterModelTable("Loan", "lent"),
    )

    titles = [step.title for migration in plan(project).migrations for step in migration.steps]
    project.apply()

    assert not any("lost_again" in title for title in titles)
    assert_ends_as_stock(project)
