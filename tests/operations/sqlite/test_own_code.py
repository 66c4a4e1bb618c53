"""What a migration's own code changes in rows is taken back, with a reverse or without, and comes again."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import migrations, models

from segue.core.errors import FailedAndUndone
from tests.operations.sqlite.shop import Shop

NUMBERED = ("id", models.BigAutoField(primary_key=True))
TABLES = (
    migrations.CreateModel("Genre", [NUMBERED, ("name", models.TextField(unique=True))]),
    migrations.CreateModel(
        "Song",
        [
            NUMBERED,
            ("title", models.TextField()),
            ("plays", models.IntegerField(null=True)),
            ("genre", models.ForeignKey("shop.Genre", models.CASCADE, null=True)),
        ],
    ),
)
SONGS = "SELECT id, title, plays, genre_id FROM shop_song ORDER BY id"
GENRES = "SELECT id, name FROM shop_genre ORDER BY id"
LOUD = "UPDATE shop_song SET title = upper(title)"
noop = migrations.RunPython.noop


def shout(apps: Any, editor: Any) -> None:
    songs = apps.get_model("shop", "Song").objects.using(editor.connection.alias)
    for song in songs.all():
        song.title = song.title.upper()
        song.save()


def whisper(apps: Any, editor: Any) -> None:
    songs = apps.get_model("shop", "Song").objects.using(editor.connection.alias)
    for song in songs.all():
        song.title = song.title.lower()
        song.save()


def seed(apps: Any, editor: Any) -> None:
    """Insert two genres, delete the empty songs, and give each other one the first genre."""
    alias = editor.connection.alias
    genres = apps.get_model("shop", "Genre").objects.using(alias)
    songs = apps.get_model("shop", "Song").objects.using(alias)
    rock, _ = (genres.create(name=name) for name in ("rock", "pop"))
    songs.filter(title="").delete()
    songs.update(genre=rock)


@pytest.fixture
def songs(shop: Shop) -> Shop:
    """Three songs, one of them without a title."""
    shop.migration(*TABLES)
    shop.apply()
    shop.write("INSERT INTO shop_song (title, plays) VALUES ('McCartney', 1), ('ABBA', 2), ('', 3)")
    return shop


WITHOUT_REVERSE = {
    "python": migrations.RunPython(shout),
    "python with a reverse that does nothing": migrations.RunPython(shout, noop),
    "python with a reverse": migrations.RunPython(shout, whisper),
    "SQL": migrations.RunSQL(LOUD),
    "SQL with a reverse": migrations.RunSQL(LOUD, "UPDATE shop_song SET title = lower(title)"),
}


@pytest.mark.parametrize("operation", WITHOUT_REVERSE.values(), ids=[*WITHOUT_REVERSE])
def test_values_are_as_they_were_and_come_again_as_new_code_left_them(songs: Shop, operation: Any) -> None:
    old = songs.rows(SONGS)
    songs.migration(operation)
    songs.apply()
    first = songs.rows("SELECT title FROM shop_song ORDER BY id")
    songs.write("UPDATE shop_song SET plays = 20 WHERE id = 2")
    new = songs.rows(SONGS)

    for _ in range(2):
        songs.rollback()
        assert songs.rows(SONGS) == [old[0], (2, "ABBA", 20, None), old[2]]
        songs.apply()
        assert songs.rows(SONGS) == new
    assert first == [("MCCARTNEY",), ("ABBA",), ("",)]


def test_a_value_that_was_changed_since_stays(songs: Shop) -> None:
    songs.migration(migrations.RunPython(shout))
    songs.apply()
    songs.write("UPDATE shop_song SET title = 'Changed' WHERE id = 1")
    songs.write("INSERT INTO shop_song (title, plays) VALUES ('New', 4)")

    songs.rollback()

    assert [row[1] for row in songs.rows(SONGS)] == ["Changed", "ABBA", "", "New"]
    songs.write(
        "UPDATE shop_song SET title = 'since' WHERE id = 2", "INSERT INTO shop_song (title, plays) VALUES ('x', 5)"
    )
    songs.apply()
    assert [row[1] for row in songs.rows(SONGS)] == ["Changed", "SINCE", "", "New", "X"]


@pytest.mark.parametrize("operation", [migrations.RunPython(seed), migrations.RunPython(seed, noop)])
def test_rows_that_the_code_makes_and_deletes_are_taken_back_and_come_again(songs: Shop, operation: Any) -> None:
    old = songs.rows(SONGS)
    songs.migration(operation)
    songs.apply()
    songs.write("UPDATE shop_song SET genre_id = 2 WHERE id = 2", "UPDATE shop_genre SET name = 'Pop!' WHERE id = 2")
    songs.write("INSERT INTO shop_genre (name) VALUES ('jazz')")
    new, genres = songs.rows(SONGS), songs.rows(GENRES)

    songs.rollback()

    assert songs.rows(SONGS) == [old[0], (2, "ABBA", 2, 2), old[2]]
    assert songs.rows(GENRES) == [(2, "Pop!"), (3, "jazz")]
    songs.write("INSERT INTO shop_song (title) VALUES ('by old code')")
    songs.apply()
    assert songs.rows(GENRES)[:3] == genres
    assert songs.rows(SONGS) == [*new, (4, "by old code", None, 1)]
    assert songs.rows("PRAGMA foreign_key_check") == []


def test_a_row_that_something_refers_to_stays(songs: Shop) -> None:
    songs.migration(migrations.RunPython(seed, noop))
    songs.apply()
    songs.write("INSERT INTO shop_song (title, genre_id) VALUES ('new', 1)")

    songs.rollback()

    assert songs.rows(GENRES) == [(1, "rock")]
    assert songs.rows(SONGS)[-1] == (4, "new", None, 1)
    assert songs.quarantined() == []


def test_what_code_fills_in_a_new_column_is_not_computed_over_what_new_code_wrote(songs: Shop) -> None:
    songs.migration(
        migrations.AddField("song", "slug", models.TextField(default="")),
        migrations.RunSQL("UPDATE shop_song SET slug = 'slug-' || id", migrations.RunSQL.noop),
        migrations.AlterField("song", "slug", models.TextField(unique=True)),
    )
    songs.apply()
    songs.write("UPDATE shop_song SET slug = 'edited' WHERE id = 2")
    songs.write("INSERT INTO shop_song (title, slug) VALUES ('new', 'own')")
    slugs = "SELECT id, slug FROM shop_song ORDER BY id"
    new = songs.rows(slugs)

    songs.rollback()
    songs.write("INSERT INTO shop_song (title) VALUES ('by old code')")
    songs.apply()

    assert new == [(1, "slug-1"), (2, "edited"), (3, "slug-3"), (4, "own")]
    assert songs.rows(slugs) == [*new, (5, "slug-5")]


def test_code_without_a_reverse_that_found_nothing_to_change_goes_back(shop: Shop) -> None:
    shop.migration(*TABLES)
    shop.migration(migrations.RunPython(shout), migrations.AddField("song", "note", models.TextField(null=True)))
    shop.apply("0001")
    shop.apply("0002")

    shop.rollback()
    shop.apply()
    shop.rollback()

    assert [name for _, name, *_ in shop.rows("PRAGMA table_info(shop_song)")] == ["id", "title", "plays", "genre_id"]


def test_a_table_and_a_column_that_are_dropped_by_hand_are_filled_again(songs: Shop) -> None:
    songs.write(
        "CREATE TABLE shop_extra (a integer PRIMARY KEY, b text)",
        "INSERT INTO shop_extra VALUES (1, 'one'), (2, x'00')",
        "ALTER TABLE shop_song ADD COLUMN extra text",
        "UPDATE shop_song SET extra = 'kept' WHERE id < 3",
    )
    songs.migration(
        migrations.RunSQL(
            ["DROP TABLE shop_extra", 'ALTER TABLE "shop_song" DROP COLUMN extra', LOUD],
            [
                "CREATE TABLE shop_extra (a integer PRIMARY KEY, b text)",
                "INSERT INTO shop_extra VALUES (2, 'default'), (3, 'default')",
                "ALTER TABLE shop_song ADD COLUMN extra text DEFAULT 'new'",
            ],
        )
    )
    songs.apply()
    songs.write("DELETE FROM shop_song WHERE id = 1", "INSERT INTO shop_song (title) VALUES ('new')")

    songs.rollback()

    assert songs.rows("SELECT a, b FROM shop_extra") == [(1, "one"), (2, b"\x00"), (3, "default")]
    assert songs.rows("SELECT id, extra FROM shop_song") == [(2, "kept"), (3, None), (4, "new")]
    assert songs.quarantined() == [
        ("shop_song", "the row of shop_song that had this extra is gone", '{"id": 1, "extra": "kept"}')
    ]


def test_a_schema_changed_by_hand_without_a_reverse_does_not_go_back(songs: Shop) -> None:
    songs.migration(migrations.RunSQL("CREATE TABLE shop_extra (a integer PRIMARY KEY)"))
    songs.apply()

    with pytest.raises(FailedAndUndone) as caught:
        songs.rollback()

    assert caught.value.message == (
        "shop.0002_step could not be unapplied and stays applied: shop.0002_step:0 is not reversible, and what it did "
        "was not watched\nThe database is as it was."
    )


def reshape(apps: Any, editor: Any) -> None:
    """Change the schema through the editor, and rows beside."""
    song = apps.get_model("shop", "Song")
    field = models.TextField(null=True)
    field.set_attributes_from_name("note")
    editor.add_field(song, field)
    editor.execute("UPDATE shop_song SET note = 'n' || id")
    apps.get_model("shop", "Genre").objects.using(editor.connection.alias).create(name="made")


def shape_back(apps: Any, editor: Any) -> None:
    song = apps.get_model("shop", "Song")
    field = models.TextField(null=True)
    field.set_attributes_from_name("note")
    field.model = song
    editor.remove_field(song, field)


def test_code_that_calls_the_schema_editor_keeps_its_columns_and_its_rows(songs: Shop) -> None:
    songs.migration(migrations.RunPython(reshape, shape_back))
    songs.apply()
    songs.write("UPDATE shop_song SET note = 'edited' WHERE id = 2")
    noted = "SELECT id, note FROM shop_song ORDER BY id"
    new = songs.rows(noted)

    songs.rollback()
    genres = songs.rows(GENRES)
    songs.apply()

    assert new == [(1, "n1"), (2, "edited"), (3, "n3")]
    assert genres == []
    assert songs.rows(GENRES) == [(1, "made")]
    assert [name for _, name, *_ in songs.rows("PRAGMA table_info(shop_song)")][-1] == "note"


def test_an_insert_that_replaces_a_row_is_taken_back_too(songs: Shop) -> None:
    songs.write("INSERT INTO shop_genre VALUES (1, 'rock')")
    songs.migration(migrations.RunSQL("INSERT OR REPLACE INTO shop_genre VALUES (7, 'rock'), (8, 'pop')"))
    songs.apply()
    new = songs.rows(GENRES)

    songs.rollback()

    assert new == [(7, "rock"), (8, "pop")]
    assert songs.rows(GENRES) == [(1, "rock")]


def test_a_failing_migration_leaves_no_trace_of_being_watched(songs: Shop) -> None:
    songs.migration(migrations.RunSQL([LOUD, "INSERT INTO nowhere VALUES (1)"]))
    before = songs.rows("SELECT * FROM sqlite_master")

    with pytest.raises(FailedAndUndone):
        songs.apply()

    connection = songs.session().engine.connection
    with connection.cursor() as cursor:
        assert cursor.execute("SELECT name FROM sqlite_temp_master").fetchall() == []
        assert cursor.execute("PRAGMA recursive_triggers").fetchall() == [(0,)]
    assert songs.rows("SELECT * FROM sqlite_master") == before


def test_code_that_cannot_bear_what_new_code_wrote_runs_without_it(songs: Shop) -> None:
    songs.migration(
        migrations.AddField("genre", "note", models.TextField(default="")),
        migrations.RunPython(seed, noop),
    )
    songs.apply()
    songs.write("UPDATE shop_genre SET note = 'loud' WHERE id = 1", "UPDATE shop_song SET genre_id = 2 WHERE id = 2")
    noted = "SELECT id, name, note FROM shop_genre ORDER BY id"
    new, genres = songs.rows(SONGS), songs.rows(noted)
    songs.rollback()
    songs.write("INSERT INTO shop_song (title) VALUES ('by old code')")

    songs.apply()

    assert songs.rows(noted) == genres == [(1, "rock", "loud"), (2, "pop", "")]
    assert songs.rows(SONGS) == [*new, (4, "by old code", None, 1)]
    assert songs.quarantined() == []
