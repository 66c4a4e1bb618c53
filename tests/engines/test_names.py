"""Models that call things by the names that the database has for them now."""

from __future__ import annotations

from typing import Any

from django.db import migrations, models
from django.db.migrations.state import ProjectState

from segue.core.change import Alias
from segue.engines.names import physical_names

TITLE = Alias(table="shop_book", column="title", place="name")
TABLE = Alias(table="shop_book", column="", place="shop_volume")
VOLUME_TITLE = Alias(table="shop_volume", column="title", place="name")
READER = Alias(table="shop_volume_readers", column="author_id", place="writer_id")
THROUGH = Alias(table="shop_book_readers", column="", place="shop_volume_readers")


def state() -> ProjectState:
    made = ProjectState()
    key = ("id", models.BigAutoField(primary_key=True))
    for operation in (
        migrations.CreateModel("Author", [key]),
        migrations.CreateModel(
            "Book",
            [
                key,
                ("title", models.TextField()),
                ("subtitle", models.TextField()),
                ("readers", models.ManyToManyField("shop.author")),
            ],
        ),
        migrations.CreateModel("Cheap", [], options={"proxy": True}, bases=("shop.book",)),
    ):
        operation.state_forwards("shop", made)
    return made


def sql(apps: Any, model: str = "Book", *, join: str = "") -> str:
    query = apps.get_model("shop", model).objects
    if join:
        return str(query.filter(**{join: 1}).only("id").query)
    return str(query.values("title").query).replace(' AS "title"', "")  # which Django 5.2 and later add


def test_a_column_is_called_by_its_place_and_afterwards_by_its_name() -> None:
    apps = state().apps
    before = sql(apps)

    with physical_names(apps, [TITLE]):
        within = sql(apps)

    assert before == 'SELECT "shop_book"."title" FROM "shop_book"'
    assert within == 'SELECT "shop_book"."name" FROM "shop_book"'
    assert sql(apps) == before


def test_the_alias_of_a_column_belongs_to_the_table_as_the_database_calls_it() -> None:
    apps = state().apps

    with physical_names(apps, [TABLE, VOLUME_TITLE]):
        within = sql(apps)

    assert within == 'SELECT "shop_volume"."name" FROM "shop_volume"'


def test_a_proxy_follows_its_model() -> None:
    apps = state().apps

    with physical_names(apps, [TABLE, VOLUME_TITLE]):
        within = sql(apps, "Cheap")

    assert within == 'SELECT "shop_volume"."name" FROM "shop_volume"'


def test_the_table_behind_a_many_to_many_field_is_named_in_joins() -> None:
    apps = state().apps
    before = sql(apps, join="readers")

    with physical_names(apps, [READER, THROUGH]):
        within = sql(apps, join="readers")
        columns = apps.get_model("shop", "Book")._meta.get_field("readers").m2m_reverse_name()

    assert before == (
        'SELECT "shop_book"."id" FROM "shop_book" INNER JOIN "shop_book_readers" '
        'ON ("shop_book"."id" = "shop_book_readers"."book_id") WHERE "shop_book_readers"."author_id" = 1'
    )
    assert within == (
        'SELECT "shop_book"."id" FROM "shop_book" INNER JOIN "shop_volume_readers" '
        'ON ("shop_book"."id" = "shop_volume_readers"."book_id") WHERE "shop_volume_readers"."writer_id" = 1'
    )
    assert columns == "writer_id"
    assert apps.get_model("shop", "Book")._meta.get_field("readers").m2m_reverse_name() == "author_id"
    assert sql(apps, join="readers") == before


def test_two_columns_that_have_each_other_s_name_can_be_named_twice_over() -> None:
    apps = state().apps
    swapped = [Alias(table="shop_book", column=a, place=b) for a, b in (("title", "subtitle"), ("subtitle", "title"))]

    with physical_names(apps, swapped), physical_names(apps, [*swapped, THROUGH]):
        within = sql(apps)

    assert within == 'SELECT "shop_book"."subtitle" FROM "shop_book"'
    assert sql(apps) == 'SELECT "shop_book"."title" FROM "shop_book"'


def test_states_that_share_a_model_are_named_together_and_restored_together() -> None:
    before = state()
    after = before.clone()
    after.apps = before.apps.clone()

    with physical_names(before.apps, [TITLE]), physical_names(after.apps, [TITLE]):
        within = [sql(before.apps), sql(after.apps)]

    assert within == ['SELECT "shop_book"."name" FROM "shop_book"'] * 2
    assert sql(before.apps) == sql(after.apps) == 'SELECT "shop_book"."title" FROM "shop_book"'


def test_names_are_restored_when_the_block_fails() -> None:
    apps = state().apps

    try:
        with physical_names(apps, [TITLE]):
            raise LookupError
    except LookupError:
        pass

    assert sql(apps) == 'SELECT "shop_book"."title" FROM "shop_book"'
