"""The open window: what waits for finalize, who stands against it, and several releases at once."""

from __future__ import annotations

import re
import threading

import psycopg
import pytest
from django.core.management import call_command
from django.db import connection, migrations, models
from psycopg.conninfo import make_conninfo

from segue.core.errors import OldCodeConnected, UsageError
from segue.core.run import State
from tests.operations.bookshop import open_shop
from tests.project import Project

ISBN = migrations.AddField("book", "isbn", models.CharField(max_length=13, default="none"))
FAME = migrations.AddField("author", "fame", models.IntegerField(default=5))


def _default(project: Project, table: str, column: str) -> str | None:
    rows = project.sql(
        "SELECT column_default FROM information_schema.columns WHERE table_name = %s AND column_name = %s",
        [table, column],
    )
    default: str | None = rows[0][0]
    return default


def test_a_default_stays_until_finalize(project: Project) -> None:
    open_shop(project)
    project.migration(ISBN)

    project.apply()
    open_default = _default(project, "shop_book", "isbn")
    project.finalize()

    assert open_default == "'none'::character varying"
    assert _default(project, "shop_book", "isbn") is None


def test_finalize_refuses_while_it_cannot_tell_what_code_is_connected(project: Project) -> None:
    open_shop(project)
    project.migration(ISBN)
    run = project.apply()

    with project.connect("gunicorn"), pytest.raises(OldCodeConnected) as caught:
        project.finalize(old_code_gone=False)

    assert run is not None
    lines = str(caught.value).splitlines()
    assert lines[0] == f"Release {run.release} cannot be finalized while old code may run:"
    assert_matches(lines[1], r'  pid \d+ "gunicorn" since \d{4}-\d\d-\d\d [\d:.+]+: its code cannot be told')
    assert lines[2:] == [
        "Next: stop them and run segue finalize again; or segue finalize --old-code-gone, if you know that they are "
        "not old code"
    ]
    assert _default(project, "shop_book", "isbn") is not None


def test_finalize_refuses_while_a_connection_carries_another_tag(project: Project) -> None:
    open_shop(project)
    project.migration(ISBN)
    project.apply()

    with project.connect("gunicorn segue:00000000"), pytest.raises(OldCodeConnected) as caught:
        project.finalize(old_code_gone=False)

    assert_matches(
        str(caught.value).splitlines()[1],
        r'  pid \d+ "gunicorn segue:00000000" since \d{4}-\d\d-\d\d [\d:.+]+: old code',
    )


@pytest.mark.watched
def test_finalize_notices_old_code_that_connects_for_each_request(project: Project) -> None:
    open_shop(project)
    project.migration(ISBN)
    project.apply()
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(0.3):
            with project.connect("gunicorn segue:00000000"):
                stop.wait(0.1)

    application = threading.Thread(target=work)
    application.start()
    try:
        with pytest.raises(OldCodeConnected, match=r'"gunicorn segue:00000000" since .*: old code'):
            project.finalize(old_code_gone=False)
    finally:
        stop.set()
        application.join()


def test_finalize_notices_old_code_that_connects_as_another_role(project: Project) -> None:
    open_shop(project)
    project.migration(ISBN)
    project.apply()
    project.sql("CREATE ROLE web LOGIN SUPERUSER")

    with (
        psycopg.connect(_as_role(project, "web"), application_name="gunicorn segue:00000000"),
        pytest.raises(OldCodeConnected, match=r'"gunicorn segue:00000000" since .*: old code'),
    ):
        project.finalize(old_code_gone=False)

    project.sql("DROP ROLE web")


def _as_role(project: Project, role: str) -> str:
    return make_conninfo(project.server.url(str(connection.settings_dict["NAME"])), user=role)


def test_finalize_passes_beside_connections_of_the_new_code(project: Project) -> None:
    open_shop(project)
    project.migration(ISBN)
    project.apply()

    with project.connect(f"gunicorn segue:{project.session().tag}"):
        (run,) = project.finalize(old_code_gone=False)

    assert run.state is State.FINALIZED


def test_finalize_passes_when_the_operator_knows_better(project: Project) -> None:
    open_shop(project)
    project.migration(ISBN)
    project.apply()

    with project.connect("psql"):
        (run,) = project.finalize(old_code_gone=True)

    assert run.state is State.FINALIZED


def test_two_releases_on_other_tables_are_open_at_once_and_rolled_back_newest_first(project: Project) -> None:
    open_shop(project)
    project.migration(ISBN)
    project.apply()
    project.migration(FAME)
    project.apply()
    open_at_once = len(project.session().journal.open_runs())

    newest, oldest = project.rollback(), project.rollback()

    assert open_at_once == 2
    assert [newest.planned, oldest.planned] == [(("shop", "0003_step"),), (("shop", "0002_step"),)]
    assert project.sql("SELECT name FROM django_migrations WHERE app = 'shop'") == [("0001_step",)]


def test_two_open_releases_are_finalized_together(project: Project) -> None:
    open_shop(project)
    project.migration(ISBN)
    project.apply()
    project.migration(FAME)
    project.apply()

    runs = project.finalize()

    assert [run.state for run in runs] == [State.FINALIZED, State.FINALIZED]
    project.stock()
    assert project.differences() == []


def test_a_release_that_touches_the_same_table_finalizes_the_one_before_it(project: Project) -> None:
    open_shop(project)
    project.migration(ISBN)
    project.apply()
    tag = project.session().tag
    project.migration(migrations.AddField("book", "shelf", models.IntegerField(null=True)))

    with project.connect(f"gunicorn segue:{tag}"):
        project.apply()

    states = [run.state for run in project.session().journal.runs()]
    assert states[-2:] == [State.FINALIZED, State.OPEN]


def test_it_stays_open_while_its_old_code_is_connected(project: Project) -> None:
    open_shop(project)
    project.migration(ISBN)
    project.apply()
    project.migration(migrations.AddField("book", "shelf", models.IntegerField(null=True)))

    with project.connect("gunicorn segue:00000000"):
        project.apply()

    states = [run.state for run in project.session().journal.runs()]
    assert states[-2:] == [State.OPEN, State.OPEN]


def test_a_finalized_release_is_rolled_back_and_applied_again_without_loss(project: Project) -> None:
    open_shop(project)
    project.migration(ISBN)
    project.apply()
    project.finalize()
    project.model("Book").objects.create(title="new", author_id=1, pages=1, isbn="978")

    project.rollback()
    project.model("Book", at="0001_step").objects.create(title="meanwhile", author_id=1, pages=1)
    project.finalize()
    project.apply()
    project.finalize()

    assert project.sql("SELECT title, isbn FROM shop_book ORDER BY id") == [
        ("Godaan", "none"),
        ("new", "978"),
        ("meanwhile", "none"),
    ]
    project.stock()
    assert project.differences() == []


def test_part_of_a_release_is_rolled_back_and_applied_again(project: Project) -> None:
    open_shop(project)
    project.migration(ISBN)
    project.migration(FAME)
    project.apply()
    project.model("Author").objects.create(name="new", fame=9)

    project.apply("0002")
    partly = project.sql("SELECT name FROM django_migrations WHERE app = 'shop' ORDER BY name")
    project.apply()

    assert partly == [("0001_step",), ("0002_step",)]
    assert project.sql("SELECT name, fame FROM shop_author ORDER BY id") == [("Premchand", 5), ("new", 9)]
    project.finalize()
    project.stock()
    assert project.differences() == []


def assert_matches(text: str, pattern: str) -> None:
    """The whole text is as the pattern says."""
    assert re.fullmatch(pattern, text), text


def test_a_database_taken_back_to_zero_is_not_fresh_and_gets_its_rows_back(project: Project) -> None:
    open_shop(project)
    call_command("migrate", "shop", "zero", verbosity=0)

    call_command("migrate", "shop", verbosity=0)

    assert project.sql("SELECT count(*) FROM shop_book") == [(1,)]


def test_rollback_refuses_to_take_back_what_made_the_database_from_nothing(project: Project) -> None:
    open_shop(project)
    release = project.session().journal.runs()[-1].release

    with pytest.raises(UsageError) as refused:
        project.rollback()

    assert str(refused.value) == (
        f"The newest release, {release}, made this database from nothing: there is nothing to go back to.\n"
        "Next: manage.py migrate APP MIGRATION, to go back to a migration by name"
    )
