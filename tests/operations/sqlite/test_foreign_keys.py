"""No migration commits with a reference that points at nothing: forth it stops, row by row, and back it is cut."""

from __future__ import annotations

from json import loads

import pytest
from django.db import migrations, models
from django.db.models import CASCADE, SET_NULL

from segue.core.errors import FailedAndUndone
from tests.operations.sqlite.shop import Shop

NUMBERED = ("id", models.BigAutoField(primary_key=True))
TABLES = (
    migrations.CreateModel("Artist", [NUMBERED, ("name", models.TextField(unique=True))]),
    migrations.CreateModel(
        "Song",
        [
            NUMBERED,
            ("artist", models.ForeignKey("shop.Artist", CASCADE)),
            ("producer", models.ForeignKey("shop.Artist", SET_NULL, null=True, related_name="+")),
            ("singer", models.ForeignKey("shop.Artist", SET_NULL, null=True, to_field="name", related_name="+")),
            ("cover_of", models.ForeignKey("shop.Song", CASCADE, null=True)),
        ],
    ),
    migrations.CreateModel("Verse", [NUMBERED, ("song", models.ForeignKey("shop.Song", CASCADE))]),
)
SONGS = "SELECT id, artist_id, producer_id, singer_id, cover_of_id FROM shop_song ORDER BY id"
LOOSE = [
    migrations.AlterField("song", name, models.ForeignKey("shop.Artist", CASCADE, related_name="+", **options))
    for name, options in {
        "artist": {"db_constraint": False},
        "producer": {"db_constraint": False, "null": True},
        "singer": {"db_constraint": False, "null": True, "to_field": "name"},
    }.items()
]


@pytest.fixture
def songs(shop: Shop) -> Shop:
    """Two artists, three songs and a verse of each, with every reference as it should be."""
    shop.migration(*TABLES)
    shop.apply()
    shop.write(
        "INSERT INTO shop_artist VALUES (1, 'one'), (2, 'two')",
        "INSERT INTO shop_song VALUES (1, 1, 1, 'one', NULL), (2, 2, NULL, NULL, 1), (3, 1, NULL, NULL, 2)",
        "INSERT INTO shop_verse VALUES (1, 1), (2, 2), (3, 3)",
    )
    return shop


def test_every_row_that_points_at_nothing_is_listed(songs: Shop) -> None:
    songs.migration(
        migrations.RunSQL(
            [
                "UPDATE shop_song SET artist_id = 404, singer_id = 'nobody' WHERE id > 1",
                "DELETE FROM shop_song WHERE id = 1",
            ],
            migrations.RunSQL.noop,
        ),
    )
    before = songs.rows(SONGS)

    failed = songs.command("apply")

    assert failed.returncode == 7
    assert failed.stderr.splitlines()[-9:-1] == [
        "segue apply: shop.0002_step failed and was taken back: Foreign keys do not hold for 6 rows:",
        "  shop_song, id 2: cover_of_id is 1, and shop_song.id has no such value",
        "  shop_song, id 2: singer_id is 'nobody', and shop_artist.name has no such value",
        "  shop_song, id 3: singer_id is 'nobody', and shop_artist.name has no such value",
        "  shop_song, id 2: artist_id is 404, and shop_artist.id has no such value",
        "  shop_song, id 3: artist_id is 404, and shop_artist.id has no such value",
        "  shop_verse, id 1: song_id is 1, and shop_song.id has no such value",
        "Nothing of it remains.",
    ]
    assert songs.rows(SONGS) == before
    assert songs.rows("PRAGMA foreign_key_check") == []


def test_of_very_many_rows_the_rest_is_counted(songs: Shop) -> None:
    songs.write(*(f"INSERT INTO shop_verse VALUES ({n}, 1)" for n in range(10, 70)))
    songs.migration(migrations.RunSQL("UPDATE shop_verse SET song_id = 9 WHERE id > 3", migrations.RunSQL.noop))

    with pytest.raises(FailedAndUndone) as caught:
        songs.apply()

    lines = caught.value.message.splitlines()
    assert lines[0] == "shop.0002_step failed and was taken back: Foreign keys do not hold for 60 rows:"
    assert lines[1] == "  shop_verse, id 10: song_id is 9, and shop_song.id has no such value"
    assert lines[50:] == [
        "  shop_verse, id 59: song_id is 9, and shop_song.id has no such value",
        "  and 10 more of shop_verse.song_id",
        "Nothing of it remains.",
    ]


def test_an_orphan_that_was_there_before_stops_the_way_forth_as_stock_django_does(songs: Shop) -> None:
    songs.write("UPDATE shop_verse SET song_id = 404 WHERE id = 2", checked=False)
    songs.migration(migrations.AddField("artist", "born", models.DateField(null=True)))

    with pytest.raises(FailedAndUndone) as caught:
        songs.apply()

    assert caught.value.message == (
        "shop.0002_step failed and was taken back: Foreign keys do not hold for 1 row:\n"
        "  shop_verse, id 2: song_id is 404, and shop_song.id has no such value\n"
        "Nothing of it remains."
    )


def test_an_orphan_that_was_there_before_stays_on_the_way_back(songs: Shop) -> None:
    songs.migration(migrations.AddField("artist", "born", models.DateField(null=True)))
    songs.apply()
    songs.write("UPDATE shop_verse SET song_id = 404 WHERE id = 2", checked=False)

    songs.rollback()

    assert songs.rows("SELECT * FROM shop_verse") == [(1, 1), (2, 404), (3, 3)]
    assert songs.quarantined() == []


def test_references_that_a_constraint_meets_on_the_way_back_are_cut(songs: Shop) -> None:
    songs.migration(*LOOSE)
    songs.apply()
    songs.write("DELETE FROM shop_artist WHERE id = 2")
    songs.write("INSERT INTO shop_song VALUES (4, 1, 2, 'nobody', NULL)", "INSERT INTO shop_verse VALUES (4, 2)")
    new = songs.rows(SONGS)

    songs.rollback()

    assert songs.rows(SONGS) == [(1, 1, 1, "one", None), (3, 1, None, None, None), (4, 1, None, None, None)]
    assert songs.rows("SELECT * FROM shop_verse") == [(1, 1), (3, 3)]
    assert sorted((table, why, sorted(loads(row).items())) for table, why, row in songs.quarantined()) == [
        (
            "shop_song",
            "shop_song.artist_id has no row in shop_artist",
            [("artist_id", 2), ("cover_of_id", 1), ("id", 2), ("producer_id", None), ("singer_id", None)],
        ),
        ("shop_song", "shop_song.cover_of_id has no row in shop_song", [("cover_of_id", 2), ("id", 3)]),
        ("shop_song", "shop_song.producer_id has no row in shop_artist", [("id", 4), ("producer_id", 2)]),
        ("shop_song", "shop_song.singer_id has no row in shop_artist", [("id", 4), ("singer_id", "nobody")]),
        ("shop_verse", "shop_verse.song_id has no row in shop_song", [("id", 2), ("song_id", 2)]),
        ("shop_verse", "shop_verse.song_id has no row in shop_song", [("id", 4), ("song_id", 2)]),
    ]
    assert songs.rows("PRAGMA foreign_key_check") == []
    songs.apply()
    assert songs.rows(SONGS) == new
    assert songs.rows("SELECT * FROM shop_verse") == [(1, 1), (2, 2), (3, 3), (4, 2)]
    assert songs.session().journal.quarantined() == 0
    assert [name for name in songs.tables() if name.startswith("segue")] == []


def test_a_reference_gets_another_target_and_the_first_again(songs: Shop) -> None:
    songs.migration(
        migrations.CreateModel("Band", [NUMBERED]),
        migrations.AlterField("song", "producer", models.ForeignKey("shop.Band", SET_NULL, null=True)),
    )
    songs.write("UPDATE shop_song SET producer_id = NULL")
    songs.apply()
    songs.write("INSERT INTO shop_band VALUES (2), (5)", "UPDATE shop_song SET producer_id = id + 2 WHERE id IN (3)")
    songs.write("UPDATE shop_song SET producer_id = 2 WHERE id = 1")
    new = songs.rows(SONGS)

    songs.rollback()

    assert songs.rows(SONGS) == [(1, 1, 2, "one", None), (2, 2, None, None, 1), (3, 1, None, None, 2)]
    assert songs.quarantined() == [
        ("shop_song", "shop_song.producer_id has no row in shop_artist", '{"id": 3, "producer_id": 5}')
    ]
    songs.apply()
    assert songs.rows(SONGS) == new


def test_a_table_without_rowid_and_a_key_of_two_columns_are_listed_too(shop: Shop) -> None:
    shop.migration(
        migrations.RunSQL(
            [
                "CREATE TABLE shop_pair (a TEXT, b INTEGER, PRIMARY KEY (a, b)) WITHOUT ROWID",
                "CREATE TABLE shop_of_pair (x TEXT, y INTEGER, n INTEGER, PRIMARY KEY (n, x), "
                "FOREIGN KEY (x, y) REFERENCES shop_pair) WITHOUT ROWID",
            ],
            ["DROP TABLE shop_of_pair", "DROP TABLE shop_pair"],
        )
    )
    shop.apply()
    shop.migration(
        migrations.RunSQL(
            "INSERT INTO shop_of_pair VALUES ('a', NULL, 1), ('a', 2, 3), ('b', 4, 5)", migrations.RunSQL.noop
        )
    )

    with pytest.raises(FailedAndUndone) as caught:
        shop.apply()

    assert caught.value.message == (
        "shop.0002_step failed and was taken back: Foreign keys do not hold for 2 rows:\n"
        "  shop_of_pair, n 3, x 'a': x is 'a' and y is 2, and shop_pair.a, b has no such value\n"
        "  shop_of_pair, n 5, x 'b': x is 'b' and y is 4, and shop_pair.a, b has no such value\n"
        "Nothing of it remains."
    )
