"""What an alteration changes in a column is that again on the way back, and so is what it had become after that."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
from django.db import migrations, models

from tests.operations.sqlite.shop import Shop

_numbers = count(1)


def next_number() -> int:
    """Return another number at each call."""
    return next(_numbers)


def altered(shop: Shop, before: models.Field[Any, Any], after: models.Field[Any, Any]) -> None:
    """Make a table with a column, and a migration that alters it, which is not applied yet."""
    shop.migration(
        migrations.CreateModel("Song", [("id", models.BigAutoField(primary_key=True)), ("value", before)]),
    )
    shop.migration(migrations.AlterField("song", "value", after))
    shop.apply("0001")


def insert(shop: Shop, *values: Any) -> None:
    for value in values:
        shop.write("INSERT INTO shop_song (value) VALUES (?)", parameters=(value,))


def values(shop: Shop) -> list[Any]:
    """Return every value with how it is stored, by its row's number."""
    return shop.rows("SELECT id, value, typeof(value) FROM shop_song ORDER BY id")


def columns(shop: Shop) -> list[str]:
    """Return the table's columns as they are declared; stock sorts them by when Python made their fields."""
    ((sql,),) = shop.rows("SELECT sql FROM sqlite_master WHERE name = 'shop_song'")
    return sorted(sql.removeprefix('CREATE TABLE "shop_song" (').removesuffix(")").split(", "))


@pytest.mark.parametrize(
    ("before", "after", "stored"),
    [
        (models.TextField(), models.IntegerField(), ["007", " 12", "1e3", "no number", "5", "", "9" * 30, b"\x00"]),
        (models.TextField(), models.DecimalField(max_digits=8, decimal_places=2), ["1.10", "0x1", "01.0", "-0"]),
        (models.TextField(), models.FloatField(), ["1.10", "5", "0.1000", "inf"]),
        (models.CharField(max_length=99), models.CharField(max_length=3), ["longer than three", "abc"]),
        (models.IntegerField(), models.CharField(max_length=9), [7, -1, 2**62, 1.5]),
        (models.IntegerField(), models.SmallIntegerField(), [7, 2**62]),
        (models.IntegerField(), models.BooleanField(), [0, 1, 7]),
        (models.FloatField(), models.IntegerField(), [1.5, 2.0, 1e300]),
        (models.IntegerField(), models.FloatField(), [1, 2**62]),
        (models.BooleanField(), models.CharField(max_length=5), [0, 1]),
        (models.DateTimeField(), models.DateField(), ["2024-02-03 04:05:06.789", "2024-02-03"]),
        (models.DateField(), models.DateTimeField(), ["2024-02-03"]),
        (models.DateTimeField(), models.TimeField(), ["2024-02-03 04:05:06"]),
        (models.DurationField(), models.TextField(), [1_000_000, -5]),
        (models.UUIDField(), models.TextField(), ["0" * 32, "7" * 32]),
        (models.TextField(), models.UUIDField(), ["not one", "7" * 32]),
        (models.BinaryField(), models.TextField(), [b"\xff\x00", b""]),
        (models.TextField(), models.BinaryField(), ["text", "7"]),
        (models.JSONField(), models.TextField(), ['{"a":  1}', "7", "null"]),
        (models.TextField(), models.JSONField(), ['{"a":  1}', "7", " 7", '"text"']),
        (models.JSONField(), models.IntegerField(), ["7", " 7", '{"a": 1}']),
        (models.TextField(), models.GenericIPAddressField(), ["::1", "elsewhere"]),
        (models.TextField(null=True), models.TextField(default="none"), [None, "some", ""]),
        (models.IntegerField(null=True), models.IntegerField(default=next_number), [None, 5, None]),
        (models.TextField(null=True), models.IntegerField(default=7), [None, "007", "7"]),
        (models.IntegerField(), models.IntegerField(null=True), [1, 2]),
        (models.TextField(), models.TextField(unique=True), ["a", "b"]),
        (models.TextField(db_index=True), models.TextField(), ["a", "b"]),
        (models.TextField(), models.TextField(db_collation="NOCASE"), ["a", "A"]),
        (models.IntegerField(), models.PositiveIntegerField(), [0, 5]),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, models.Field) else "",
)
def test_values_are_back_and_forth_again_as_they_were(
    shop: Shop, before: models.Field[Any, Any], after: models.Field[Any, Any], stored: list[Any]
) -> None:
    altered(shop, before, after)
    insert(shop, *stored)
    old, old_columns = values(shop), columns(shop)
    shop.apply("0002")
    new, new_columns = values(shop), columns(shop)

    for _ in range(2):
        shop.rollback()
        assert (values(shop), columns(shop)) == (old, old_columns)
        shop.apply("0002")
        assert (values(shop), columns(shop)) == (new, new_columns)

    assert shop.quarantined() == []


def test_a_value_that_was_changed_since_keeps_what_it_was_changed_to(shop: Shop) -> None:
    altered(shop, models.TextField(), models.IntegerField())
    insert(shop, "007", "008", "009", "010")
    shop.apply("0002")
    shop.write("UPDATE shop_song SET value = 80 WHERE id = 2", "DELETE FROM shop_song WHERE id = 3")
    insert(shop, 11)

    shop.rollback()

    assert values(shop) == [(1, "007", "text"), (2, "80", "text"), (4, "010", "text"), (5, "11", "text")]
    shop.write("UPDATE shop_song SET value = '0011' WHERE id = 5", "UPDATE shop_song SET value = '7x' WHERE id = 1")
    shop.apply("0002")
    assert values(shop) == [(1, "7x", "text"), (2, 80, "integer"), (4, 10, "integer"), (5, 11, "integer")]
    shop.rollback()
    assert values(shop) == [(1, "7x", "text"), (2, "80", "text"), (4, "010", "text"), (5, "0011", "text")]


def test_a_default_that_was_computed_for_null_is_the_same_after_another_apply(shop: Shop) -> None:
    altered(shop, models.IntegerField(null=True), models.IntegerField(default=next_number))
    insert(shop, None, 5)
    shop.apply("0002")
    computed = values(shop)
    shop.rollback()
    back = values(shop)
    insert(shop, None)

    shop.apply("0002")

    assert back == [(1, None, "null"), (2, 5, "integer")]
    assert values(shop)[:2] == computed
    assert values(shop)[2][1] != computed[0][1]


def test_several_alterations_of_one_column_go_back_one_by_one(shop: Shop) -> None:
    altered(shop, models.TextField(), models.IntegerField())
    shop.migration(
        migrations.AlterField("song", "value", models.CharField(max_length=9)),
        migrations.AlterField("song", "value", models.FloatField()),
        migrations.RenameField("song", "value", "worth"),
        migrations.AlterField("song", "worth", models.TextField()),
        migrations.RenameField("song", "worth", "value"),
    )
    insert(shop, "007", "1e2", "x")
    old = values(shop)
    shop.apply("0002")
    between = values(shop)
    shop.apply("0003")
    new = values(shop)

    shop.rollback()

    assert values(shop) == between
    shop.rollback()
    assert values(shop) == old
    shop.apply()
    assert values(shop) == new


@pytest.mark.parametrize("whole", [True, False])
def test_a_column_that_is_altered_and_then_removed_comes_back_to_its_first_values(shop: Shop, whole: bool) -> None:
    altered(shop, models.TextField(), models.IntegerField())
    shop.migration(migrations.RemoveField("song", "value"))
    shop.migration(migrations.AddField("song", "value", models.TextField(default="another")))
    shop.migration(migrations.AlterField("song", "value", models.IntegerField()))
    insert(shop, "007", "x")
    old = values(shop)

    if whole:
        shop.apply()
    else:
        for name in ("0002", "0003", "0004", "0005"):
            shop.apply(name)
    new = values(shop)
    shop.apply("0001")

    assert values(shop) == old
    shop.apply()
    assert values(shop) == new


def test_a_default_in_the_database_fills_what_was_null(shop: Shop) -> None:
    pytest.importorskip("django", minversion="5.0")
    altered(shop, models.TextField(null=True), models.TextField(db_default="from the database"))
    insert(shop, None, "own")
    shop.apply("0002")
    shop.write("INSERT INTO shop_song DEFAULT VALUES")

    shop.rollback()

    assert values(shop) == [(1, None, "null"), (2, "own", "text"), (3, "from the database", "text")]


@pytest.mark.parametrize("default", ["100%", "%s", "100%%", "it's", 'a "b"', lambda: "%(x)s"])
def test_a_default_is_taken_literally(shop: Shop, default: str | Callable[[], str]) -> None:
    if callable(default):
        default = default()
    altered(shop, models.TextField(null=True), models.TextField(default=default))
    shop.migration(migrations.AddField("song", "other", models.TextField(default=default)))
    insert(shop, None)

    shop.apply()

    assert shop.rows("SELECT value, other FROM shop_song") == [(default, default)]


KEYED = (
    migrations.CreateModel("Album", [("code", models.CharField(max_length=9, primary_key=True))]),
    migrations.CreateModel(
        "Song",
        [
            ("id", models.BigAutoField(primary_key=True)),
            ("album", models.ForeignKey("shop.Album", models.CASCADE)),
            ("bonus_of", models.OneToOneField("shop.Album", models.CASCADE, null=True, related_name="+")),
            ("also_on", models.ManyToManyField("shop.Album", related_name="+")),
        ],
    ),
    migrations.CreateModel(
        "Cover",
        [("album", models.OneToOneField("shop.Album", models.CASCADE, primary_key=True))],
    ),
    migrations.CreateModel(
        "Print",
        [("id", models.BigAutoField(primary_key=True)), ("cover", models.ForeignKey("shop.Cover", models.CASCADE))],
    ),
)
KEYS = (
    "SELECT code FROM shop_album ORDER BY +code",
    "SELECT id, album_id, bonus_of_id FROM shop_song ORDER BY id",
    "SELECT song_id, album_id FROM shop_song_also_on ORDER BY id",
    "SELECT album_id FROM shop_cover",
    "SELECT cover_id FROM shop_print",
)


def test_what_refers_to_a_key_follows_its_values_back(shop: Shop) -> None:
    shop.migration(*KEYED)
    shop.migration(migrations.AlterField("album", "code", models.PositiveIntegerField(primary_key=True)))
    shop.apply("0001")
    shop.write(
        "INSERT INTO shop_album VALUES ('007'), ('8')",
        "INSERT INTO shop_song VALUES (1, '007', '8'), (2, '8', NULL)",
        "INSERT INTO shop_song_also_on (song_id, album_id) VALUES (1, '007'), (1, '8')",
    )
    old = [shop.rows(query) for query in KEYS]
    shop.apply("0002")
    new = [shop.rows(query) for query in KEYS]
    shop.write("INSERT INTO shop_song VALUES (3, 7, 7)", "INSERT INTO shop_album VALUES (9)")

    shop.rollback()

    assert new[:3] == [[(7,), (8,)], [(1, 7, 8), (2, 8, None)], [(1, 7), (1, 8)]]
    assert shop.rows(KEYS[0]) == [("007",), ("8",), ("9",)]
    assert shop.rows(KEYS[1]) == [*old[1], (3, "007", "007")]
    assert shop.rows(KEYS[2]) == old[2]
    assert shop.rows("PRAGMA foreign_key_check") == []
    shop.apply("0002")
    assert shop.rows(KEYS[1]) == [*new[1], (3, 7, 7)]


def test_an_automatic_key_becomes_big_and_small_again(shop: Shop) -> None:
    shop.migration(
        migrations.CreateModel("Album", [("id", models.AutoField(primary_key=True))]),
        migrations.CreateModel(
            "Song",
            [("id", models.AutoField(primary_key=True)), ("album", models.ForeignKey("shop.Album", models.CASCADE))],
        ),
    )
    shop.migration(migrations.AlterField("album", "id", models.BigAutoField(primary_key=True)))
    shop.apply("0001")
    shop.write("INSERT INTO shop_album VALUES (1), (2), (9)", "INSERT INTO shop_song (album_id) VALUES (1), (2)")
    shop.write("DELETE FROM shop_album WHERE id = 9")
    shop.apply("0002")
    shop.write("INSERT INTO shop_album DEFAULT VALUES", "INSERT INTO shop_song (album_id) VALUES (10)")

    shop.rollback()
    shop.write("INSERT INTO shop_album DEFAULT VALUES")

    assert shop.rows("SELECT id FROM shop_album") == [(1,), (2,), (10,), (11,)]
    assert shop.rows("SELECT id, album_id FROM shop_song") == [(1, 1), (2, 2), (3, 10)]
