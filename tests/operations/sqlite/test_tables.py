"""What a table holds comes back, with its numbers and with the rows that hang on it."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from django.db import migrations, models
from django.db.models import CASCADE, PROTECT

from tests.operations.sqlite.shop import Shop

TABLES = (
    migrations.CreateModel("Artist", [("id", models.BigAutoField(primary_key=True)), ("name", models.TextField())]),
    migrations.CreateModel(
        "Album",
        [
            ("id", models.BigAutoField(primary_key=True)),
            ("cover", models.BinaryField(null=True)),
            ("artist", models.ForeignKey("shop.Artist", CASCADE)),
            ("producer", models.ForeignKey("shop.Artist", CASCADE, null=True, related_name="produced")),
            ("reissue_of", models.ForeignKey("shop.Album", CASCADE, null=True)),
            ("guests", models.ManyToManyField("shop.Artist", related_name="guest_on")),
        ],
    ),
    migrations.CreateModel(
        "Review",
        [
            ("id", models.UUIDField(primary_key=True, default=uuid4)),
            ("album", models.ForeignKey("shop.Album", PROTECT)),
            ("stars", models.PositiveSmallIntegerField()),
        ],
    ),
)
ALBUMS = "SELECT id, cover, artist_id, producer_id, reissue_of_id FROM shop_album ORDER BY id"
GUESTS = "SELECT id, album_id, artist_id FROM shop_album_guests ORDER BY id"
REVIEWS = "SELECT id, album_id, stars FROM shop_review ORDER BY id"


@pytest.fixture
def albums(shop: Shop) -> Shop:
    """Artists, albums with guests, reviews, and a migration that deletes the last two kinds."""
    shop.migration(*TABLES)
    shop.migration(migrations.DeleteModel("Review"), migrations.DeleteModel("Album"))
    shop.apply("0001")
    shop.write(
        "INSERT INTO shop_artist VALUES (1, 'one'), (2, 'two'), (3, 'three')",
        "INSERT INTO shop_album VALUES (1, x'00ff', 1, 2, NULL), (2, NULL, 2, NULL, 1), (3, x'', 2, 3, 2), "
        "(8, NULL, 1, NULL, NULL)",
        "INSERT INTO shop_album_guests (album_id, artist_id) VALUES (1, 3), (2, 1), (1, 2)",
        "INSERT INTO shop_review VALUES ('00000000000000000000000000000001', 1, 5), "
        "('ffffffffffffffffffffffffffffffff', 2, 0)",
        "DELETE FROM shop_album WHERE id = 8",
    )
    return shop


def test_deleted_tables_come_back_with_every_row(albums: Shop) -> None:
    before = [albums.rows(query) for query in (ALBUMS, GUESTS, REVIEWS)]
    schema = albums.rows("SELECT sql FROM sqlite_master WHERE name LIKE 'shop%' ORDER BY name")
    albums.apply("0002")
    between = albums.tables()

    albums.rollback()

    assert between == ["segue_archive_1", "segue_archive_2", "segue_archive_3", "shop_artist"]
    assert [albums.rows(query) for query in (ALBUMS, GUESTS, REVIEWS)] == before
    assert albums.rows("SELECT sql FROM sqlite_master WHERE name LIKE 'shop%' ORDER BY name") == schema
    assert albums.tables() == ["shop_album", "shop_album_guests", "shop_artist", "shop_review"]
    assert albums.quarantined() == []


def test_a_table_that_comes_back_does_not_give_a_number_out_twice(albums: Shop) -> None:
    albums.apply("0002")
    albums.rollback()

    albums.write("INSERT INTO shop_album (artist_id) VALUES (1)")

    assert albums.rows("SELECT max(id) FROM shop_album") == [(9,)]


def test_created_tables_keep_their_rows_through_rollback_and_another_apply(albums: Shop) -> None:
    before = [albums.rows(query) for query in (ALBUMS, GUESTS, REVIEWS)]
    albums.migration(
        migrations.CreateModel(
            "Tour",
            [
                ("id", models.BigAutoField(primary_key=True)),
                ("artist", models.ForeignKey("shop.Artist", CASCADE)),
            ],
        ),
    )

    albums.apply("zero")
    albums.apply("0001")

    assert [albums.rows(query) for query in (ALBUMS, GUESTS, REVIEWS)] == before
    assert albums.tables() == ["shop_album", "shop_album_guests", "shop_artist", "shop_review"]


def test_rows_whose_parents_are_gone_go_into_quarantine(albums: Shop) -> None:
    albums.apply("0002")
    albums.write("DELETE FROM shop_artist WHERE id = 2")

    albums.rollback()

    assert albums.rows(ALBUMS) == [(1, b"\x00\xff", 1, None, None)]
    assert albums.rows(GUESTS) == [(1, 1, 3)]
    assert albums.rows(REVIEWS) == [("00000000000000000000000000000001", 1, 5)]
    assert sorted(albums.quarantined()) == [
        (
            "shop_album",
            "shop_album.artist_id has no row in shop_artist",
            '{"id": 2, "cover": null, "artist_id": 2, "producer_id": null, "reissue_of_id": 1}',
        ),
        (
            "shop_album",
            "shop_album.artist_id has no row in shop_artist",
            '{"id": 3, "cover": "", "artist_id": 2, "producer_id": 3, "reissue_of_id": 2}',
        ),
        (
            "shop_album",
            "shop_album.producer_id has no row in shop_artist",
            '{"id": 1, "producer_id": 2}',
        ),
        (
            "shop_album_guests",
            "shop_album_guests.album_id has no row in shop_album",
            '{"id": 2, "album_id": 2, "artist_id": 1}',
        ),
        (
            "shop_album_guests",
            "shop_album_guests.artist_id has no row in shop_artist",
            '{"id": 3, "album_id": 1, "artist_id": 2}',
        ),
        (
            "shop_review",
            "shop_review.album_id has no row in shop_album",
            '{"id": "ffffffffffffffffffffffffffffffff", "album_id": 2, "stars": 0}',
        ),
    ]
    assert albums.rows("PRAGMA foreign_key_check") == []


def test_removing_a_many_to_many_field_keeps_its_rows(albums: Shop) -> None:
    albums.migration(migrations.AddField("artist", "likes", models.ManyToManyField("shop.Artist")))
    albums.migration(migrations.RemoveField("artist", "likes"))
    albums.apply("0003")
    albums.write("INSERT INTO shop_artist_likes (from_artist_id, to_artist_id) VALUES (1, 2), (3, 3)")
    albums.apply("0004")
    between = albums.tables()

    albums.apply("0003")

    assert "shop_artist_likes" not in between
    assert albums.rows("SELECT from_artist_id, to_artist_id FROM shop_artist_likes ORDER BY id") == [(1, 2), (3, 3)]


def test_what_stock_copies_is_neither_archived_nor_doubled(albums: Shop) -> None:
    albums.migration(
        migrations.CreateModel("Fan", [("id", models.BigAutoField(primary_key=True))]),
        migrations.AddField("fan", "idols", models.ManyToManyField("shop.Artist", db_table="shop_idols")),
    )
    albums.migration(
        migrations.AlterField("fan", "idols", models.ManyToManyField("shop.Artist", db_table="shop_heroes")),
        migrations.AlterField("artist", "name", models.CharField(max_length=50)),
    )
    albums.apply("0003")
    albums.write("INSERT INTO shop_fan VALUES (1)", "INSERT INTO shop_idols (fan_id, artist_id) VALUES (1, 2)")

    albums.apply("0004")
    albums.apply("0003")
    albums.apply("0004")

    assert albums.rows("SELECT fan_id, artist_id FROM shop_heroes") == [(1, 2)]
    assert albums.tables() == [
        "segue_archive_1", "segue_archive_2", "segue_archive_3", "shop_artist", "shop_fan", "shop_heroes",
    ]  # fmt: skip


def test_a_table_of_another_shape_leaves_the_archive_as_it_is(albums: Shop) -> None:
    before = albums.rows(REVIEWS)
    albums.migration(
        migrations.CreateModel("Review", [("id", models.BigAutoField(primary_key=True))]),
    )

    albums.apply("0003")
    new = albums.rows("SELECT * FROM shop_review")
    albums.write("INSERT INTO shop_review DEFAULT VALUES")
    albums.apply("0001")

    assert new == []
    assert albums.rows(REVIEWS) == before
    assert [(r.kind.value, r.table) for r in albums.session().journal.cemetery().all()] == [("table", "shop_review")]


def test_an_archive_never_takes_the_name_of_a_table_that_is_there(albums: Shop) -> None:
    albums.write("CREATE TABLE SEGUE_archive_1 (mine)", "INSERT INTO SEGUE_archive_1 VALUES (1)")

    albums.apply("0002")
    albums.rollback()

    assert albums.rows("SELECT mine FROM SEGUE_archive_1") == [(1,)]
    assert len(albums.rows(ALBUMS)) == 3


def test_a_key_that_a_deleted_table_referred_to_changes_its_type_there_and_back(shop: Shop) -> None:
    tag = ("code", models.CharField(max_length=20, primary_key=True))
    shop.migration(
        migrations.CreateModel("Tag", [tag]),
        migrations.CreateModel(
            "Song", [("id", models.BigAutoField(primary_key=True)), ("tags", models.ManyToManyField("shop.tag"))]
        ),
    )
    shop.migration(
        migrations.DeleteModel("Song"),
        migrations.AlterField("tag", "code", models.CharField(max_length=99, primary_key=True)),
    )
    shop.apply("0001")
    shop.write(
        "INSERT INTO shop_tag VALUES ('loud')",
        "INSERT INTO shop_song VALUES (1)",
        "INSERT INTO shop_song_tags VALUES (1, 1, 'loud')",
    )

    shop.apply("0002")
    shop.rollback()

    assert shop.rows("SELECT * FROM shop_song_tags") == [(1, 1, "loud")]


OTHER_ALBUM = migrations.CreateModel(
    "Album",
    [
        ("id", models.BigAutoField(primary_key=True)),
        ("title", models.CharField(max_length=20, unique=True)),
        ("guests", models.ManyToManyField("shop.Artist", related_name="guest_on")),
    ],
)


def test_each_table_of_a_name_has_its_rows_again(shop: Shop) -> None:
    shop.migration(*TABLES)
    shop.migration(migrations.DeleteModel("Review"), migrations.DeleteModel("Album"), OTHER_ALBUM)
    shop.apply("0001")
    shop.write(
        "INSERT INTO shop_artist VALUES (1, 'one'), (2, 'two')",
        "INSERT INTO shop_album VALUES (1, x'00ff', 1, 2, NULL), (2, NULL, 2, NULL, 1)",
        "INSERT INTO shop_album_guests (album_id, artist_id) VALUES (1, 2)",
        "INSERT INTO shop_review VALUES ('00000000000000000000000000000001', 1, 5)",
    )
    old = [shop.rows(query) for query in (ALBUMS, GUESTS, REVIEWS)]
    titles = "SELECT id, title FROM shop_album ORDER BY id"

    shop.apply()
    shop.write(
        "INSERT INTO shop_album (id, title) VALUES (7, 'new')",
        "INSERT INTO shop_album_guests (album_id, artist_id) VALUES (7, 1)",
    )
    guests = shop.rows(GUESTS)
    for _ in range(2):
        shop.rollback()
        assert [shop.rows(query) for query in (ALBUMS, GUESTS, REVIEWS)] == old
        shop.apply()
        assert (shop.rows(titles), shop.rows(GUESTS)) == ([(7, "new")], guests)


@pytest.mark.parametrize(
    "renaming", [migrations.RenameModel("Review", "Album"), migrations.AlterModelTable("Review", "shop_album")]
)
def test_a_table_that_takes_the_name_of_a_deleted_one_gives_it_back(shop: Shop, renaming: Any) -> None:
    shop.migration(*TABLES[:2], migrations.CreateModel("Review", [("id", models.BigAutoField(primary_key=True))]))
    shop.migration(migrations.DeleteModel("Album"), renaming)
    shop.apply("0001")
    shop.write(
        "INSERT INTO shop_artist VALUES (1, 'one')",
        "INSERT INTO shop_album VALUES (1, x'00ff', 1, NULL, NULL)",
        "INSERT INTO shop_review VALUES (5)",
    )
    old = [shop.rows(ALBUMS), shop.rows("SELECT id FROM shop_review")]

    for number in (6, 7):
        shop.apply()
        shop.write(f"INSERT INTO shop_album VALUES ({number})")
        shop.rollback()
        old[1].append((number,))
        assert [shop.rows(ALBUMS), shop.rows("SELECT id FROM shop_review")] == old
