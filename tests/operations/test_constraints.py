"""Constraints: made beside the traffic, dropped at once, put back as far as the rows allow."""

from __future__ import annotations

import threading
from typing import Any

import django
import pytest
from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.indexes import OpClass
from django.contrib.postgres.operations import BtreeGistExtension
from django.db import connections, migrations, models
from django.db.migrations.operations.base import Operation
from django.db.models import Deferrable, F, Q
from django.db.models.expressions import OrderBy
from django.db.models.functions import Collate, Lower
from django.db.models.indexes import IndexExpression
from django.db.utils import IntegrityError

from segue.core.errors import FailedAndUndone, NeedsPerson
from tests.faults import bystanders
from tests.operations.bookshop import assert_ends_as_stock, open_shop, plan, quarantined
from tests.operations.steps import OddConstraint
from tests.project import Project

# As django.contrib.postgres does where it is installed.
IndexExpression.register_wrappers(OrderBy, OpClass, Collate)

POSITIVE = models.CheckConstraint(condition=Q(pages__gt=0), name="kind")
UNIQUE = models.UniqueConstraint(fields=["title"], name="kind")
PARTIAL = models.UniqueConstraint(fields=["title"], condition=Q(pages__gt=5), name="kind")
ALONE = ExclusionConstraint(expressions=[("title", "=")], name="kind", index_type="gist")
KINDS = {
    "check": POSITIVE,
    "check of an expression with a percent sign": models.CheckConstraint(
        condition=~Q(title__contains="100%") & Q(pages__gt=F("id") - 100), name="kind"
    ),
    "unique": UNIQUE,
    "unique over two": models.UniqueConstraint(fields=["title", "author"], name="kind"),
    "unique with a condition": PARTIAL,
    "unique expressions": models.UniqueConstraint(Lower("title").desc(), F("pages"), name="kind"),
    "unique expressions with operator classes": models.UniqueConstraint(
        OpClass(Lower("title"), "text_pattern_ops").desc(), name="kind"
    ),
    "unique covering": models.UniqueConstraint(fields=["title"], include=["pages"], name="kind"),
    "unique operator class": models.UniqueConstraint(fields=["title"], opclasses=["varchar_pattern_ops"], name="kind"),
    "unique deferrable": models.UniqueConstraint(fields=["title"], deferrable=Deferrable.DEFERRED, name="kind"),
    "unique immediate": models.UniqueConstraint(fields=["title"], deferrable=Deferrable.IMMEDIATE, name="kind"),
    "exclusion": ALONE,
    "exclusion with a condition": ExclusionConstraint(
        expressions=[(Lower("title"), "="), ("pages", "<>")], condition=Q(pages__gt=5), name="kind", index_type="gist"
    ),
    "a name with capitals, spaces and umlauts": models.UniqueConstraint(fields=["title"], name="One Title, größer"),
}
if django.VERSION >= (5, 0):
    KINDS["unique nulls not distinct"] = models.UniqueConstraint(
        fields=["title", "editor"], nulls_distinct=False, name="kind"
    )

FIRST = "INSERT INTO shop_book (title, author_id, pages, language) VALUES (%s, 1, %s, 'en')"


def _write(project: Project, title: str, pages: int = 10) -> None:
    project.sql(FIRST, [title, pages])


def _add(project: Project, constraint: models.BaseConstraint, *, finalized: bool) -> None:
    """Bring a constraint about, and with stock Django too when it is to be finalized."""
    operations: list[Operation] = [migrations.AddConstraint("book", constraint)]
    if isinstance(constraint, ExclusionConstraint):
        operations.insert(0, BtreeGistExtension())
    project.migration(*operations)
    if finalized:
        project.apply()
        project.finalize()
        project.stock()


def _kinds(names: str) -> Any:
    return pytest.mark.parametrize("constraint", [KINDS[name] for name in names.split(", ")], ids=names.split(", "))


# There and back


@pytest.mark.parametrize("constraint", KINDS.values(), ids=KINDS)
def test_a_constraint_that_is_added_goes_back_and_forth_before_and_after_finalize(
    project: Project, constraint: models.BaseConstraint
) -> None:
    open_shop(project)
    _add(project, constraint, finalized=False)
    project.stock()

    project.apply()
    project.rollback()
    _write(project, "Nirmala")
    project.apply()
    project.finalize()
    added = project.differences()
    project.rollback()
    _write(project, "Godaan")
    project.sql("DELETE FROM shop_book WHERE id > 1")
    project.apply()
    project.finalize()

    assert added == []
    assert project.differences() == []


@pytest.mark.parametrize("constraint", KINDS.values(), ids=KINDS)
def test_a_constraint_that_is_removed_goes_back_and_forth_before_and_after_finalize(
    project: Project, constraint: models.BaseConstraint
) -> None:
    open_shop(project)
    _add(project, constraint, finalized=True)
    project.migration(migrations.RemoveConstraint("book", constraint.name))

    project.apply()
    project.rollback()
    brought_back = project.differences()
    project.apply()
    project.finalize()
    project.rollback()
    project.finalize()
    brought_back += project.differences()
    project.apply()

    assert brought_back == []
    assert_ends_as_stock(project)


@pytest.mark.parametrize("constraint", [POSITIVE, UNIQUE, PARTIAL], ids=["check", "unique", "partial"])
def test_a_constraint_of_a_table_that_the_release_makes_comes_and_goes_with_it(
    project: Project, constraint: models.BaseConstraint
) -> None:
    open_shop(project)
    shelf = [
        ("id", models.BigAutoField(primary_key=True)),
        ("title", models.CharField(max_length=9)),
        ("pages", models.IntegerField(default=1)),
    ]
    project.migration(migrations.CreateModel("Shelf", shelf), migrations.AddConstraint("shelf", constraint))
    other = constraint.clone()
    other.name = "other"
    project.migration(migrations.AddConstraint("shelf", other), migrations.RemoveConstraint("shelf", "kind"))

    project.apply()
    project.rollback()
    project.apply()

    assert_ends_as_stock(project)


# Traffic


@_kinds("check, unique with a condition, unique deferrable, exclusion")
def test_nobody_is_held_up_while_a_constraint_comes_goes_and_comes(
    project: Project, constraint: models.BaseConstraint
) -> None:
    open_shop(project)
    defaults = "ALTER author_id SET DEFAULT 1, ALTER pages SET DEFAULT 1, ALTER title SET DEFAULT gen_random_uuid()"
    project.sql(f"ALTER TABLE shop_book {defaults}")
    _add(project, constraint, finalized=False)

    with bystanders.Traffic(project, "shop_book", "language") as traffic:
        project.apply()
        project.rollback()
        project.apply()
        project.finalize()

    assert traffic.statements > 20
    assert traffic.failures == []


def test_old_code_may_violate_a_check_until_finalize(project: Project) -> None:
    open_shop(project)
    _add(project, POSITIVE, finalized=False)

    project.apply()
    _write(project, "by old code", pages=-1)

    assert project.sql("SELECT count(*) FROM shop_book") == [(2,)]
    project.sql("UPDATE shop_book SET pages = 1 WHERE pages < 0")
    assert_ends_as_stock(project)
    with pytest.raises(IntegrityError):
        _write(project, "by anybody", pages=-1)


def test_new_code_may_violate_a_removed_check_at_once(project: Project) -> None:
    open_shop(project)
    _add(project, POSITIVE, finalized=True)
    project.migration(migrations.RemoveConstraint("book", "kind"))

    project.apply()
    _write(project, "by new code", pages=-1)

    assert project.sql("SELECT count(*) FROM shop_book") == [(2,)]


def test_new_code_can_rely_on_a_unique_constraint_while_the_release_is_open(project: Project) -> None:
    open_shop(project)
    _add(project, UNIQUE, finalized=False)

    project.apply()
    project.sql(f"{FIRST} ON CONFLICT (title) DO UPDATE SET pages = excluded.pages", ["Godaan", 11])

    assert project.sql("SELECT title, pages FROM shop_book") == [("Godaan", 11)]


# Rows against it, forwards


def test_rows_against_a_check_fail_the_migration_and_are_named(project: Project) -> None:
    open_shop(project)
    for title in ("a", "b", "c", "d"):
        _write(project, title, pages=-1)
    _add(project, POSITIVE, finalized=False)

    with pytest.raises(FailedAndUndone) as caught:
        project.apply()

    assert str(caught.value) == (
        'shop.0002_step failed and was taken back: shop_book has 4 rows that kind forbids, CHECK ("pages" > 0): '
        "id = 2; id = 3; id = 4.\n"
        "Nothing of it remains.\n"
        "Next: mend the cause and run the same command again; --traceback shows where it failed"
    )


@pytest.mark.parametrize(
    ("constraint", "says"),
    [
        (UNIQUE, 'UNIQUE ("title"): (Godaan) in 3 rows; (Nirmala) in 2 rows'),
        (PARTIAL, 'UNIQUE ("title") WHERE "pages" > 5: (Godaan) in 3 rows; (Nirmala) in 2 rows'),
        (
            models.UniqueConstraint(Lower("title").desc(), name="kind"),
            'UNIQUE ((LOWER("title"))): (godaan) in 3 rows; (nirmala) in 2 rows',
        ),
    ],
    ids=["unique", "partial", "expression"],
)
def test_duplicates_fail_the_migration_and_are_named(
    project: Project, constraint: models.BaseConstraint, says: str
) -> None:
    open_shop(project)
    for title in ("Godaan", "Godaan", "Nirmala", "Nirmala", "Gaban"):
        _write(project, title)
    _add(project, constraint, finalized=False)

    with pytest.raises(FailedAndUndone) as caught:
        project.apply()

    assert str(caught.value).splitlines()[0] == (
        f"shop.0002_step failed and was taken back: shop_book has 5 rows that kind forbids, {says}."
    )
    assert project.sql("SELECT count(*) FROM pg_class WHERE relname = 'kind'") == [(0,)]


def test_nulls_are_no_duplicates_unless_the_constraint_says_so(project: Project) -> None:
    open_shop(project)
    _write(project, "Godaan")
    _add(project, models.UniqueConstraint(fields=["title", "editor"], name="kind"), finalized=False)

    project.apply()

    assert_ends_as_stock(project)


@pytest.mark.skipif("unique nulls not distinct" not in KINDS, reason="Django 4.2 does not know it")
def test_equal_nulls_are_duplicates_where_the_constraint_says_so(project: Project) -> None:
    open_shop(project)
    _write(project, "Godaan")
    _add(project, KINDS["unique nulls not distinct"], finalized=False)

    with pytest.raises(FailedAndUndone) as caught:
        project.apply()

    assert str(caught.value).splitlines()[0] == (
        "shop.0002_step failed and was taken back: shop_book has 2 rows that kind forbids, UNIQUE NULLS NOT DISTINCT "
        '("title", "editor_id"): (Godaan,) in 2 rows.'
    )


def test_rows_that_conflict_fail_an_exclusion_constraint(project: Project) -> None:
    open_shop(project)
    _write(project, "Godaan")
    _add(project, ALONE, finalized=False)

    with pytest.raises(FailedAndUndone) as caught:
        project.apply()

    assert str(caught.value).splitlines()[:2] == [
        'shop.0002_step failed and was taken back: could not create exclusion constraint "kind"',
        "DETAIL:  Key (title)=(Godaan) conflicts with key (title)=(Godaan).",
    ]


def test_a_row_that_old_code_wrote_against_a_check_stops_finalize_until_it_is_mended(project: Project) -> None:
    open_shop(project)
    _add(project, POSITIVE, finalized=False)
    project.apply()
    _write(project, "by old code", pages=-1)

    with pytest.raises(NeedsPerson) as caught:
        project.finalize()

    assert str(caught.value) == (
        "prove check kind for every row of shop_book failed: shop_book has 1 row that kind forbids, "
        'CHECK ("pages" > 0): id = 2.\n'
        "What finalize had done before it stays.\n"
        "Next: mend the cause and run segue finalize again: it goes on where it stopped"
    )
    project.sql("UPDATE shop_book SET pages = 1 WHERE pages < 0")
    assert_ends_as_stock(project)


# Rows against it, on the way back


def test_a_rollback_leaves_a_check_unproved_and_keeps_the_images_of_rows_against_it(project: Project) -> None:
    open_shop(project)
    _add(project, POSITIVE, finalized=True)
    project.migration(migrations.RemoveConstraint("book", "kind"))
    project.apply()
    _write(project, "by new code", pages=-1)

    project.rollback()

    assert project.differences() == [
        "constraint shop_book.kind differs: CHECK ((pages > 0)) NOT VALID | CHECK ((pages > 0))"
    ]
    assert [(table, reason, row["title"]) for table, reason, row in quarantined(project)] == [
        (
            "shop_book",
            "shop_book: kind forbids it, CHECK ((pages > 0)); the row stays, the constraint holds for every row "
            "written from now on",
            "by new code",
        )
    ]
    assert project.sql("SELECT title, pages FROM shop_book ORDER BY id") == [("Godaan", 10), ("by new code", -1)]
    with pytest.raises(IntegrityError):
        _write(project, "by old code", pages=-1)


@pytest.mark.parametrize(
    "constraint", [UNIQUE, PARTIAL, KINDS["unique deferrable"], KINDS["unique expressions"], ALONE]
)
@pytest.mark.parametrize("finalized", [False, True], ids=["open", "finalized"])
def test_a_rollback_leaves_a_constraint_off_that_duplicates_forbid_and_keeps_their_images(
    project: Project, constraint: models.BaseConstraint, finalized: bool
) -> None:
    open_shop(project)
    _add(project, constraint, finalized=True)
    project.migration(migrations.RemoveConstraint("book", "kind"))
    project.apply()
    if finalized:
        project.finalize()
    _write(project, "Godaan")
    _write(project, "Gaban")

    project.rollback()

    assert project.sql("SELECT title FROM shop_book ORDER BY id") == [("Godaan",), ("Godaan",), ("Gaban",)]
    assert [(row["id"], row["title"]) for _, _, row in quarantined(project)] == [(1, "Godaan"), (2, "Godaan")]
    assert {reason.rsplit("; ", 1)[1] for _, reason, _ in quarantined(project)} == {
        "the row stays, the constraint is off"
    }
    assert project.sql("SELECT count(*) FROM pg_class WHERE relname = 'kind'") == [(0,)]


def test_a_finalized_removal_of_a_check_goes_back_though_rows_violate_it(project: Project) -> None:
    open_shop(project)
    _add(project, POSITIVE, finalized=True)
    project.migration(migrations.RemoveConstraint("book", "kind"))
    project.apply()
    project.finalize()
    _write(project, "by new code", pages=-1)

    project.rollback()
    project.apply()
    project.rollback()

    assert [row["title"] for _, _, row in quarantined(project)] == ["by new code"]
    project.finalize()
    assert project.differences() == [
        "constraint shop_book.kind differs: CHECK ((pages > 0)) NOT VALID | CHECK ((pages > 0))"
    ]


def test_a_constraint_that_was_left_off_can_be_removed_again(project: Project) -> None:
    open_shop(project)
    _add(project, UNIQUE, finalized=True)
    project.migration(migrations.RemoveConstraint("book", "kind"))
    project.apply()
    _write(project, "Godaan")
    project.rollback()

    project.apply()

    assert_ends_as_stock(project)


# A constraint twice


def test_a_check_that_is_removed_before_finalize_is_never_made(project: Project) -> None:
    open_shop(project)
    _add(project, POSITIVE, finalized=False)
    project.migration(migrations.RemoveConstraint("book", "kind"))
    project.apply("0002")
    project.apply()
    _write(project, "by new code", pages=-1)

    assert_ends_as_stock(project)
    assert project.session().journal.cemetery().all() == ()


def test_a_check_of_another_text_takes_the_place_of_the_one_that_waited(project: Project) -> None:
    open_shop(project)
    _add(project, POSITIVE, finalized=False)
    project.migration(
        migrations.RemoveConstraint("book", "kind"),
        migrations.AddConstraint("book", models.CheckConstraint(condition=Q(pages__gt=-5), name="kind")),
    )
    project.apply()
    _write(project, "by both", pages=-1)

    assert_ends_as_stock(project)


def test_a_check_that_is_removed_and_added_again_while_it_waits_is_made_once(project: Project) -> None:
    open_shop(project)
    _add(project, POSITIVE, finalized=False)
    project.migration(migrations.RemoveConstraint("book", "kind"), migrations.AddConstraint("book", POSITIVE))

    project.apply("0002")
    project.apply()
    project.rollback()
    project.apply()

    assert_ends_as_stock(project)


def test_a_constraint_that_changes_its_kind_under_one_name(project: Project) -> None:
    open_shop(project)
    _add(project, UNIQUE, finalized=True)
    index = models.Index(fields=["title"], name="kind")
    project.migration(migrations.RemoveConstraint("book", "kind"), migrations.AddIndex("book", index))

    project.apply()
    project.rollback()
    brought_back = project.differences()
    project.apply()

    assert brought_back == []
    assert_ends_as_stock(project)


@pytest.mark.parametrize("constraint", [POSITIVE, UNIQUE, PARTIAL, ALONE], ids=["check", "unique", "partial", "alone"])
def test_a_constraint_that_one_release_makes_and_removes_leaves_nothing_when_it_is_taken_back(
    project: Project, constraint: models.BaseConstraint
) -> None:
    open_shop(project)
    project.migration(BtreeGistExtension(), migrations.AddConstraint("book", constraint))
    project.migration(migrations.RemoveConstraint("book", "kind"))

    project.apply()
    project.rollback()
    left = project.sql("SELECT count(*) FROM pg_class WHERE relname = 'kind'")
    project.apply()

    assert left == [(0,)]
    assert_ends_as_stock(project)


# Builds that fail


def _apply_beside(project: Project) -> tuple[threading.Thread, list[BaseException]]:
    """Apply in a thread of its own; return it, and what it raises."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            project.apply()
        except BaseException as error:
            errors.append(error)
        finally:
            connections["default"].close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread, errors


_BUILDING = "SELECT pid FROM pg_stat_progress_create_index WHERE phase ~ '^waiting'"


def test_a_duplicate_that_arrives_while_the_index_is_built_fails_the_migration_and_leaves_no_index(
    project: Project,
) -> None:
    open_shop(project)
    _add(project, UNIQUE, finalized=False)
    with project.connect("old code") as old_code, bystanders.watching(project) as watcher:
        old_code.execute(FIRST, ["Godaan", 1])
        thread, errors = _apply_beside(project)
        bystanders.wait_for(watcher, _BUILDING)
        old_code.commit()
        thread.join()

    assert [str(error).splitlines()[0] for error in errors] == [
        "shop.0002_step failed and was taken back: shop_book has 2 rows that kind forbids, "
        'UNIQUE ("title"): (Godaan) in 2 rows.'
    ]
    assert project.sql("SELECT count(*) FROM pg_class WHERE relname = 'kind'") == [(0,)]


def test_an_index_that_a_cut_connection_left_invalid_is_built_again(project: Project) -> None:
    open_shop(project)
    _add(project, UNIQUE, finalized=False)
    with project.connect("old code") as old_code, bystanders.watching(project) as watcher:
        old_code.execute(FIRST, ["Gaban", 1])
        thread, errors = _apply_beside(project)
        builder = bystanders.wait_for(watcher, _BUILDING)
        watcher.execute("SELECT pg_terminate_backend(%s, 5000)", [builder])
        thread.join()
        old_code.commit()
    left = project.sql("SELECT indisvalid FROM pg_index WHERE indexrelid = 'kind'::regclass")

    project.apply()

    assert [type(error) for error in errors] == [NeedsPerson]
    assert left == [(False,)]
    assert_ends_as_stock(project)


# The plan


def test_the_plan_of_a_check_says_what_waits(project: Project) -> None:
    open_shop(project)
    _add(project, POSITIVE, finalized=False)

    steps = plan(project).steps

    assert [(step.phase, step.title, [lock.mode.stops for lock in step.forward.locks]) for step in steps] == [
        ("validate", "look for rows of shop_book that check kind forbids", []),
        ("contract", "enforce check kind on shop_book from now on", ["readers and writers"]),
        ("contract", "prove check kind for every row of shop_book", ["nobody"]),
    ]


def test_the_plan_of_a_unique_constraint_builds_its_index_beside_the_traffic(project: Project) -> None:
    open_shop(project)
    _add(project, KINDS["unique deferrable"], finalized=False)

    build, attach = plan(project).steps

    assert build.forward.statements == ('CREATE UNIQUE INDEX CONCURRENTLY "kind" ON "shop_book" ("title")',)
    assert attach.forward.statements == (
        'ALTER TABLE "shop_book" ADD CONSTRAINT "kind" UNIQUE USING INDEX "kind" DEFERRABLE INITIALLY DEFERRED',
    )


def test_a_constraint_that_writes_its_own_sql_runs_as_stock_and_is_announced(project: Project) -> None:
    open_shop(project)
    _add(project, OddConstraint(name="kind"), finalized=False)
    (step,) = plan(project).steps

    project.apply()
    project.rollback()
    project.apply()

    assert (step.title, step.online) == ("add constraint on shop_book", False)
    assert_ends_as_stock(project)


# Partitioned tables


@pytest.fixture
def events(project: Project) -> Project:
    """A partitioned table in both databases, which Django knows as a model, with rows in two partitions."""
    open_shop(project)
    fields = [
        ("id", models.BigIntegerField(primary_key=True)),
        ("year", models.IntegerField()),
        ("title", models.CharField(max_length=9)),
    ]
    project.migration(
        migrations.SeparateDatabaseAndState(state_operations=[migrations.CreateModel("Event", fields)]),
    )
    for alias in ("default", "stock"):
        project.sql(
            "CREATE TABLE shop_event (id bigint, year int, title varchar(9)) PARTITION BY LIST (year); "
            "CREATE TABLE shop_event_1 PARTITION OF shop_event FOR VALUES IN (2001); "
            "CREATE TABLE shop_event_2 PARTITION OF shop_event FOR VALUES IN (2002); "
            "INSERT INTO shop_event SELECT n, 2001 + n % 2, 'title ' || n FROM generate_series(1, 100) n",
            alias=alias,
        )
    project.apply()
    project.finalize()
    return project


OF_EVENTS = {
    "index": (
        migrations.AddIndex("event", models.Index(fields=["title"], name="kind")),
        migrations.RemoveIndex("event", "kind"),
    ),
    "check": (
        migrations.AddConstraint("event", models.CheckConstraint(condition=Q(year__gt=2000), name="kind")),
        migrations.RemoveConstraint("event", "kind"),
    ),
    "unique": (
        migrations.AddConstraint("event", models.UniqueConstraint(fields=["year", "title"], name="kind")),
        migrations.RemoveConstraint("event", "kind"),
    ),
}


@pytest.mark.parametrize(("add", "remove"), OF_EVENTS.values(), ids=OF_EVENTS)
def test_what_a_partitioned_table_gets_goes_back_and_forth(events: Project, add: Operation, remove: Operation) -> None:
    events.migration(add)
    events.stock()

    events.apply()
    events.rollback()
    events.apply()
    events.finalize()
    added = events.differences()
    events.migration(remove)
    events.apply()
    events.rollback()
    brought_back = events.differences()
    events.apply()

    assert added == []
    assert brought_back == []
    assert_ends_as_stock(events)


def test_the_plan_says_how_many_rows_of_a_partitioned_table_wait(events: Project) -> None:
    events.migration(OF_EVENTS["unique"][0])

    (step,) = plan(events).steps

    assert (step.online, step.blocks is not None and step.blocks.rows) == (False, 100)
