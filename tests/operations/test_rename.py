"""Renamed columns and tables: both names work until finalize, and what is written under either is kept."""

from __future__ import annotations

import pytest
from django.db import migrations, models
from django.db.migrations.loader import MigrationLoader
from django.test.utils import override_settings

from segue.core.errors import GateNotMet
from tests.operations.bookshop import assert_ends_as_stock, open_shop
from tests.operations.sequences import Writer, lost, rows, told
from tests.project import Project

ID = ("id", models.BigAutoField(primary_key=True))


def shop(project: Project) -> None:
    first = project.migration(
        migrations.CreateModel("Author", [ID, ("name", models.CharField(max_length=20, unique=True))]),
        migrations.CreateModel(
            "Book",
            [
                ID,
                ("title", models.CharField(max_length=20, db_index=True)),
                ("author", models.ForeignKey("shop.author", models.CASCADE)),
                ("readers", models.ManyToManyField("shop.author", related_name="read")),
            ],
        ),
    )
    project.live(first)
    project.sql("INSERT INTO shop_author (name) VALUES ('a'), ('b')")
    project.sql("INSERT INTO shop_book (title, author_id) VALUES ('x', 1), ('y', 2)")
    project.sql("INSERT INTO shop_book_readers (book_id, author_id) VALUES (1, 1), (2, 2)")


def finish(project: Project, last: str) -> None:
    project.finalize()
    project.stock(last)
    assert project.differences() == []


def test_both_names_of_a_column_are_written_and_read(project: Project) -> None:
    shop(project)
    last = project.migration(migrations.RenameField("Author", "name", "full_name"))

    project.apply()
    project.sql("INSERT INTO shop_author (name) VALUES ('old')")
    project.sql("INSERT INTO shop_author (full_name) VALUES ('new')")
    project.sql("UPDATE shop_author SET full_name = 'changed by new' WHERE id = 1")
    project.sql("UPDATE shop_author SET name = 'changed by old' WHERE id = 2")
    project.sql("INSERT INTO shop_author (full_name) VALUES ('new') ON CONFLICT (full_name) DO UPDATE SET id = 9")
    expected = [("changed by new",), ("changed by old",), ("old",), ("new",)]
    assert project.sql("SELECT name FROM shop_author ORDER BY id") == expected
    assert project.sql("SELECT full_name FROM shop_author ORDER BY id") == expected

    project.rollback()
    assert project.sql("SELECT name FROM shop_author ORDER BY id") == expected
    project.stock("0001_step")
    assert project.differences() == []
    project.apply()
    finish(project, last)
    assert project.sql("SELECT full_name FROM shop_author ORDER BY id") == expected


def test_a_foreign_key_and_a_primary_key_are_renamed(project: Project) -> None:
    shop(project)
    last = project.migration(
        migrations.RenameField("Book", "author", "writer"), migrations.RenameField("Author", "id", "number")
    )
    project.apply()
    project.sql("INSERT INTO shop_author (name) VALUES ('c')")
    project.sql("INSERT INTO shop_book (title, writer_id) VALUES ('z', 3)")
    assert project.sql("SELECT number FROM shop_author WHERE name = 'c'") == [(3,)]
    finish(project, last)
    project.rollback()
    project.finalize()
    project.stock("0001_step")
    assert project.differences() == []


def test_a_chain_of_renames_and_a_change_of_type_in_one_release(project: Project) -> None:
    shop(project)
    last = project.migration(
        migrations.RenameField("Book", "title", "heading"),
        migrations.RenameField("Book", "heading", "caption"),
        migrations.AlterField("Book", "caption", models.CharField(max_length=50, db_index=True)),
        migrations.AddIndex("Book", models.Index(fields=["caption", "author"], name="by_caption")),
    )
    project.apply()
    project.sql("INSERT INTO shop_book (caption, author_id) VALUES ('new', 1)")
    project.sql("INSERT INTO shop_book (title, author_id) VALUES ('old', 1)")
    project.rollback()
    assert project.sql("SELECT title FROM shop_book ORDER BY id") == [("x",), ("y",), ("new",), ("old",)]
    project.apply()
    finish(project, last)
    assert project.sql("SELECT caption FROM shop_book ORDER BY id") == [("x",), ("y",), ("new",), ("old",)]


def test_two_columns_swap_their_names(project: Project) -> None:
    first = project.migration(
        migrations.CreateModel("Pair", [ID, ("left", models.IntegerField()), ("right", models.IntegerField())])
    )
    project.live(first)
    project.sql('INSERT INTO shop_pair ("left", "right") VALUES (1, 2)')
    last = project.migration(
        migrations.RenameField("Pair", "left", "middle"),
        migrations.RenameField("Pair", "right", "left"),
        migrations.RenameField("Pair", "middle", "right"),
    )
    project.apply()
    project.sql('INSERT INTO shop_pair ("left", "right") VALUES (3, 4)')
    assert project.sql('SELECT "left", "right" FROM shop_pair ORDER BY id') == [(1, 2), (3, 4)]
    finish(project, last)
    assert project.sql('SELECT "left", "right" FROM shop_pair ORDER BY id') == [(2, 1), (4, 3)]


def test_a_renamed_model_is_seen_under_both_names(project: Project) -> None:
    shop(project)
    last = project.migration(migrations.RenameModel("Author", "Writer"))

    project.apply()
    project.sql("INSERT INTO shop_author (name) VALUES ('old')")
    project.sql("INSERT INTO shop_writer (name) VALUES ('new')")
    project.sql("INSERT INTO shop_book_readers (book_id, writer_id) VALUES (1, 4)")
    names = [("a",), ("b",), ("old",), ("new",)]
    assert project.sql("SELECT name FROM shop_author ORDER BY id") == names
    assert project.sql("SELECT name FROM shop_writer ORDER BY id") == names
    project.rollback()
    project.stock("0001_step")
    assert project.differences() == []
    project.apply()
    finish(project, last)
    assert project.sql("SELECT name FROM shop_writer ORDER BY id") == names


def test_a_model_with_many_to_many_is_renamed_and_gets_a_field_in_one_release(project: Project) -> None:
    shop(project)
    last = project.migration(
        migrations.RenameModel("Book", "Volume"),
        migrations.AddField("Volume", "pages", models.IntegerField(default=1)),
        migrations.RenameField("Volume", "title", "name"),
        migrations.CreateModel("Shelf", [ID, ("volume", models.ForeignKey("shop.volume", models.CASCADE))]),
        migrations.AddIndex("Volume", models.Index(fields=["pages"], name="by_pages")),
    )
    project.apply()
    project.sql("INSERT INTO shop_volume (name, author_id, pages) VALUES ('new', 1, 5)")
    project.sql("INSERT INTO shop_book (title, author_id) VALUES ('old', 1)")
    project.sql("INSERT INTO shop_volume_readers (volume_id, author_id) VALUES (3, 1)")
    project.sql("INSERT INTO shop_book_readers (book_id, author_id) VALUES (4, 1)")
    project.sql("INSERT INTO shop_shelf (volume_id) VALUES (3)")
    assert project.sql("SELECT name, pages FROM shop_volume ORDER BY id") == [
        ("x", 1),
        ("y", 1),
        ("new", 5),
        ("old", 1),
    ]
    project.rollback()
    assert project.sql("SELECT title FROM shop_book ORDER BY id") == [("x",), ("y",), ("new",), ("old",)]
    project.apply()
    finish(project, last)
    assert project.sql("SELECT name, pages FROM shop_volume ORDER BY id") == [
        ("x", 1),
        ("y", 1),
        ("new", 5),
        ("old", 1),
    ]


def test_two_tables_swap_their_names(project: Project) -> None:
    shop(project)
    last = project.migration(
        migrations.RenameModel("Author", "Middle"),
        migrations.CreateModel("Other", [ID, ("x", models.IntegerField())]),
        migrations.AlterModelTable("Other", "shop_author"),
    )
    project.apply()
    project.sql("INSERT INTO shop_author (name) VALUES ('old')")
    finish(project, last)
    assert project.sql("SELECT count(*) FROM shop_middle") == [(3,)]
    assert project.sql("SELECT count(*) FROM shop_author") == [(0,)]


@override_settings(SEGUE={"ALIAS_FROM": 0})
def test_a_column_of_a_huge_table_is_renamed_without_moving_a_row(project: Project) -> None:
    shop(project)
    last = project.migration(
        migrations.RenameField("Book", "title", "heading"),
        migrations.RenameField("Book", "heading", "caption"),
        migrations.AlterField("Book", "caption", models.TextField(db_index=True)),
    )
    written = "SELECT xmin::text FROM shop_book ORDER BY id"
    before = project.sql(written)

    project.apply()

    assert project.sql(written) == before
    told = "SELECT table_name, column_name, place, migration FROM segue_alias"
    assert project.sql(told) == [("shop_book", "caption", "title", last)]
    project.rollback()
    assert project.sql(told) == []
    project.apply()
    finish(project, last)
    assert project.sql(told) == []
    assert project.sql("SELECT caption FROM shop_book ORDER BY id") == [("x",), ("y",)]


def test_another_release_waits_until_the_names_are_settled(project: Project) -> None:
    shop(project)
    project.migration(migrations.RenameField("Author", "name", "full_name"))
    run = project.apply()
    assert run is not None
    last = project.migration(migrations.AddField("Author", "age", models.IntegerField(null=True)))

    with pytest.raises(GateNotMet) as refused:
        project.apply()

    assert str(refused.value) == (
        f"Release {run.release} is open and has steps that wait on shop_author, which this one changes too.\n"
        "Next: segue finalize, when its old code is gone; then the same command again"
    )
    project.finalize()
    project.apply()
    finish(project, last)


def test_a_table_under_another_name_is_changed_in_every_way(project: Project) -> None:
    shop(project)
    last = project.migration(
        migrations.AlterModelTable("Book", "Table 1"),
        migrations.AlterField("Book", "title", models.CharField(max_length=20)),
        migrations.AddField("Book", "pages", models.IntegerField(default=3)),
        migrations.AlterField("Book", "pages", models.BigIntegerField(default=3)),
        migrations.RenameField("Book", "title", "name"),
        migrations.AlterField("Book", "pages", models.IntegerField(default=3)),
    )
    project.apply()
    project.sql("INSERT INTO \"Table 1\" (name, author_id, pages) VALUES ('new', 1, 5)")
    finish(project, last)


def test_a_column_and_then_its_table_are_renamed(project: Project) -> None:
    shop(project)
    last = project.migration(
        migrations.RenameField("Book", "title", "name"),
        migrations.AlterField("Book", "name", models.CharField(max_length=10, db_index=True)),
        migrations.RenameModel("Book", "Volume"),
    )
    project.apply()
    project.sql("INSERT INTO shop_volume (name, author_id) VALUES ('new', 1)")
    project.sql("INSERT INTO shop_book (title, author_id) VALUES ('new', 1)")
    finish(project, last)


def test_a_model_that_refers_to_itself_many_times_is_renamed_there_and_back(project: Project) -> None:
    shop(project)
    last = project.migration(
        migrations.AddField("Author", "friends", models.ManyToManyField("shop.author")),
        migrations.RenameModel("Author", "Person"),
    )
    project.apply()
    project.rollback()
    project.apply()
    finish(project, last)


def test_a_model_that_is_renamed_twice_takes_its_keys_and_its_many_to_many_table_along(project: Project) -> None:
    shop(project)
    last = project.migration(
        migrations.RenameModel("Author", "Writer"),
        migrations.RenameModel("Book", "Volume"),
        migrations.RenameField("Volume", "id", "number"),
        migrations.RenameModel("Volume", "Tome"),
        migrations.RenameModel("Writer", "Poet"),
    )

    project.apply()
    project.sql("INSERT INTO shop_tome_readers (tome_id, poet_id) VALUES (1, 2)")
    project.sql("INSERT INTO shop_book_readers (book_id, author_id) VALUES (2, 1)")
    read = project.sql("SELECT tome_id, poet_id FROM shop_tome_readers ORDER BY id")
    finish(project, last)

    assert read == [(1, 1), (2, 2), (1, 2), (2, 1)]
    assert project.sql("SELECT tome_id, poet_id FROM shop_tome_readers ORDER BY id") == read


def test_a_key_has_its_name_again_when_its_model_gets_the_old_name_again_in_the_same_release(project: Project) -> None:
    shop(project)
    project.migration(migrations.RenameModel("Author", "Writer"))
    last = project.migration(migrations.RenameModel("Writer", "Author"))

    project.apply()

    finish(project, last)


def test_what_is_renamed_and_removed_in_one_release_comes_back_after_finalize(project: Project) -> None:
    shop(project)
    project.migration(
        migrations.RenameField("Book", "title", "name"),
        migrations.RenameModel("Book", "Volume"),
        migrations.RenameModel("Author", "Writer"),
        migrations.RenameField("Writer", "name", "full_name"),
        migrations.RemoveField("Writer", "full_name"),
        migrations.RemoveField("Volume", "author"),
        migrations.DeleteModel("Volume"),
    )
    project.apply()
    project.finalize()

    project.rollback()
    project.finalize()

    assert project.sql("SELECT id, name FROM shop_author ORDER BY id") == [(1, "a"), (2, "b")]
    assert project.sql("SELECT id, title, author_id FROM shop_book ORDER BY id") == [(1, "x", 1), (2, "y", 2)]
    assert project.sql("SELECT book_id, author_id FROM shop_book_readers ORDER BY id") == [(1, 1), (2, 2)]


def test_a_key_of_a_new_table_is_named_after_the_last_name_of_what_it_refers_to(project: Project) -> None:
    shop(project)
    last = project.migration(
        migrations.CreateModel("Shelf", [ID, ("owner", models.ForeignKey("shop.author", models.CASCADE))]),
        migrations.RenameField("Author", "id", "number"),
        migrations.RenameField("Author", "number", "code"),
    )

    project.apply()

    finish(project, last)


def test_a_new_model_is_renamed_by_the_next_migration_of_its_release(project: Project) -> None:
    shop(project)
    project.migration(
        migrations.CreateModel(
            "Shelf",
            [
                ID,
                ("owner", models.ForeignKey("shop.author", models.CASCADE)),
                ("books", models.ManyToManyField("shop.book")),
                ("code", models.SlugField(unique=True)),
            ],
        ),
        migrations.AddField("Book", "shelf", models.ForeignKey("shop.shelf", models.SET_NULL, null=True)),
    )
    project.migration(migrations.RenameField("Shelf", "owner", "keeper"), migrations.RenameField("Shelf", "id", "key"))
    last = project.migration(migrations.RenameModel("Shelf", "Rack"), migrations.RenameField("Rack", "code", "name"))
    apps = MigrationLoader(None).project_state([("shop", last)]).apps

    project.apply()
    with told(apps):
        Writer(apps).insert()
        written = rows(apps)
    project.rollback()
    project.apply()

    with told(apps):
        assert lost(written, rows(apps)) == []
    finish(project, last)
    assert lost(written, rows(apps)) == []


def test_a_column_with_a_check_of_its_own_is_renamed(project: Project) -> None:
    first = project.migration(
        migrations.CreateModel("Shelf", [ID, ("size", models.PositiveIntegerField()), ("code", models.SlugField())])
    )
    project.live(first)
    last = project.migration(
        migrations.RenameField("Shelf", "size", "width"),
        migrations.AlterField("Shelf", "code", models.IntegerField(null=True)),
    )

    project.apply()
    project.sql("INSERT INTO shop_shelf (size, code) VALUES (1, '7')")
    project.rollback()
    project.apply()

    finish(project, last)
    assert project.sql("SELECT width FROM shop_shelf") == [(1,)]


def test_a_model_is_renamed_once_another_that_referred_to_it_is_deleted(project: Project) -> None:
    open_shop(project)
    project.migration(migrations.DeleteModel("Book"))
    project.migration(migrations.RenameModel("Author", "Writer"))

    project.apply()

    assert project.model("Writer").objects.get().name == "Premchand"
    assert_ends_as_stock(project)
