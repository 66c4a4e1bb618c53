"""Null, defaults, uniqueness, indexes and references of a field that exists: what tightens waits for old code."""

from __future__ import annotations

import pytest
from django.db import migrations, models

from segue.core.errors import FailedAndUndone, NeedsPerson
from tests.operations.bookshop import edit
from tests.project import Project

ID = ("id", models.BigAutoField(primary_key=True))


def shop(project: Project, *fields: tuple[str, models.Field]) -> None:
    first = project.migration(
        migrations.CreateModel("Author", [ID, ("name", models.CharField(max_length=20))]),
        migrations.CreateModel("Person", [ID, ("name", models.CharField(max_length=20))]),
        migrations.CreateModel("Book", [ID, *fields]),
    )
    project.live(first)


def finish(project: Project, last: str) -> None:
    project.finalize()
    project.stock(last)
    assert project.differences() == []


def test_null_becomes_the_default_for_both_versions_and_null_again_on_the_way_back(project: Project) -> None:
    shop(project, ("title", models.CharField(max_length=20, null=True)))
    project.sql("INSERT INTO shop_book (title) VALUES ('kept'), (NULL), (NULL), (NULL)")
    last = project.migration(
        migrations.AlterField(
            "Book", "title", models.CharField(max_length=20, default="untitled"), preserve_default=False
        )
    )

    project.apply()
    project.sql("INSERT INTO shop_book (title) VALUES (NULL), ('untitled')")
    project.sql("UPDATE shop_book SET title = 'named' WHERE id = 2")
    assert project.sql("SELECT title FROM shop_book ORDER BY id") == [
        ("kept",),
        ("named",),
        ("untitled",),
        ("untitled",),
        ("untitled",),
        ("untitled",),
    ]
    project.rollback()
    assert project.sql("SELECT title FROM shop_book ORDER BY id") == [
        ("kept",),
        ("named",),
        (None,),
        (None,),
        (None,),
        ("untitled",),
    ]
    project.sql("INSERT INTO shop_book (title) VALUES (NULL)")
    project.apply()
    assert project.sql("SELECT count(*) FROM shop_book WHERE title = 'untitled'") == [(5,)]
    finish(project, last)


def test_null_without_a_default_is_forbidden_at_finalize(project: Project) -> None:
    shop(project, ("title", models.IntegerField(null=True)))
    project.sql("INSERT INTO shop_book (title) VALUES (1)")
    last = project.migration(migrations.AlterField("Book", "title", models.IntegerField()))

    project.apply()
    project.sql("INSERT INTO shop_book (title) VALUES (NULL)")
    with pytest.raises(NeedsPerson):
        project.finalize()
    project.sql("UPDATE shop_book SET title = 2 WHERE title IS NULL")
    finish(project, last)


def test_null_without_a_default_fails_the_migration_when_it_is_there(project: Project) -> None:
    shop(project, ("title", models.IntegerField(null=True)))
    project.sql("INSERT INTO shop_book (title) VALUES (NULL)")
    project.migration(migrations.AlterField("Book", "title", models.IntegerField()))

    with pytest.raises(FailedAndUndone) as failed:
        project.apply()

    assert "there is 1 row of shop_book with NULL in title" in failed.value.message


@pytest.mark.parametrize("name", ["n", "o'clock", "segue_found"])
def test_what_the_migration_cannot_keep_is_counted_whatever_table_and_column_are_called(
    project: Project, name: str
) -> None:
    book = {"db_table": "Ann's books"}
    title = models.CharField(max_length=20, null=True, db_column=name)
    pages = models.IntegerField(null=True, db_column=f"{name} pages")
    project.live(
        project.migration(migrations.CreateModel("Book", [ID, ("title", title), ("pages", pages)], book)),
    )
    project.sql(f"""INSERT INTO "Ann's books" ("{name}") VALUES ('long enough'), (NULL)""")
    shorter = project.migration(
        migrations.AlterField("Book", "title", models.CharField(max_length=3, null=True, db_column=name))
    )

    with pytest.raises(FailedAndUndone) as failed:
        project.apply()

    assert f"there is 1 row of Ann's books with a {name} that does not fit varchar(3)" in failed.value.message
    no_null = models.IntegerField(db_column=f"{name} pages")
    edit(project, shorter, migrations.AlterField("Book", "pages", no_null))
    with pytest.raises(FailedAndUndone) as failed:
        project.apply()

    assert f"there are 2 rows of Ann's books with NULL in {name} pages" in failed.value.message


def test_null_is_allowed_and_forbidden_again_where_no_row_has_it(project: Project) -> None:
    shop(project, ("title", models.IntegerField()))
    last = project.migration(migrations.AlterField("Book", "title", models.IntegerField(null=True)))

    project.apply()
    project.sql("INSERT INTO shop_book (title) VALUES (1)")
    project.rollback()
    project.stock("0001_step")
    assert project.differences() == []
    project.apply()
    finish(project, last)


def test_null_comes_back_after_its_way_back_was_finalized(project: Project) -> None:
    shop(project, ("title", models.CharField(max_length=20, default="untitled")))
    project.migration(migrations.AlterField("Book", "title", models.CharField(max_length=20, null=True)))
    project.apply()
    project.finalize()
    project.sql("INSERT INTO shop_book (title) VALUES (NULL), ('kept'), (NULL)")

    project.apply("0001_step")
    project.finalize()
    assert project.sql("SELECT title FROM shop_book ORDER BY id") == [("untitled",), ("kept",), ("untitled",)]
    project.sql("UPDATE shop_book SET title = 'named' WHERE id = 3")
    project.apply()

    assert project.sql("SELECT title FROM shop_book ORDER BY id") == [(None,), ("kept",), ("named",)]
    project.rollback()
    assert project.sql("SELECT title FROM shop_book ORDER BY id") == [("untitled",), ("kept",), ("named",)]


def test_a_field_becomes_unique_and_indexed_and_neither_again(project: Project) -> None:
    shop(project, ("title", models.CharField(max_length=20)), ("pages", models.IntegerField(db_index=True)))
    project.sql("INSERT INTO shop_book (title, pages) VALUES ('a', 1), ('b', 1)")
    unique = project.migration(
        migrations.AlterField("Book", "title", models.CharField(max_length=20, unique=True)),
        migrations.AlterField("Book", "pages", models.IntegerField()),
    )
    project.apply()
    finish(project, unique)
    last = project.migration(
        migrations.AlterField("Book", "title", models.CharField(max_length=20)),
        migrations.AlterField("Book", "pages", models.IntegerField(db_index=True)),
    )
    project.apply()
    project.rollback()
    project.apply()
    finish(project, last)


def test_a_field_becomes_positive_once_old_code_has_gone(project: Project) -> None:
    shop(project, ("pages", models.IntegerField()))
    last = project.migration(migrations.AlterField("Book", "pages", models.PositiveIntegerField()))
    project.apply()
    project.sql("INSERT INTO shop_book (pages) VALUES (-1)")
    project.sql("DELETE FROM shop_book")
    finish(project, last)
    project.rollback()
    project.sql("INSERT INTO shop_book (pages) VALUES (-1)")


def test_a_reference_goes_to_another_table_once_old_code_has_gone(project: Project) -> None:
    shop(project, ("by", models.ForeignKey("shop.author", models.CASCADE)))
    project.sql("INSERT INTO shop_author (name) SELECT 'a' FROM generate_series(1, 3)")
    project.sql("INSERT INTO shop_person (name) SELECT 'p' FROM generate_series(1, 2)")
    project.sql("INSERT INTO shop_book (by_id) VALUES (1), (2)")
    last = project.migration(migrations.AlterField("Book", "by", models.ForeignKey("shop.person", models.CASCADE)))

    project.apply()
    project.sql("INSERT INTO shop_book (by_id) VALUES (3)")
    with pytest.raises(NeedsPerson):
        project.finalize()
    project.sql("DELETE FROM shop_book WHERE by_id = 3")
    finish(project, last)


@pytest.mark.parametrize("by", [models.BigIntegerField(), models.IntegerField(), models.CharField(max_length=9)])
def test_a_plain_column_becomes_a_reference(project: Project, by: models.Field) -> None:
    shop(project, ("by", by))
    project.sql("INSERT INTO shop_author (name) VALUES ('a'), ('b')")
    project.sql("INSERT INTO shop_book (by) VALUES ('1'), ('2')")
    last = project.migration(migrations.AlterField("Book", "by", models.ForeignKey("shop.author", models.CASCADE)))

    project.apply()
    project.sql("INSERT INTO shop_book (by) VALUES ('1')")
    new_code = project.model("book", last)
    new_code.objects.create(by_id=2)
    project.rollback()
    assert project.sql("SELECT by::text FROM shop_book ORDER BY id") == [("1",), ("2",), ("1",), ("2",)]
    project.apply()

    finish(project, last)
    assert project.sql("SELECT by_id FROM shop_book ORDER BY id") == [(1,), (2,), (1,), (2,)]


def test_a_plain_column_that_names_nobody_does_not_become_a_reference(project: Project) -> None:
    shop(project, ("by", models.BigIntegerField()))
    project.sql("INSERT INTO shop_book (by) VALUES (7)")
    project.migration(migrations.AlterField("Book", "by", models.ForeignKey("shop.author", models.CASCADE)))

    with pytest.raises(FailedAndUndone) as refused:
        project.apply()

    assert refused.value.message == (
        "shop.0002_step failed and was taken back: "
        "there is 1 row of shop_book with a by_id that is not in shop_author\nNothing of it remains."
    )


def test_choices_and_on_delete_need_nothing_of_the_database(project: Project) -> None:
    shop(project, ("by", models.ForeignKey("shop.author", models.CASCADE)), ("kind", models.CharField(max_length=3)))
    last = project.migration(
        migrations.AlterField("Book", "by", models.ForeignKey("shop.author", models.PROTECT, related_name="books")),
        migrations.AlterField("Book", "kind", models.CharField(max_length=3, choices=[("a", "A")], default="a")),
    )

    run = project.apply()

    assert run is not None and [steps for _, steps in run.done] == [()]
    finish(project, last)


def test_a_comment_changes_at_once_and_back(project: Project) -> None:
    shop(project, ("pages", models.IntegerField()))
    last = project.migration(
        migrations.AlterField("Book", "pages", models.IntegerField(db_comment="it's many")),
        migrations.AlterModelTableComment("Book", "books"),
    )
    project.apply()
    finish(project, last)
    project.rollback()
    project.finalize()
    project.stock("0001_step")
    assert project.differences() == []
