"""A migration's own code and third parties' operations go through the one door, too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import settings
from django.contrib.postgres import operations as postgres
from django.db import migrations, models
from django.test.utils import override_settings

from segue.core.errors import FailedAndUndone, GateNotMet, NeedsPerson
from segue.core.run import State
from tests.operations import own_code
from tests.operations.bookshop import assert_ends_as_stock, column_names, open_shop, plan
from tests.project import Project

ISBN = migrations.AddField("book", "isbn", models.CharField(max_length=13, default="none"))
SHELF = migrations.AddField("book", "shelf", models.IntegerField(null=True))
IN_STATE = migrations.SeparateDatabaseAndState(state_operations=[ISBN, SHELF])
ISBN_IN_STATE = migrations.SeparateDatabaseAndState(state_operations=[ISBN])
SAID = (
    "shop.0002_step: Raw Python operation changes the schema, so it begins again: each change is made online by "
    "itself, and what else it writes is committed as it goes"
)


@pytest.fixture
def uncaptured() -> Iterator[None]:
    """Keep nothing of what own code changes, as a project may wish that has no room for it."""
    with override_settings(SEGUE={**settings.SEGUE, "CAPTURE": {"*": 0}}):
        yield


@pytest.fixture(autouse=True)
def nothing_seen() -> Iterator[None]:
    """Forget what the code of migrations has left."""
    yield
    own_code.seen.clear()
    own_code.failing.clear()


def write_as_old_code(project: Project, title: str) -> None:
    """Insert from another session, as code does that knows the first migration only."""
    with project.connect() as session:
        session.execute(
            "INSERT INTO shop_book (title, author_id, pages, language) VALUES (%s, 1, 10, 'en')",
            [title],
        )


def authors(project: Project) -> list[str]:
    """Return the authors' names, oldest first."""
    return [name for (name,) in project.sql("SELECT name FROM shop_author ORDER BY id")]


def test_code_that_changes_the_schema_is_carried_out_online_step_by_step(project: Project) -> None:
    open_shop(project)
    project.migration(migrations.RunPython(own_code.add_isbn), IN_STATE)

    run = project.apply()
    write_as_old_code(project, "by old code")

    assert run is not None
    assert [step.id for _, steps in run.done for step in steps] == [
        "shop.0002_step:forth:0:column shop_book.isbn",
        "shop.0002_step:forth:0:column shop_book.shelf",
        "shop.0002_step:forth:0:opaque",
    ]
    assert [step.title for step in run.steps_left] == ["drop the default of shop_book.isbn"]
    assert SAID in project.said
    assert project.sql("SELECT title, isbn FROM shop_book ORDER BY id") == [("Godaan", "none"), ("by old code", "none")]
    assert_ends_as_stock(project)


def test_changes_of_the_schema_are_taken_back_from_the_journal_though_the_code_has_no_reverse(project: Project) -> None:
    open_shop(project)
    project.migration(migrations.RunPython(own_code.add_isbn), IN_STATE)
    project.apply()
    project.model("Book").objects.create(title="by new code", author_id=1, pages=1, isbn="978")

    project.rollback()
    write_as_old_code(project, "by old code")
    project.apply()

    assert project.sql("SELECT title, isbn FROM shop_book ORDER BY id") == [
        ("Godaan", "none"),
        ("by new code", "978"),
        ("by old code", "none"),
    ]
    assert_ends_as_stock(project)


def test_what_code_wrote_before_its_first_change_of_the_schema_is_written_once(project: Project) -> None:
    open_shop(project)
    project.migration(migrations.RunPython(own_code.write_and_add_isbn, own_code.remove_isbn_and_rows), IN_STATE)

    project.apply()

    assert project.sql("SELECT title, isbn FROM shop_book") == [("Godaan", "978")]
    assert authors(project) == ["Premchand", "written first"]
    assert own_code.seen == ["mail", "mail"]


def test_code_that_writes_and_changes_the_schema_is_reversed_through_the_same_door(project: Project) -> None:
    open_shop(project)
    project.migration(migrations.RunPython(own_code.write_and_add_isbn, own_code.remove_isbn_and_rows), IN_STATE)
    project.apply()
    project.model("Book").objects.create(title="by new code", author_id=1, pages=1, isbn="979")

    project.rollback()
    write_as_old_code(project, "by old code")
    rolled_back = authors(project)
    project.apply()

    assert rolled_back == ["Premchand"]
    assert authors(project) == ["Premchand", "written first"]
    assert project.sql("SELECT title, isbn FROM shop_book ORDER BY id") == [
        ("Godaan", "978"),
        ("by new code", "979"),
        ("by old code", "none"),
    ]
    assert_ends_as_stock(project)


@pytest.mark.usefixtures("uncaptured")
@pytest.mark.parametrize("code", [own_code.write_and_add_isbn, own_code.write], ids=["by steps", "whole"])
def test_code_that_has_no_reverse_is_not_rolled_back_and_the_release_goes_on(project: Project, code: Any) -> None:
    open_shop(project)
    operation = migrations.RunPython(code=code)
    project.migration(operation, *([IN_STATE] if code is own_code.write_and_add_isbn else []))
    run = project.apply()

    with pytest.raises(GateNotMet) as caught:
        project.rollback()

    assert run is not None
    assert str(caught.value) == (
        f"Release {run.release} cannot be rolled back, and nothing was changed:\n"
        f"  Operation {operation} in shop.0002_step is not reversible\n"
        "Next: segue finalize, to keep it; or give the operation a reverse and run segue rollback again"
    )
    assert "written first" in authors(project)
    assert [done.state for done in project.finalize()] == [State.FINALIZED]


@pytest.mark.usefixtures("uncaptured")
def test_a_failure_after_code_that_has_no_reverse_says_what_stays(project: Project) -> None:
    open_shop(project)
    project.migration(migrations.RunPython(code=own_code.write))
    project.migration(migrations.RunPython(own_code.add_isbn), IN_STATE)
    own_code.failing.add("add_isbn")

    with pytest.raises(FailedAndUndone) as caught:
        project.apply()
    own_code.failing.clear()
    project.apply()

    assert str(caught.value) == (
        "shop.0003_step failed and was taken back: add_isbn is ill\n"
        "What had been applied before it stays so: shop.0002_step.\n"
        "Next: mend the cause and run the same command again; --traceback shows where it failed"
    )
    assert authors(project) == ["Premchand", "written first"]
    assert_ends_as_stock(project)


def test_code_that_fails_half_way_leaves_nothing_of_the_changes_of_the_schema(project: Project) -> None:
    open_shop(project)
    project.migration(migrations.RunPython(own_code.add_isbn), IN_STATE)
    own_code.failing.add("add_isbn")

    with pytest.raises(FailedAndUndone) as caught:
        project.apply()
    write_as_old_code(project, "by old code")
    own_code.failing.clear()
    project.apply()

    assert str(caught.value) == (
        "shop.0002_step failed and was taken back: add_isbn is ill\n"
        "Nothing of it remains.\n"
        "Next: mend the cause and run the same command again; --traceback shows where it failed"
    )
    assert_ends_as_stock(project)


@pytest.mark.usefixtures("uncaptured")
def test_code_that_fails_half_way_after_writing_says_that_its_writes_stay(project: Project) -> None:
    open_shop(project)
    project.migration(migrations.RunPython(own_code.write_and_add_isbn), IN_STATE)
    own_code.failing.add("write_and_add_isbn")

    with pytest.raises(NeedsPerson) as caught:
        project.apply()
    write_as_old_code(project, "by old code")
    failed = authors(project)
    applied = project.sql("SELECT name FROM django_migrations WHERE app = 'shop'")
    own_code.failing.clear()
    project.apply()

    assert str(caught.value) == (
        "shop.0002_step failed: write_and_add_isbn is ill\n"
        "Every change of the schema is taken back. What this wrote beside them stays, because it was committed as it "
        "went and has no reverse: Raw Python operation.\n"
        "Next: settle what it wrote and mend the cause, then run the same command again: the migration begins anew"
    )
    assert failed == ["Premchand", "written first"]
    assert applied == [("0001_step",)]
    assert_ends_as_stock(project)


def test_code_that_fails_half_way_after_writing_is_taken_back_by_its_reverse(project: Project) -> None:
    open_shop(project)
    project.migration(migrations.RunPython(own_code.write_and_add_isbn, own_code.remove_isbn_and_rows), IN_STATE)
    own_code.failing.add("write_and_add_isbn")

    with pytest.raises(FailedAndUndone) as caught:
        project.apply()
    write_as_old_code(project, "by old code")
    failed = authors(project)
    own_code.failing.clear()
    project.apply()

    assert str(caught.value) == (
        "shop.0002_step failed and was taken back: write_and_add_isbn is ill\n"
        "Nothing of it remains.\n"
        "Next: mend the cause and run the same command again; --traceback shows where it failed"
    )
    assert failed == ["Premchand"]
    assert_ends_as_stock(project)


@pytest.mark.usefixtures("uncaptured")
def test_the_release_that_failed_half_way_after_writing_can_be_rolled_back_instead(project: Project) -> None:
    open_shop(project)
    project.migration(SHELF)
    project.migration(
        migrations.RunPython(own_code.write_and_add_isbn), migrations.SeparateDatabaseAndState(state_operations=[ISBN])
    )
    own_code.failing.add("write_and_add_isbn")
    with pytest.raises(NeedsPerson):
        project.apply()

    run = project.rollback()

    assert run.state is State.ROLLED_BACK
    assert project.sql("SELECT name FROM django_migrations WHERE app = 'shop'") == [("0001_step",)]


def test_code_that_executes_no_change_of_the_schema_stays_in_its_transaction(project: Project) -> None:
    open_shop(project)
    project.migration(ISBN, migrations.RunPython(own_code.run_sql_without_a_change))
    own_code.failing.add("run_sql_without_a_change")

    with pytest.raises(FailedAndUndone):
        project.apply()
    failed = project.sql("SELECT title FROM shop_book")
    own_code.failing.clear()
    project.apply()

    assert failed == [("Godaan",)]
    assert project.sql("SELECT title FROM shop_book") == [("updated",)]
    assert not [line for line in project.said if "changes the schema" in line]


@pytest.mark.usefixtures("uncaptured")
def test_a_migration_of_nothing_but_code_is_one_transaction(project: Project) -> None:
    open_shop(project)
    project.migration(
        own_code.Stamp("stamped"),
        migrations.RunSQL("UPDATE shop_author SET name = 'P.'"),
        migrations.RunPython(own_code.run_sql_without_a_change),
        migrations.AlterModelOptions("book", {"ordering": ["title"]}),
    )
    own_code.failing.add("run_sql_without_a_change")

    planned = plan(project).migrations[0].whole
    with pytest.raises(FailedAndUndone):
        project.apply()

    assert planned
    assert project.sql("SELECT title, name FROM shop_book, shop_author") == [("Godaan", "Premchand")]


@pytest.mark.usefixtures("uncaptured")
def test_a_migration_of_nothing_but_code_goes_step_by_step_once_it_changes_the_schema(project: Project) -> None:
    open_shop(project)
    project.migration(own_code.Stamp("stamped"), migrations.RunPython(own_code.add_isbn), IN_STATE)

    run = project.apply()
    write_as_old_code(project, "by old code")
    project.rollback()

    assert run is not None
    assert [step.id for _, steps in run.done for step in steps] == [
        "shop.0002_step:forth:0:opaque",
        "shop.0002_step:forth:1:column shop_book.isbn",
        "shop.0002_step:forth:1:column shop_book.shelf",
        "shop.0002_step:forth:1:opaque",
    ]
    assert project.sql("SELECT title FROM shop_book ORDER BY id") == [("unstamped",), ("unstamped",)]


def test_opaque_code_inside_a_separated_operation_leaves_its_neighbours_online(project: Project) -> None:
    open_shop(project)
    inner = migrations.SeparateDatabaseAndState(
        database_operations=[own_code.Stamp("stamped"), SHELF], state_operations=[SHELF]
    )
    project.migration(
        migrations.SeparateDatabaseAndState(database_operations=[ISBN, inner], state_operations=[ISBN, SHELF])
    )

    steps = [(step.id, step.opaque) for step in plan(project).steps]
    project.apply()
    write_as_old_code(project, "by old code")
    project.rollback()
    rolled_back = project.sql("SELECT title FROM shop_book ORDER BY id")
    project.apply()

    assert steps == [
        ("shop.0002_step:forth:0.0:column shop_book.isbn", False),
        ("shop.0002_step:forth:0.0:default shop_book.isbn", False),
        ("shop.0002_step:forth:0.1.0:opaque", True),
        ("shop.0002_step:forth:0.1.1:column shop_book.shelf", False),
    ]
    assert rolled_back == [("Godaan",), ("by old code",)]
    assert_ends_as_stock(project)


def test_a_separated_operation_that_changes_only_the_state_has_no_step(project: Project) -> None:
    open_shop(project)
    project.migration(migrations.SeparateDatabaseAndState(state_operations=[ISBN]))

    steps = plan(project).steps
    project.apply()

    assert steps == ()
    assert "isbn" not in column_names(project, "shop_book")
    assert project.model("Book")._meta.get_field("isbn").max_length == 13


def test_a_subclass_that_does_more_than_its_base_goes_through_the_door_as_code_does(project: Project) -> None:
    open_shop(project)
    project.migration(own_code.AddFieldTwice("book", "shelf", models.IntegerField(null=True)))

    steps = [(step.title, step.opaque) for step in plan(project).steps]
    run = project.apply()
    project.model("Book").objects.create(title="by new code", author_id=1, pages=1, shelf=7)
    project.rollback()
    write_as_old_code(project, "by old code")
    project.apply()

    assert steps == [("Add field shelf to book", True)]
    assert run is not None
    assert [step.title for _, done in run.done for step in done] == [
        "add column shop_book.shelf",
        "build index by_field on shop_book",
        "Add field shelf to book",
    ]
    assert project.sql("SELECT title, shelf FROM shop_book ORDER BY id") == [
        ("Godaan", None),
        ("by new code", 7),
        ("by old code", None),
    ]
    assert_ends_as_stock(project)


def test_a_subclass_that_does_what_its_base_does_is_planned_as_its_base(project: Project) -> None:
    open_shop(project)
    project.migration(own_code.AddFieldForReaders("book", "shelf", models.IntegerField(null=True)))

    assert [(step.title, step.opaque) for step in plan(project).steps] == [("add column shop_book.shelf", False)]


def test_code_that_catches_whatever_is_raised_does_not_hide_that_it_changes_the_schema(project: Project) -> None:
    open_shop(project)
    project.migration(migrations.RunPython(own_code.add_isbn_catching_everything), ISBN_IN_STATE)

    project.apply()

    assert SAID in project.said
    assert_ends_as_stock(project)


def test_code_that_changes_the_schema_in_a_transaction_of_its_own_runs_as_in_stock_django(project: Project) -> None:
    open_shop(project)
    project.migration(migrations.RunPython(own_code.add_isbn_in_a_transaction), SHELF, ISBN_IN_STATE)

    project.apply()

    assert (
        "shop.0002_step: Raw Python operation changes the schema within a transaction of its own, so it runs as in "
        "stock Django"
    ) in project.said
    assert_ends_as_stock(project)


def test_code_that_does_so_in_a_migration_that_is_not_atomic_is_refused(project: Project) -> None:
    open_shop(project)
    project.migration(migrations.RunPython(own_code.add_isbn_in_a_transaction), ISBN_IN_STATE, atomic=False)

    with pytest.raises(FailedAndUndone) as caught:
        project.apply()

    assert str(caught.value) == (
        "shop.0002_step failed and was taken back: add column shop_book.isbn: the migration is not atomic, and its "
        "code changes the schema inside transaction.atomic(). Take the change out of that block, or make the "
        "migration atomic.\n"
        "Nothing of it remains.\n"
        "Next: mend the cause and run the same command again; --traceback shows where it failed"
    )


def test_an_editor_that_code_asks_the_connection_for_leads_through_the_same_door(project: Project) -> None:
    open_shop(project)
    project.migration(
        migrations.RunPython(own_code.add_isbn_with_another_editor),
        migrations.SeparateDatabaseAndState(
            state_operations=[ISBN, migrations.AddIndex("book", models.Index(fields=["pages"], name="book_pages"))]
        ),
    )

    run = project.apply()
    project.rollback()
    write_as_old_code(project, "by old code")
    project.apply()

    assert run is not None
    assert [step.id for _, steps in run.done for step in steps] == [
        "shop.0002_step:forth:0:editor 1:column shop_book.isbn",
        "shop.0002_step:forth:0:editor 1:index book_pages",
        "shop.0002_step:forth:0:opaque",
    ]
    assert_ends_as_stock(project)


def test_an_editor_says_what_third_parties_ask_of_it(project: Project) -> None:
    open_shop(project)
    project.migration(migrations.RunPython(own_code.look_at_the_editor))

    project.apply()

    # First in its transaction, then as it goes: what it left for the end is a change of the schema.
    assert own_code.seen == [
        """default "a b" '''' True False True""",
        """default "a b" '''' False False False""",
    ]
    assert project.sql("SELECT to_regclass('book_language') IS NOT NULL") == [(True,)]


def test_an_index_that_code_builds_concurrently_by_hand_goes_forth_and_back_and_forth(project: Project) -> None:
    open_shop(project)
    project.migration(
        migrations.RunPython(own_code.write_then_build_index, own_code.drop_index_and_restore), atomic=False
    )

    project.apply()
    write_as_old_code(project, "by old code")
    applied = project.sql("SELECT title, to_regclass('book_by_hand') IS NULL FROM shop_book ORDER BY id")
    project.rollback()
    rolled_back = project.sql("SELECT title, to_regclass('book_by_hand') IS NULL FROM shop_book ORDER BY id")
    project.apply()

    assert applied == [("written", False), ("by old code", False)]
    assert rolled_back == [("Godaan", True), ("Godaan", True)]
    assert project.sql("SELECT to_regclass('book_by_hand') IS NULL") == [(False,)]


def test_sql_that_builds_an_index_concurrently_runs_outside_a_transaction(project: Project) -> None:
    open_shop(project)
    project.migration(
        migrations.RunSQL(
            'CREATE INDEX CONCURRENTLY "by_sql" ON shop_book (pages)',
            'DROP INDEX CONCURRENTLY "by_sql"',
            state_operations=[migrations.AddIndex("book", models.Index(fields=["pages"], name="by_sql"))],
        ),
        atomic=False,
    )

    project.apply()
    write_as_old_code(project, "by old code")
    project.rollback()
    project.apply()

    assert_ends_as_stock(project)


def test_sql_that_is_not_atomic_and_fails_half_way_is_taken_back_by_its_reverse(project: Project) -> None:
    open_shop(project)
    project.migration(
        migrations.RunSQL(
            ["UPDATE shop_book SET title = 'half'", "SELECT 1 / 0"], "UPDATE shop_book SET title = 'Godaan'"
        ),
        atomic=False,
    )

    with pytest.raises(FailedAndUndone) as caught:
        project.apply()

    assert str(caught.value) == (
        "shop.0002_step failed and was taken back: division by zero\n"
        "Nothing of it remains.\n"
        "Next: mend the cause and run the same command again; --traceback shows where it failed"
    )
    assert project.sql("SELECT title FROM shop_book") == [("Godaan",)]


def test_an_operation_that_is_atomic_by_itself_is_so_in_a_migration_that_is_not(project: Project) -> None:
    open_shop(project)
    project.migration(
        ISBN,
        migrations.RunPython(own_code.run_sql_without_a_change, atomic=True),
        atomic=False,
    )
    own_code.failing.add("run_sql_without_a_change")

    with pytest.raises(FailedAndUndone):
        project.apply()

    assert project.sql("SELECT title FROM shop_book") == [("Godaan",)]


class NothingWithThisHint:
    """A router that lets no operation run which carries the hint."""

    def allow_migrate(self, db: str, app_label: str, model_name: str | None = None, **hints: object) -> bool | None:
        """Say no to the hint and nothing to the rest."""
        return False if "elsewhere" in hints else None


@override_settings(DATABASE_ROUTERS=[NothingWithThisHint()])
def test_code_that_a_router_keeps_away_runs_in_no_direction(project: Project) -> None:
    open_shop(project)
    project.migration(
        ISBN, migrations.RunPython(own_code.add_isbn, migrations.RunPython.noop, hints={"elsewhere": True})
    )

    project.apply()
    project.rollback()

    assert "shelf" not in column_names(project, "shop_book")


def test_code_that_does_nothing_is_taken_back_by_doing_nothing(project: Project) -> None:
    open_shop(project)
    project.migration(ISBN, migrations.RunPython(migrations.RunPython.noop, migrations.RunPython.noop))

    project.apply()
    run = project.rollback()

    assert run.state is State.ROLLED_BACK


@pytest.mark.usefixtures("uncaptured")
def test_code_sees_a_renamed_model_by_its_new_name_while_the_database_still_has_the_old_one(project: Project) -> None:
    open_shop(project)
    project.migration(
        migrations.RenameModel("Book", "Volume"),
        migrations.RenameField("volume", "title", "heading"),
        migrations.RunPython(own_code.head_volumes, own_code.unhead_volumes),
    )

    project.apply()
    applied = [row.heading for row in project.model("Volume").objects.all()]
    write_as_old_code(project, "by old code")
    project.rollback()

    assert applied == ["headed"]
    assert project.sql("SELECT title FROM shop_book ORDER BY id") == [("Godaan",), ("Godaan",)]


def test_code_sees_no_column_of_a_later_migration_however_it_comes_to_the_table(project: Project) -> None:
    open_shop(project)
    project.migration(
        migrations.CreateModel("Room", [("id", models.BigAutoField(primary_key=True))]),
        migrations.CreateModel(
            "Shelf",
            [("id", models.BigAutoField(primary_key=True)), ("room", models.ForeignKey("shop.room", models.CASCADE))],
        ),
        migrations.AddField("author", "shelf", models.ForeignKey("shop.shelf", models.CASCADE, null=True)),
    )
    project.apply()
    project.finalize()
    project.sql("INSERT INTO shop_room DEFAULT VALUES")
    project.sql("INSERT INTO shop_shelf (room_id) SELECT id FROM shop_room")
    project.sql("UPDATE shop_author SET shelf_id = (SELECT id FROM shop_shelf)")
    project.migration(migrations.RunPython(own_code.see_titles_by_room))
    project.migration(ISBN)

    project.apply()

    assert own_code.seen == ["Godaan"]


def test_operations_of_contrib_postgres_are_translated_by_their_verbs(project: Project) -> None:
    open_shop(project)
    index = models.Index(fields=["pages"], name="book_pages")
    project.migration(postgres.AddIndexConcurrently("book", index), atomic=False)

    titles = [(step.title, step.opaque) for step in plan(project).steps]
    project.apply()
    write_as_old_code(project, "by old code")
    project.rollback()
    project.apply()

    assert titles == [("build index book_pages on shop_book", False)]
    assert_ends_as_stock(project)


def test_a_finalized_release_of_code_goes_back_and_forth_without_loss(project: Project) -> None:
    open_shop(project)
    project.migration(migrations.RunPython(own_code.write_and_add_isbn, own_code.remove_isbn_and_rows), IN_STATE)
    project.apply()
    project.finalize()
    project.model("Book").objects.create(title="by new code", author_id=1, pages=1, isbn="979")

    project.rollback()
    write_as_old_code(project, "by old code")
    rolled_back = authors(project)
    project.finalize()
    project.apply()

    assert rolled_back == ["Premchand"]
    assert project.sql("SELECT title, isbn FROM shop_book ORDER BY id") == [
        ("Godaan", "978"),
        ("by new code", "979"),
        ("by old code", "none"),
    ]
    assert_ends_as_stock(project)


class Told(list[str]):
    """What a run says, and what happens once it says that it waits."""

    def __init__(self, then: Callable[[], None]) -> None:
        super().__init__()
        self._then = then

    def append(self, text: str) -> None:
        """Keep the text."""
        if text.startswith("waiting for ACCESS EXCLUSIVE on shop_book") and not any("waiting" in line for line in self):
            self._then()
        super().append(text)


def test_nobody_waits_behind_code_that_waits_for_its_lock(project: Project) -> None:
    open_shop(project)
    project.migration(migrations.RunPython(own_code.add_isbn), IN_STATE)
    reader = project.connect("monthly report")
    reader.execute("SELECT count(*) FROM shop_book")

    def write_meanwhile() -> None:
        with project.connect() as session:
            session.execute("SET statement_timeout = '1s'")
            session.execute(
                "INSERT INTO shop_book (title, author_id, pages, language) VALUES ('meanwhile', 1, 1, 'en')"
            )
        reader.close()

    project.said = Told(write_meanwhile)

    project.apply()

    assert project.sql("SELECT title, isbn FROM shop_book ORDER BY id") == [("Godaan", "none"), ("meanwhile", "none")]
    assert_ends_as_stock(project)


def test_what_code_that_is_not_atomic_has_rolled_back_itself_does_not_count_as_written(project: Project) -> None:
    open_shop(project)
    project.migration(migrations.RunPython(own_code.write_what_is_rolled_back_and_fail), atomic=False)

    with pytest.raises(FailedAndUndone) as caught:
        project.apply()

    assert str(caught.value) == (
        "shop.0002_step failed and was taken back: the code is ill\n"
        "Nothing of it remains.\n"
        "Next: mend the cause and run the same command again; --traceback shows where it failed"
    )
    assert authors(project) == ["Premchand"]


@pytest.mark.usefixtures("uncaptured")
def test_what_code_that_is_not_atomic_has_committed_counts_as_written(project: Project) -> None:
    open_shop(project)
    project.migration(migrations.RunPython(own_code.write_in_a_transaction_and_fail), atomic=False)

    with pytest.raises(NeedsPerson) as caught:
        project.apply()

    assert str(caught.value) == (
        "shop.0002_step failed: the code is ill\n"
        "Every change of the schema is taken back. What this wrote beside them stays, because it was committed as it "
        "went and has no reverse: Raw Python operation.\n"
        "Next: settle what it wrote and mend the cause, then run the same command again: the migration begins anew"
    )
    assert authors(project) == ["Premchand", "committed", "committed"]


def test_a_step_has_the_same_name_whether_or_not_code_before_it_ran_in_the_same_process(project: Project) -> None:
    open_shop(project)
    project.migration(
        migrations.RunPython(own_code.add_isbn),
        IN_STATE,
        migrations.RemoveField("book", "shelf"),
        SHELF,
    )

    run = project.apply()

    assert run is not None
    assert [step.id for _, steps in run.done for step in steps if step.id.endswith("column shop_book.shelf")] == [
        "shop.0002_step:forth:0:column shop_book.shelf",
        "shop.0002_step:forth:2:retire column shop_book.shelf",
        "shop.0002_step:forth:3:column shop_book.shelf",
    ]
    assert_ends_as_stock(project)
