"""What the histories of public projects have shown."""

from __future__ import annotations

import pytest
from django.db import migrations, models

from tests.project import Project


def test_a_unique_indexed_char_field_that_becomes_a_plain_text_field_leaves_no_index(project: Project) -> None:
    project.live(
        project.migration(
            migrations.CreateModel(
                "Token",
                [
                    ("id", models.BigAutoField(primary_key=True)),
                    ("token", models.CharField(max_length=255, unique=True)),
                ],
            )
        )
    )
    project.sql("INSERT INTO shop_token (token) VALUES ('a')")
    indexed = project.migration(
        migrations.AlterField("token", "token", models.CharField(db_index=True, max_length=255, unique=True))
    )
    project.apply(indexed)
    project.finalize()
    project.stock(indexed)
    assert project.differences() == []

    project.migration(migrations.AlterField("token", "token", models.TextField()))
    project.apply()
    project.rollback()
    project.apply()
    project.finalize()
    project.stock()

    assert project.differences() == []


def test_a_unique_field_that_becomes_plain_text_can_be_taken_back_and_applied_again(project: Project) -> None:
    first = project.migration(
        migrations.CreateModel(
            "Token",
            [("id", models.BigAutoField(primary_key=True)), ("token", models.CharField(max_length=255, unique=True))],
        )
    )
    project.live(first)
    project.sql("INSERT INTO shop_token (token) VALUES ('a')")
    project.migration(migrations.AlterField("token", "token", models.TextField()))
    for to in (None, first, None):
        project.apply(to)
        project.finalize()
    project.stock()

    assert project.differences() == []
    assert project.sql("SELECT token FROM shop_token") == [("a",)]


@pytest.mark.parametrize("extra", [{"unique": True}, {"db_index": True}], ids=["unique", "indexed"])
def test_a_text_field_that_becomes_shorter_and_unique_or_indexed_ends_as_stocks(project: Project, extra: dict) -> None:
    model = [("id", models.BigAutoField(primary_key=True)), ("token", models.TextField())]
    project.live(project.migration(migrations.CreateModel("Token", model)))
    project.sql("INSERT INTO shop_token (token) VALUES ('a')")
    project.migration(migrations.AlterField("token", "token", models.CharField(max_length=20, **extra)))
    project.apply()
    project.finalize()
    project.stock()

    assert project.differences() == []


def test_the_indexes_of_a_table_that_was_rolled_back_and_applied_again_are_no_longer_retired(project: Project) -> None:
    project.live(project.migration(migrations.CreateModel("Other", [("id", models.BigAutoField(primary_key=True))])))
    model = [("id", models.BigAutoField(primary_key=True)), ("slug", models.SlugField())]
    project.migration(migrations.CreateModel("Queue", model))
    project.apply()
    project.sql("INSERT INTO shop_queue (slug) VALUES ('a')")
    project.rollback()
    project.apply()
    project.finalize()
    assert project.session().journal.cemetery().all() == ()

    project.migration(migrations.AlterField("queue", "slug", models.SlugField(unique=True)))
    project.apply()
    project.finalize()
    project.stock()

    assert project.differences() == []
    assert project.sql("SELECT slug FROM shop_queue") == [("a",)]
