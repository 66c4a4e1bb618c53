"""What a migration's own code changes in rows is kept, and taken back, whether or not the migration has a reverse."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.db import migrations, models
from django.test.utils import override_settings

from segue import pipeline, render
from segue.core.errors import FailedAndUndone, GateNotMet
from segue.core.run import Run, State
from tests.operations import data_code
from tests.operations.bookshop import open_shop
from tests.project import Project

BOOK_WITH_TOKEN = migrations.CreateModel(
    "Book", [("id", models.BigAutoField(primary_key=True)), ("token", models.CharField(max_length=32))]
)
Row = tuple[Any, ...]

TOKEN = migrations.AddField("book", "token", models.CharField(max_length=32, default=""))


def fill(project: Project) -> None:
    """Put two more authors and twenty books into both databases."""
    for alias in ("default", "stock"):
        project.sql("INSERT INTO shop_author (name) VALUES ('Tagore'), ('Manto')", alias=alias)
        project.sql(
            "INSERT INTO shop_book (title, author_id, pages, language) "
            "SELECT 'Book ' || i, i % 3 + 1, 90 + i, 'hi' FROM generate_series(1, 20) i",
            alias=alias,
        )


def rows(project: Project, alias: str = "default") -> dict[str, list[Row]]:
    """Return every row of every table of the shop, by its key."""
    return {
        table: project.sql(f"SELECT * FROM {table} ORDER BY id", alias=alias) for table in ("shop_author", "shop_book")
    }


def applied(project: Project, code: Callable[..., None], *before: Any, **more: Any) -> Run:
    """Apply a migration of these operations and of code without a reverse."""
    project.migration(*before, migrations.RunPython(code), **more)
    run = project.apply()
    assert run is not None
    return run


def left_by_capture(project: Project) -> list[Row]:
    """Return what would still write images."""
    return project.sql("SELECT tgname FROM pg_trigger WHERE tgname LIKE '000%%'", [])


def listed(project: Project) -> list[str]:
    """Return what `segue quarantine` prints."""
    return render.quarantine_lines(pipeline.quarantine(project.session()))


CODES = pytest.mark.parametrize(
    "code",
    [
        data_code.double_pages,
        data_code.shout,
        data_code.replace_authors,
        data_code.add_books,
        data_code.delete_books,
        data_code.nothing,
    ],
    ids=lambda code: code.__name__.replace("_", " "),
)


@CODES
@pytest.mark.parametrize("atomic", [True, False], ids=["in a transaction", "as it goes"])
def test_code_without_a_reverse_goes_back_and_forth_and_back_again(
    project: Project, code: Callable[..., None], atomic: bool
) -> None:
    open_shop(project)
    fill(project)
    before = rows(project)

    applied(project, code, atomic=atomic)
    after = rows(project)
    rolled_back = [(project.rollback().state, rows(project))]
    project.apply()
    again = rows(project)
    rolled_back += [(project.rollback().state, rows(project))]
    project.apply()
    project.finalize()
    project.stock()

    assert rolled_back == [(State.ROLLED_BACK, before)] * 2
    assert again == after == rows(project)
    assert after == rows(project, "stock")
    assert left_by_capture(project) == []
    assert listed(project) == ["Nothing waits in quarantine."]
    assert project.differences() == []


def test_what_was_changed_since_stays_and_is_listed_with_every_value(project: Project) -> None:
    open_shop(project)
    run = applied(project, data_code.double_pages)
    project.sql("UPDATE shop_book SET pages = 7")
    project.sql("INSERT INTO shop_book (title, author_id, pages, language) VALUES ('new', 1, 5, 'en')")

    project.rollback()
    rolled_back = project.sql("SELECT title, pages FROM shop_book ORDER BY id")
    said = listed(project)
    project.apply()

    assert rolled_back == [("Godaan", 7), ("new", 5)]
    assert said == [
        "1 row in quarantine:",
        "",
        "shop_book: what shop.0002_step:forth:0 wrote was changed since; it stays as it is  (1 row, release "
        f"{run.release})",
        "  id = 1 (pages was 10, became 20 and is 7)",
        f"  segue quarantine settle --release {run.release} --table shop_book --restore, which puts back each value as "
        "it was before the migration, where it is still what is listed",
        "",
        "An image stays in segue_quarantine, settled or not; --keep settles without a change.",
    ]
    # What new code had made of a value is not doubled again; what the code has not seen yet is.
    assert project.sql("SELECT title, pages FROM shop_book ORDER BY id") == [("Godaan", 7), ("new", 10)]


def test_a_value_that_was_changed_since_can_be_put_back_by_hand(project: Project) -> None:
    open_shop(project)
    applied(project, data_code.double_pages)
    project.sql("UPDATE shop_book SET pages = 7")
    project.rollback()
    session = project.session()

    settled = pipeline.settle(session, pipeline.quarantine_chosen(session, (), "", "shop_book"), restoring=True)

    assert settled.left == ()
    assert project.sql("SELECT pages FROM shop_book") == [(10,)]


def test_a_value_that_was_changed_again_is_not_put_back(project: Project) -> None:
    open_shop(project)
    applied(project, data_code.double_pages)
    project.sql("UPDATE shop_book SET pages = 7")
    project.rollback()
    project.sql("UPDATE shop_book SET pages = 8")
    session = project.session()

    settled = pipeline.settle(session, pipeline.quarantine_chosen(session, (), "", "shop_book"), restoring=True)

    assert [why for _, why in settled.left] == ["pages has another value now"]
    assert project.sql("SELECT pages FROM shop_book") == [(8,)]


def test_a_row_that_new_code_refers_to_stays_and_is_listed(project: Project) -> None:
    open_shop(project)
    run = applied(project, data_code.add_books)
    (made,) = project.sql("SELECT id FROM shop_author WHERE name = 'Anonymous'")
    project.sql("INSERT INTO shop_book (title, author_id, pages, language) VALUES ('new', %s, 5, 'en')", made)

    project.rollback()
    rolled_back = rows(project)
    said = listed(project)
    project.apply()

    assert [name for _, name in rolled_back["shop_author"]] == ["Premchand", "Anonymous"]
    assert [row[1] for row in rolled_back["shop_book"]] == ["Godaan", "new"]
    assert said[2:5] == [
        "shop_author: shop.0002_step:forth:0 made the row, and it was changed or is referred to since; it stays  "
        f"(1 row, release {run.release})",
        f"  id = {made[0]}",
        f"  segue quarantine settle --release {run.release} --table shop_author --keep, once you have seen to it",
    ]
    # The code makes the author again, who is the one that is there.
    assert [name for _, name in rows(project)["shop_author"]] == ["Premchand", "Anonymous"]
    assert {row[2] for row in rows(project)["shop_book"]} == {1, made[0]}


def test_a_deleted_row_whose_parent_has_gone_since_is_listed(project: Project) -> None:
    open_shop(project)
    run = applied(project, data_code.delete_books)
    project.sql("DELETE FROM shop_author")

    project.rollback()

    assert listed(project)[2] == (
        "shop_book: shop.0002_step:forth:0 deleted the row, and what it refers to is gone or another row has its key "
        f"since  (1 row, release {run.release})"
    )
    assert project.sql("SELECT count(*) FROM shop_book") == [(0,)]


def test_the_way_back_is_planned_from_what_is_kept(project: Project) -> None:
    open_shop(project)
    applied(project, data_code.double_pages)

    plan = pipeline.rollback_plan(project.session())

    assert [(step.title, step.note) for step in plan.steps] == [
        ("put back what Raw Python operation changed", "in batches, each value that nobody has changed since")
    ]


def test_a_way_back_that_there_is_not_is_not_planned(project: Project) -> None:
    open_shop(project)
    with override_settings(SEGUE={**settings.SEGUE, "CAPTURE": {"*": 0}}):
        run = applied(project, data_code.double_pages)

    with pytest.raises(GateNotMet) as caught:
        pipeline.rollback_plan(project.session())

    assert str(caught.value).splitlines()[0] == (
        f"Release {run.release} cannot be rolled back, and nothing was changed:"
    )


def test_what_fills_a_column_of_its_release_is_left_to_the_columns_own_way_back(project: Project) -> None:
    open_shop(project)
    fill(project)
    applied(project, data_code.give_tokens, TOKEN)
    project.sql("UPDATE shop_book SET token = 'by new code' WHERE title = 'Godaan'")
    tokens = project.sql("SELECT id, token FROM shop_book ORDER BY id")
    places = project.sql("SELECT ctid::text FROM shop_book ORDER BY id")

    project.rollback()
    moved = places != project.sql("SELECT ctid::text FROM shop_book ORDER BY id")
    project.sql("INSERT INTO shop_book (title, author_id, pages, language) VALUES ('by old code', 1, 5, 'en')")
    project.apply()

    *again, (_, last) = project.sql("SELECT id, token FROM shop_book ORDER BY id")
    assert not moved
    assert again == tokens
    assert len(last) == 32
    assert listed(project) == ["Nothing waits in quarantine."]


def test_what_nobody_can_compute_again_is_there_again(project: Project) -> None:
    project.live(project.migration(BOOK_WITH_TOKEN))
    project.sql("INSERT INTO shop_book (token) SELECT '' FROM generate_series(1, 5)")
    applied(project, data_code.give_tokens)
    tokens = project.sql("SELECT id, token FROM shop_book ORDER BY id")

    project.rollback()
    rolled_back = project.sql("SELECT DISTINCT token FROM shop_book")
    project.sql("INSERT INTO shop_book (token) VALUES ('')")
    project.apply()

    *again, (_, last) = project.sql("SELECT id, token FROM shop_book ORDER BY id")
    assert rolled_back == [("",)]
    assert again == tokens
    assert len(last) == 32


@pytest.mark.parametrize("first", [True, False], ids=["code first", "type first"])
def test_code_goes_back_beside_a_change_of_the_type_that_it_writes(project: Project, first: bool) -> None:
    open_shop(project)
    wider = migrations.AlterField("book", "pages", models.BigIntegerField())
    code = migrations.RunPython(data_code.double_pages)
    project.migration(*((code, wider) if first else (wider, code)))

    project.apply()
    applied_pages = project.sql("SELECT pages FROM shop_book")
    project.rollback()
    rolled_back = project.sql("SELECT pages FROM shop_book")
    project.apply()

    assert (applied_pages, rolled_back) == ([(20,)], [(10,)])
    assert project.sql("SELECT pages FROM shop_book") == [(20,)]
    project.finalize()
    project.stock()
    assert project.differences() == []


def test_code_that_is_not_atomic_and_fails_leaves_nothing_of_what_it_wrote(project: Project) -> None:
    open_shop(project)
    project.migration(migrations.RunPython(data_code.double_pages_and_fail), atomic=False)

    with pytest.raises(FailedAndUndone) as caught:
        project.apply()

    assert str(caught.value) == (
        "shop.0002_step failed and was taken back: the code is ill\n"
        "Nothing of it remains.\n"
        "Next: mend the cause and run the same command again; --traceback shows where it failed"
    )
    assert project.sql("SELECT pages FROM shop_book") == [(10,)]
    assert left_by_capture(project) == []


def test_a_declared_reverse_runs_only_when_it_is_wanted(project: Project) -> None:
    open_shop(project)
    project.migration(migrations.RunPython(data_code.double_pages, data_code.halve_pages))
    project.apply()
    project.sql("UPDATE shop_book SET pages = 30")

    session = project.session()
    session.reverse_code = True
    pipeline.rollback(session)
    by_reverse = project.sql("SELECT pages FROM shop_book")
    project.apply()
    again = project.sql("SELECT pages FROM shop_book")
    project.rollback()

    assert (by_reverse, again) == ([(15,)], [(30,)])
    assert project.sql("SELECT pages FROM shop_book") == [(15,)]


def test_sql_that_changes_rows_goes_back(project: Project) -> None:
    open_shop(project)
    project.migration(migrations.RunSQL(["UPDATE shop_book SET pages = 11", "DELETE FROM shop_author WHERE id = 99"]))
    project.apply()

    project.rollback()

    assert project.sql("SELECT pages FROM shop_book") == [(10,)]


@pytest.mark.parametrize("code", [data_code.copy_authors, data_code.copy_and_rename_authors])
def test_what_is_written_past_the_cursor_makes_the_code_begin_again(
    project: Project, code: Callable[..., None]
) -> None:
    open_shop(project)
    applied(project, code)

    project.rollback()

    assert project.said == [
        "shop.0002_step: Raw Python operation writes to what it does not name, so it begins again: first Segue sees to "
        "it that what it changes there is kept, too"
    ]
    assert rows(project)["shop_author"] == [(1, "Premchand")]


def test_sql_that_changes_the_schema_too_is_not_kept_and_waits_for_no_lock_of_its_own(project: Project) -> None:
    open_shop(project)
    project.migration(
        migrations.RunSQL(
            ["ALTER TABLE shop_book ADD COLUMN mood text", "UPDATE shop_book SET mood = 'good', pages = 11"],
            "ALTER TABLE shop_book DROP COLUMN mood",
        )
    )

    project.apply()
    project.rollback()

    assert project.said == [
        "shop.0002_step: not all that Raw SQL operation changed is kept (it runs ALTER TABLE shop_book ADD COLUMN mood "
        "text): its own reverse takes it back"
    ]
    assert project.sql("SELECT pages FROM shop_book") == [(11,)]


def test_what_a_projects_own_trigger_writes_goes_back_too(project: Project) -> None:
    open_shop(project)
    for sql in (
        "CREATE TABLE shop_audit (id serial PRIMARY KEY, title text)",
        "CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN INSERT INTO shop_audit (title) VALUES (NEW.title); RETURN NEW; END $$",
        "CREATE TRIGGER audit AFTER UPDATE ON shop_book FOR EACH ROW EXECUTE FUNCTION audit()",
    ):
        project.sql(sql)

    applied(project, data_code.double_pages)
    audited = project.sql("SELECT count(*) FROM shop_audit")
    project.sql("DROP TRIGGER audit ON shop_book")
    project.rollback()

    assert audited == [(1,)]
    assert project.sql("SELECT count(*) FROM shop_audit") == [(0,)]


@pytest.mark.parametrize(
    ("capture", "why"),
    [
        ({"*": 0}, ""),
        ({"*": 100, "shop_book": 0}, 'SEGUE["CAPTURE"] leaves shop_book out'),
        ({"*": 3}, 'it changes more rows of shop_book than SEGUE["CAPTURE"] allows, 3'),
    ],
    ids=["nothing", "not this table", "not so many rows"],
)
def test_what_is_not_kept_has_no_way_back_and_is_said(project: Project, capture: dict[str, int], why: str) -> None:
    open_shop(project)
    fill(project)

    with override_settings(SEGUE={**settings.SEGUE, "CAPTURE": capture}):
        applied(project, data_code.double_pages)
        with pytest.raises(GateNotMet):
            project.rollback()

    said = f"shop.0002_step: not all that Raw Python operation changed is kept ({why}): it cannot be taken back"
    assert project.said == ([said] if why else [])
    assert left_by_capture(project) == []


def test_a_table_without_a_primary_key_has_no_images(project: Project) -> None:
    open_shop(project)
    project.sql("CREATE TABLE shop_log (line text)")

    applied(project, data_code.log)
    with pytest.raises(GateNotMet):
        project.rollback()

    assert project.said == [
        "shop.0002_step: not all that Raw Python operation changed is kept (shop_log has no primary key): it cannot be "
        "taken back"
    ]


def test_others_write_to_the_table_while_the_code_runs(project: Project) -> None:
    open_shop(project)
    fill(project)

    applied(project, data_code.write_beside)
    project.rollback()

    assert project.sql("SELECT DISTINCT title = 'Godaan', pages FROM shop_book ORDER BY 1") == [(False, 21), (True, 10)]


def test_a_way_back_that_meets_a_row_in_use_waits_for_it(project: Project) -> None:
    open_shop(project)
    fill(project)
    before = rows(project)
    applied(project, data_code.double_pages)
    holder = project.connect("monthly report")
    holder.execute("UPDATE shop_book SET pages = pages WHERE title = 'Godaan'")

    project.said = _Releasing(holder)
    project.rollback()

    assert any(line.startswith("waiting for a row of shop_book for ") for line in project.said)
    assert rows(project) == before


class _Releasing(list[str]):
    """What Segue says; at the first word of waiting, whoever is waited for ends."""

    def __init__(self, holder: psycopg.Connection[Any]) -> None:
        super().__init__()
        self._holder = holder

    def append(self, text: str) -> None:
        """Keep the text."""
        if text.startswith("waiting for a row"):
            self._holder.close()
        super().append(text)


def test_images_are_purged_like_whatever_is_retired(project: Project, tmp_path: Path) -> None:
    open_shop(project)
    applied(project, data_code.double_pages)
    project.finalize()

    with override_settings(SEGUE={**settings.SEGUE, "STORE": f"file://{tmp_path}/store"}):
        session = project.session()
        purged = pipeline.purge(session, timedelta(0))

    assert [done.retired.name for done in purged.purged] == ["images_of_shop_book"]
    assert project.sql("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'segue_images%%'", []) == [(0,)]
