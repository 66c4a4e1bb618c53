"""What has no online form yet runs as stock Django runs it, says so, and is taken back when it fails."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import call_command
from django.db import migrations, models

from segue import render
from segue.core.errors import FailedAndUndone
from segue.core.run import State
from tests.operations import steps
from tests.operations.bookshop import AUTHOR, BOOK, assert_ends_as_stock, column_names, open_shop, plan
from tests.project import Project

SHORTER = migrations.AlterField("book", "title", models.CharField(max_length=40))
ISBN = migrations.AddField("book", "isbn", models.CharField(max_length=13, default="none"))
TRANSLATE = migrations.RunPython(steps.translate_titles, steps.restore_titles)
FAIL = migrations.RunPython(steps.fail, steps.nothing)


def test_the_plan_names_the_lock_of_an_operation_that_is_not_online(project: Project) -> None:
    open_shop(project)
    name = project.migration(migrations.AlterField("book", "id", models.CharField(max_length=20, primary_key=True)))

    lines = render.plan_lines(plan(project))

    assert lines[3:6] == [
        f"shop.{name}",
        "  expand    alter field on shop_book  ACCESS EXCLUSIVE on shop_book, as stock Django: readers and writers "
        "wait until it is done, predicted less than 50 ms",
        "",
    ]


def test_an_altered_field_goes_forth_and_back_and_forth(project: Project) -> None:
    open_shop(project)
    project.migration(SHORTER)

    project.apply()
    project.rollback()
    project.apply()

    assert_ends_as_stock(project)


def test_an_altered_field_beside_an_online_operation_ends_as_stock(project: Project) -> None:
    open_shop(project)
    project.migration(ISBN, SHORTER)

    project.apply()
    project.rollback()
    project.apply()

    assert_ends_as_stock(project)


def test_what_a_data_migration_wrote_goes_back_even_where_its_reverse_does_nothing(project: Project) -> None:
    open_shop(project)
    project.migration(TRANSLATE, migrations.RunSQL("UPDATE shop_author SET name = 'P.'", migrations.RunSQL.noop))

    project.apply()
    translated = project.sql("SELECT title FROM shop_book")
    project.rollback()

    assert translated == [("translated",)]
    assert project.sql("SELECT title FROM shop_book") == [("Godaan",)]
    assert project.sql("SELECT name FROM shop_author") == [("Premchand",)]


def test_code_between_online_operations_sees_what_was_done_before_it(project: Project) -> None:
    open_shop(project)
    project.migration(
        ISBN,
        migrations.RunSQL("UPDATE shop_book SET isbn = 'filled'", migrations.RunSQL.noop),
        migrations.AddIndex("book", models.Index(fields=["isbn"], name="book_isbn")),
    )

    project.apply()

    assert project.sql("SELECT isbn FROM shop_book") == [("filled",)]
    assert_ends_as_stock(project)


def test_code_that_fails_takes_the_steps_before_it_back(project: Project) -> None:
    open_shop(project)
    project.migration(ISBN, FAIL)

    with pytest.raises(FailedAndUndone) as caught:
        project.apply()

    assert str(caught.value) == (
        "shop.0002_step failed and was taken back: the translator is ill\n"
        "Nothing of it remains.\n"
        "Next: mend the cause and run the same command again; --traceback shows where it failed"
    )
    assert project.sql("SELECT title FROM shop_book") == [("Godaan",)]
    assert project.sql("SELECT name FROM django_migrations WHERE app = 'shop'") == [("0001_step",)]
    project.model("Book", at="0001_step").objects.create(title="by old code", author_id=1, pages=1)


def test_a_failure_in_the_second_migration_takes_the_whole_release_back(project: Project) -> None:
    open_shop(project)
    project.migration(ISBN)
    project.migration(FAIL)

    with pytest.raises(FailedAndUndone) as caught:
        project.apply()

    release = project.session().journal.runs()[-1]
    assert release.state is State.ROLLED_BACK
    assert str(caught.value) == (
        "shop.0003_step failed and was taken back: the translator is ill\n"
        f"Release {release.release} was taken back whole.\n"
        "Next: mend the cause and run the same command again; --traceback shows where it failed"
    )
    assert project.sql("SELECT name FROM django_migrations WHERE app = 'shop'") == [("0001_step",)]


def test_only_the_database_side_of_a_separated_operation_is_carried_out(project: Project) -> None:
    open_shop(project)
    project.migration(
        migrations.SeparateDatabaseAndState(
            database_operations=[ISBN],
            state_operations=[ISBN, migrations.AddField("book", "unreal", models.IntegerField(null=True))],
        )
    )

    project.apply()

    assert "isbn" in column_names(project, "shop_book")
    assert "unreal" not in column_names(project, "shop_book")
    assert_ends_as_stock(project)


def test_a_migration_that_is_not_atomic_goes_forth_and_back_and_forth(project: Project) -> None:
    open_shop(project)
    project.migration(ISBN, TRANSLATE, atomic=False)

    project.apply()
    project.rollback()
    project.apply()

    assert project.sql("SELECT title, isbn FROM shop_book") == [("translated", "none")]
    assert_ends_as_stock(project)


def test_migrate_fake_records_and_touches_nothing(project: Project) -> None:
    open_shop(project)
    project.migration(ISBN)

    call_command("migrate", "shop", fake=True, verbosity=0)

    assert "isbn" not in column_names(project, "shop_book")
    assert project.sql("SELECT name FROM django_migrations WHERE app = 'shop' ORDER BY name") == [
        ("0001_step",),
        ("0002_step",),
    ]


def test_migrate_fake_initial_records_tables_that_are_there(project: Project) -> None:
    project.migration(AUTHOR, BOOK)
    project.apply()
    project.sql("DELETE FROM django_migrations WHERE app = 'shop'")
    said = StringIO()

    call_command("migrate", "shop", fake_initial=True, stdout=said)

    assert "Applying shop.0001_step... FAKED" in said.getvalue()
    assert project.sql("SELECT name FROM django_migrations WHERE app = 'shop'") == [("0001_step",)]


def test_migrate_to_an_earlier_migration_rolls_the_release_back(project: Project) -> None:
    open_shop(project)
    project.migration(ISBN)
    call_command("migrate", "shop", verbosity=0)
    project.model("Book").objects.create(title="new", author_id=1, pages=1, isbn="978")

    call_command("migrate", "shop", "0001", verbosity=0)
    (run,) = [r for r in project.session().journal.runs() if ("shop", "0002_step") in r.planned]
    call_command("migrate", "shop", verbosity=0)

    assert run.state is State.ROLLED_BACK
    assert project.sql("SELECT title, isbn FROM shop_book ORDER BY id") == [("Godaan", "none"), ("new", "978")]
