"""Tables and columns whose names are long, foreign, capital, or full of signs that mean something elsewhere."""

from __future__ import annotations

from typing import Any

import django
import pytest
from django.db import migrations, models
from django.db.migrations.loader import MigrationLoader

from tests.project import Project

NAMES = {
    "63 bytes": "a_table_whose_name_is_just_as_long_as_postgresql_can_keep_in_it",
    "signs": "It's Ü.{ж}; -\\x",
    "keyword": "order",
}
ID = ("id", models.BigAutoField(primary_key=True))
NARROW = ("id", models.AutoField(primary_key=True))
CONDITION = "condition" if django.VERSION >= (5, 1) else "check"


def _other(name: str, number: int) -> str:
    """Another name of the same length, for a table or a column beside it."""
    return f"{name[:-1]}{number}"


def _first(name: str) -> list[Any]:
    return [
        migrations.CreateModel("Author", [NARROW, ("name", models.CharField(max_length=20))], {"db_table": name}),
        migrations.CreateModel(
            "Book",
            [
                ID,
                ("title", models.CharField(max_length=20, db_column=name, db_index=True)),
                ("pages", models.IntegerField(null=True, db_column=_other(name, 2))),
                ("gone", models.CharField(max_length=5, db_column=_other(name, 3))),
                ("lost", models.CharField(max_length=5, db_column=_other(name, 4))),
                ("author", models.ForeignKey("shop.author", models.CASCADE)),
                ("readers", models.ManyToManyField("shop.author", related_name="+", db_table=_other(name, 9))),
            ],
            {"db_table": _other(name, 2)},
        ),
        migrations.CreateModel(
            "Gone",
            [ID, ("book", models.ForeignKey("shop.book", models.CASCADE))],
            {"db_table": _other(name, 3)},
        ),
    ]


def _second(name: str) -> list[Any]:
    boss = models.ForeignKey("shop.author", models.CASCADE, null=True, db_column=_other(name, 4))
    check = models.CheckConstraint(name=_other(name, 6), **{CONDITION: models.Q(pages__gte=0)})
    return [
        migrations.AlterField("book", "title", models.TextField(db_column=name, unique=True)),
        migrations.AlterField("book", "pages", models.BigIntegerField(db_column=_other(name, 2), default=7)),
        migrations.RemoveField("book", "gone"),
        migrations.RemoveField("book", "lost"),
        migrations.DeleteModel("Gone"),
        migrations.AlterField("author", "id", models.BigAutoField(primary_key=True)),
        migrations.AddField("author", "boss", boss),
        migrations.AddField("author", "code", models.PositiveIntegerField(default=3, db_column=_other(name, 5))),
        migrations.AddConstraint("book", check),
        migrations.AddIndex("author", models.Index(fields=["name"], name=f"i{name}"[:28])),
        migrations.RenameField("author", "name", "full_name"),
    ]


def _models(at: str, *names: str) -> list[Any]:
    """Models of one state, which know each other."""
    apps = MigrationLoader(None).project_state([("shop", at)]).apps
    return [apps.get_model("shop", name) for name in names]


# A keyword needs quotes and nothing else, and so do signs.
FEW_NAMES = [
    pytest.param(name, id=what, marks=[pytest.mark.slow] if what == "keyword" else []) for what, name in NAMES.items()
]


@pytest.mark.parametrize("name", FEW_NAMES)
def test_every_verb_serves_tables_and_columns_of_any_name(project: Project, name: str) -> None:
    first = project.migration(*_first(name))
    project.live(first)
    old_author, old_book, old_gone = _models(first, "Author", "Book", "Gone")
    author = old_author.objects.create(name="a")
    old_book.objects.create(title="t", pages=None, gone="g", lost="l", author=author).readers.add(author)
    old_gone.objects.create(book_id=1)
    second = project.migration(*_second(name))
    new_author, new_book = _models(second, "Author", "Book")

    project.apply()
    old_author.objects.create(id=50, name="by old")
    new = new_author.objects.create(id=51, full_name="by new", code=5)
    new_book.objects.create(title="by new", author=new)
    old_book.objects.create(title="by old", author_id=50, gone="old", lost="too")
    project.rollback()

    books = [("by new", None, None), ("by old", "old", "too"), ("t", "g", "l")]
    assert sorted(old_author.objects.values_list("name", flat=True)) == ["a", "by new", "by old"]
    assert sorted(old_book.objects.values_list("title", "gone", "lost")) == books
    assert old_gone.objects.count() == 1
    project.apply()
    people = [("a", 3), ("by new", 5), ("by old", 3)]
    assert sorted(new_author.objects.values_list("full_name", "code")) == people
    project.finalize()
    project.stock()
    assert project.differences() == []
    project.rollback()
    assert sorted(old_book.objects.values_list("title", "gone", "lost")) == books
    old_book.objects.filter(gone=None).update(gone="", lost="")
    project.finalize()
    project.stock(first)
    assert project.differences() == []
    project.apply()
    assert sorted(new_author.objects.values_list("full_name", "code")) == people


@pytest.mark.parametrize("name", NAMES.values(), ids=list(NAMES))
def test_tables_of_any_name_swap_theirs(project: Project, name: str) -> None:
    first = project.migration(*_first(name))
    project.live(first)
    old_author, old_book = _models(first, "Author", "Book")
    old_book.objects.create(title="t", gone="g", lost="l", author=old_author.objects.create(name="a"))
    project.migration(
        migrations.AlterModelTable("book", _other(name, 7)),
        migrations.AlterModelTable("author", _other(name, 2)),
        migrations.AlterModelTable("book", name),
        migrations.RenameField("book", "gone", "went"),
        migrations.AddField("author", "age", models.IntegerField(default=1, db_column=_other(name, 8))),
    )

    project.apply()
    old_book.objects.create(title="by old", gone="g", lost="l", author=old_author.objects.create(name="by old"))
    project.rollback()
    assert sorted(old_book.objects.values_list("title", "author__name")) == [("by old", "by old"), ("t", "a")]
    project.apply()
    project.finalize()
    project.stock()

    assert project.differences() == []
    new_book = project.model("Book")
    assert sorted(new_book.objects.values_list("title", "author__name")) == [("by old", "by old"), ("t", "a")]
    project.rollback()
    project.finalize()
    project.stock(first)
    assert project.differences() == []
    assert sorted(old_book.objects.values_list("title", "author__name")) == [("by old", "by old"), ("t", "a")]


def test_a_name_of_63_bytes_may_be_cut_nowhere_within_a_character(project: Project) -> None:
    name = "книга" * 6 + "ыz"
    make = migrations.CreateModel(
        "Book",
        [
            ID,
            ("title", models.CharField(max_length=20, db_column=name)),
            ("pages", models.IntegerField(null=True, db_column=_other(name, 2))),
            ("gone", models.CharField(max_length=5, db_column=_other(name, 3))),
        ],
        {"db_table": name},
    )
    first = project.migration(make)
    project.live(first)
    old_book = project.model("Book")
    old_book.objects.create(title="t", gone="g")
    project.migration(
        migrations.AlterField("book", "title", models.TextField(db_column=name)),
        migrations.AlterField("book", "pages", models.BigIntegerField(db_column=_other(name, 2), default=7)),
        migrations.RemoveField("book", "gone"),
    )
    project.migration(migrations.AlterModelTable("book", _other(name, 4)))

    project.apply("0002_step")
    project.rollback()
    project.apply("0002_step")
    project.finalize()
    project.apply()
    project.finalize()
    project.stock()

    assert project.differences() == []
    assert [*project.model("Book").objects.values_list("title", "pages")] == [("t", 7)]
