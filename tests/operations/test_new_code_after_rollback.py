"""After a rollback, new code that is still connected goes on working; what is against it waits until it is gone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from django.db import migrations, models
from django.db.migrations.operations.base import Operation
from django.test.utils import override_settings

from segue import render
from segue.core.errors import NewCodeConnected
from segue.core.run import Run, State
from tests.operations.bookshop import edit, plan
from tests.operations.sequences import told
from tests.project import Project

BOOK = migrations.CreateModel(
    "Book",
    [
        ("id", models.BigAutoField(primary_key=True)),
        ("title", models.CharField(max_length=40)),
        ("pages", models.CharField(max_length=10, default="1")),
        ("note", models.TextField()),
        ("weight", models.FloatField(default=1)),
    ],
)
RENAMED_FIELD = migrations.RenameField("Book", "title", "name")
RENAMED_MODEL = migrations.RenameModel("Book", "Volume")
REMOVED = migrations.RemoveField("Book", "note")
REMOVED_DEFAULT = migrations.RemoveField("Book", "weight")
RETYPED = migrations.AlterField("Book", "pages", models.IntegerField(default=1))
LOOSENED = migrations.AlterField("Book", "note", models.TextField(null=True))

KINDS = pytest.mark.parametrize(
    ("operation", "model", "values"),
    [
        (RENAMED_FIELD, "Book", {"name": "by new code", "note": ""}),
        (RENAMED_MODEL, "Volume", {"title": "by new code", "note": ""}),
        (REMOVED, "Book", {"title": "by new code"}),
        (REMOVED_DEFAULT, "Book", {"title": "by new code", "note": ""}),
        (RETYPED, "Book", {"title": "by new code", "note": "", "pages": 7}),
        (LOOSENED, "Book", {"title": "by new code", "note": None}),
    ],
    ids=[
        "renamed field",
        "renamed model",
        "removed field",
        "removed field with a default",
        "text to number",
        "nullable",
    ],
)


def _open(project: Project, *operations: Operation) -> Run:
    project.live(project.migration(BOOK))
    project.sql("INSERT INTO shop_book (title, pages, note, weight) VALUES ('there', '3', 'n', 2)")
    project.migration(*operations)
    run = project.apply()
    assert run is not None
    return run


@contextmanager
def _new_code(project: Project, run: Run) -> Iterator[psycopg.Connection[Any]]:
    with project.connect(f"gunicorn segue:{run.tag}") as connection:
        pid = connection.info.backend_pid
        yield connection
    # A session that was closed is listed until its server process has ended.
    while project.sql("SELECT FROM pg_stat_activity WHERE pid = %s", [pid]):
        time.sleep(0.01)


def _writer(project: Project, model: str, values: dict[str, Any]) -> Callable[[], int]:
    new = project.model(model)

    def write() -> int:
        with told(new._meta.apps):
            new.objects.create(**values)
            return new.objects.filter(**values).count()

    return write


@contextmanager
def _repeated(connection: psycopg.Connection[Any], statement: str) -> Iterator[list[str]]:
    """Carry a statement out again and again beside the block; yields what became of each, "" when all was well."""
    outcomes: list[str] = []
    stop = threading.Event()
    connection.autocommit = True

    def repeat() -> None:
        while not stop.is_set():
            try:
                connection.execute(statement)
                outcomes.append("")
            except psycopg.Error as error:
                outcomes.append(str(error))

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield outcomes
    finally:
        stop.set()
        thread.join()


@KINDS
def test_new_code_works_on_after_a_rollback_until_it_is_gone(
    project: Project, operation: Operation, model: str, values: dict[str, Any]
) -> None:
    run = _open(project, operation)
    write, old = _writer(project, model, values), project.model("Book", "0001_step")

    with _new_code(project, run):
        write()
        rolled_back = project.rollback()
        written = write()
        old.objects.create(title="by old code", note="")
        with pytest.raises(NewCodeConnected) as caught:
            project.finalize(old_code_gone=False)
    before = sorted(old.objects.values_list("title", flat=True))
    (finished,) = project.finalize(old_code_gone=False)

    assert rolled_back.state is State.ROLLED_BACK
    assert written == 2
    assert str(caught.value).splitlines()[0] == (
        f"Release {run.release} is rolled back, and its new code is still connected:"
    )
    assert before == ["by new code", "by new code", "by old code", "there"]
    assert finished.background == ()
    assert sorted(old.objects.values_list("title", flat=True)) == before
    assert project.sql("SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'zzzz_segue%%'", []) == [(0,)]
    assert project.sql("SELECT count(*) FROM segue_alias") == [(0,)]


@KINDS
def test_it_works_on_when_the_release_is_applied_again_beside_it(
    project: Project, operation: Operation, model: str, values: dict[str, Any]
) -> None:
    run = _open(project, operation)
    write = _writer(project, model, values)

    with _new_code(project, run):
        write()
        project.rollback()
        write()
        project.apply()
        written = write()

    assert written == 3
    project.finalize()
    project.stock()
    assert project.differences() == []
    assert write() == 4


@pytest.mark.parametrize(
    ("operation", "columns"),
    [(REMOVED, "title, pages, weight"), (REMOVED_DEFAULT, "title, pages, note"), (LOOSENED, "title, pages, weight")],
    ids=["removed field", "removed field with a default", "nullable"],
)
def test_not_one_row_of_it_fails_while_the_release_is_applied_again(
    project: Project, operation: Operation, columns: str
) -> None:
    run = _open(project, operation)
    insert = f"INSERT INTO shop_book ({columns}) VALUES ('1', '1', '1')"

    with _new_code(project, run) as new, _repeated(new, insert) as done:
        project.rollback()
        project.apply()
        project.rollback()
        project.apply()
    project.sql("UPDATE shop_book SET note = '' WHERE note IS NULL")
    project.rollback()

    assert set(done) == {""}
    project.stock("0001_step")
    assert project.differences() == []


def test_an_edited_migration_waits_until_it_is_gone(project: Project) -> None:
    run = _open(project, RENAMED_FIELD)
    with _new_code(project, run):
        project.rollback()
        edit(project, "0002_step", migrations.RenameField("Book", "title", "heading"))
        with pytest.raises(NewCodeConnected) as caught:
            project.apply()
    project.apply()

    assert str(caught.value) == (
        f"Release {run.release} is rolled back and its new code is still connected, but shop.0002_step has been edited "
        "since, and would not fit that code.\n"
        "Next: stop that code, then the same command again; or put the file back as it was"
    )
    project.finalize()
    project.stock()
    assert project.differences() == []


@KINDS
def test_the_plan_beside_it_is_what_is_carried_out(
    project: Project,
    operation: Operation,
    model: str,
    values: dict[str, Any],
) -> None:
    run = _open(project, operation)

    with _new_code(project, run):
        project.rollback()
        planned = plan(project)
        again = project.apply()

    assert again is not None
    done = [step.title for _, steps in again.done for step in steps if not step.id.endswith(":kept")]
    assert [step.title for step in planned.steps] == [*done, *(step.title for _, step in again.deferred)]


@override_settings(SEGUE={"ALIAS_FROM": 0})
def test_a_name_without_a_twin_is_kept_for_new_code_too(project: Project) -> None:
    run = _open(project, RENAMED_FIELD)
    write = _writer(project, "Book", {"name": "by new code", "note": ""})

    with _new_code(project, run):
        project.rollback()
        written = write()
    project.finalize()

    assert written == 1
    assert project.sql("SELECT count(*) FROM segue_alias") == [(0,)]


def test_another_release_on_the_table_waits_for_it(project: Project) -> None:
    project.live(project.migration(BOOK))
    project.migration(migrations.AddField("Book", "shelf", models.IntegerField(null=True)))
    project.apply()
    project.finalize()
    project.migration(RENAMED_FIELD)
    run = project.apply()
    assert run is not None

    with _new_code(project, run):
        project.rollback()
        with pytest.raises(NewCodeConnected) as caught:
            project.apply("0001_step")
    project.apply("0001_step")

    assert str(caught.value) == (
        f"Release {run.release} is rolled back, its new code is still connected, and this one changes the same "
        "tables: shop_book.\n"
        "Next: stop that code, then the same command again; segue status shows what waits"
    )
    assert project.sql("SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'zzzz_segue%%'", []) == [(0,)]


def test_what_is_left_for_new_code_is_told(project: Project) -> None:
    run = _open(project, RENAMED_FIELD)

    with _new_code(project, run):
        lines = render.release_lines(project.rollback())

    assert lines[-1] == (
        "Its new code is still connected, and goes on working: 1 step will wait. Next: segue finalize, when new code "
        "is gone."
    )


def test_without_new_code_nothing_is_left(project: Project) -> None:
    run = _open(project, RENAMED_FIELD, REMOVED)

    with project.connect("gunicorn segue:00000000"):
        rolled_back = project.rollback()

    assert rolled_back.release == run.release
    assert rolled_back.background == ()
    project.stock("0001_step")
    assert project.differences() == []
