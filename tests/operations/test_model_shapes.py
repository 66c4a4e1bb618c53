"""Models of every shape: inherited, swapped, proxy, unmanaged, with a composite key, with deferrable constraints."""

from __future__ import annotations

from typing import Any

import django
import pytest
from django.db import IntegrityError, migrations, models, transaction
from django.db.migrations.loader import MigrationLoader
from django.test.utils import override_settings

from segue import carrier
from segue.core.plan import Step
from segue.session import Session
from tests.operations.bookshop import assert_ends_as_stock, open_shop
from tests.project import Project

SMALL = ("id", models.AutoField(primary_key=True))
ID = ("id", models.BigAutoField(primary_key=True))


def _models(at: str, *names: str) -> list[Any]:
    apps = MigrationLoader(None).project_state([("shop", at)]).apps
    return [apps.get_model("shop", name) for name in names]


def _assert_went_back(project: Project, to: str) -> None:
    project.finalize()
    project.stock(to)
    assert project.differences() == []


def _child(name: str, parent: str, field: str) -> migrations.CreateModel:
    link = models.OneToOneField(
        f"shop.{parent}", models.CASCADE, auto_created=True, parent_link=True, primary_key=True, serialize=False
    )
    return migrations.CreateModel(
        name, [(f"{parent}_ptr", link), (field, models.IntegerField(default=1))], bases=(f"shop.{parent}",)
    )


def test_a_key_becomes_wider_with_those_of_all_who_inherit_it(project: Project) -> None:
    first = project.migration(
        migrations.CreateModel("Place", [SMALL, ("name", models.CharField(max_length=20))]),
        _child("Restaurant", "place", "stars"),
        _child("Pizzeria", "restaurant", "oven"),
        migrations.CreateModel(
            "Menu",
            [
                ID,
                ("at", models.ForeignKey("shop.pizzeria", models.CASCADE)),
                ("others", models.ManyToManyField("shop.restaurant")),
            ],
        ),
    )
    project.live(first)
    old_pizzeria, old_menu = _models(first, "Pizzeria", "Menu")
    one = old_pizzeria.objects.create(name="one", stars=2, oven=3)
    old_menu.objects.create(at=one).others.add(one)
    last = project.migration(
        migrations.AlterField("place", "id", models.BigAutoField(primary_key=True)),
        migrations.AddField("restaurant", "tables", models.IntegerField(default=4)),
        migrations.RenameField("pizzeria", "oven", "ovens"),
    )
    new_pizzeria, new_menu = _models(last, "Pizzeria", "Menu")

    project.apply()
    old_pizzeria.objects.create(name="by old", stars=2, oven=3)
    two = new_pizzeria.objects.create(name="by new", stars=2, ovens=3, tables=9)
    new_menu.objects.create(at=two).others.add(two)
    project.rollback()

    all_three = [(1, "one", 3), (2, "by old", 3), (3, "by new", 3)]
    assert sorted(old_pizzeria.objects.values_list("id", "name", "oven")) == all_three
    project.apply()
    assert_ends_as_stock(project)
    assert sorted(new_pizzeria.objects.values_list("id", "tables")) == [(1, 4), (2, 4), (3, 9)]
    project.rollback()
    _assert_went_back(project, first)
    assert sorted(old_menu.objects.values_list("id", "at", "others")) == [(1, 1, 1), (2, 3, 3)]
    assert sorted(old_pizzeria.objects.values_list("id", "name", "oven")) == all_three


def test_a_model_that_is_swapped_out_has_no_table_and_keys_go_to_the_other(project: Project) -> None:
    with override_settings(SHOP_PERSON_MODEL="shop.Writer"):
        first = project.migration(
            migrations.CreateModel(
                "Person", [SMALL, ("name", models.CharField(max_length=9))], {"swappable": "SHOP_PERSON_MODEL"}
            ),
            migrations.CreateModel("Writer", [SMALL, ("pen", models.CharField(max_length=9))]),
        )
        second = project.write(
            "0002_step",
            "from django.conf import settings\nfrom django.db import migrations, models\n\n\n"
            "class Migration(migrations.Migration):\n"
            f"    dependencies = [('shop', '{first}'), migrations.swappable_dependency(settings.SHOP_PERSON_MODEL)]\n"
            "    operations = [migrations.CreateModel('Book', [\n"
            "        ('id', models.BigAutoField(primary_key=True)),\n"
            "        ('by', models.ForeignKey(settings.SHOP_PERSON_MODEL, models.CASCADE)),\n"
            "    ])]\n",
        )
        project.live(second)
        old_writer, old_book = _models(second, "Writer", "Book")
        old_book.objects.create(by=old_writer.objects.create(pen="ink"))
        last = project.migration(
            migrations.AddField("person", "age", models.IntegerField(default=1)),
            migrations.AlterField("person", "name", models.TextField()),
            migrations.RenameField("person", "name", "title"),
            migrations.AlterField("writer", "id", models.BigAutoField(primary_key=True)),
            migrations.RenameField("writer", "pen", "pencil"),
        )
        new_writer, new_book = _models(last, "Writer", "Book")

        project.apply()
        new_book.objects.create(by=new_writer.objects.create(pencil="lead"))
        old_book.objects.create(by_id=1)
        project.rollback()

        assert sorted(old_book.objects.values_list("by__pen", flat=True)) == ["ink", "ink", "lead"]
        project.apply()
        assert_ends_as_stock(project)
        project.rollback()
        _assert_went_back(project, second)
        assert sorted(old_book.objects.values_list("by__pen", flat=True)) == ["ink", "ink", "lead"]


def test_proxy_and_unmanaged_models_change_nothing(project: Project) -> None:
    open_shop(project)
    first = project.migration(
        migrations.CreateModel(
            "Legacy", [ID, ("name", models.CharField(max_length=9))], {"managed": False, "db_table": "legacy"}
        ),
        migrations.CreateModel("Famous", [], {"proxy": True}, bases=("shop.author",)),
        migrations.CreateModel("Link", [ID, ("famous", models.ForeignKey("shop.famous", models.CASCADE))]),
    )
    project.live(first)
    project.finalize()
    project.migration(
        migrations.AddField("legacy", "size", models.IntegerField(default=1)),
        migrations.AlterField("legacy", "name", models.TextField()),
        migrations.RenameField("legacy", "name", "title"),
        migrations.AlterModelTable("legacy", "older"),
        migrations.AddIndex("legacy", models.Index(fields=["size"], name="by_size")),
        migrations.AlterModelOptions("famous", {"ordering": ["name"]}),
        migrations.RenameModel("Famous", "Star"),
        migrations.DeleteModel("legacy"),
    )

    run = project.apply()

    assert run is not None
    steps = [step.title for _, done in project.session().journal.run(run.release).done for step in done]
    assert [title for title in steps if "legacy" in title or "older" in title or "author" in title] == []
    project.rollback()
    project.apply()
    assert_ends_as_stock(project)
    project.rollback()
    _assert_went_back(project, first)


def test_a_table_that_a_model_begins_to_manage_is_changed_and_left_again(project: Project) -> None:
    open_shop(project)
    made = "CREATE TABLE legacy (id bigint PRIMARY KEY GENERATED BY DEFAULT AS IDENTITY, name varchar(9) NOT NULL)"
    for alias in ("default", "stock"):
        project.sql(made, alias=alias)
    project.sql("INSERT INTO legacy (name) VALUES ('a')")
    legacy = [ID, ("name", models.CharField(max_length=9))]
    project.live(project.migration(migrations.CreateModel("Legacy", legacy, {"managed": False, "db_table": "legacy"})))
    project.finalize()
    project.migration(
        migrations.AlterModelOptions("legacy", {"managed": True}),
        migrations.AddField("legacy", "size", models.IntegerField(default=1)),
        migrations.AlterField("legacy", "name", models.TextField()),
    )

    project.apply()
    project.rollback()
    project.apply()
    assert_ends_as_stock(project)

    project.migration(
        migrations.AlterModelOptions("legacy", {"managed": False}),
        migrations.RemoveField("legacy", "size"),
        migrations.DeleteModel("legacy"),
    )
    project.apply()
    assert_ends_as_stock(project)
    assert project.sql("SELECT id, name, size FROM legacy") == [(1, "a", 1)]


@pytest.mark.skipif(django.VERSION < (5, 2), reason="Django has no composite primary keys before 5.2")
def test_the_members_of_a_composite_key_change_their_types_and_names(project: Project) -> None:
    key = models.CompositePrimaryKey("order", "number", blank=True, editable=False, primary_key=True, serialize=False)
    first = project.migration(
        migrations.CreateModel(
            "Line",
            [
                ("pk", key),
                ("order", models.IntegerField()),
                ("number", models.IntegerField()),
                ("title", models.CharField(max_length=9, null=True)),
                ("gone", models.CharField(max_length=9, default="g")),
            ],
        )
    )
    project.live(first)
    (old_line,) = _models(first, "Line")
    project.sql("INSERT INTO shop_line SELECT mod(n, 100), n, NULL, 'g' FROM generate_series(1, 3000) n")
    last = project.migration(
        migrations.AlterField("line", "number", models.BigIntegerField()),
        migrations.AlterField("line", "title", models.CharField(max_length=9, default="none")),
        migrations.AlterField("line", "order", models.IntegerField(db_column="invoice")),
        migrations.AddField("line", "tax", models.PositiveIntegerField(default=1)),
        migrations.RemoveField("line", "gone"),
    )
    (new_line,) = _models(last, "Line")

    project.apply()
    old_line.objects.create(order=200, number=1, title="by old", gone="o")
    new_line.objects.create(order=200, number=2, title="by new", tax=5)
    project.rollback()

    assert old_line.objects.filter(title=None).count() == 3000
    assert sorted(old_line.objects.filter(order=200).values_list("pk", "title", "gone")) == [
        ((200, 1), "by old", "o"),
        ((200, 2), "by new", "g"),
    ]
    project.apply()
    assert_ends_as_stock(project)
    assert new_line.objects.filter(title="none").count() == 3000
    project.rollback()
    _assert_went_back(project, first)
    assert old_line.objects.filter(title=None).count() == 3000


def test_deferrable_constraints_stay_deferrable_through_types_and_names(project: Project) -> None:
    open_shop(project)
    first = project.migration(
        migrations.AddField("book", "code", models.IntegerField(default=0)),
        migrations.AddConstraint(
            "book", models.UniqueConstraint(fields=["code"], name="once", deferrable=models.Deferrable.DEFERRED)
        ),
        migrations.AddConstraint(
            "book",
            models.UniqueConstraint(fields=["code", "pages"], name="both", deferrable=models.Deferrable.IMMEDIATE),
        ),
    )
    project.live(first)
    project.finalize()
    (old_book,) = _models(first, "Book")
    old_book.objects.create(title="two", code=1, author_id=1, pages=1)
    last = project.migration(
        migrations.AlterField("book", "code", models.BigIntegerField(default=0, db_column="number")),
        migrations.AlterField("book", "pages", models.BigIntegerField()),
        migrations.RenameModel("Book", "Volume"),
    )

    def exchange_codes() -> None:
        with transaction.atomic():
            one, two = old_book.objects.order_by("id").values_list("code", flat=True)
            old_book.objects.filter(pk=1).update(code=two)
            old_book.objects.filter(pk=2).update(code=one)

    project.apply(last)
    exchange_codes()
    project.rollback()
    exchange_codes()
    project.apply(last)
    assert_ends_as_stock(project)
    project.rollback()
    _assert_went_back(project, first)
    exchange_codes()
    assert [*old_book.objects.order_by("id").values_list("code", flat=True)] == [1, 0]


def test_a_deferrable_constraint_is_deferrable_at_every_step_of_a_change_of_type_but_the_build_of_its_index(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_shop(project)
    once = models.UniqueConstraint(fields=["pages"], name="once", deferrable=models.Deferrable.IMMEDIATE)
    project.live(project.migration(migrations.AddConstraint("book", once)))
    project.finalize()
    project.sql("UPDATE shop_book SET pages = 1")
    project.sql("INSERT INTO shop_book (title, author_id, pages, language) VALUES ('two', 1, 2, 'en')")
    project.migration(migrations.AlterField("book", "pages", models.BigIntegerField()))
    carry_out, refused = carrier.carry_out, []

    def exchanging_first(session: Session, release: str, step: Step) -> None:
        try:
            project.sql("UPDATE shop_book SET pages = 3 - pages")
        except IntegrityError:
            refused.append(step.title)
        carry_out(session, release, step)

    monkeypatch.setattr(carrier, "carry_out", exchanging_first)
    project.apply()

    assert refused == ["make the index for the twin deferrable, as once is"]
    assert_ends_as_stock(project)
