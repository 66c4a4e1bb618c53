"""A field that gives way to another of its name: each version has its own column under the name until finalize."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import migrations, models
from django.db.migrations.loader import MigrationLoader

from segue.engines.names import physical_names
from tests.operations.bookshop import assert_ends_as_stock, column_names, open_shop, plan
from tests.project import Project

CODE = models.CharField(max_length=9, unique=True, null=True)
NUMBER = models.PositiveIntegerField(unique=True, null=True)
TAG = models.SlugField(default="x")
AUTHOR = models.ForeignKey("shop.author", models.CASCADE, null=True, related_name="+")
NAME = models.CharField(max_length=9, db_index=True, default="n")


def _exchanged(project: Project, first: Any, second: Any) -> None:
    """A book with a field `code`, in use, and a migration that exchanges it for another."""
    open_shop(project)
    project.live(project.migration(migrations.AddField("book", "code", first)))
    project.finalize()
    project.migration(migrations.RemoveField("book", "code"), migrations.AddField("book", "code", second))


class NewCode:
    """New code's books, which are told of the aliases that are open."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._apps = MigrationLoader(None).project_state([("shop", "0003_step")]).apps

    def __call__(self, body: Any) -> Any:
        with physical_names(self._apps, self._project.session().journal.cemetery().aliases):
            return body(self._apps.get_model("shop", "Book").objects)


def _published(project: Project) -> list[Any]:
    return project.sql('SELECT table_name, column_name, place, app, migration, backwards FROM "segue_alias"')


@pytest.mark.parametrize(
    ("first", "second", "old", "new"),
    [(CODE, NUMBER, "abc", 12), (NUMBER, CODE, 12, "abc"), (TAG, AUTHOR, "abc", 1), (AUTHOR, NAME, 1, "abc")],
    ids=["text and number", "number and text", "slug and key", "key and name"],
)
class TestTwoOfAName:
    def test_each_version_writes_its_own_and_the_schema_ends_as_stocks(
        self, project: Project, first: Any, second: Any, old: Any, new: Any
    ) -> None:
        _exchanged(project, first, second)
        old_book, new_books = project.model("Book", at="0002_step"), NewCode(project)
        attname = old_book._meta.get_field("code").attname
        after = project.model("Book")._meta.get_field("code").attname

        planned = plan(project)
        project.apply()
        old_book.objects.create(title="by old", author_id=1, pages=1, **{attname: old})
        new_books(lambda books: books.create(title="by new", author_id=1, pages=1, **{after: new}))
        old_book.objects.filter(title="by new").update(pages=2)
        new_books(lambda books: books.filter(title="by old").update(pages=3))

        assert all(step.online for step in planned.steps)
        assert old_book.objects.filter(**{attname: old}).get(title="by old").pages == 3
        assert new_books(lambda books: books.filter(**{after: new}).get(title="by new").pages) == 2
        assert_ends_as_stock(project)
        assert project.model("Book").objects.filter(**{after: new}).get(title="by new").pages == 2
        assert _published(project) == []

    @pytest.mark.parametrize("finalizing", [False, True], ids=["open", "finalized"])
    def test_each_has_its_values_again_forth_and_back_and_forth(
        self, project: Project, first: Any, second: Any, old: Any, new: Any, finalizing: bool
    ) -> None:
        _exchanged(project, first, second)
        old_book, new_books = project.model("Book", at="0002_step"), NewCode(project)
        attname = old_book._meta.get_field("code").attname
        after = project.model("Book")._meta.get_field("code").attname
        project.apply()
        old_book.objects.create(title="by old", author_id=1, pages=1, **{attname: old})
        new_books(lambda books: books.create(title="by new", author_id=1, pages=1, **{after: new}))
        if finalizing:
            project.finalize()

        project.rollback()
        if finalizing:
            project.finalize()
        kept = old_book.objects.get(title="by old")
        old_book.objects.filter(title="by new").update(pages=2)
        project.apply()

        assert getattr(kept, attname) == old
        assert new_books(lambda books: books.filter(**{after: new}).get(title="by new").pages) == 2
        assert_ends_as_stock(project)
        assert project.model("Book").objects.filter(**{after: new}).get(title="by new").pages == 2
        assert [name for name in column_names(project, "shop_book") if name.startswith("segue_new")] == []


def test_new_code_is_told_where_its_column_is_until_finalize(project: Project) -> None:
    _exchanged(project, CODE, NUMBER)

    project.apply()

    assert _published(project) == [("shop_book", "code", "segue_new_code", "shop", "0003_step", False)]


def test_what_hangs_on_both_has_its_own_name_at_finalize(project: Project) -> None:
    _exchanged(project, TAG, NAME)
    names = "SELECT indexname FROM pg_indexes WHERE tablename = 'shop_book' AND indexname LIKE '%code%' ORDER BY 1"
    before = project.sql(names)

    project.apply()
    both = project.sql(names)
    project.finalize()

    assert both == sorted([*before, *((f"segue_new_{name}",) for (name,) in before)])
    assert project.sql(names) == before


def test_the_column_cannot_be_removed_again_before_it_has_its_name(project: Project) -> None:
    _exchanged(project, CODE, NUMBER)
    project.apply()
    project.migration(migrations.RemoveField("book", "code"))

    with pytest.raises(Exception) as caught:
        project.apply()

    assert str(caught.value) == (
        "shop_book.code has the name of a column that old code still uses: it cannot be removed yet.\n"
        "Next: segue finalize, when old code is gone; then the same command again"
    )
    project.finalize()
    project.apply()
    assert_ends_as_stock(project)


def test_new_code_sees_its_own_column_again_through_the_view_of_a_renamed_table(project: Project) -> None:
    key = ("id", models.BigAutoField(primary_key=True))
    project.live(project.migration(migrations.CreateModel("Author", [key, ("name", models.CharField(max_length=9))])))
    project.sql("INSERT INTO shop_author (name) VALUES ('old')")
    last = project.migration(
        migrations.RenameModel("Author", "Writer"),
        migrations.RemoveField("Writer", "name"),
        migrations.AddField("Writer", "name", models.CharField(max_length=9, null=True)),
    )

    project.apply()
    project.sql("UPDATE shop_writer SET name = 'new'")
    project.rollback()
    assert project.sql("SELECT name FROM shop_author") == [("old",)]
    project.apply()
    assert project.sql("SELECT name FROM shop_writer") == [("new",)]
    assert project.sql("SELECT name FROM shop_author") == [("old",)]

    project.finalize()
    assert project.sql("SELECT name FROM shop_writer") == [("new",)]
    project.stock(last)
    assert project.differences() == []
