"""A migration on SQLite is whole or not there, whatever stops it."""

from __future__ import annotations

import pytest
from django.db import migrations, models
from django.db.models import CASCADE

from segue.core.errors import FailedAndUndone
from segue.core.run import State
from tests.operations.sqlite.shop import Shop, die_once

CREATE = (
    migrations.CreateModel(
        "Song",
        [
            ("id", models.BigAutoField(primary_key=True)),
            ("title", models.TextField(null=True)),
        ],
    ),
)


def everything(shop: Shop) -> list[object]:
    """Return every table's definition and rows, but for the journal, which remembers failures too."""
    found: list[object] = []
    for name, sql in shop.rows("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name"):
        found.append((name, sql))
        if sql.startswith("CREATE TABLE") and name != "segue_event":
            found += [(name, *row) for row in shop.rows(f'SELECT * FROM "{name}"') if row[0] != "segue_event"]
    return found


def test_a_killed_migration_leaves_the_database_as_it_was_and_the_next_run_completes_it(shop: Shop) -> None:
    shop.migration(*CREATE)
    shop.migration(migrations.RemoveField("song", "title"), migrations.RunPython(die_once, migrations.RunPython.noop))
    shop.apply("0001")
    shop.write("INSERT INTO shop_song (title) VALUES ('one'), (NULL)")
    before = everything(shop)

    killed = shop.command("apply", "shop", "0002")
    after_kill = everything(shop)
    again = shop.command("apply", "shop", "0002")

    assert killed.returncode == -9
    assert after_kill == before
    assert again.returncode == 0, again.stderr
    assert [name for _, name, *_ in shop.rows("PRAGMA table_info(shop_song)")] == ["id"]
    assert [run.state for run in shop.session().journal.runs()] == [State.FINALIZED, State.FINALIZED]
    shop.rollback()
    assert shop.rows("SELECT title FROM shop_song ORDER BY id") == [("one",), (None,)]


def test_a_migration_killed_on_its_way_back_is_completed_by_the_same_command(shop: Shop) -> None:
    shop.migration(*CREATE)
    shop.migration(migrations.RunPython(migrations.RunPython.noop, die_once), migrations.RemoveField("song", "title"))
    shop.apply("0001")
    shop.write("INSERT INTO shop_song (title) VALUES ('one'), (NULL)")
    shop.apply("0002")
    before = everything(shop)

    killed = shop.command("apply", "shop", "0001")
    after_kill = everything(shop)
    again = shop.command("apply", "shop", "0001")

    assert killed.returncode == -9
    assert after_kill == before
    assert again.returncode == 0, again.stderr
    assert shop.rows("SELECT title FROM shop_song ORDER BY id") == [("one",), (None,)]


def test_a_migration_that_fails_is_taken_back_with_its_archives(shop: Shop) -> None:
    shop.migration(*CREATE)
    shop.migration(
        migrations.RemoveField("song", "title"),
        migrations.RunSQL("INSERT INTO shop_nowhere VALUES (1)", migrations.RunSQL.noop),
    )
    shop.apply("0001")
    shop.write("INSERT INTO shop_song (title) VALUES ('one')")
    before = everything(shop)

    with pytest.raises(FailedAndUndone) as caught:
        shop.apply("0002")

    assert caught.value.message == (
        "shop.0002_step failed and was taken back: no such table: shop_nowhere\nNothing of it remains."
    )
    assert everything(shop) == before
    assert [run.state for run in shop.session().journal.runs()] == [State.FINALIZED, State.FAILED]
    assert shop.session().journal.cemetery().all() == ()


def test_a_foreign_key_that_does_not_hold_takes_the_migration_back(shop: Shop) -> None:
    shop.migration(*CREATE)
    shop.migration(
        migrations.CreateModel(
            "Line",
            [
                ("id", models.BigAutoField(primary_key=True)),
                ("song", models.ForeignKey("shop.Song", CASCADE)),
            ],
        ),
        migrations.RunSQL("INSERT INTO shop_line (song_id) VALUES (404)", migrations.RunSQL.noop),
    )
    shop.apply("0001")
    before = everything(shop)

    with pytest.raises(FailedAndUndone) as caught:
        shop.apply("0002")

    assert caught.value.message == (
        "shop.0002_step failed and was taken back: Foreign keys do not hold for 1 row:\n"
        "  shop_line, id 1: song_id is 404, and shop_song.id has no such value\n"
        "Nothing of it remains."
    )
    assert everything(shop) == before
    assert shop.session().journal.runs()[-1].state is State.FAILED
    with shop.session().engine.connection.cursor() as cursor:
        assert cursor.execute("PRAGMA foreign_keys").fetchall() == [(1,)]


def test_a_migration_that_wants_no_transaction_is_taken_back_all_the_same(shop: Shop) -> None:
    shop.migration(*CREATE)
    shop.migration(
        migrations.RemoveField("song", "title"),
        migrations.RunPython(die_once, migrations.RunPython.noop, atomic=False),
        atomic=False,
    )
    shop.apply("0001")
    shop.write("INSERT INTO shop_song (title) VALUES ('one')")
    before = everything(shop)

    killed = shop.command("apply", "shop", "0002")
    after_kill = everything(shop)
    shop.rollback()

    assert killed.returncode == -9
    assert after_kill == before
    assert everything(shop) == before
    assert [run.state for run in shop.session().journal.runs()] == [State.FINALIZED, State.ROLLED_BACK]
