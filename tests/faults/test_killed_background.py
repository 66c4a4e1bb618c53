"""SIGKILL at every event of a rollback that ends in the background: the next command completes it first."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import migrations, models

from segue.core.event import EventKind
from tests.faults import matrix
from tests.faults.child import Strike
from tests.faults.shop import FIRST, Shop
from tests.project import Project

pytestmark = pytest.mark.usefixtures("unwatched")

_TITLE = models.UniqueConstraint(fields=["title"], name="book_title")
_NAME = models.UniqueConstraint(fields=["name"], name="reader_name")


class UniqueShop(Shop):
    """A shop whose release drops two unique constraints, which the way back builds again in the background."""

    migrations = (
        [*FIRST, migrations.AddConstraint("book", _TITLE), migrations.AddConstraint("reader", _NAME)],
        [migrations.RemoveConstraint("book", "book_title")],
        [
            migrations.AddField("book", "language", models.CharField(max_length=10, default="en")),
            migrations.RemoveConstraint("reader", "reader_name"),
        ],
    )

    def troubles_of_the_undone(self, before: dict) -> list[str]:
        """As for every shop; and both constraints must be there again."""
        question = "SELECT conname FROM pg_constraint WHERE conname IN ('book_title', 'reader_name') ORDER BY conname"
        there = [name for (name,) in self.project.sql(question)]
        wrong = [] if there == ["book_title", "reader_name"] else [f"unique constraints: {there}"]
        return [*super().troubles_of_the_undone(before), *wrong]


@pytest.fixture
def opened(project: Project) -> Iterator[Shop]:
    """The shop with its release open, new code having written."""
    made = UniqueShop(project)
    made.project.apply()
    made.write_as_new_code()
    made.prepare()
    yield made
    made.close()


def strikes(shop: Shop) -> list[Strike]:
    """Return a kill before and after each event of a rollback but the last, from its first in the background on."""
    kinds = matrix.kinds_of_events(shop, *matrix.ROLLBACK)
    first = kinds.index(EventKind.OLD_CODE_RUNS) + 1
    assert kinds[first:-1] and set(kinds[first:-1]) <= {EventKind.ACT_UNDONE, EventKind.STEP_INTENDED}
    return [strike for strike in matrix.every_strike(kinds[:-1]) if strike.event >= first - 1]


def test_rollback_or_apply_copes_with_a_rollback_that_was_killed_in_the_background(opened: Shop) -> None:
    every = strikes(opened)

    found = matrix.troubles(opened, matrix.ROLLBACK, every[::4], matrix.roll_back)
    found += matrix.troubles(opened, matrix.ROLLBACK, every[2::4], matrix.apply_and_finalize)

    assert found == [], "\n=====".join(found)


@pytest.mark.slow
@pytest.mark.parametrize("then", [matrix.roll_back_and_apply, matrix.apply_and_finalize])
def test_the_next_command_copes_with_a_rollback_that_was_killed_anywhere(opened: Shop, then: matrix.Next) -> None:
    every = matrix.every_strike(matrix.kinds_of_events(opened, *matrix.ROLLBACK)[:-1])

    found = matrix.troubles(opened, matrix.ROLLBACK, every, then)

    assert found == [], "\n=====".join(found)
