"""A column that one release changes twice: one way to the end of it, or a refusal before anything has changed."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import migrations, models

from segue import carrier
from segue.core.errors import FailedAndUndone, StepFailed
from segue.stages import finalize
from tests.operations.bookshop import RAW_BOOK, assert_ends_as_stock, open_shop
from tests.project import Project


def _to(field: models.Field[Any, Any], name: str = "pages") -> migrations.AlterField:
    return migrations.AlterField("book", name, field)


WIDER = _to(models.BigIntegerField())
TEXT = _to(models.TextField())
RENAMED = migrations.RenameField("book", "pages", "leaves")
ANOTHER = migrations.AddField("book", "pages", models.IntegerField(default=5))


@pytest.mark.parametrize(
    "operations",
    [
        (WIDER, TEXT),
        (RENAMED, _to(models.TextField(), "leaves")),
        (RENAMED, _to(models.BigIntegerField(), "leaves"), migrations.RenameField("book", "leaves", "sheets")),
        (_to(models.BigIntegerField(db_index=True)), WIDER, _to(models.BigIntegerField(unique=True))),
        (RENAMED, ANOTHER),
        (RENAMED, migrations.AddField("book", "pages", models.TextField(null=True, db_index=True))),
        (RENAMED, ANOTHER, migrations.RenameField("book", "leaves", "sheets")),
        (RENAMED, ANOTHER, migrations.RemoveField("book", "leaves")),
        (RENAMED, ANOTHER, _to(models.TextField(), "leaves")),
        (migrations.RemoveField("book", "pages"), migrations.AddField("book", "pages", models.TextField(default="x"))),
    ],
    ids=[
        "wider, then another type",
        "renamed, then another type",
        "renamed around a wider type",
        "indexes",
        "renamed, and its name given to another",
        "renamed, and its name given to another with an index",
        "renamed, its name given to another, and renamed again",
        "renamed, its name given to another, and removed",
        "renamed, its name given to another, and then another type",
        "removed, and its name given to another",
    ],
)
def test_a_column_changes_twice_forth_and_back_and_forth(project: Project, operations: tuple[Any, ...]) -> None:
    open_shop(project)
    project.migration(*operations)
    old_book = project.model("Book", at="0001_step")

    project.apply()
    old_book.objects.create(title="by old", author_id=1, pages=1)
    project.rollback()

    assert sorted(old_book.objects.values_list("title", "pages")) == [("Godaan", 10), ("by old", 1)]
    project.apply()
    assert_ends_as_stock(project)


def test_a_column_that_is_removed_under_another_name_and_added_again_has_its_values_all_the_time(
    project: Project,
) -> None:
    open_shop(project)
    again = migrations.AddField("book", "pages", models.IntegerField(default=5))
    project.migration(RENAMED, migrations.RemoveField("book", "leaves"), again)
    pages = "SELECT pages FROM shop_book"

    project.apply()
    assert project.sql(pages) == [(10,)]
    project.rollback()
    assert project.sql(pages) == [(10,)]
    project.apply()
    project.finalize()

    assert project.sql(pages) == [(10,)]


def test_a_column_under_a_name_that_another_had_in_the_middle_of_the_release_keeps_its_values(project: Project) -> None:
    open_shop(project)
    project.migration(
        RENAMED,
        migrations.RenameField("book", "leaves", "sheets"),
        migrations.AddField("book", "leaves", models.CharField(max_length=9, null=True)),
    )

    project.apply()
    project.sql("UPDATE shop_book SET leaves = 'new'")
    project.rollback()
    project.apply()

    assert project.sql("SELECT pages, sheets, leaves FROM shop_book") == [(10, 10, "new")]
    assert_ends_as_stock(project)


def test_what_hangs_on_a_renamed_column_keeps_its_name_beside_that_of_the_next_one(project: Project) -> None:
    open_shop(project)
    stars = migrations.AddField("book", "stars", models.PositiveIntegerField(unique=True, null=True))
    project.live(project.migration(stars))
    project.finalize()
    project.migration(migrations.RenameField("book", "stars", "rating"), stars)

    project.apply()
    project.rollback()
    project.apply()

    assert_ends_as_stock(project)
    names = "SELECT conname FROM pg_constraint WHERE conname LIKE 'shop_book_stars_%%' AND contype <> 'n' ORDER BY 1"
    assert project.sql(names, []) == [
        ("shop_book_stars_check",),
        ("shop_book_stars_check1",),
        ("shop_book_stars_key",),
        ("shop_book_stars_key1",),
    ]


def test_an_index_with_the_name_of_a_renamed_columns_is_refused_at_once(project: Project) -> None:
    open_shop(project)
    stars = migrations.AddField("book", "stars", models.IntegerField(db_index=True, null=True))
    project.live(project.migration(stars))
    project.finalize()
    project.migration(migrations.RenameField("book", "stars", "rating"), stars)

    with pytest.raises(FailedAndUndone) as caught:
        project.apply()

    assert str(caught.value) == (
        "shop.0003_step failed and was taken back: build index shop_book_stars_fa23c66b on shop_book: the name is "
        "taken already by something that this release did not make.\n"
        "Nothing of it remains.\n"
        "Next: mend the cause and run the same command again; --traceback shows where it failed"
    )


def test_a_key_becomes_wider_and_as_it_was_beside_a_session_that_writes_all_the_time(project: Project) -> None:
    open_shop(project)
    auto, big = (_to(kind(primary_key=True), "id") for kind in (models.AutoField, models.BigAutoField))
    sequel = models.ForeignKey("shop.book", models.CASCADE, null=True)
    project.live(project.migration(auto, migrations.AddField("book", "sequel", sequel)))
    project.finalize()
    project.migration(big, auto)

    project.apply()
    with project.connect() as writer:
        writer.autocommit = True
        writer.execute(RAW_BOOK, ["beside"])
        project.finalize()
        writer.execute(RAW_BOOK, ["after"])

    assert_ends_as_stock(project)


def test_what_the_old_type_has_no_value_for_outlives_the_way_back_of_a_column_that_was_renamed_too(
    project: Project,
) -> None:
    open_shop(project)
    project.migration(RENAMED, _to(models.TextField(), "leaves"))

    project.apply()
    project.sql("UPDATE shop_book SET leaves = 'many'")
    project.rollback()
    assert project.sql("SELECT pages FROM shop_book") == [(None,)]

    project.apply()
    assert project.sql("SELECT leaves FROM shop_book") == [("many",)]
    assert_ends_as_stock(project)


@pytest.mark.parametrize(
    "second",
    [RENAMED, _to(models.CharField(max_length=9)), _to(models.IntegerField()), _to(models.TextField(null=True))],
    ids=["renamed", "shorter", "as it was", "NULL"],
)
def test_a_column_that_lies_beside_old_codes_is_not_changed_again_before_finalize(
    project: Project, second: Any
) -> None:
    open_shop(project)
    project.migration(TEXT)
    project.migration(second)

    with pytest.raises(StepFailed) as refused:
        project.apply()

    assert str(refused.value) == (
        "shop_book.pages lies beside the column that old code uses until finalize: it cannot be altered again before "
        "that.\nNext: manage.py migrate APP MIGRATION, to go one migration less far; segue finalize, when the code "
        "before it is gone; then the same command again"
    )
    assert project.session().journal.runs()[-1].migrations == (("shop", "0001_step"),)
    project.apply("0002_step")
    project.finalize()
    project.apply()
    assert_ends_as_stock(project)


def test_two_columns_of_one_index_change_their_types_in_one_release(project: Project) -> None:
    open_shop(project)
    together = models.UniqueConstraint(fields=["pages", "author", "size"], name="together")
    by_both = models.Index(fields=["size", "pages"], name="by_both")
    first = project.migration(
        migrations.AddField("book", "size", models.IntegerField(default=0)),
        migrations.AddConstraint("book", together),
        migrations.AddIndex("book", by_both),
    )
    project.live(first)
    project.finalize()
    old_book = project.model("Book")
    project.migration(WIDER, migrations.AlterField("book", "size", models.BigIntegerField(default=0)))

    project.apply()
    old_book.objects.create(title="by old", author_id=1, pages=1, size=2)
    project.rollback()

    assert sorted(old_book.objects.values_list("title", "pages", "size")) == [("Godaan", 10, 0), ("by old", 1, 2)]
    project.apply()
    assert_ends_as_stock(project)
    project.rollback()
    project.finalize()
    project.stock(first)
    assert project.differences() == []


SHORTER = migrations.AlterField("book", "title", models.CharField(max_length=30))
INDEXED = migrations.AddIndex("book", models.Index(fields=["title", "pages"], name="by_title"))
ONE_OF_A_TITLE = migrations.AddConstraint("book", models.UniqueConstraint(fields=["title"], name="one_title"))
FEW = migrations.AddConstraint(
    "book", models.UniqueConstraint(fields=["pages"], condition=models.Q(title__gt="m"), name="one_page")
)


@pytest.mark.parametrize("added", [INDEXED, ONE_OF_A_TITLE, FEW], ids=["index", "unique", "condition"])
@pytest.mark.parametrize("releases", [0, 1, 2], ids=["one migration", "one release", "two releases"])
def test_what_is_added_to_a_column_that_waits_to_become_narrower_is_there_in_the_end(
    project: Project, added: Any, releases: int
) -> None:
    open_shop(project)
    if releases == 0:
        project.migration(SHORTER, added)
    else:
        project.migration(SHORTER)
        if releases == 2:
            project.apply()
        project.migration(added)

    project.apply()
    project.rollback()
    project.apply()

    assert_ends_as_stock(project)


def test_a_column_that_is_renamed_and_becomes_wider_is_so_under_both_names(project: Project) -> None:
    open_shop(project)
    project.migration(RENAMED, _to(models.BigIntegerField(), "leaves"))

    project.apply()
    project.sql("UPDATE shop_book SET leaves = 5000000000")
    assert project.sql("SELECT pages FROM shop_book") == [(5_000_000_000,)]
    project.rollback()
    project.apply()

    assert project.sql("SELECT pages, leaves FROM shop_book") == [(5_000_000_000, 5_000_000_000)]
    assert_ends_as_stock(project)


@pytest.mark.parametrize("becomes", [models.BigIntegerField(), models.SmallIntegerField()], ids=["wider", "narrower"])
def test_a_session_writes_all_the_time_while_a_renamed_column_changes_its_type(
    project: Project, monkeypatch: pytest.MonkeyPatch, becomes: models.Field[Any, Any]
) -> None:
    open_shop(project)
    project.migration(RENAMED, _to(becomes, "leaves"))

    with project.connect() as writer:
        writer.autocommit = True

        def writing(method: Any) -> Any:
            def and_write(*args: Any, **options: Any) -> None:
                method(*args, **options)
                writer.execute("UPDATE shop_book SET title = 'beside'")

            return and_write

        for module, name in ((carrier, "carry_out"), (carrier, "undo"), (finalize, "carry_out")):
            monkeypatch.setattr(module, name, writing(getattr(module, name)))
        project.apply()
        project.rollback()
        project.apply()
        assert_ends_as_stock(project)


@pytest.mark.parametrize("renaming_first", [True, False], ids=["renamed first", "renamed last"])
def test_a_stand_in_for_null_is_there_under_both_names(project: Project, renaming_first: bool) -> None:
    open_shop(project)
    project.live(project.migration(migrations.AddField("book", "stars", models.IntegerField(null=True))))
    project.finalize()
    renamed, five = migrations.RenameField("book", "stars", "rating"), models.IntegerField(default=5)
    alterations = (renamed, _to(five, "rating")) if renaming_first else (_to(five, "stars"), renamed)
    project.migration(*alterations)
    old_book = project.model("Book", at="0002_step")
    of_books = "SELECT title, stars, rating FROM shop_book ORDER BY id"
    insert = "INSERT INTO shop_book (title, author_id, pages, language, rating) VALUES (%s, 1, 1, 'en', %s)"

    project.apply()
    old_book.objects.create(title="by old", author_id=1, pages=1)
    old_book.objects.create(title="by old, taken back", author_id=1, pages=1, stars=3)
    old_book.objects.filter(stars=3).update(stars=None)
    for title, rating in (("by new", 7), ("by new as it is by default", 5)):
        project.sql(insert, [title, rating])
    both = [
        ("Godaan", 5, 5),
        ("by old", 5, 5),
        ("by old, taken back", 5, 5),
        ("by new", 7, 7),
        ("by new as it is by default", 5, 5),
    ]
    assert project.sql(of_books) == both

    project.rollback()
    assert [*old_book.objects.order_by("id").values_list("stars", flat=True)] == [None, None, None, 7, 5]
    project.apply()
    assert project.sql(of_books) == both
    assert_ends_as_stock(project)
