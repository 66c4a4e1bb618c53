"""What a column's archive does when the column, its row's key or its parent is not what it was."""

from __future__ import annotations

from django.db import migrations, models
from django.db.models import CASCADE

from tests.operations.sqlite.shop import Shop


def test_a_column_of_another_shape_leaves_the_archive_as_it_is(shop: Shop) -> None:
    shop.migration(
        migrations.CreateModel(
            "Song",
            [
                ("id", models.BigAutoField(primary_key=True)),
                ("mood", models.TextField(null=True)),
            ],
        ),
    )
    shop.migration(migrations.RemoveField("song", "mood"))
    shop.migration(migrations.AddField("song", "mood", models.IntegerField(null=True)))
    shop.apply("0001")
    shop.write("INSERT INTO shop_song (mood) VALUES ('wild')")

    shop.apply("0003")
    shop.write("UPDATE shop_song SET mood = 3")
    other = shop.rows("SELECT * FROM segue_archive_1")
    shop.apply("0001")
    shop.apply("0003")

    assert other == [(1, "wild")]
    assert shop.rows("SELECT id, mood FROM shop_song") == [(1, 3)]
    assert [(r.kind.value, r.table, r.name) for r in shop.session().journal.cemetery().all()] == [
        ("column", "shop_song", "mood")
    ]
    shop.apply("0001")
    assert shop.rows("SELECT id, mood FROM shop_song") == [(1, "wild")]


def test_a_reference_to_a_row_that_is_gone_goes_into_quarantine(shop: Shop) -> None:
    shop.migration(
        migrations.CreateModel("Album", [("id", models.BigAutoField(primary_key=True))]),
        migrations.CreateModel(
            "Song",
            [
                ("id", models.BigAutoField(primary_key=True)),
                ("album", models.ForeignKey("shop.Album", CASCADE, null=True)),
            ],
        ),
    )
    shop.migration(migrations.RemoveField("song", "album"))
    shop.apply("0001")
    shop.write("INSERT INTO shop_album VALUES (1), (2)", "INSERT INTO shop_song (album_id) VALUES (1), (2), (NULL)")
    shop.apply("0002")
    shop.write("DELETE FROM shop_album WHERE id = 2")

    shop.rollback()

    assert shop.rows("SELECT id, album_id FROM shop_song ORDER BY id") == [(1, 1), (2, None), (3, None)]
    assert shop.quarantined() == [
        ("shop_song", "shop_song.album_id has no row in shop_album", '{"id": 2, "album_id": 2}')
    ]
    assert shop.rows("PRAGMA foreign_key_check") == []


def test_a_reference_to_another_table_does_not_take_the_values(shop: Shop) -> None:
    shop.migration(
        migrations.CreateModel("Album", [("id", models.BigAutoField(primary_key=True))]),
        migrations.CreateModel("Band", [("id", models.BigAutoField(primary_key=True))]),
        migrations.CreateModel(
            "Song",
            [
                ("id", models.BigAutoField(primary_key=True)),
                ("source", models.ForeignKey("shop.Album", CASCADE, null=True)),
            ],
        ),
    )
    shop.migration(
        migrations.RemoveField("song", "source"),
        migrations.AddField("song", "source", models.ForeignKey("shop.Band", CASCADE, null=True)),
    )
    shop.apply("0001")
    shop.write("INSERT INTO shop_album VALUES (1)", "INSERT INTO shop_band VALUES (1)")
    shop.write("INSERT INTO shop_song (source_id) VALUES (1)")

    shop.apply("0002")

    assert shop.rows("SELECT id, source_id FROM shop_song") == [(1, None)]
    shop.apply("0001")
    assert shop.rows("SELECT id, source_id FROM shop_song") == [(1, 1)]


def test_a_primary_key_that_is_removed_comes_back_with_its_numbers(shop: Shop) -> None:
    shop.migration(
        migrations.CreateModel(
            "Song",
            [
                ("id", models.BigAutoField(primary_key=True, auto_created=True)),
                ("title", models.TextField(unique=True)),
                ("note", models.TextField(null=True)),
            ],
        ),
    )
    shop.migration(
        migrations.RemoveField("song", "id"),
        migrations.AlterField("song", "title", models.TextField(primary_key=True)),
    )
    shop.apply("0001")
    shop.write("INSERT INTO shop_song (id, title) VALUES (7, 'one'), (9, 'two'), (3, 'three')")
    shop.apply("0002")
    assert shop.rows("SELECT title FROM shop_song ORDER BY title") == [("one",), ("three",), ("two",)]
    shop.write(
        "INSERT INTO shop_song (title, note) VALUES ('four', 'new')", "DELETE FROM shop_song WHERE title = 'two'"
    )
    shop.write("UPDATE shop_song SET note = 'changed' WHERE title = 'three'")

    shop.rollback()

    assert shop.rows("SELECT id, title, note FROM shop_song ORDER BY id") == [
        (3, "three", "changed"),
        (7, "one", None),
        (10, "four", "new"),
    ]
    assert shop.quarantined() == [
        ("shop_song", "the row of shop_song that had this id is gone", '{"title": "two", "note": null, "id": 9}')
    ]
    shop.apply("0002")
    shop.rollback()
    assert shop.rows("SELECT id, title FROM shop_song ORDER BY id") == [(3, "three"), (7, "one"), (10, "four")]


def test_rows_that_are_alike_get_the_numbers_of_a_removed_key_in_their_order(shop: Shop) -> None:
    shop.migration(
        migrations.CreateModel(
            "Song",
            [
                ("number", models.IntegerField(primary_key=True)),
                ("title", models.TextField()),
            ],
        ),
    )
    shop.migration(
        migrations.RemoveField("song", "number"),
        migrations.AddField("song", "id", models.BigAutoField(primary_key=True)),
    )
    shop.apply("0001")
    shop.write("INSERT INTO shop_song VALUES (30, 'same'), (20, 'same'), (10, 'other')")

    shop.apply("0002")
    shop.rollback()

    assert shop.rows("SELECT number, title FROM shop_song ORDER BY number") == [
        (10, "other"),
        (20, "same"),
        (30, "same"),
    ]
