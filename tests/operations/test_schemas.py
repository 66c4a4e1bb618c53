"""Tables in another schema: found by search_path as any other, or named with their schema, as far as that goes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connections, migrations, models
from django.db.migrations.loader import MigrationLoader

from segue.core.errors import StepFailed
from tests.project import Project

SMALL = ("id", models.AutoField(primary_key=True))
ID = ("id", models.BigAutoField(primary_key=True))


@contextmanager
def _searching(project: Project, path: str) -> Iterator[None]:
    """Let both databases have a schema "other", and search this path."""
    for alias in ("default", "stock"):
        project.sql("CREATE SCHEMA other", alias=alias)
        connections[alias].close()
        connections[alias].settings_dict["OPTIONS"] = {"options": f"-c search_path={path}"}
    try:
        yield
    finally:
        for alias in ("default", "stock"):
            connections[alias].close()
            connections[alias].settings_dict["OPTIONS"] = {}


def _models(at: str, *names: str) -> list[Any]:
    apps = MigrationLoader(None).project_state([("shop", at)]).apps
    return [apps.get_model("shop", name) for name in names]


def _differences(project: Project) -> list[str]:
    """How the tables of the schema "other" differ from stock's."""
    paths = {}
    for alias in ("default", "stock"):
        paths[alias] = project.sql("SHOW search_path", alias=alias)[0][0]
        project.sql("SET search_path = other", alias=alias)
    found = project.differences()
    for alias, path in paths.items():
        project.sql(f"SET search_path = {path}", alias=alias)
    return found


@pytest.mark.parametrize("path", ["other,public", "public,other"], ids=["first", "second"])
def test_a_schema_of_the_search_path_is_as_good_as_another(project: Project, path: str) -> None:
    first = project.migration(
        migrations.CreateModel("Author", [SMALL, ("name", models.CharField(max_length=20))]),
        migrations.CreateModel(
            "Book",
            [
                ID,
                ("title", models.CharField(max_length=20, db_index=True)),
                ("author", models.ForeignKey("shop.author", models.CASCADE)),
                ("pages", models.IntegerField(null=True)),
                ("gone", models.CharField(max_length=4, default="g")),
            ],
        ),
        migrations.CreateModel("Gone", [ID, ("book", models.ForeignKey("shop.book", models.CASCADE))]),
    )
    project.live(first)
    with _searching(project, path):
        for alias in ("default", "stock"):
            for table in ("shop_author", "shop_book", "shop_gone"):
                project.sql(f"ALTER TABLE public.{table} SET SCHEMA other", alias=alias)
        if path.startswith("other"):
            # The same names in the schema that comes later mean nothing.
            project.sql("CREATE TABLE public.shop_book (id integer, title integer)")
        old_author, old_book, old_gone = _models(first, "Author", "Book", "Gone")
        old_book.objects.create(title="t", author=old_author.objects.create(name="a"))
        old_gone.objects.create(book_id=1)
        project.migration(
            migrations.AlterField("author", "id", models.BigAutoField(primary_key=True)),
            migrations.AlterField("book", "pages", models.IntegerField(default=3, db_index=True)),
            migrations.AddField("book", "isbn", models.IntegerField(null=True, unique=True)),
            migrations.RenameField("book", "title", "name"),
            migrations.RemoveField("book", "gone"),
            migrations.DeleteModel("gone"),
            migrations.AddField("author", "boss", models.ForeignKey("shop.author", models.CASCADE, null=True)),
        )
        new_author, new_book = _models("0002_step", "Author", "Book")

        project.apply()
        old_book.objects.create(title="by old", author_id=1)
        new_book.objects.create(name="by new", author_id=1, isbn=4)
        project.rollback()
        books = [("by new", None, "g"), ("by old", None, "g"), ("t", None, "g")]
        assert sorted(old_book.objects.values_list("title", "pages", "gone")) == [
            (title, 3 if title == "by new" else pages, gone) for title, pages, gone in books
        ]
        assert old_gone.objects.count() == 1
        project.apply()
        project.finalize()
        project.stock()

        assert _differences(project) == []
        assert sorted(new_book.objects.values_list("name", "isbn")) == [("by new", 4), ("by old", None), ("t", None)]
        new_author.objects.create(name="later", boss_id=1)


def _qualified(project: Project, table: str = '"other"."%s"') -> Any:
    first = project.migration(
        migrations.CreateModel(
            "Author", [ID, ("name", models.CharField(max_length=20))], {"db_table": table % "author"}
        ),
        migrations.CreateModel(
            "Book",
            [
                ID,
                ("title", models.CharField(max_length=20)),
                ("author", models.ForeignKey("shop.author", models.CASCADE, db_index=False)),
                ("pages", models.IntegerField(null=True)),
                ("gone", models.CharField(max_length=4, default="g")),
            ],
            {"db_table": table % "book"},
        ),
    )
    project.live(first)
    author, book = _models(first, "Author", "Book")
    book.objects.create(title="t", author=author.objects.create(name="a"))
    return book


@pytest.mark.parametrize("table", ['"other"."%s"', 'other"."%s'], ids=["quoted", "half quoted"])
def test_a_table_that_names_its_schema_changes_in_it(project: Project, table: str) -> None:
    with _searching(project, "public"):
        old_book = _qualified(project, table)
        project.migration(
            migrations.AlterField("book", "pages", models.BigIntegerField(default=3)),
            migrations.AddField("book", "size", models.PositiveIntegerField(default=7)),
            migrations.RenameField("book", "title", "name"),
            migrations.RemoveField("book", "gone"),
            migrations.AlterField("book", "author", models.BigIntegerField(db_column="author_id")),
        )
        (new_book,) = _models("0002_step", "Book")

        project.apply()
        old_book.objects.create(title="by old", author_id=1)
        new_book.objects.create(name="by new", author=1)
        project.rollback()

        kept = sorted(old_book.objects.values_list("title", "gone"))
        assert kept == [("by new", "g"), ("by old", "g"), ("t", "g")]
        project.apply()
        project.finalize()
        project.stock()
        assert _differences(project) == []
        assert sorted(new_book.objects.values_list("name", "size")) == [("by new", 7), ("by old", 7), ("t", 7)]


@pytest.mark.parametrize("table", ['"other"."%s"', 'other"."%s'], ids=["quoted", "half quoted"])
def test_indexes_of_a_table_that_names_its_schema_lie_in_it(project: Project, table: str) -> None:
    with _searching(project, "public"):
        _qualified(project, table)
        project.sql("CREATE TABLE public.other_things (id integer, title text)")
        project.sql("CREATE INDEX by_title ON public.other_things (title)")
        project.sql("CREATE UNIQUE INDEX once ON public.other_things (title)")
        project.migration(
            migrations.AddIndex("book", models.Index(fields=["title"], name="by_title")),
            migrations.AddConstraint("book", models.UniqueConstraint(fields=["title", "author"], name="once")),
            migrations.AlterField("book", "pages", models.BigIntegerField(null=True, db_index=True)),
            migrations.AddField("book", "isbn", models.CharField(max_length=13, null=True, unique=True)),
        )

        project.apply()
        project.rollback()
        project.apply()
        project.finalize()
        project.stock()

        assert _differences(project) == []
        mine = project.sql("SELECT indexname FROM pg_indexes WHERE tablename = 'other_things' ORDER BY 1")
        assert mine == [("by_title",), ("once",)]


def test_a_table_that_names_its_schema_is_not_renamed_and_nothing_changes(project: Project) -> None:
    with _searching(project, "public"):
        _qualified(project)
        project.migration(
            migrations.AddField("book", "size", models.IntegerField(default=7)),
            migrations.AlterModelTable("book", '"other"."volume"'),
        )

        with pytest.raises(StepFailed) as refused:
            project.apply()

        assert str(refused.value) == (
            '"other"."book" cannot be called "other"."volume": PostgreSQL renames a table within its schema.\n'
            "Next: move the table with ALTER TABLE … SET SCHEMA in a RunSQL, and change the model's db_table with "
            "SeparateDatabaseAndState"
        )
        assert len(project.session().journal.runs()) == 1
