"""AddField: online, reversible without loss, and the same schema as stock's in the end."""

from __future__ import annotations

from django.db import migrations, models

from segue.core.run import State
from tests.project import Project

BOOK = migrations.CreateModel(
    "Book", [("id", models.BigAutoField(primary_key=True)), ("title", models.CharField(max_length=50))]
)
LANGUAGE = migrations.AddField("book", "language", models.CharField(max_length=10, default="en"))


def test_old_code_inserts_while_the_release_is_open(project: Project) -> None:
    first = project.migration(BOOK)
    project.live(first)
    old_book = project.model("Book")
    project.migration(LANGUAGE)

    run = project.apply()
    old_book.objects.create(title="written by old code")

    assert run is not None
    assert run.state is State.OPEN
    assert project.sql("SELECT title, language FROM shop_book") == [("written by old code", "en")]


def test_the_schema_after_finalize_is_stocks(project: Project) -> None:
    project.live(project.migration(BOOK))
    project.migration(LANGUAGE)

    project.apply()
    project.finalize()

    project.stock()
    assert project.differences() == []


def test_values_of_new_code_survive_rollback_and_apply(project: Project) -> None:
    project.live(project.migration(BOOK))
    project.migration(LANGUAGE)
    project.apply()
    project.model("Book").objects.create(title="hindi", language="hi")

    project.rollback()
    project.model("Book", at="0001_step").objects.create(title="meanwhile")
    project.apply()

    assert project.sql("SELECT title, language FROM shop_book ORDER BY id") == [
        ("hindi", "hi"),
        ("meanwhile", "en"),
    ]


def test_a_name_that_one_release_uses_twice_survives_rollback_and_apply(project: Project) -> None:
    project.live(project.migration(BOOK))
    project.migration(
        migrations.AddField("book", "language", models.CharField(max_length=10, default="en", db_index=True)),
        migrations.RemoveField("book", "language"),
        migrations.AddField("book", "language", models.IntegerField(default=7, db_index=True)),
    )

    project.apply()
    project.model("Book").objects.create(title="hindi", language=9)
    project.rollback()
    project.apply()
    project.finalize()

    assert project.sql("SELECT title, language FROM shop_book") == [("hindi", 9)]
    project.stock()
    assert project.differences() == []
