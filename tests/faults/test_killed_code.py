"""SIGKILL at the events of a migration whose own code changes the schema: each of its steps is done once or undone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import migrations, models

from tests.faults import code, matrix
from tests.faults.shop import FIRST, Contents, Shop
from tests.project import Project

pytestmark = pytest.mark.usefixtures("unwatched")

_IN_STATE = migrations.SeparateDatabaseAndState(
    state_operations=[
        migrations.AddField("book", "language", models.CharField(max_length=10, default="en")),
        migrations.AddField("book", "note", models.TextField(null=True)),
        migrations.AddIndex("book", models.Index(fields=["title"], name="book_title")),
    ]
)
_FAVOURITE = migrations.AddField("reader", "favourite", models.ForeignKey("shop.Book", models.SET_NULL, null=True))


class CodedShop(Shop):
    """A shop whose release adds columns and an index by its own code."""

    migrations = (FIRST, [_FAVOURITE, migrations.RunPython(code.add_columns_and_index), _IN_STATE])


class WritingShop(Shop):
    """A shop whose release also adds a reader by its own code, and removes it on the way back."""

    migrations = (
        FIRST,
        [_FAVOURITE, migrations.RunPython(code.also_add_a_reader, code.also_remove_the_reader), _IN_STATE],
    )

    def contents(self) -> Contents:
        """Leave the reader that comes and goes with the migration out."""
        found = super().contents()
        found["shop_reader"].pop(7001, None)
        return found

    def troubles_of_the_finished(self, before: Contents) -> list[str]:
        """As for every shop; and the migration's reader is there."""
        return [*super().troubles_of_the_finished(before), *self._readers_but(1)]

    def troubles_of_the_undone(self, before: Contents) -> list[str]:
        """As for every shop; and the migration's reader is not there."""
        return [*super().troubles_of_the_undone(before), *self._readers_but(0)]

    def _readers_but(self, wanted: int) -> list[str]:
        rows: list[Any] = self.project.sql("SELECT count(*) FROM shop_reader WHERE id = 7001")
        return [] if rows == [(wanted,)] else [f"the migration's own readers: {rows}"]


@pytest.fixture
def coded(project: Project) -> Iterator[Shop]:
    """The shop before its release."""
    made = CodedShop(project)
    yield made
    made.close()


@pytest.fixture
def writing(project: Project) -> Iterator[Shop]:
    """The shop before its release."""
    made = WritingShop(project)
    yield made
    made.close()


@pytest.fixture
def opened(writing: Shop) -> Shop:
    """The shop with its release open, new code having written."""
    writing.project.apply()
    writing.write_as_new_code()
    writing.prepare()
    return writing


def test_apply_completes_or_rollback_takes_back_what_killed_code_began(coded: Shop) -> None:
    strikes = matrix.a_share(matrix.kinds_of_events(coded, *matrix.APPLY), part=0)[1::3]

    found = matrix.troubles(coded, matrix.APPLY, strikes[::2], matrix.apply_and_finalize)
    found += matrix.troubles(coded, matrix.APPLY, strikes[1::2], matrix.roll_back)

    assert found == [], "\n=====".join(found)


def test_the_reverse_of_code_goes_on_where_a_killed_rollback_stopped(opened: Shop) -> None:
    strikes = matrix.a_share(matrix.kinds_of_events(opened, *matrix.ROLLBACK)[:-1], part=0)[::3]

    found = matrix.troubles(opened, matrix.ROLLBACK, strikes[::2], matrix.roll_back_and_apply)
    found += matrix.troubles(opened, matrix.ROLLBACK, strikes[1::2], matrix.apply_and_finalize)

    assert found == [], "\n=====".join(found)


@pytest.mark.slow
@pytest.mark.parametrize("then", [matrix.roll_back_and_apply, matrix.apply_and_finalize])
def test_the_next_command_copes_with_code_that_was_killed_anywhere(writing: Shop, then: matrix.Next) -> None:
    every = matrix.every_strike(matrix.kinds_of_events(writing, *matrix.APPLY))

    # Before its first event is committed nothing has begun, and rollback would take the release before it back.
    found = matrix.troubles(writing, matrix.APPLY, every[1:], then)

    assert found == [], "\n=====".join(found)


@pytest.mark.slow
@pytest.mark.parametrize("then", [matrix.roll_back_and_apply, matrix.apply_and_finalize])
def test_the_next_command_copes_with_a_reverse_that_was_killed_anywhere(opened: Shop, then: matrix.Next) -> None:
    every = matrix.every_strike(matrix.kinds_of_events(opened, *matrix.ROLLBACK)[:-1])

    found = matrix.troubles(opened, matrix.ROLLBACK, every, then)

    assert found == [], "\n=====".join(found)
