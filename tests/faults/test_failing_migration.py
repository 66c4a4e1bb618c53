"""A migration that raises, and Ctrl-C: migrate takes one migration back, apply the whole release."""

from __future__ import annotations

import re
import signal
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connections, migrations, models

from segue import pipeline
from segue.core.errors import FailedAndUndone
from segue.core.run import State
from segue.journal import Journal
from tests.faults import child, matrix
from tests.faults.child import Strike
from tests.faults.shop import Shop
from tests.project import Project

pytestmark = pytest.mark.usefixtures("unwatched")

_BOOK = migrations.CreateModel(
    "Book", [("id", models.BigAutoField(primary_key=True)), ("title", models.CharField(max_length=50))]
)
_LANGUAGE = migrations.AddField("book", "language", models.CharField(max_length=10, default="en"))
_PAGES = migrations.AddField("book", "pages", models.IntegerField(null=True))


def count_pages(apps: Any, schema_editor: Any) -> None:
    """The migration's own code: it changes a row, and then fails where the catalogue is empty."""
    book = apps.get_model("shop", "Book").objects.using(schema_editor.connection.alias)
    book.update(title="changed by the migration")
    if not book.filter(title="counted").exists() and book.filter(pk=1).exists():
        raise LookupError("the catalogue has no page counts")


@pytest.fixture
def failing(project: Project) -> Project:
    """A project in use whose second migration succeeds and whose third fails, having added a column before."""
    project.live(project.migration(_BOOK))
    project.sql("INSERT INTO shop_book (title) VALUES ('written by hand')")
    project.migration(_LANGUAGE)
    project.migration(_PAGES, migrations.RunPython(count_pages, migrations.RunPython.noop))
    return project


def applied(project: Project) -> list[str]:
    return [n for (n,) in project.sql("SELECT name FROM django_migrations WHERE app = 'shop' ORDER BY name")]


def interruptions(kinds: list[str]) -> list[Strike]:
    """Return Ctrl-C at some events, the first and the last left out: there nothing is under way."""
    share = matrix.a_share(kinds, part=0)[1:-1:5]
    return [Strike(event=strike.event, when=strike.when, signal=signal.SIGINT) for strike in share]


def test_migrate_takes_only_the_failing_migration_back_and_leaves_the_release_open(failing: Project) -> None:
    with pytest.raises(CommandError) as failed:
        call_command("migrate", "shop", verbosity=0)

    run = Journal(connections["default"]).runs()[-1]
    assert str(failed.value) == (
        "shop.0003_step failed and was taken back: the catalogue has no page counts\n"
        "What had been applied before it stays so: shop.0002_step.\n"
        "Next: mend the cause and run the same command again; --traceback shows where it failed"
    )
    assert failed.value.returncode == 7
    assert run.state is State.OPEN
    assert run.migrations == (("shop", "0002_step"),)
    assert applied(failing) == ["0001_step", "0002_step"]
    assert failing.sql("SELECT title, language FROM shop_book") == [("written by hand", "en")]


def test_apply_takes_the_whole_release_back(failing: Project) -> None:
    with pytest.raises(FailedAndUndone) as failed:
        failing.apply()

    run = Journal(connections["default"]).runs()[-1]
    assert str(failed.value) == (
        "shop.0003_step failed and was taken back: the catalogue has no page counts\n"
        f"Release {run.release} was taken back whole.\n"
        "Next: mend the cause and run the same command again; --traceback shows where it failed"
    )
    assert run.state is State.ROLLED_BACK
    assert applied(failing) == ["0001_step"]
    assert failing.sql("SELECT title FROM shop_book") == [("written by hand",)]
    failing.model("Book", at="0001_step").objects.create(title="by old code")


@pytest.mark.parametrize("command", ["migrate", "apply"])
def test_once_the_cause_is_mended_the_same_command_goes_through(failing: Project, command: str) -> None:
    run = pipeline.apply if command == "apply" else _migrate
    with pytest.raises((FailedAndUndone, CommandError)):
        run(failing.session(), "shop")

    failing.sql("DELETE FROM shop_book")
    run(failing.session(), "shop")
    failing.finalize()

    failing.stock()
    assert failing.differences() == []
    assert applied(failing) == ["0001_step", "0002_step", "0003_step"]


def _migrate(_: Any, app: str) -> None:
    call_command("migrate", app, verbosity=0)


def test_control_c_in_apply_takes_the_whole_release_back(shop: Shop) -> None:
    strikes = interruptions(matrix.kinds_of_events(shop, *matrix.APPLY))

    found = []
    for strike in strikes:
        shop.reset()
        before = shop.contents()
        ended = child.run(*matrix.APPLY, strike=strike)
        told = re.search(
            r"segue apply: Interrupted; the migration under way was taken back\.\n"
            r"(Nothing of it remains\.|Release \S+ was taken back whole\.)\n"
            r"Next: run the same command again to go on\n$",
            ended.output,
        )
        if ended.status != 130 or not told:
            found.append(f"{strike}: ended with {ended.status}:\n{ended.output}")
        found += [f"{strike}: {wrong}" for wrong in shop.troubles_of_the_undone(before)]

    assert found == [], "\n=====".join(found)


def test_after_control_c_in_rollback_the_next_rollback_goes_on(shop: Shop) -> None:
    shop.project.apply()
    shop.write_as_new_code()
    shop.prepare()
    strikes = interruptions(matrix.kinds_of_events(shop, *matrix.ROLLBACK))

    found = []
    for strike in strikes:
        shop.reset()
        ended = child.run(*matrix.ROLLBACK, strike=strike)
        if ended.status != 130 or "Next: segue rollback, to go on\n" not in ended.output:
            found.append(f"{strike}: ended with {ended.status}:\n{ended.output}")
        found += [f"{strike}: {wrong}" for wrong in matrix.roll_back(shop)]

    assert found == [], "\n=====".join(found)
