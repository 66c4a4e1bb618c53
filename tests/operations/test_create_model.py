"""CreateModel: a rollback hides the table with its rows, and applying again brings both back."""

from __future__ import annotations

import pytest
from django.db import migrations, models

from segue.core.plan import Phase
from tests.operations.bookshop import assert_ends_as_stock, edit, open_shop, plan, quarantined
from tests.project import Project

REVIEW = migrations.CreateModel(
    "Review",
    [
        ("id", models.BigAutoField(primary_key=True)),
        ("text", models.TextField()),
        ("book", models.ForeignKey("shop.book", models.CASCADE)),
        ("critic", models.ForeignKey("shop.author", models.SET_NULL, null=True)),
    ],
)
REPLY = migrations.CreateModel(
    "Reply",
    [
        ("id", models.BigAutoField(primary_key=True)),
        ("text", models.TextField()),
        ("review", models.ForeignKey("shop.review", models.CASCADE)),
    ],
)
READING_LIST = migrations.CreateModel(
    "ReadingList",
    [("id", models.BigAutoField(primary_key=True)), ("books", models.ManyToManyField("shop.book"))],
)


def test_rows_of_a_new_table_survive_rollback_and_apply(project: Project) -> None:
    open_shop(project)
    project.migration(REVIEW)
    project.apply()
    review = project.model("Review").objects.create(text="fine", book_id=1, critic_id=1)

    project.rollback()
    project.apply()

    assert project.sql("SELECT id, text, book_id, critic_id FROM shop_review") == [(review.pk, "fine", 1, 1)]
    assert quarantined(project) == []
    assert_ends_as_stock(project)


def test_a_check_that_stock_writes_with_parameters_comes_back_with_its_table(project: Project) -> None:
    pytest.importorskip("django", minversion="5.0")
    project.live(project.migration(migrations.CreateModel("Author", [("id", models.BigAutoField(primary_key=True))])))
    rate = models.CharField(max_length=9, db_default="5%")
    check = models.CheckConstraint(condition=models.Q(rate__endswith="%"), name="in_percent")
    model = migrations.CreateModel(
        "Loan", [("id", models.BigAutoField(primary_key=True)), ("rate", rate)], options={"constraints": [check]}
    )
    project.migration(model)
    project.apply()
    project.sql("INSERT INTO shop_loan DEFAULT VALUES")

    project.rollback()
    project.apply()

    assert project.sql("SELECT rate FROM shop_loan") == [("5%",)]
    assert_ends_as_stock(project)


def test_old_code_deletes_a_parent_after_the_rollback(project: Project) -> None:
    open_shop(project)
    project.migration(REVIEW)
    project.apply()
    project.model("Review").objects.create(text="fine", book_id=1)

    project.rollback()
    deleted = project.model("Book", at="0001_step").objects.all().delete()

    assert deleted == (1, {"shop.Book": 1})


def test_an_orphan_and_the_rows_that_depend_on_it_go_to_quarantine(project: Project) -> None:
    open_shop(project)
    project.migration(REVIEW, REPLY)
    project.apply()
    review = project.model("Review").objects.create(text="fine", book_id=1, critic_id=1)
    project.model("Reply").objects.create(text="thanks", review_id=review.pk)
    project.rollback()
    project.model("Book", at="0001_step").objects.all().delete()

    project.apply()

    assert project.sql("SELECT * FROM shop_review") == []
    assert project.sql("SELECT * FROM shop_reply") == []
    assert quarantined(project) == [
        (
            "shop_review",
            "shop_review.book_id has no row in shop_book",
            {"id": 1, "text": "fine", "book_id": 1, "critic_id": 1},
        ),
        (
            "shop_reply",
            "shop_reply.review_id has no row in shop_review",
            {"id": 1, "text": "thanks", "review_id": 1},
        ),
    ]
    assert_ends_as_stock(project)


def test_a_row_whose_optional_parent_is_gone_stays_and_its_image_goes_to_quarantine(project: Project) -> None:
    open_shop(project)
    project.sql("INSERT INTO shop_author (name) VALUES ('a critic')")
    project.migration(REVIEW)
    project.apply()
    project.model("Review").objects.create(text="fine", book_id=1, critic_id=2)
    project.rollback()
    project.model("Author", at="0001_step").objects.filter(name="a critic").delete()

    project.apply()

    assert project.sql("SELECT text, book_id, critic_id FROM shop_review") == [("fine", 1, None)]
    assert quarantined(project) == [
        (
            "shop_review",
            "shop_review.critic_id has no row in shop_author",
            {"id": 1, "text": "fine", "book_id": 1, "critic_id": 2},
        )
    ]


def test_the_rows_of_an_implicit_many_to_many_table_come_back(project: Project) -> None:
    open_shop(project)
    project.migration(READING_LIST)
    project.apply()
    reading_list = project.model("ReadingList").objects.create()
    reading_list.books.add(1)

    project.rollback()
    project.apply()

    assert project.sql("SELECT readinglist_id, book_id FROM shop_readinglist_books") == [(reading_list.pk, 1)]
    assert_ends_as_stock(project)


def test_an_orphan_of_an_implicit_many_to_many_table_goes_to_quarantine(project: Project) -> None:
    open_shop(project)
    project.migration(READING_LIST)
    project.apply()
    project.model("ReadingList").objects.create().books.add(1)
    project.rollback()
    project.model("Book", at="0001_step").objects.all().delete()

    project.apply()

    assert project.sql("SELECT * FROM shop_readinglist_books") == []
    assert quarantined(project) == [
        (
            "shop_readinglist_books",
            "shop_readinglist_books.book_id has no row in shop_book",
            {"id": 1, "readinglist_id": 1, "book_id": 1},
        )
    ]


def test_a_table_of_another_shape_does_not_take_over_the_retired_rows(project: Project) -> None:
    open_shop(project)
    name = project.migration(REVIEW)
    project.apply()
    project.model("Review").objects.create(text="fine", book_id=1)
    project.rollback()
    stars = migrations.CreateModel(
        "Review", [("id", models.BigAutoField(primary_key=True)), ("stars", models.IntegerField())]
    )
    edit(project, name, stars)

    project.apply()

    project.model("Review").objects.create(stars=5)
    ((buried,),) = project.sql("SELECT relnamespace::regnamespace::text FROM pg_class WHERE relname = 'shop_review' "
                               "AND relnamespace <> current_schema()::regnamespace")  # fmt: skip
    assert project.sql("SELECT stars FROM shop_review") == [(5,)]
    assert project.sql(f"SELECT text, book_id FROM {buried}.shop_review") == [("fine", 1)]
    assert_ends_as_stock(project)


def test_creating_a_table_takes_no_lock_but_on_the_parents_of_its_foreign_keys(project: Project) -> None:
    open_shop(project)
    project.migration(REVIEW)

    steps = [step for step in plan(project).steps if step.phase is Phase.EXPAND]

    assert {(lock.table, lock.mode.value) for step in steps for lock in step.forward.locks} == {
        ("shop_book", "SHARE ROW EXCLUSIVE"),
        ("shop_author", "SHARE ROW EXCLUSIVE"),
    }


def test_a_table_whose_name_postgresql_cuts_short_comes_back_with_its_constraints(project: Project) -> None:
    open_shop(project)
    long_name = migrations.CreateModel(
        "Review",
        [("id", models.BigAutoField(primary_key=True)), ("text", models.CharField(max_length=50, unique=True))],
        options={
            "db_table": "x" * 70,
            "constraints": [models.UniqueConstraint(fields=["text"], name="one_text")],
            "indexes": [models.Index(fields=["text"], name="fast_text")],
        },
    )
    project.migration(long_name)
    project.apply()
    project.model("Review").objects.create(text="fine")

    project.rollback()
    project.apply()

    assert [*project.model("Review").objects.values_list("text", flat=True)] == ["fine"]
    assert_ends_as_stock(project)


def test_old_code_deletes_a_parent_while_the_release_is_open_and_takes_its_new_children_along(project: Project) -> None:
    open_shop(project)
    project.migration(REVIEW, REPLY)
    project.apply()
    review = project.model("Review").objects.create(text="fine", book_id=1, critic_id=1)
    project.model("Reply").objects.create(text="thanks", review_id=review.pk)

    deleted = project.model("Book", at="0001_step").objects.all().delete()

    assert deleted == (1, {"shop.Book": 1})
    assert project.sql("SELECT (SELECT count(*) FROM shop_review), (SELECT count(*) FROM shop_reply)") == [(0, 0)]
    assert_ends_as_stock(project)
