"""DeleteModel: the rows stay until purge, whatever happens to the name of the table."""

from __future__ import annotations

import django
from django.db import migrations, models

from tests.operations.bookshop import assert_ends_as_stock, open_shop, quarantined
from tests.project import Project

DELETE_BOOK = migrations.DeleteModel("Book")


def test_old_code_reads_and_writes_while_the_release_is_open(project: Project) -> None:
    open_shop(project)
    old_book = project.model("Book")
    project.migration(DELETE_BOOK)

    project.apply()
    old_book.objects.create(title="Nirmala", author_id=1, pages=3)
    old_book.objects.filter(title="Godaan").update(pages=11)

    assert sorted(old_book.objects.values_list("title", "pages")) == [("Godaan", 11), ("Nirmala", 3)]


def test_a_rollback_brings_every_row_and_every_foreign_key_back(project: Project) -> None:
    open_shop(project)
    old_book = project.model("Book")
    project.migration(DELETE_BOOK)
    project.apply()
    old_book.objects.create(title="Nirmala", author_id=1, pages=3)

    project.rollback()

    assert sorted(old_book.objects.values_list("title", "pages")) == [("Godaan", 10), ("Nirmala", 3)]
    assert project.differences() == []
    assert project.sql("SELECT conname FROM pg_constraint WHERE NOT convalidated") == []


def test_new_code_deletes_a_parent_and_the_rollback_puts_its_orphans_aside(project: Project) -> None:
    open_shop(project)
    project.migration(DELETE_BOOK)
    project.apply()
    project.model("Author").objects.all().delete()

    project.rollback()

    assert project.sql("SELECT * FROM shop_book") == []
    assert quarantined(project) == [
        (
            "shop_book",
            "shop_book.author_id has no row in shop_author",
            {"id": 1, "title": "Godaan", "author_id": 1, "editor_id": None, "pages": 10, "language": "en"},
        )
    ]
    assert project.differences() == []


def test_forward_and_back_and_forward_ends_as_stock(project: Project) -> None:
    open_shop(project)
    project.migration(DELETE_BOOK)

    project.apply()
    project.rollback()
    project.apply()

    assert_ends_as_stock(project)


def test_a_finalized_deletion_is_rolled_back_with_every_row(project: Project) -> None:
    open_shop(project)
    old_book = project.model("Book")
    project.migration(DELETE_BOOK)
    project.apply()
    project.finalize()

    project.rollback()

    assert [*old_book.objects.values_list("title", "pages", "language")] == [("Godaan", 10, "en")]
    assert old_book.objects.create(title="Nirmala", author_id=1, pages=3).pk == 2
    project.finalize()
    assert project.differences() == []


def test_a_model_of_the_same_name_and_another_shape_leaves_the_old_rows_buried(project: Project) -> None:
    open_shop(project)
    project.migration(DELETE_BOOK)
    project.apply()
    project.finalize()
    project.migration(migrations.CreateModel("Book", [("isbn", models.CharField(max_length=13, primary_key=True))]))

    project.apply()

    project.model("Book").objects.create(isbn="9780141185262")
    ((buried,),) = project.sql("SELECT relnamespace::regnamespace::text FROM pg_class WHERE relname = 'shop_book' "
                               "AND relnamespace <> current_schema()::regnamespace")  # fmt: skip
    assert project.sql("SELECT * FROM shop_book") == [("9780141185262",)]
    assert project.sql(f"SELECT title, pages FROM {buried}.shop_book") == [("Godaan", 10)]
    assert_ends_as_stock(project)


def test_rolling_back_past_a_model_of_the_same_name_brings_the_first_ones_rows_back(project: Project) -> None:
    open_shop(project)
    first_book = project.model("Book")
    project.migration(DELETE_BOOK)
    project.apply()
    project.finalize()
    project.migration(migrations.CreateModel("Book", [("isbn", models.CharField(max_length=13, primary_key=True))]))
    project.apply()
    project.model("Book").objects.create(isbn="9780141185262")

    project.rollback()
    project.rollback()

    assert [*first_book.objects.values_list("title", "pages")] == [("Godaan", 10)]


def test_a_model_whose_column_has_just_changed_its_type_is_deleted_in_the_same_release(project: Project) -> None:
    open_shop(project)
    project.migration(
        migrations.AlterField("Book", "pages", models.BigIntegerField()),
        migrations.DeleteModel("Book"),
    )

    project.apply()

    assert_ends_as_stock(project)
    project.rollback()
    project.finalize()
    assert project.sql("SELECT title, pages FROM shop_book") == [("Godaan", 10)]


def test_a_model_whose_check_says_a_field_by_its_former_name_is_retired_and_comes_back(project: Project) -> None:
    open_shop(project)
    check = {"condition" if django.VERSION >= (5, 1) else "check": models.Q(pages__gte=0)}
    project.migration(
        migrations.AddConstraint("Book", models.CheckConstraint(name="pages_there", **check)),
        migrations.RenameField("Book", "pages", "leaves"),
        DELETE_BOOK,
    )

    project.apply()
    project.rollback()

    assert project.sql("SELECT title, pages FROM shop_book") == [("Godaan", 10)]
    project.apply()
    assert_ends_as_stock(project)
