"""RemoveField: the values stay; code that does not know the column inserts, and code that does goes on."""

from __future__ import annotations

import pytest
from django.db import migrations, models

from tests.operations.bookshop import assert_ends_as_stock, column_names, open_shop, quarantined
from tests.project import Project

REMOVE_LANGUAGE = migrations.RemoveField("book", "language")
REMOVE_PAGES = migrations.RemoveField("book", "pages")
REMOVE_AUTHOR = migrations.RemoveField("book", "author")
REMOVE_EDITOR = migrations.RemoveField("book", "editor")


def test_old_and_new_code_both_write_while_the_release_is_open(project: Project) -> None:
    open_shop(project)
    old_book = project.model("Book")
    project.migration(REMOVE_LANGUAGE)

    project.apply()
    project.model("Book").objects.create(title="by new code", author_id=1, pages=1)
    old_book.objects.create(title="by old code", author_id=1, pages=1, language="hi")

    assert [*old_book.objects.order_by("id").values_list("title", "language")] == [
        ("Godaan", "en"),
        ("by new code", "en"),
        ("by old code", "hi"),
    ]


def test_a_rollback_keeps_every_value_and_gives_new_rows_the_default(project: Project) -> None:
    open_shop(project)
    old_book = project.model("Book")
    project.migration(REMOVE_LANGUAGE)
    project.apply()
    project.model("Book").objects.create(title="by new code", author_id=1, pages=1)
    old_book.objects.create(title="by old code", author_id=1, pages=1, language="hi")

    project.rollback()

    assert [*old_book.objects.order_by("id").values_list("title", "language")] == [
        ("Godaan", "en"),
        ("by new code", "en"),
        ("by old code", "hi"),
    ]


def test_forward_and_back_and_forward_ends_as_stock(project: Project) -> None:
    open_shop(project)
    project.migration(REMOVE_LANGUAGE, REMOVE_EDITOR)

    project.apply()
    project.rollback()
    project.apply()

    assert_ends_as_stock(project)


def test_a_required_column_without_default_is_empty_in_new_codes_rows_after_the_rollback(project: Project) -> None:
    open_shop(project)
    old_book = project.model("Book")
    project.migration(REMOVE_PAGES)
    project.apply()
    project.model("Book").objects.create(title="by new code", author_id=1)

    project.rollback()

    assert [*old_book.objects.order_by("id").values_list("title", "pages")] == [("Godaan", 10), ("by new code", None)]


def test_a_finalized_removal_is_rolled_back_with_every_value(project: Project) -> None:
    open_shop(project)
    old_book = project.model("Book")
    project.migration(REMOVE_LANGUAGE)
    project.apply()
    old_book.objects.update(language="hi")
    project.finalize()
    project.model("Book").objects.create(title="by new code", author_id=1, pages=1)

    project.rollback()

    assert [*old_book.objects.order_by("id").values_list("title", "language")] == [
        ("Godaan", "hi"),
        ("by new code", "en"),
    ]


def test_finalize_frees_the_name_and_keeps_the_values(project: Project) -> None:
    open_shop(project)
    project.migration(REMOVE_LANGUAGE)
    project.apply()

    project.finalize()

    buried = [name for name in column_names(project, "shop_book") if name.startswith("segue_retired_")]
    assert "language" not in column_names(project, "shop_book")
    assert len(buried) == 1
    assert project.sql(f'SELECT "{buried[0]}" FROM shop_book') == [("en",)]


def test_a_field_added_again_with_another_type_leaves_the_old_values_buried(project: Project) -> None:
    open_shop(project)
    project.migration(REMOVE_LANGUAGE)
    project.apply()
    project.finalize()
    project.migration(migrations.AddField("book", "language", models.IntegerField(default=7)))

    project.apply()

    buried = [name for name in column_names(project, "shop_book") if name.startswith("segue_retired_")]
    assert project.sql(f'SELECT language, "{buried[0]}" FROM shop_book') == [(7, "en")]
    assert_ends_as_stock(project)


def test_a_field_of_another_type_lies_beside_the_removed_one_while_the_removal_is_still_open(project: Project) -> None:
    open_shop(project)
    project.migration(REMOVE_LANGUAGE)
    project.apply()
    project.migration(migrations.AddField("book", "language", models.IntegerField(default=7)))

    project.apply()

    assert project.sql("SELECT language, segue_new_language FROM shop_book") == [("en", 7)]
    assert_ends_as_stock(project)
    buried = [name for name in column_names(project, "shop_book") if name.startswith("segue_retired_")]
    assert project.sql(f'SELECT language, "{buried[0]}" FROM shop_book') == [(7, "en")]


def test_rolling_back_both_releases_gives_the_name_back_to_the_first_field(project: Project) -> None:
    open_shop(project)
    project.migration(REMOVE_LANGUAGE)
    project.apply()
    project.migration(migrations.AddField("book", "language", models.IntegerField(default=7)))
    project.apply()

    project.rollback()
    project.rollback()

    assert [*project.model("Book", at="0001_step").objects.values_list("language", flat=True)] == ["en"]


def test_the_same_field_added_again_has_its_old_values(project: Project) -> None:
    open_shop(project)
    project.sql("UPDATE shop_book SET language = 'hi'")
    project.migration(REMOVE_LANGUAGE)
    project.apply()
    project.finalize()
    project.migration(migrations.AddField("book", "language", models.CharField(max_length=10, default="en")))

    project.apply()

    assert project.sql("SELECT language FROM shop_book") == [("hi",)]
    assert_ends_as_stock(project)


def test_a_required_field_without_default_can_be_added_again_while_no_row_lacks_a_value(project: Project) -> None:
    open_shop(project)
    project.migration(REMOVE_PAGES)
    project.apply()
    project.finalize()
    project.migration(migrations.AddField("book", "pages", models.IntegerField()))

    project.apply()
    project.finalize()

    assert project.sql("SELECT pages FROM shop_book") == [(10,)]
    assert project.sql(
        "SELECT attnotnull FROM pg_attribute WHERE attrelid = 'shop_book'::regclass AND attname = 'pages'"
    ) == [(True,)]


@pytest.mark.parametrize(
    "field",
    [
        models.CharField(max_length=20, null=True, unique=True),
        models.PositiveIntegerField(default=3),
        models.PositiveIntegerField(default=3, db_index=True),
    ],
    ids=["unique", "positive", "indexed and positive"],
)
@pytest.mark.parametrize("finalizing", [False, True], ids=["open", "finalized"])
def test_a_field_with_a_constraint_of_its_own_comes_back_with_values_and_constraint(
    project: Project, field: models.Field, finalizing: bool
) -> None:
    open_shop(project)
    project.migration(migrations.AddField("book", "code", field))
    project.apply()
    project.stock()
    project.finalize()
    value = project.model("Book").objects.values_list("code", flat=True).get()
    project.sql("UPDATE shop_book SET code = '12'")
    project.migration(migrations.RemoveField("book", "code"))
    project.apply()
    if finalizing:
        project.finalize()

    project.rollback()

    assert value in (None, 3)
    assert [str(code) for (code,) in project.sql("SELECT code FROM shop_book")] == ["12"]
    project.finalize()
    assert [d for d in project.differences() if "constraint" in d or "index" in d] == []


def test_the_parent_of_a_removed_foreign_key_can_be_deleted_by_new_code(project: Project) -> None:
    open_shop(project)
    project.migration(REMOVE_AUTHOR, REMOVE_EDITOR)

    project.apply()

    assert project.model("Author").objects.all().delete() == (1, {"shop.Author": 1})


def test_a_rollback_puts_a_row_aside_whose_required_parent_new_code_has_deleted(project: Project) -> None:
    open_shop(project)
    project.migration(REMOVE_AUTHOR)
    project.apply()
    project.model("Author").objects.all().delete()

    project.rollback()

    assert project.sql("SELECT * FROM shop_book") == []
    assert [(table, reason, row["title"]) for table, reason, row in quarantined(project)] == [
        ("shop_book", "shop_book.author_id has no row in shop_author", "Godaan")
    ]


def test_a_rollback_empties_a_reference_whose_optional_parent_new_code_has_deleted(project: Project) -> None:
    open_shop(project)
    project.sql("INSERT INTO shop_author (name) VALUES ('an editor')")
    project.sql("UPDATE shop_book SET editor_id = 2")
    project.migration(REMOVE_EDITOR)
    project.apply()
    project.model("Author").objects.filter(name="an editor").delete()

    project.rollback()

    assert project.sql("SELECT title, editor_id FROM shop_book") == [("Godaan", None)]
    assert [(table, reason, row["editor_id"]) for table, reason, row in quarantined(project)] == [
        ("shop_book", "shop_book.editor_id has no row in shop_author", 2)
    ]
