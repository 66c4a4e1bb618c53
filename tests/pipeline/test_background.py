"""The way back has two parts: what old code needs, of every migration; then, in the background, what tightens again."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from django.db import migrations, models

from segue import cli, render
from segue.core.errors import FailedAndUndone, Interrupted
from segue.core.event import EventKind
from segue.core.run import State
from segue.journal import Journal
from tests.operations import own_code
from tests.operations.bookshop import open_shop
from tests.project import Project

# Both columns are NOT NULL and have no default, so their way back ends with making them NOT NULL again.
NO_PAGES = migrations.RemoveField("book", "pages")
NO_NAME = migrations.RemoveField("author", "name")
FAIL = migrations.RunPython(own_code.fail)
SHELF = migrations.AddField("book", "shelf", models.IntegerField(null=True))


def opened(project: Project) -> None:
    """Apply a release of two migrations, each with a background act on its way back."""
    open_shop(project)
    project.migration(NO_PAGES)
    project.migration(NO_NAME)
    project.apply()


def not_null(project: Project) -> list[bool]:
    """Whether the two columns take no NULL."""
    question = "SELECT attnotnull FROM pg_attribute WHERE attname = %s AND attrelid = %s::regclass"
    pairs = [("pages", "shop_book"), ("name", "shop_author")]
    return [bool(row[0]) for pair in pairs for row in project.sql(question, pair)]


def between(project: Project, monkeypatch: pytest.MonkeyPatch, do: Callable[[], None]) -> None:
    """Do something when the journal says that old code runs again, before anything happens in the background."""
    append = Journal.append

    def and_then(journal: Journal, release: str, kind: EventKind, **data: object) -> None:
        append(journal, release, kind, **data)
        if kind is EventKind.OLD_CODE_RUNS:
            do()

    monkeypatch.setattr(Journal, "append", and_then)


def raising(error: BaseException) -> Callable[[], None]:
    def do() -> None:
        raise error

    return do


def events(project: Project, *kinds: EventKind) -> list[str]:
    """Return the kinds of the newest release's events, only those of the given kinds."""
    release = project.session().journal.runs()[-1].release
    rows = project.sql("SELECT kind FROM segue_event WHERE release = %s ORDER BY id", [release])
    return [kind for (kind,) in rows if kind in kinds]


def test_old_code_runs_before_anything_is_done_in_the_background(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(project)
    seen: list[object] = []

    def look_and_write() -> None:
        seen.append(not_null(project))
        seen.append(project.sql("SELECT name FROM django_migrations WHERE app = 'shop'"))
        with project.connect() as session:
            session.execute("INSERT INTO shop_author (name) VALUES ('by old code')")
            session.execute(
                "INSERT INTO shop_book (title, author_id, pages, language) VALUES ('by old code', 2, 3, 'en')"
            )

    between(project, monkeypatch, look_and_write)

    run = project.rollback()

    assert run.state is State.ROLLED_BACK
    assert seen == [[False, False], [("0001_step",)]]
    assert not_null(project) == [True, True]
    assert project.sql("SELECT title, pages FROM shop_book ORDER BY id") == [("Godaan", 10), ("by old code", 3)]
    assert "old code runs again; 2 background steps left" in project.said
    assert events(project, EventKind.MIGRATION_UNDONE, EventKind.OLD_CODE_RUNS, EventKind.RELEASE_ROLLED_BACK) == [
        "migration undone",
        "migration undone",
        "old code runs",
        "release rolled back",
    ]


def test_the_result_says_how_long_it_took_until_old_code_ran(project: Project) -> None:
    opened(project)

    run = project.rollback()

    seconds = run.rolled_back_in_seconds
    assert seconds is not None
    assert render.release_lines(run)[-1] == f"What old code needs was back after {seconds:.2f} s."
    assert render.release_json(run, (), 1.0)["rolled_back_in_seconds"] == seconds


def test_the_command_says_it_in_text_and_in_json(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    opened(project)

    text_status = cli.main(["rollback"])
    text = capsys.readouterr()
    project.apply()
    json_status = cli.main(["rollback", "--format", "json"])

    assert (text_status, json_status) == (0, 0)
    assert re.search(r"^What old code needs was back after \d+\.\d\d s\.$", text.out, re.MULTILINE)
    assert "… old code runs again; 2 background steps left" in text.err
    assert "✓ tighten again: retire column shop_book.pages" in text.err
    assert json.loads(capsys.readouterr().out)["rolled_back_in_seconds"] > 0


def test_a_rollback_that_is_interrupted_in_the_background_says_that_old_code_runs(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(project)
    between(project, monkeypatch, raising(KeyboardInterrupt()))

    with pytest.raises(Interrupted) as caught:
        project.rollback()

    release = project.session().journal.runs()[-1].release
    assert str(caught.value) == (
        f"Interrupted; release {release} is rolled back half way, and what old code needs is back.\n"
        "Next: segue rollback, to go on"
    )
    assert project.session().journal.run(release).state is State.ROLLING_BACK


def test_rollback_goes_on_in_the_background_where_it_was_interrupted(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(project)
    with monkeypatch.context() as patched:
        between(project, patched, raising(KeyboardInterrupt()))
        with pytest.raises(Interrupted):
            project.rollback()

    run = project.rollback()

    assert run.state is State.ROLLED_BACK
    assert not_null(project) == [True, True]
    assert events(project, EventKind.OLD_CODE_RUNS) == ["old code runs"]


def test_apply_first_completes_what_a_rollback_has_left_for_the_background(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(project)
    with monkeypatch.context() as patched:
        between(project, patched, raising(KeyboardInterrupt()))
        with pytest.raises(Interrupted):
            project.rollback()
    rolled_back = project.session().journal.runs()[-1].release

    run = project.apply()

    assert run is not None
    assert project.session().journal.run(rolled_back).state is State.ROLLED_BACK
    assert f"release {rolled_back} was interrupted while rolling back; that is completed first" in project.said
    assert run.state is State.OPEN
    assert project.sql("SELECT name FROM django_migrations WHERE app = 'shop' ORDER BY name") == [
        ("0001_step",),
        ("0002_step",),
        ("0003_step",),
    ]


def test_a_failure_in_the_background_says_that_old_code_runs(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(project)
    between(project, monkeypatch, raising(LookupError("the disk is full")))

    with pytest.raises(FailedAndUndone) as caught:
        project.rollback()

    release = project.session().journal.runs()[-1].release
    assert str(caught.value) == (
        f"Rolling back release {release} stopped: the disk is full\n"
        "What old code needs is back.\n"
        "Next: mend the cause and run segue rollback again: it goes on where it stopped"
    )


def test_a_migration_that_fails_is_taken_back_in_the_background_too(project: Project) -> None:
    open_shop(project)
    project.migration(NO_PAGES, FAIL)

    with pytest.raises(FailedAndUndone):
        project.apply()

    run = project.session().journal.runs()[-1]
    assert (run.state, run.background) == (State.FAILED, ())
    assert not_null(project) == [True, True]


def test_what_a_failed_migration_has_left_for_the_background_is_completed_by_the_next_command(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_shop(project)
    project.migration(NO_PAGES, FAIL)
    append = Journal.append

    def interrupted(journal: Journal, release: str, kind: EventKind, **data: object) -> None:
        append(journal, release, kind, **data)
        if kind is EventKind.MIGRATION_UNDONE:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "append", interrupted)
        with pytest.raises(Interrupted) as caught:
            project.apply()
    left = project.session().journal.runs()[-1]

    run = project.rollback()

    assert str(caught.value) == (
        "Interrupted while shop.0002_step was being taken back.\n"
        "Next: segue rollback, which takes the rest back; or segue apply, which goes on"
    )
    assert left.state is State.APPLYING
    assert run.state is State.ROLLED_BACK
    assert not_null(project) == [True, True]


def test_a_row_without_a_value_keeps_the_column_nullable_and_the_rollback_going(project: Project) -> None:
    opened(project)
    project.model("Book").objects.create(title="by new code", author_id=1)

    run = project.rollback()

    assert run.state is State.ROLLED_BACK
    assert not_null(project) == [False, True]
    assert project.sql("SELECT title, pages FROM shop_book ORDER BY id") == [("Godaan", 10), ("by new code", None)]


def test_a_release_without_anything_for_the_background_does_not_speak_of_it(project: Project) -> None:
    open_shop(project)
    project.migration(SHELF)
    project.apply()

    run = project.rollback()

    assert run.rolled_back_in_seconds is not None
    assert not [line for line in project.said if "background" in line]
