"""Rows that the old shape cannot take: on the way back they go into quarantine, and with the next apply they return."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from django.db import migrations, models
from django.db.migrations.operations.base import Operation
from django.db.models import Q
from django.db.models.functions import Lower

from segue.core.errors import FailedAndUndone
from tests.operations.sqlite.shop import Shop

SONG = migrations.CreateModel(
    "Song",
    [
        ("id", models.BigAutoField(primary_key=True)),
        ("title", models.TextField()),
        ("plays", models.IntegerField(null=True)),
    ],
)
SONGS = "SELECT id, title, plays FROM shop_song ORDER BY id"


def songs(shop: Shop, *rows: tuple[Any, ...]) -> None:
    for row in rows:
        shop.write("INSERT INTO shop_song (title, plays) VALUES (?, ?)", parameters=row)


def check(condition: Q, name: str) -> models.CheckConstraint:
    """Return a check, which Django 5.1 gave another argument."""
    argument = "condition" if "condition" in inspect.signature(models.CheckConstraint).parameters else "check"
    return models.CheckConstraint(**{argument: condition}, name=name)


def constrained(constraint: models.BaseConstraint) -> tuple[Operation, Operation]:
    return migrations.AddConstraint("song", constraint), migrations.RemoveConstraint("song", constraint.name)


def retyped(name: str, tight: models.Field[Any, Any], loose: models.Field[Any, Any]) -> tuple[Operation, Operation]:
    return migrations.AlterField("song", name, tight), migrations.AlterField("song", name, loose)


# What tightens, what loosens it again, the row that only the loose shape takes, and SQLite's reason.
TIGHT: dict[str, tuple[tuple[Operation, Operation], tuple[str, int | None], str]] = {
    "a unique column": (
        retyped("title", models.TextField(unique=True), models.TextField()),
        ("A", 2),
        "UNIQUE constraint failed: shop_song.title",
    ),
    "columns unique together": (
        (
            migrations.AlterUniqueTogether("song", {("title", "plays")}),
            migrations.AlterUniqueTogether("song", set()),
        ),
        ("A", 1),
        "UNIQUE constraint failed: shop_song.title, shop_song.plays",
    ),
    "a unique constraint": (
        constrained(models.UniqueConstraint(fields=["title", "plays"], name="once")),
        ("A", 1),
        "UNIQUE constraint failed: shop_song.title, shop_song.plays",
    ),
    "a partial unique constraint": (
        constrained(models.UniqueConstraint(fields=["title"], condition=Q(plays=1), name="once")),
        ("A", 1),
        "UNIQUE constraint failed: shop_song.title",
    ),
    "a unique constraint on an expression": (
        constrained(models.UniqueConstraint(Lower("title"), "plays", name="once")),
        ("a", 1),
        "UNIQUE constraint failed: index 'once'",
    ),
    "a check": (
        constrained(check(~Q(title="X"), "some")),
        ("X", 1),
        "CHECK constraint failed: some",
    ),
    "a collation that ignores case": (
        retyped("title", models.TextField(unique=True, db_collation="NOCASE"), models.TextField(unique=True)),
        ("a", 1),
        "UNIQUE constraint failed: shop_song.title",
    ),
    "not null": (
        retyped("plays", models.IntegerField(), models.IntegerField(null=True)),
        ("N", None),
        "NOT NULL constraint failed: shop_song.plays",
    ),
    "a positive number": (
        retyped("plays", models.PositiveIntegerField(), models.IntegerField()),
        ("N", -1),
        "CHECK constraint failed: plays",
    ),
    "a JSON value": (
        retyped("title", models.JSONField(), models.TextField()),
        ("{", 1),
        'CHECK constraint failed: (JSON_VALID("title") OR "title" IS NULL)',
    ),
}


@pytest.fixture
def loosened(shop: Shop, request: pytest.FixtureRequest) -> Shop:
    """A table that was tight, with rows that it took then and one that it takes only since."""
    (tightens, loosens), row, _ = TIGHT[request.param]
    shop.migration(SONG)
    shop.migration(tightens)
    shop.migration(loosens)
    shop.apply("0002")
    fitting = ('"one"', '"two"') if "JSON" in request.param else ("A", "b")
    songs(shop, *((title, 1) for title in fitting))
    shop.apply("0003")
    songs(shop, row, ('"new"', 7))
    return shop


@pytest.mark.parametrize(("loosened", "what"), [(name, name) for name in TIGHT], indirect=["loosened"], ids=[*TIGHT])
def test_what_does_not_fit_goes_into_quarantine_and_returns(loosened: Shop, what: str) -> None:
    reason = TIGHT[what][-1]
    new = loosened.rows(SONGS)

    loosened.rollback()

    assert loosened.rows(SONGS) == [r for r in new if r[0] != 3]
    assert [(table, why) for table, why, _ in loosened.quarantined()] == [("shop_song", reason)]
    assert loosened.session().journal.quarantined() == 1
    loosened.apply()
    assert loosened.rows(SONGS) == new
    assert loosened.session().journal.quarantined() == 0
    loosened.rollback()
    assert loosened.rows(SONGS) == [r for r in new if r[0] != 3]
    assert loosened.session().journal.quarantined() == 1


@pytest.mark.parametrize(("loosened", "what"), [(name, name) for name in TIGHT], indirect=["loosened"], ids=[*TIGHT])
def test_what_does_not_fit_stops_the_way_forth_with_its_row(loosened: Shop, what: str) -> None:
    (tightens, _), _, reason = TIGHT[what]
    before = loosened.rows(SONGS)
    loosened.migration(tightens)

    with pytest.raises(FailedAndUndone) as caught:
        loosened.apply()

    assert caught.value.message == (
        "shop.0004_step failed and was taken back: 1 row does not fit what shop_song becomes:\n"
        f"  shop_song, id 3: {reason}\n"
        "Nothing of it remains."
    )
    assert loosened.rows(SONGS) == before


def test_a_value_alone_goes_where_the_column_may_be_empty(shop: Shop) -> None:
    shop.migration(SONG)
    shop.migration(migrations.AlterField("song", "plays", models.PositiveIntegerField(null=True, unique=True)))
    shop.migration(migrations.AlterField("song", "plays", models.IntegerField(null=True)))
    shop.apply("0002")
    songs(shop, ("A", 1), ("B", None))
    shop.apply("0003")
    songs(shop, ("C", -1), ("D", 1), ("E", 2))
    new = shop.rows(SONGS)

    shop.rollback()

    assert shop.rows(SONGS) == [(1, "A", 1), (2, "B", None), (3, "C", None), (4, "D", None), (5, "E", 2)]
    assert shop.quarantined() == [
        ("shop_song", "CHECK constraint failed: plays", '{"id": 3, "plays": -1}'),
        ("shop_song", "UNIQUE constraint failed: shop_song.plays", '{"id": 4, "plays": 1}'),
    ]
    shop.write("UPDATE shop_song SET plays = 40 WHERE id = 4")
    shop.apply()
    assert shop.rows(SONGS) == [row if row[0] != 4 else (4, "D", 40) for row in new]
    assert shop.rows("SELECT id, settled_at IS NULL FROM segue_quarantine") == [(1, 0), (2, 1)]


def test_the_row_that_was_written_first_stays(shop: Shop) -> None:
    shop.migration(SONG)
    shop.migration(migrations.AlterField("song", "title", models.TextField(unique=True)))
    shop.migration(migrations.AlterField("song", "title", models.TextField()))
    shop.apply("0002")
    shop.apply("0003")
    songs(shop, *((str(n % 5), n) for n in range(1, 21)))

    shop.rollback()

    assert shop.rows(SONGS) == [(n, str(n % 5), n) for n in range(1, 6)]
    assert len(shop.quarantined()) == 15
    shop.apply()
    assert shop.rows(SONGS) == [(n, str(n % 5), n) for n in range(1, 21)]


def test_more_rows_than_fit_a_page_are_counted(shop: Shop) -> None:
    shop.migration(SONG)
    shop.migration(migrations.AlterField("song", "plays", models.IntegerField()))
    shop.apply("0001")
    songs(shop, *((str(n), None) for n in range(1, 26)))

    with pytest.raises(FailedAndUndone) as caught:
        shop.apply()

    lines = caught.value.message.splitlines()
    assert lines[0].endswith("failed and was taken back: 25 rows do not fit what shop_song becomes:")
    assert lines[1] == "  shop_song, id 1: NOT NULL constraint failed: shop_song.plays"
    assert lines[20:] == [
        "  shop_song, id 20: NOT NULL constraint failed: shop_song.plays",
        "  and 5 more",
        "Nothing of it remains.",
    ]


def test_a_key_that_the_old_type_cannot_hold_takes_its_references_along(shop: Shop) -> None:
    shop.migration(
        migrations.CreateModel("Song", [("id", models.BigAutoField(primary_key=True))]),
        migrations.CreateModel(
            "Line",
            [
                ("id", models.BigAutoField(primary_key=True)),
                ("song", models.ForeignKey("shop.Song", models.CASCADE, null=True)),
            ],
        ),
    )
    shop.migration(migrations.AlterField("song", "id", models.CharField(max_length=9, primary_key=True)))
    shop.apply("0001")
    shop.write("INSERT INTO shop_song VALUES (1), (2)", "INSERT INTO shop_line (song_id) VALUES (1), (2)")
    shop.apply("0002")
    shop.write("INSERT INTO shop_song VALUES ('a'), ('5')", "INSERT INTO shop_line (song_id) VALUES ('a'), ('5')")

    shop.rollback()

    assert shop.rows("SELECT id FROM shop_song ORDER BY id") == [(1,), (2,), (5,)]
    assert shop.rows("SELECT id, song_id FROM shop_line ORDER BY id") == [(1, 1), (2, 2), (3, None), (4, 5)]
    assert shop.quarantined() == [
        ("shop_song", "datatype mismatch", '{"id": "a"}'),
        ("shop_line", "shop_line.song_id has no row in shop_song", '{"id": 3, "song_id": "a"}'),
    ]
    shop.apply()
    assert shop.rows("SELECT id FROM shop_song ORDER BY id") == [("1",), ("2",), ("5",), ("a",)]
    assert shop.rows("SELECT id, song_id FROM shop_line ORDER BY id") == [(1, "1"), (2, "2"), (3, "a"), (4, "5")]
    assert shop.session().journal.quarantined() == 0
