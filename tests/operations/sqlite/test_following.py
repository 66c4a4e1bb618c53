"""What is retired belongs to its table and its column, whatever they are called meanwhile."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import migrations, models
from django.db.models import CASCADE

from tests.operations.sqlite.shop import Shop

NUMBERED = ("id", models.BigAutoField(primary_key=True))
SONG = migrations.CreateModel("Song", [NUMBERED, ("title", models.TextField()), ("plays", models.TextField(null=True))])


def rename_song(to: str) -> migrations.RenameModel:
    return migrations.RenameModel("Song", to)


def retired(shop: Shop) -> list[tuple[str, str, str]]:
    return sorted((r.kind.value, r.table, r.name) for r in shop.session().journal.cemetery().all())


def test_a_removed_column_goes_with_its_table_to_another_name(shop: Shop) -> None:
    shop.migration(SONG)
    shop.migration(migrations.RemoveField("song", "plays"))
    shop.apply("0001")
    shop.write("INSERT INTO shop_song VALUES (1, 'one', '007'), (2, 'two', NULL)")
    shop.apply()
    shop.migration(rename_song("Track"))
    shop.migration(migrations.AlterModelTable("track", "tracks"))
    shop.migration(migrations.AddField("track", "plays", models.TextField(null=True)))

    shop.apply("0004")
    between = retired(shop)
    shop.apply("0005")

    assert between == [("column", "tracks", "plays")]
    assert shop.rows("SELECT id, title, plays FROM tracks") == [(1, "one", "007"), (2, "two", None)]
    shop.apply("0001")
    assert shop.rows("SELECT id, title, plays FROM shop_song") == [(1, "one", "007"), (2, "two", None)]


def test_an_altered_column_goes_with_its_name_and_its_table(shop: Shop) -> None:
    shop.migration(SONG)
    shop.migration(migrations.AlterField("song", "plays", models.IntegerField(null=True)))
    shop.migration(migrations.RenameField("song", "plays", "count"), rename_song("Track"))
    shop.migration(migrations.AlterField("track", "count", models.TextField(null=True)))
    shop.apply("0001")
    shop.write("INSERT INTO shop_song VALUES (1, 'one', '007'), (2, 'two', NULL)")

    shop.apply("0003")
    between = retired(shop)
    shop.apply("0004")

    assert between == [("values", "shop_track", "count")]
    assert shop.rows("SELECT id, count FROM shop_track") == [(1, "007"), (2, None)]
    shop.apply("0001")
    assert shop.rows("SELECT id, plays FROM shop_song") == [(1, "007"), (2, None)]


def test_a_removed_column_knows_its_rows_after_their_key_is_renamed(shop: Shop) -> None:
    shop.migration(SONG)
    shop.migration(migrations.RemoveField("song", "plays"), migrations.RemoveField("song", "title"))
    shop.migration(migrations.RenameField("song", "id", "title"))
    shop.migration(migrations.AddField("song", "plays", models.TextField(null=True)))
    shop.apply("0001")
    shop.write("INSERT INTO shop_song VALUES (1, 'one', '007'), (2, 'two', NULL)")

    shop.apply()

    assert shop.rows("SELECT title, plays FROM shop_song") == [(1, "007"), (2, None)]
    shop.apply("0001")
    assert shop.rows("SELECT id, title, plays FROM shop_song") == [(1, "one", "007"), (2, "two", None)]


def test_a_table_of_the_same_name_does_not_get_the_columns_of_another(shop: Shop) -> None:
    shop.migration(SONG)
    shop.migration(migrations.RemoveField("song", "plays"))
    shop.migration(migrations.DeleteModel("Song"))
    shop.migration(migrations.CreateModel("Song", [NUMBERED, ("other", models.TextField())]))
    shop.migration(migrations.AddField("song", "plays", models.TextField(null=True)))
    shop.apply("0001")
    shop.write("INSERT INTO shop_song VALUES (1, 'one', '007')")

    shop.apply("0004")
    shop.write("INSERT INTO shop_song VALUES (1, 'not one')")
    shop.apply("0005")

    assert shop.rows("SELECT id, other, plays FROM shop_song") == [(1, "not one", None)]
    shop.apply("0001")
    assert shop.rows("SELECT id, title, plays FROM shop_song") == [(1, "one", "007")]
    shop.apply("0005")
    assert shop.rows("SELECT id, other, plays FROM shop_song") == [(1, "not one", None)]


def test_two_tables_swap_their_names(shop: Shop) -> None:
    shop.migration(SONG, migrations.CreateModel("Album", [NUMBERED, ("year", models.TextField(null=True))]))
    shop.migration(
        migrations.RemoveField("song", "plays"),
        migrations.RemoveField("album", "year"),
        rename_song("Temporary"),
        migrations.RenameModel("Album", "Song"),
        migrations.RenameModel("Temporary", "Album"),
    )
    shop.migration(
        migrations.AddField("album", "plays", models.TextField(null=True)),
        migrations.AddField("song", "year", models.TextField(null=True)),
    )
    shop.apply("0001")
    shop.write("INSERT INTO shop_song VALUES (1, 'one', '007')", "INSERT INTO shop_album VALUES (1, '1999')")

    shop.apply()

    assert shop.rows("SELECT id, title, plays FROM shop_album") == [(1, "one", "007")]
    assert shop.rows("SELECT id, year FROM shop_song") == [(1, "1999")]
    shop.apply("0001")
    assert shop.rows("SELECT id, title, plays FROM shop_song") == [(1, "one", "007")]
    assert shop.rows("SELECT id, year FROM shop_album") == [(1, "1999")]


@pytest.mark.parametrize("whole", [True, False])
def test_two_columns_swap_their_names_after_they_were_altered(shop: Shop, whole: bool) -> None:
    fields = [("a", models.TextField(null=True)), ("b", models.TextField(null=True))]
    shop.migration(migrations.CreateModel("Song", [NUMBERED, *fields]))
    alter = [migrations.AlterField("song", name, models.IntegerField(null=True)) for name in "ab"]
    swap = [migrations.RenameField("song", *names) for names in (("a", "c"), ("b", "a"), ("c", "b"))]
    if whole:
        shop.migration(*alter, *swap)
    else:
        for operation in (*alter, *swap):
            shop.migration(operation)
    shop.apply("0001")
    shop.write("INSERT INTO shop_song VALUES (1, '01', '002')")

    shop.apply()
    new = shop.rows("SELECT id, a, b FROM shop_song")
    shop.apply("0001")

    assert new == [(1, 2, 1)]
    assert shop.rows("SELECT id, a, b FROM shop_song") == [(1, "01", "002")]
    assert retired(shop) == [("values", "shop_song", "a"), ("values", "shop_song", "b")]


def test_many_to_many_rows_follow_their_tables(shop: Shop) -> None:
    shop.migration(
        migrations.CreateModel("Artist", [NUMBERED]),
        migrations.CreateModel("Song", [NUMBERED, ("by", models.ManyToManyField("shop.Artist"))]),
    )
    shop.migration(migrations.RemoveField("song", "by"))
    shop.migration(rename_song("Track"))
    shop.migration(migrations.AddField("track", "by", models.ManyToManyField("shop.Artist")))
    shop.apply("0001")
    shop.write(
        "INSERT INTO shop_artist VALUES (1), (2)",
        "INSERT INTO shop_song VALUES (1)",
        "INSERT INTO shop_song_by (song_id, artist_id) VALUES (1, 2)",
    )

    shop.apply("0002")
    shop.rollback()
    shop.apply("0004")
    shop.write("INSERT INTO shop_track_by (track_id, artist_id) VALUES (1, 1)")

    assert shop.rows("SELECT * FROM shop_track_by") == [(1, 1, 1)]
    shop.apply("0001")
    assert shop.rows("SELECT * FROM shop_song_by") == [(1, 1, 2)]
    shop.apply("0004")
    assert shop.rows("SELECT * FROM shop_track_by") == [(1, 1, 1)]


NAMES: dict[str, dict[str, Any]] = {
    "capitals": {"db_table": "Capital Letters", "column": "Capital"},
    "unicode": {"db_table": "Größe ♥", "column": "größe"},
    "reserved": {"db_table": "select", "column": "order"},
    "quoted": {"db_table": '"In quotes"', "column": "two words"},
    "long": {"db_table": "long" * 30, "column": "column" * 20},
    "odd": {"db_table": "it's 100%", "column": "per%cent"},
    "rowid": {"db_table": "rowid", "column": "rowid"},
}


@pytest.mark.parametrize("names", NAMES.values(), ids=[*NAMES])
def test_any_name_serves(shop: Shop, names: dict[str, Any]) -> None:
    table, column = names["db_table"], names["column"]
    shop.migration(
        migrations.CreateModel(
            "Song",
            [
                ("key", models.CharField(max_length=9, primary_key=True, db_column=f"{column} key")),
                ("value", models.TextField(null=True, db_column=column)),
                ("of", models.ForeignKey("shop.Song", CASCADE, null=True, db_column=f"{column} of")),
            ],
            options={"db_table": table},
        )
    )
    shop.migration(migrations.AlterField("song", "value", models.IntegerField(default=5, db_column=column)))
    shop.migration(
        migrations.RemoveField("song", "value"),
        migrations.AlterModelTable("song", f'{table[:-1]}2"' if table[0] == '"' else f"{table}2"),
    )
    shop.migration(migrations.RemoveField("song", "of"))
    shop.migration(migrations.DeleteModel("Song"))
    shop.apply("0001")
    quoted = table if table[0] == '"' else f'"{table}"'
    shop.write(f"INSERT INTO {quoted} VALUES ('b', '007', NULL), ('a', NULL, 'b'), ('c', 'x', 'c')")
    old = shop.rows(f"SELECT * FROM {quoted} ORDER BY 1")

    for _ in range(2):
        for name in ("0002", "0003", "0004", "0005"):
            shop.apply(name)
        shop.apply("0001")

    columns = ", ".join(f'"{column}{end}"' for end in (" key", "", " of"))
    assert shop.rows(f"SELECT {columns} FROM {quoted} ORDER BY 1") == old
    assert shop.quarantined() == []
    shop.apply()
    assert [name for name in shop.tables() if "archive" not in name] == []


def test_a_key_of_several_columns_tells_rows_apart(shop: Shop) -> None:
    pytest.importorskip("django", minversion="5.2")
    shop.migration(
        migrations.CreateModel(
            "Song",
            [
                ("pk", models.CompositePrimaryKey("album", "number")),
                ("album", models.TextField()),
                ("number", models.IntegerField()),
                ("plays", models.TextField(null=True)),
            ],
        )
    )
    shop.migration(
        migrations.AlterField("song", "plays", models.IntegerField(default=0)),
        migrations.AddField("song", "note", models.TextField(default="")),
    )
    shop.apply("0001")
    shop.write("INSERT INTO shop_song VALUES ('a', 1, '007'), ('a', 2, NULL), ('b', 1, '01')")
    shop.apply()
    shop.write("UPDATE shop_song SET note = album || number", "DELETE FROM shop_song WHERE album = 'b'")
    shop.write("INSERT INTO shop_song (album, number, plays, note) VALUES ('b', 2, 8, 'new')")

    shop.rollback()

    assert shop.rows("SELECT album, number, plays FROM shop_song ORDER BY 1, 2") == [
        ("a", 1, "007"), ("a", 2, None), ("b", 2, "8"),
    ]  # fmt: skip
    shop.apply()
    assert shop.rows("SELECT album, number, plays, note FROM shop_song ORDER BY 1, 2") == [
        ("a", 1, 7, "a1"), ("a", 2, 0, "a2"), ("b", 2, 8, "new"),
    ]  # fmt: skip


def test_a_table_without_rowid_keeps_its_values(shop: Shop) -> None:
    shop.migration(
        migrations.SeparateDatabaseAndState(
            [
                migrations.RunSQL(
                    "CREATE TABLE shop_song (code text NOT NULL PRIMARY KEY, plays text NULL) WITHOUT ROWID",
                    "DROP TABLE shop_song",
                )
            ],
            [
                migrations.CreateModel(
                    "Song", [("code", models.TextField(primary_key=True)), ("plays", models.TextField(null=True))]
                )
            ],
        )
    )
    shop.migration(migrations.AlterField("song", "plays", models.IntegerField(default=1, unique=True)))
    shop.migration(migrations.RemoveField("song", "plays"))
    shop.apply("0001")
    shop.write("INSERT INTO shop_song VALUES ('b', '007'), ('a', NULL)")

    shop.apply()
    shop.apply("0001")

    assert shop.rows("SELECT code, plays FROM shop_song ORDER BY code") == [("a", None), ("b", "007")]


def test_a_column_that_no_model_knows_is_archived_before_stock_leaves_it_out(shop: Shop) -> None:
    shop.migration(SONG)
    shop.migration(migrations.AlterField("song", "plays", models.IntegerField(null=True)))
    shop.apply("0001")
    shop.write("ALTER TABLE shop_song ADD COLUMN mine", "INSERT INTO shop_song VALUES (1, 'one', '007', x'00')")

    shop.apply()

    assert shop.rows("SELECT * FROM segue_archive_1") == [(1, b"\x00")]
    assert retired(shop) == [("column", "shop_song", "mine"), ("values", "shop_song", "plays")]
