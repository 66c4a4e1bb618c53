"""segue quarantine: what the way back could not keep is listed, and settled one way or the other."""

from __future__ import annotations

import json
from typing import Any

import django
import pytest
from django.db import migrations, models

from segue import cli, pipeline, render
from segue.core.errors import ObjectsHeld, UsageError
from segue.core.quarantine import Group, Settled
from tests.operations.bookshop import open_shop
from tests.project import Project

REMOVE_AUTHOR = migrations.RemoveField("book", "author")
REMOVE_EDITOR = migrations.RemoveField("book", "editor")
DELETE_BOOK = migrations.DeleteModel("Book")


def listed(project: Project) -> tuple[Group, ...]:
    """segue quarantine"""
    return pipeline.quarantine(project.session())


def settle(project: Project, *, table: str = "", ids: tuple[int, ...] = (), restoring: bool = True) -> Settled:
    """segue quarantine settle … --restore, or --keep"""
    session = project.session()
    return pipeline.settle(session, pipeline.quarantine_chosen(session, ids, "", table), restoring=restoring)


def orphaned_book(project: Project) -> str:
    """Roll a release back whose new code has deleted the author of a book; return the release."""
    open_shop(project)
    project.migration(REMOVE_AUTHOR)
    project.apply()
    project.model("Author").objects.all().delete()
    return project.rollback().release


def book_without_editor(project: Project) -> None:
    """Roll a release back whose new code has deleted the editor of a book, which may be without one."""
    open_shop(project)
    project.sql("INSERT INTO shop_author (name) VALUES ('an editor')")
    project.sql("UPDATE shop_book SET editor_id = 2")
    project.migration(REMOVE_EDITOR)
    project.apply()
    project.model("Author").objects.filter(name="an editor").delete()
    project.rollback()


def give_the_author_back(project: Project) -> None:
    project.sql("INSERT INTO shop_author (id, name) VALUES (1, 'Premchand')")


# What is listed


def test_an_empty_quarantine_says_so(project: Project) -> None:
    open_shop(project)

    assert render.quarantine_lines(listed(project)) == ["Nothing waits in quarantine."]


def test_what_waits_is_listed_with_a_sample_and_the_command_that_settles_it(project: Project) -> None:
    release = orphaned_book(project)

    groups = listed(project)

    assert render.quarantine_lines(groups) == [
        "1 row in quarantine:",
        "",
        f"shop_book.author_id has no row in shop_author  (1 row, release {release})",
        "  id = 1",
        f"  segue quarantine settle --release {release} --table shop_book --restore, which puts back each row whose "
        "parent is there again",
        "",
        "An image stays in segue_quarantine, settled or not; --keep settles without a change.",
    ]
    assert render.quarantine_json(groups)["groups"] == [
        {
            "release": release,
            "table": "shop_book",
            "reason": "shop_book.author_id has no row in shop_author",
            "trouble": "orphan",
            "object": "author_id",
            "count": 1,
            "ids": [1],
            "samples": ["id = 1"],
            "command": f"segue quarantine settle --release {release} --table shop_book --restore",
        }
    ]


def test_many_rows_of_one_reason_are_one_group_with_a_few_samples(project: Project) -> None:
    open_shop(project)
    project.sql("INSERT INTO shop_book (title, author_id, pages, language) SELECT n, 1, n, 'en' "
                "FROM generate_series(1, 9) n")  # fmt: skip
    project.migration(REMOVE_AUTHOR)
    project.apply()
    project.model("Author").objects.all().delete()
    project.rollback()

    (group,) = listed(project)

    assert (group.count, group.samples) == (10, ("id = 1", "id = 2", "id = 3"))
    assert render.quarantine_lines([group])[3] == "  id = 1; id = 2; id = 3 and 7 more"


def test_the_status_says_how_many_wait_and_what_lists_them(project: Project) -> None:
    orphaned_book(project)

    lines = render.status_lines(pipeline.status(project.session()))

    assert lines[-1] == "In quarantine: 1 row. Next: segue quarantine, which lists them."


# Rows and references


def test_an_orphan_goes_back_once_its_parent_is_there_again(project: Project) -> None:
    orphaned_book(project)
    give_the_author_back(project)

    result = settle(project, table="shop_book")

    assert len(result.settled) == 1
    assert project.sql("SELECT id, title, author_id, pages, language FROM shop_book") == [(1, "Godaan", 1, 10, "en")]
    assert listed(project) == ()
    assert project.sql("SELECT count(*) FROM segue_quarantine WHERE settled_at IS NOT NULL") == [(1,)]


def test_an_orphan_without_its_parent_stays_and_the_server_says_why(project: Project) -> None:
    orphaned_book(project)

    result = settle(project, table="shop_book")

    assert result.settled == ()
    assert render.settled_lines(result) == [
        "Settled 0 rows.",
        '  not 1: shop_book: insert or update on table "shop_book" violates foreign key constraint '
        '"shop_book_author_id_82b8ab51_fk_shop_author_id" Key (author_id)=(1) is not present in table "shop_author".',
    ]
    with pytest.raises(ObjectsHeld) as held:
        result.require_whole()
    assert str(held.value) == (
        "1 of 1 lines could not be settled; nothing about them has changed.\n"
        "Next: mend what is said of them above, and settle them again; or settle them with --keep"
    )
    assert [group.count for group in listed(project)] == [1]


def test_orphans_of_orphans_go_back_with_them_in_one_go(project: Project) -> None:
    open_shop(project)
    project.migration(
        migrations.CreateModel(
            "Review",
            [
                ("id", models.BigAutoField(primary_key=True)),
                ("book", models.ForeignKey("shop.Book", models.CASCADE)),
            ],
        )
    )
    project.apply()
    project.finalize()
    project.sql("INSERT INTO shop_review (book_id) VALUES (1)")
    project.migration(migrations.DeleteModel("Review"), DELETE_BOOK)
    project.apply()
    project.model("Author").objects.all().delete()
    project.rollback()
    give_the_author_back(project)
    ids = tuple(sorted((i for group in listed(project) for i in group.ids), reverse=True))

    result = settle(project, ids=ids)

    assert (len(result.settled), result.left) == (2, ())
    assert project.sql("SELECT book_id, title FROM shop_review r JOIN shop_book b ON b.id = r.book_id") == [
        (1, "Godaan")
    ]


def test_an_orphan_whose_key_another_row_has_now_stays(project: Project) -> None:
    orphaned_book(project)
    give_the_author_back(project)
    project.sql("INSERT INTO shop_book (id, title, author_id, pages, language) VALUES (1, 'Gaban', 1, 2, 'hi')")

    result = settle(project, table="shop_book")

    assert [why for _, why in result.left] == ["another row has its key now"]
    assert project.sql("SELECT title FROM shop_book") == [("Gaban",)]


def test_a_reference_goes_back_once_its_parent_is_there_again(project: Project) -> None:
    book_without_editor(project)
    project.sql("INSERT INTO shop_author (id, name) VALUES (2, 'an editor')")

    result = settle(project, table="shop_book")

    assert len(result.settled) == 1
    assert project.sql("SELECT title, editor_id FROM shop_book") == [("Godaan", 2)]


def test_a_reference_that_somebody_has_set_since_is_left_alone(project: Project) -> None:
    book_without_editor(project)
    project.sql("INSERT INTO shop_author (id, name) VALUES (2, 'an editor')")
    project.sql("UPDATE shop_book SET editor_id = 1")

    result = settle(project, table="shop_book")

    assert [why for _, why in result.left] == ["editor_id has another value now"]
    assert project.sql("SELECT editor_id FROM shop_book") == [(1,)]


def test_a_row_that_was_deleted_since_is_not_brought_back_for_its_reference(project: Project) -> None:
    book_without_editor(project)
    project.sql("DELETE FROM shop_book")

    result = settle(project, table="shop_book")

    assert [why for _, why in result.left] == ["the row is gone"]


def test_kept_is_settled_without_a_change_and_the_image_stays(project: Project) -> None:
    orphaned_book(project)
    give_the_author_back(project)

    result = settle(project, table="shop_book", restoring=False)

    assert len(result.settled) == 1
    assert project.sql("SELECT * FROM shop_book") == []
    assert project.sql("SELECT row ->> 'title', settled_at IS NULL FROM segue_quarantine") == [("Godaan", False)]


# Values and constraints


def test_a_value_goes_back_once_the_column_can_hold_it(project: Project) -> None:
    open_shop(project)
    project.sql("ALTER TABLE shop_book ALTER pages DROP NOT NULL, ALTER pages TYPE smallint")
    project.sql("UPDATE shop_book SET pages = NULL")
    project.session().journal.ensure()
    project.sql(
        "INSERT INTO segue_quarantine (release, \"table\", reason, kind, object, definition, row, at) SELECT 'r', "
        "'shop_book', 'shop_book.pages cannot hold the value', 'overflow', 'pages', 'smallint', "
        "to_jsonb(b) || '{\"pages\": 70000}', now() FROM shop_book b"
    )

    too_small = settle(project, table="shop_book")
    project.sql("ALTER TABLE shop_book ALTER pages TYPE integer")
    large_enough = settle(project, table="shop_book")

    assert [why for _, why in too_small.left] == ['value "70000" is out of range for type smallint']
    assert len(large_enough.settled) == 1
    assert project.sql("SELECT pages FROM shop_book") == [(70000,)]


def rolled_back_with_rows_against(project: Project, add: Any, remove: Any, rows: str) -> None:
    """Roll a release back that had removed a constraint, against which new code has written rows."""
    project.migration(add)
    project.apply()
    project.finalize()
    project.migration(remove)
    project.apply()
    project.sql(rows)
    project.rollback()


def test_a_check_is_proved_once_no_row_stands_against_it(project: Project) -> None:
    open_shop(project)
    condition = "condition" if django.VERSION >= (5, 1) else "check"
    thick = models.CheckConstraint(name="thick", **{condition: models.Q(pages__gt=5)})
    rolled_back_with_rows_against(
        project,
        migrations.AddConstraint("book", thick),
        migrations.RemoveConstraint("book", "thick"),
        "UPDATE shop_book SET pages = 3",
    )

    (group,) = listed(project)
    against = settle(project, table="shop_book")
    project.sql("UPDATE shop_book SET pages = 6")
    proved = settle(project, table="shop_book")

    assert (group.object, group.samples) == ("thick", ("id = 1",))
    assert [why for _, why in against.left] == [
        'check constraint "thick" of relation "shop_book" is violated by some row'
    ]
    assert len(proved.settled) == 1
    assert project.sql("SELECT convalidated FROM pg_constraint WHERE conname = 'thick'") == [(True,)]


def test_a_unique_constraint_is_made_once_no_two_rows_are_alike(project: Project) -> None:
    open_shop(project)
    rolled_back_with_rows_against(
        project,
        migrations.AddConstraint("book", models.UniqueConstraint(fields=["title"], name="one_of_each")),
        migrations.RemoveConstraint("book", "one_of_each"),
        "INSERT INTO shop_book (title, author_id, pages, language) VALUES ('Godaan', 1, 2, 'hi')",
    )

    (group,) = listed(project)
    against = settle(project, table="shop_book")
    project.sql("UPDATE shop_book SET title = 'Gaban' WHERE id = 2")
    made = settle(project, table="shop_book")

    assert (group.object, group.count) == ("one_of_each", 2)
    assert {why for _, why in against.left} == {"rows still stand against one_of_each"}
    assert len(made.settled) == 2
    assert project.sql("SELECT contype FROM pg_constraint WHERE conname = 'one_of_each'") == [("u",)]
    assert project.sql("SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid") == []


# The command


def test_the_command_lists_and_settles(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    orphaned_book(project)
    give_the_author_back(project)

    statuses = [
        cli.main(["quarantine", "--format", "json"]),
        cli.main(["quarantine", "settle", "--table", "shop_book", "--restore", "--dry-run"]),
        cli.main(["quarantine", "settle", "1", "--restore", "--format", "json"]),
        cli.main(["quarantine"]),
    ]

    first, *rest = capsys.readouterr().out.splitlines()
    assert statuses == [0, 0, 0, 0]
    assert json.loads(first)["groups"][0]["count"] == 1
    assert rest == [
        "1 row would be settled with --restore:",
        "  shop_book.author_id has no row in shop_author  (1 row)",
        '{"schema_version": 1, "settled": [1], "left": []}',
        "Nothing waits in quarantine.",
    ]


def test_settling_needs_to_know_which_lines_and_how(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    orphaned_book(project)

    statuses = [
        cli.main(["quarantine", "settle", "--keep"]),
        cli.main(["quarantine", "settle", "--table", "shop_book"]),
        cli.main(["quarantine", "settle", "99", "--keep"]),
    ]

    assert statuses == [2, 2, 2]
    assert capsys.readouterr().err.splitlines() == [
        "segue quarantine: Which lines? Nothing says which of the quarantine's lines are to be settled.",
        "Next: segue quarantine, which gives the command for each group",
        "segue quarantine: How? --restore puts back what fits by now, --keep leaves everything as it is.",
        "Next: the same command with --restore or --keep",
        "segue quarantine: No line of the quarantine that still waits is meant by that.",
        "Next: segue quarantine, which lists them",
    ]


def test_what_could_not_be_settled_is_told_by_the_exit_status(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    orphaned_book(project)

    status = cli.main(["quarantine", "settle", "1", "--restore", "--no-input"])

    assert status == 4
    assert capsys.readouterr().out.startswith("Settled 0 rows.\n  not 1: shop_book: ")


def test_lines_that_are_settled_already_are_an_error(project: Project) -> None:
    orphaned_book(project)
    settle(project, ids=(1,), restoring=False)

    with pytest.raises(UsageError) as refused:
        settle(project, ids=(1,))

    assert refused.value.next_command == "segue quarantine, which lists them"
