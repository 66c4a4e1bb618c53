"""Purge and the way back from its archives for the shapes that real projects have."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import django
import pytest
from django.db import migrations, models
from django.test import override_settings

from segue import pipeline
from segue.core.purge import Purge
from tests.operations.bookshop import assert_ends_as_stock, open_shop
from tests.project import Project


@pytest.fixture(autouse=True)
def store(tmp_path: Path) -> Iterator[Path]:
    """A folder that is the project's store."""
    folder = tmp_path / "store"
    with override_settings(SEGUE={"STORE": f"file://{folder}", "LOCK_DEADLINE": "5s", "RUNNER_WAIT": "1s"}):
        yield folder


def purge(project: Project) -> Purge:
    """segue purge --older-than 0s; nothing may be left."""
    result = pipeline.purge(project.session(), timedelta(0))
    assert (result.held, result.postponed) == ((), ())
    return result


def finalized(project: Project, *operations: Any) -> None:
    """Carry operations out as a release, and finalize it."""
    project.migration(*operations)
    project.apply()
    project.finalize()


def left_behind(project: Project) -> list[str]:
    """Return the columns, tables and schemas of Segue's own that a purge must not leave."""
    columns = project.sql(
        "SELECT relname || '.' || attname FROM pg_attribute JOIN pg_class c ON c.oid = attrelid "
        "WHERE attname LIKE 'segue%%' AND attnum > 0 AND NOT attisdropped AND relname NOT LIKE 'segue%%'",
        [],
    )
    schemas = project.sql("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'segue%%'", [])
    return [name for (name,) in (*columns, *schemas)]


FIELDS = {
    "unique": (models.CharField(max_length=20, null=True, unique=True), "'one'"),
    "positive": (models.PositiveIntegerField(default=3), "12"),
    "positive, indexed and null": (models.PositiveSmallIntegerField(null=True, db_index=True), "12"),
    "foreign key": (models.ForeignKey("shop.author", models.CASCADE, null=True, related_name="+"), "1"),
    "required foreign key": (models.ForeignKey("shop.author", models.CASCADE, default=1, related_name="+"), "1"),
    "one to one": (models.OneToOneField("shop.author", models.CASCADE, null=True, related_name="+"), "1"),
    "slug": (models.SlugField(default="", db_column="A slug"), "'one'"),
    "null with default": (models.CharField(max_length=5, null=True, default="x"), "NULL"),
    "a name of 63 bytes": (models.TextField(null=True, db_column="ü" * 31 + "x"), "'long'"),
}
if django.VERSION >= (5, 0):
    FIELDS["database default"] = (models.IntegerField(db_default=7), "12")
    FIELDS["comment"] = (models.IntegerField(null=True, db_comment="what's it?"), "12")


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_comes_back_from_its_archive_as_stock_has_it(project: Project, name: str) -> None:
    field, value = FIELDS[name]
    open_shop(project)
    column = (field.db_column or "extra") if field.db_column or not field.remote_field else "extra_id"
    quoted = '"' + column.replace('"', '""') + '"'
    finalized(project, migrations.AddField("book", "extra", field))
    project.sql(f"UPDATE shop_book SET {quoted} = {value}")
    before = project.sql(f"SELECT id, title, {quoted} FROM shop_book")
    project.stock()
    finalized(project, migrations.RemoveField("book", "extra"))

    purge(project)
    gone = left_behind(project)
    project.rollback()

    assert gone == []
    assert project.sql(f"SELECT id, title, {quoted} FROM shop_book") == before
    project.finalize()
    assert project.differences() == []
    assert left_behind(project) == []


def test_a_reference_whose_parent_went_after_the_purge_is_emptied_and_listed(project: Project) -> None:
    open_shop(project)
    project.sql("INSERT INTO shop_author (name) VALUES ('an editor')")
    project.sql("UPDATE shop_book SET editor_id = 2")
    finalized(project, migrations.RemoveField("book", "editor"))
    purge(project)
    project.model("Author").objects.filter(name="an editor").delete()

    project.rollback()

    assert project.sql("SELECT title, editor_id FROM shop_book") == [("Godaan", None)]
    assert project.sql("SELECT kind, object, row ->> 'editor_id' FROM segue_quarantine") == [
        ("reference", "editor_id", "2")
    ]


def test_the_old_form_of_a_retyped_column_is_purged_and_the_type_goes_back(project: Project) -> None:
    open_shop(project)
    project.sql("UPDATE shop_book SET pages = 12")
    finalized(project, migrations.AlterField("book", "pages", models.BigIntegerField()))

    result = purge(project)
    project.rollback()

    assert [(p.retired.kind.value, p.retired.name, p.rows) for p in result.purged] == [("column", "pages", 1)]
    project.finalize()
    assert project.sql("SELECT pages, pg_typeof(pages)::text FROM shop_book") == [(12, "integer")]
    purge(project)
    assert project.differences() == []
    assert left_behind(project) == []


def test_values_that_only_the_old_type_can_hold_come_back_from_the_archive(project: Project) -> None:
    open_shop(project)
    finalized(
        project, migrations.AddField("book", "price", models.DecimalField(max_digits=8, decimal_places=4, null=True))
    )
    project.sql("UPDATE shop_book SET price = 1.2345")
    finalized(project, migrations.AlterField("book", "price", models.IntegerField(null=True)))

    purge(project)
    written = project.sql("SELECT price FROM shop_book")
    project.rollback()
    project.finalize()

    assert written == [(1,)]
    assert [str(price) for (price,) in project.sql("SELECT price FROM shop_book")] == ["1.2345"]


def test_a_column_of_a_table_that_was_renamed_since_comes_back(project: Project) -> None:
    open_shop(project)
    project.sql("UPDATE shop_book SET language = 'hi'")
    finalized(project, migrations.RemoveField("book", "language"))
    purge(project)
    finalized(project, migrations.RenameModel("Book", "Tome"))

    finalized(project, migrations.AddField("tome", "language", models.CharField(max_length=10, default="en")))

    assert project.sql("SELECT title, language FROM shop_tome") == [("Godaan", "hi")]
    assert_ends_as_stock(project)


def test_a_retired_column_of_a_table_that_was_renamed_since_is_found_and_purged(project: Project) -> None:
    open_shop(project)
    finalized(project, migrations.RemoveField("book", "language"))
    finalized(project, migrations.RenameModel("Book", "Tome"))

    result = purge(project)
    names = [(p.retired.table, p.retired.name) for p in result.purged]
    project.rollback()
    project.finalize()
    project.rollback()

    assert names == [("shop_tome", "language")]
    assert project.sql("SELECT title, language FROM shop_book") == [("Godaan", "en")]


def test_a_composite_primary_key_finds_its_rows(project: Project) -> None:
    open_shop(project)
    finalized(project, migrations.AddField("book", "isbn", models.CharField(max_length=13, null=True)))
    project.sql("INSERT INTO shop_book (title, author_id, pages, language) VALUES ('Gaban', 1, 2, 'hi')")
    project.sql("UPDATE shop_book SET isbn = upper(title)")
    project.sql("ALTER TABLE shop_book DROP CONSTRAINT shop_book_pkey, ADD PRIMARY KEY (title, id)")
    finalized(project, migrations.RemoveField("book", "isbn"))

    purge(project)
    project.rollback()

    assert project.sql("SELECT title, isbn FROM shop_book ORDER BY id") == [
        ("Godaan", "GODAAN"),
        ("Gaban", "GABAN"),
    ]


def test_a_table_with_an_awkward_name_and_its_own_relations_comes_back(project: Project) -> None:
    open_shop(project)
    name = "Ünlike Any Other " + "x" * 30
    finalized(
        project,
        migrations.CreateModel(
            "Shelf",
            [
                ("id", models.AutoField(primary_key=True)),
                ("parent", models.ForeignKey("self", models.CASCADE, null=True)),
                ("code", models.CharField(max_length=10, unique=True)),
                ("books", models.ManyToManyField("shop.Book")),
            ],
            options={
                "db_table": name,
                "indexes": [models.Index(fields=["code", "parent"], name="shelf_code")],
                "unique_together": {("parent", "code")},
            },
        ),
    )
    project.stock()
    shelf = project.model("Shelf")
    first = shelf.objects.create(code="a'b\\")
    shelf.objects.create(code="second", parent=first).books.add(1)
    finalized(project, migrations.DeleteModel("Shelf"))

    purge(project)
    gone = left_behind(project)
    project.rollback()

    assert gone == []
    assert [*shelf.objects.order_by("pk").values_list("pk", "code", "parent", "books")] == [
        (1, "a'b\\", None, None),
        (2, "second", 1, 1),
    ]
    assert shelf.objects.create(code="third").pk == 3
    project.finalize()
    assert project.differences() == []


def test_an_empty_table_and_an_empty_column_come_back_empty(project: Project) -> None:
    open_shop(project)
    finalized(project, migrations.AddField("book", "isbn", models.CharField(max_length=13, null=True)))
    project.sql("DELETE FROM shop_book")
    finalized(project, migrations.RemoveField("book", "isbn"))
    finalized(project, migrations.DeleteModel("Book"))

    result = purge(project)
    project.rollback()
    project.finalize()
    project.rollback()

    assert [p.rows for p in result.purged] == [0]
    assert project.sql("SELECT id, isbn FROM shop_book") == []
