"""What a column holds comes back, whichever way the migration that dropped it went."""

from __future__ import annotations

import pytest
from django.db import migrations, models

from segue.core.errors import FailedAndUndone
from segue.core.run import State
from tests.operations.sqlite.shop import Shop

SONG = (
    migrations.CreateModel(
        "Song",
        [
            ("id", models.BigAutoField(primary_key=True)),
            ("title", models.TextField()),
            ("note", models.TextField(null=True)),
            ("cover", models.BinaryField(null=True)),
            ("plays", models.BigIntegerField(default=7)),
            ("gain", models.FloatField(null=True)),
            ("price", models.DecimalField(max_digits=8, decimal_places=2, null=True)),
            ("isrc", models.CharField(max_length=12, unique=True, null=True)),
        ],
    ),
)
DROPPED = ("note", "cover", "plays", "gain", "price", "isrc")
DROP = [migrations.RemoveField("song", name) for name in DROPPED]
STORED = f"SELECT id, title, {', '.join(f'{name}, typeof({name})' for name in DROPPED)} FROM shop_song ORDER BY id"

TITLE = ("title", models.TextField())


def add_song(shop: Shop, **values: object) -> None:
    marks = ", ".join("?" for _ in values)
    shop.write(f"INSERT INTO shop_song ({', '.join(values)}) VALUES ({marks})", parameters=tuple(values.values()))


@pytest.fixture
def songs(shop: Shop) -> Shop:
    """Four songs with values that are easily changed on the way, and a migration that drops their columns."""
    shop.migration(*SONG)
    shop.migration(*DROP)
    shop.apply("0001")
    add_song(shop, title="plain", note="", cover=b"", plays=0, gain=-0.5, price="1.10", isrc="INS001")
    add_song(shop, title="नमस्ते 🎵", note="नमस्ते 🎵", cover=b"\x00\xff%s", plays=2**62, gain=1e308, isrc="%s")
    add_song(shop, title="nothing", plays=-1)
    add_song(shop, title="odd", note=b"\x00blob in text", plays="not a number", gain="high", price=b"1", isrc="''")
    return shop


def test_a_rollback_brings_back_every_value_of_removed_columns(songs: Shop) -> None:
    before = songs.rows(STORED)
    songs.apply("0002")
    without = [name for _, name, *_ in songs.rows("PRAGMA table_info(shop_song)")]

    run = songs.rollback()

    assert without == ["id", "title"]
    assert songs.rows(STORED) == before
    assert run.state is State.FINALIZED
    assert songs.tables() == ["shop_song"]
    assert songs.quarantined() == []


def test_values_written_to_an_added_column_survive_rollback_and_another_apply(shop: Shop) -> None:
    shop.migration(migrations.CreateModel("User", [("id", models.BigAutoField(primary_key=True))]))
    shop.migration(
        migrations.AddField("user", "theme", models.CharField(max_length=50, default="dark")),
        migrations.AddField("user", "size", models.IntegerField(null=True)),
        migrations.AddIndex("user", models.Index(fields=["theme"], name="theme_idx")),
    )
    shop.apply("0001")
    shop.write("INSERT INTO shop_user DEFAULT VALUES", "INSERT INTO shop_user DEFAULT VALUES")
    shop.apply("0002")
    shop.write("UPDATE shop_user SET theme = '', size = 4611686018427387904 WHERE id = 2")
    shop.apply("0001")
    shop.write("INSERT INTO shop_user DEFAULT VALUES")

    shop.apply("0002")

    assert shop.rows("SELECT id, theme, size FROM shop_user ORDER BY id") == [
        (1, "dark", None),
        (2, "", 2**62),
        (3, "dark", None),
    ]
    assert shop.rows("SELECT tbl_name FROM sqlite_master WHERE name = 'theme_idx'") == [("shop_user",)]
    assert shop.tables() == ["shop_user"]


def test_back_and_forth_many_times_ends_where_it_began(songs: Shop) -> None:
    before = songs.rows(STORED)

    for _ in range(3):
        songs.apply("0002")
        songs.apply("0001")

    assert songs.rows(STORED) == before
    assert songs.tables() == ["shop_song"]


def test_values_of_a_row_that_is_deleted_meanwhile_go_into_quarantine(songs: Shop) -> None:
    songs.apply("0002")
    songs.write("DELETE FROM shop_song WHERE id IN (1, 3, 4)")

    songs.rollback()

    assert songs.rows("SELECT id, plays FROM shop_song") == [(2, 2**62)]
    found = [(reason, row) for table, reason, row in songs.quarantined() if table == "shop_song"]
    assert [row for reason, row in found if reason == "the row of shop_song that had this cover is gone"] == [
        '{"id": 1, "cover": ""}',
        '{"id": 3, "cover": null}',
        '{"id": 4, "cover": null}',
    ]
    assert [row for reason, row in found if reason == "the row of shop_song that had this plays is gone"] == [
        '{"id": 1, "plays": 0}',
        '{"id": 3, "plays": -1}',
        '{"id": 4, "plays": "not a number"}',
    ]
    assert '{"id": 4, "note": "00626c6f6220696e2074657874"}' in [row for _, row in found]
    assert len(found) == 3 * len(DROPPED)
    assert songs.tables() == ["shop_song"]


def test_a_new_row_never_gets_the_number_and_the_value_of_a_deleted_one(songs: Shop) -> None:
    songs.migration(migrations.AddField("song", "rating", models.IntegerField(default=0)))
    songs.apply("0002")
    songs.write("DELETE FROM shop_song WHERE id > 1")
    songs.apply("0003")

    songs.write("INSERT INTO shop_song (title, rating) VALUES ('new', 5)")
    songs.apply("0001")

    assert songs.rows("SELECT id, title, plays FROM shop_song ORDER BY id") == [(1, "plain", 0), (5, "new", 7)]


def test_a_required_column_comes_back_although_it_has_no_default(shop: Shop) -> None:
    shop.migration(
        migrations.CreateModel(
            "Song",
            [
                ("code", models.CharField(max_length=9, primary_key=True)),
                ("seconds", models.PositiveIntegerField(unique=True)),
            ],
        ),
    )
    shop.migration(migrations.RemoveField("song", "seconds"))
    shop.apply("0001")
    shop.write("INSERT INTO shop_song VALUES ('a', 2), ('b', 1)")
    shop.apply("0002")

    shop.rollback()

    assert shop.rows("SELECT code, seconds FROM shop_song ORDER BY code") == [("a", 2), ("b", 1)]


@pytest.fixture
def timed(shop: Shop) -> Shop:
    """A song of 180 seconds, a migration that removes the seconds, and a song that was written after it."""
    shop.migration(
        migrations.CreateModel(
            "Song",
            [
                ("id", models.BigAutoField(primary_key=True)),
                ("seconds", models.IntegerField()),
            ],
        ),
        migrations.CreateModel(
            "Line",
            [
                ("id", models.BigAutoField(primary_key=True)),
                ("song", models.ForeignKey("shop.Song", models.CASCADE)),
                ("original", models.ForeignKey("shop.Song", models.SET_NULL, null=True, related_name="+")),
            ],
        ),
    )
    shop.migration(migrations.RemoveField("song", "seconds"))
    shop.apply("0001")
    shop.write("INSERT INTO shop_song (seconds) VALUES (180)")
    shop.apply("0002")
    shop.write("INSERT INTO shop_song DEFAULT VALUES")
    shop.write("INSERT INTO shop_line (song_id, original_id) VALUES (1, NULL), (1, 2), (2, 1)")
    return shop


def test_a_row_without_a_value_for_a_required_column_goes_into_quarantine(timed: Shop) -> None:
    timed.rollback()

    assert timed.rows("SELECT id, seconds FROM shop_song") == [(1, 180)]
    assert timed.rows("SELECT id, song_id, original_id FROM shop_line") == [(1, 1, None), (2, 1, None)]
    assert timed.quarantined() == [
        ("shop_song", "NOT NULL constraint failed: shop_song.seconds", '{"id": 2}'),
        ("shop_line", "shop_line.original_id has no row in shop_song", '{"id": 2, "original_id": 2}'),
        ("shop_line", "shop_line.song_id has no row in shop_song", '{"id": 3, "song_id": 2, "original_id": 1}'),
    ]
    assert timed.rows("PRAGMA foreign_key_check") == []


def test_what_a_rollback_put_into_quarantine_is_back_after_the_next_apply(timed: Shop) -> None:
    timed.rollback()
    timed.write("INSERT INTO shop_song (seconds) VALUES (240)")

    timed.apply("0002")

    assert timed.rows("SELECT id FROM shop_song") == [(1,), (2,), (3,)]
    lines = timed.rows("SELECT id, song_id, original_id FROM shop_line")
    assert lines == [(1, 1, None), (2, 1, 2), (3, 2, 1)]
    assert timed.rows("SELECT count(*) FROM segue_quarantine WHERE settled_at IS NULL") == [(0,)]
    timed.rollback()
    assert timed.rows("SELECT id, seconds FROM shop_song") == [(1, 180), (3, 240)]


def test_what_a_person_has_settled_does_not_come_back(timed: Shop) -> None:
    timed.rollback()
    timed.write("UPDATE segue_quarantine SET settled_at = '2026-01-01 00:00:00'")

    timed.apply("0002")

    assert timed.rows("SELECT id FROM shop_song") == [(1,)]
    assert timed.rows("SELECT id, song_id, original_id FROM shop_line") == [(1, 1, None), (2, 1, None)]
    assert timed.tables() == ["segue_archive_1", "shop_line", "shop_song"]


def test_a_row_without_a_value_for_a_required_column_stops_the_way_forth(shop: Shop) -> None:
    shop.migration(migrations.CreateModel("Song", [("id", models.BigAutoField(primary_key=True))]))
    shop.migration(migrations.AddField("song", "seconds", models.IntegerField()))
    shop.apply()
    shop.write("INSERT INTO shop_song (seconds) VALUES (180)")
    shop.apply("0001")
    shop.write("INSERT INTO shop_song DEFAULT VALUES")

    with pytest.raises(FailedAndUndone) as caught:
        shop.apply()

    assert caught.value.message == (
        "shop.0002_step failed and was taken back: shop_song.seconds takes no NULL and has no default, and 1 row has "
        "no value for it: written while it was away. Give the field a default in its migration, or settle these rows "
        "first.\nNothing of it remains."
    )
    shop.write("DELETE FROM shop_song WHERE id = 2")
    shop.apply()
    assert shop.rows("SELECT id, seconds FROM shop_song") == [(1, 180)]


def test_a_column_that_the_database_gives_its_default_comes_back(shop: Shop) -> None:
    pytest.importorskip("django", minversion="5.0")
    shop.migration(migrations.CreateModel("Song", [("id", models.BigAutoField(primary_key=True))]))
    shop.migration(migrations.AddField("song", "mood", models.CharField(max_length=9, db_default="calm")))
    shop.apply()
    shop.write("INSERT INTO shop_song (mood) VALUES ('wild')")
    shop.apply("0001")
    shop.write("INSERT INTO shop_song DEFAULT VALUES")

    shop.apply()

    assert shop.rows("SELECT id, mood FROM shop_song ORDER BY id") == [(1, "wild"), (2, "calm")]


def test_an_archive_that_somebody_dropped_stops_the_rollback(songs: Shop) -> None:
    songs.apply("0002")
    songs.write("DROP TABLE segue_archive_3")

    with pytest.raises(FailedAndUndone) as caught:
        songs.rollback()

    assert caught.value.message == (
        'shop.0002_step could not be unapplied and stays applied: The table "segue_archive_3", where the values of '
        "shop_song.plays were archived, is gone.\nThe database is as it was."
    )


@pytest.mark.parametrize("codes", ["unique", "new"])
def test_an_automatic_key_in_whose_place_stock_puts_another_column_comes_back(shop: Shop, codes: str) -> None:
    key = ("id", models.BigAutoField(auto_created=True, primary_key=True))
    code = ("code", models.IntegerField(unique=True))
    shop.migration(migrations.CreateModel("Song", [key, *([code] if codes == "unique" else []), TITLE]))
    becoming = models.IntegerField(primary_key=True, default=1)
    change = migrations.AlterField if codes == "unique" else migrations.AddField
    shop.migration(change("song", "code", becoming), migrations.RemoveField("song", "id"))
    shop.apply("0001")
    if codes == "unique":
        shop.write("INSERT INTO shop_song (id, code, title) VALUES (5, 50, 'a'), (9, 40, 'b')")
    else:
        shop.write("INSERT INTO shop_song (id, title) VALUES (5, 'a')")
    before = shop.rows("SELECT * FROM shop_song ORDER BY id")
    shop.apply("0002")
    columns = [name for _, name, *_ in shop.rows("PRAGMA table_info(shop_song)")]

    shop.rollback()

    assert sorted(columns) == ["code", "title"]
    assert shop.rows("SELECT * FROM shop_song ORDER BY id") == before


def test_a_default_of_the_database_is_taken_literally(shop: Shop) -> None:
    pytest.importorskip("django", minversion="5.0")
    shop.migration(*SONG)
    shop.migration(migrations.AddField("song", "mood", models.CharField(max_length=9, db_default="100%")))
    shop.apply("0001")
    add_song(shop, title="one", plays=1)

    shop.apply("0002")
    add_song(shop, title="two", plays=1)

    assert shop.rows("SELECT mood FROM shop_song") == [("100%",), ("100%",)]
