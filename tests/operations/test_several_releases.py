"""Releases that meet each other: failures, rollbacks half way, and objects that went with others."""

from __future__ import annotations

import pytest
from django.core.management import CommandError, call_command
from django.db import connections, migrations, models

from segue import pipeline
from segue.core.errors import FailedAndUndone, OldCodeConnected
from segue.core.run import State
from segue.history import installed_migrations, release_tag
from tests.operations.bookshop import open_shop
from tests.project import Project

ISBN = migrations.AddField("book", "isbn", models.CharField(max_length=13, default="none"))
FAIL = migrations.RunSQL("SELECT 1 / 0", migrations.RunSQL.noop)


def _applied(project: Project) -> list[str]:
    return [row[0] for row in project.sql("SELECT name FROM django_migrations WHERE app = 'shop' ORDER BY name")]


def test_a_failing_release_leaves_the_open_one_before_it_alone(project: Project) -> None:
    open_shop(project)
    project.migration(ISBN)
    project.migration(FAIL)
    with pytest.raises(CommandError):
        call_command("migrate", "shop", verbosity=0)

    with pytest.raises(FailedAndUndone):
        project.apply()

    states = [run.state for run in project.session().journal.runs()]
    assert states[-2:] == [State.OPEN, State.FAILED]
    assert _applied(project) == ["0001_step", "0002_step"]


def test_an_order_that_is_taken_back_keeps_its_numbers(project: Project) -> None:
    open_shop(project)
    old_book = project.model("Book")
    project.migration(migrations.AlterOrderWithRespectTo("book", "author"))
    project.apply()
    old_book.objects.create(title="by old code", author_id=1, pages=1)
    project.sql("UPDATE shop_book SET _order = 7 + id")

    project.rollback()
    project.apply()

    assert project.sql("SELECT id, _order FROM shop_book ORDER BY id") == [(1, 8), (2, 9)]


def test_a_column_that_went_with_a_buried_table_is_not_revived_on_the_new_one(project: Project) -> None:
    open_shop(project)
    memo = [("id", models.BigAutoField(primary_key=True))]
    text = models.CharField(max_length=5, default="x")
    project.migration(migrations.CreateModel("Memo", [*memo, ("c", text)]))
    project.apply()
    project.finalize()
    for operation in (
        migrations.RemoveField("memo", "c"),
        migrations.DeleteModel("Memo"),
        migrations.CreateModel("Memo", [*memo, ("z", models.IntegerField(default=1))]),
    ):
        project.migration(operation)
        project.apply()
    project.finalize()
    project.migration(migrations.AddField("memo", "c", text))
    project.apply()

    project.model("Memo").objects.create(z=1, c="new")

    assert project.sql("SELECT z, c FROM shop_memo") == [(1, "new")]


def test_finalize_does_not_tighten_a_column_that_was_retired_again(project: Project) -> None:
    open_shop(project)
    project.migration(migrations.AddField("book", "blurb", models.CharField(max_length=9, default="b")))
    project.apply()
    project.finalize()
    bare = models.CharField(max_length=9)
    project.migration(migrations.AlterField("book", "blurb", bare))
    project.apply()
    project.migration(migrations.RemoveField("book", "blurb"))
    project.apply()
    project.finalize()
    project.rollback()
    project.apply()

    project.finalize()
    project.model("Book").objects.create(title="by new code", author_id=1, pages=1)

    assert project.sql("SELECT count(*) FROM shop_book") == [(2,)]


def test_finalizing_a_release_that_went_back_refuses_while_new_code_is_connected(project: Project) -> None:
    open_shop(project)
    project.migration(ISBN)
    project.apply()
    project.finalize()
    new_code = release_tag(installed_migrations())
    call_command("migrate", "shop", "0001", verbosity=0)

    with project.connect(application=f"web segue:{new_code}"), pytest.raises(OldCodeConnected):
        project.finalize(old_code_gone=False)


def test_a_squashed_migration_that_is_taken_back_leaves_no_record_of_what_it_replaces(project: Project) -> None:
    open_shop(project)
    project.write(
        "0002_squashed",
        "from django.db import migrations, models\n\n\n"
        "class Migration(migrations.Migration):\n"
        '    replaces = [("shop", "0002_a"), ("shop", "0003_b")]\n'
        '    dependencies = [("shop", "0001_step")]\n'
        '    operations = [migrations.AddField("author", "fame", models.IntegerField(default=5))]\n',
    )
    project.migration(FAIL)

    with pytest.raises(FailedAndUndone):
        project.apply()

    assert _applied(project) == ["0001_step"]
    assert connections["default"].get_autocommit()


def test_a_named_release_is_rolled_back_once_and_no_other_in_its_place(project: Project) -> None:
    open_shop(project)
    project.migration(ISBN)
    project.apply()
    project.finalize()
    project.migration(migrations.AddField("author", "fame", models.IntegerField(default=5)))
    release = project.apply()
    assert release is not None

    first = pipeline.rollback(project.session(), release.release)
    second = pipeline.rollback(project.session(), release.release)

    assert (first.state, second.state) == (State.ROLLED_BACK, State.ROLLED_BACK)
    assert _applied(project) == ["0001_step", "0002_step"]
