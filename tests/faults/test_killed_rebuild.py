"""SIGKILL while columns change their types, names and nullability: the next command completes that or takes it back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import pytest
from django.db import migrations, models
from django.db.migrations.operations.base import Operation

from tests.faults import matrix
from tests.faults.shop import Contents, Shop
from tests.project import Project

pytestmark = pytest.mark.usefixtures("unwatched")

_ID = ("id", models.AutoField(primary_key=True))


class Rebuilt(Shop):
    """A primary key with a key that refers to it becomes a bigint, a text is forbidden to be NULL, a name changes."""

    migrations: ClassVar[tuple[list[Operation], ...]] = (
        [
            migrations.CreateModel("Book", [_ID, ("title", models.CharField(max_length=50, null=True))]),
            migrations.CreateModel(
                "Reader",
                [
                    _ID,
                    ("name", models.CharField(max_length=50, unique=True)),
                    ("favourite", models.ForeignKey("shop.Book", models.CASCADE, null=True)),
                ],
            ),
        ],
        [migrations.AlterField("book", "id", models.BigAutoField(primary_key=True))],
        [
            migrations.AlterField("book", "title", models.CharField(max_length=50, default="none")),
            migrations.RenameField("reader", "name", "full_name"),
        ],
        [migrations.RenameModel("reader", "member")],
    )

    def contents(self) -> Contents:
        """Return what old code's columns hold, whatever they are called now."""
        table = "shop_reader" if self.project.sql("SELECT to_regclass('shop_reader')")[0][0] else "shop_member"
        readers = self.project.sql(
            f"SELECT id, coalesce(to_json(t) ->> 'name', to_json(t) ->> 'full_name'), favourite_id FROM {table} t"
        )
        books = self.project.sql("SELECT id, title FROM shop_book")
        return {
            "readers": {key: {"name": name, "favourite": favourite} for key, name, favourite in readers},
            "books": {key: {"title": title} for key, title in books},
        }


@pytest.fixture
def rebuilt(project: Project) -> Iterator[Rebuilt]:
    made = Rebuilt(project)
    yield made
    made.close()


def test_apply_completes_what_a_killed_apply_began(rebuilt: Rebuilt) -> None:
    strikes = matrix.a_share(matrix.kinds_of_events(rebuilt, *matrix.APPLY), part=0)[::6]

    found = matrix.troubles(rebuilt, matrix.APPLY, strikes, matrix.apply_and_finalize)

    assert found == [], "\n=====".join(found)


def test_rollback_takes_back_what_a_killed_apply_began(rebuilt: Rebuilt) -> None:
    strikes = matrix.a_share(matrix.kinds_of_events(rebuilt, *matrix.APPLY), part=0)[3::6]

    found = matrix.troubles(rebuilt, matrix.APPLY, strikes, matrix.roll_back)

    assert found == [], "\n=====".join(found)


def test_finalize_completes_what_a_killed_finalize_began(rebuilt: Rebuilt) -> None:
    _apply_and_prepare(rebuilt)
    strikes = matrix.a_share(matrix.kinds_of_events(rebuilt, *matrix.FINALIZE), part=1)[::4]

    found = matrix.troubles(rebuilt, matrix.FINALIZE, strikes, matrix.finalize)

    assert found == [], "\n=====".join(found)


def test_rollback_completes_what_a_killed_rollback_began(rebuilt: Rebuilt) -> None:
    _apply_and_prepare(rebuilt)
    strikes = matrix.a_share(matrix.kinds_of_events(rebuilt, *matrix.ROLLBACK), part=0)[::4]

    found = matrix.troubles(rebuilt, matrix.ROLLBACK, strikes, matrix.roll_back)

    assert found == [], "\n=====".join(found)


@pytest.mark.slow
def test_apply_completes_an_apply_that_was_killed_anywhere(rebuilt: Rebuilt) -> None:
    every = matrix.every_strike(matrix.kinds_of_events(rebuilt, *matrix.APPLY))

    found = matrix.troubles(rebuilt, matrix.APPLY, every, matrix.apply_and_finalize)

    assert found == [], "\n=====".join(found)


@pytest.mark.slow
def test_rollback_takes_back_an_apply_that_was_killed_anywhere(rebuilt: Rebuilt) -> None:
    every = matrix.every_strike(matrix.kinds_of_events(rebuilt, *matrix.APPLY))

    found = matrix.troubles(rebuilt, matrix.APPLY, every[1:], matrix.roll_back_and_apply)

    assert found == [], "\n=====".join(found)


def _apply_and_prepare(shop: Rebuilt) -> None:
    ended = matrix.child.run(*matrix.APPLY)
    assert ended.status == 0, ended.output
    shop.prepare()
