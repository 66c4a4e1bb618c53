"""SIGKILL at the events of a data migration without a reverse, and between its batches: each is done once or undone."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from django.db import migrations

from tests.faults import child, code, matrix
from tests.faults.shop import FIRST, ROWS, Contents, Shop
from tests.project import Project

pytestmark = pytest.mark.usefixtures("unwatched")


class MarkingShop(Shop):
    """A shop whose release writes to every book, which it must do once, and exchanges a reader for another."""

    migrations = (FIRST, [migrations.RunPython(code.mark_titles)])

    def contents(self) -> Contents:
        """Leave what the migration writes out."""
        found = super().contents()
        for row in found["shop_book"].values():
            row["title"] = row["title"].rstrip("+")
        found["shop_reader"] = {
            key: row for key, row in found["shop_reader"].items() if key != ROWS and row["name"] != "by the migration"
        }
        return found

    def troubles_of_the_finished(self, before: Contents) -> list[str]:
        """As for every shop; and what the migration writes is written once."""
        return [*super().troubles_of_the_finished(before), *self._marked(1)]

    def troubles_of_the_undone(self, before: Contents) -> list[str]:
        """As for every shop; and nothing of what the migration writes is there."""
        return [*super().troubles_of_the_undone(before), *self._marked(0)]

    def _marked(self, times: int) -> list[str]:
        ((wrong,),) = self.project.sql(
            "SELECT count(*) FROM shop_book WHERE length(title) - length(rtrim(title, '+')) <> %s", [times]
        )
        (readers,) = self.project.sql(
            "SELECT count(*) FILTER (WHERE name = 'by the migration'), count(*) FILTER (WHERE id = %s) "
            "FROM shop_reader",
            [ROWS],
        )
        found = [f"{wrong} books are not marked {times} times"] if wrong else []
        return found if readers == (times, 1 - times) else [*found, f"readers made and left: {readers}"]


class BatchedShop(MarkingShop):
    """The same outside a transaction: each batch commits."""

    atomic = False


@pytest.fixture(params=[MarkingShop, BatchedShop], ids=["in a transaction", "as it goes"])
def shop(project: Project, request: pytest.FixtureRequest) -> Iterator[Shop]:
    """The shop before its release."""
    made: Shop = request.param(project)
    yield made
    made.close()


def test_a_data_migration_killed_at_its_events_is_done_once_or_undone(shop: Shop) -> None:
    strikes = matrix.a_share(matrix.kinds_of_events(shop, *matrix.APPLY), part=0)[1:]

    found = matrix.troubles(shop, matrix.APPLY, strikes[::2], matrix.apply_and_finalize)
    found += matrix.troubles(shop, matrix.APPLY, strikes[1::2], matrix.roll_back_and_apply)

    assert found == [], "\n=====".join(found)


def test_the_way_back_of_a_data_migration_goes_on_where_it_was_killed(shop: Shop) -> None:
    shop.project.apply()
    shop.prepare()
    strikes = matrix.a_share(matrix.kinds_of_events(shop, *matrix.ROLLBACK)[:-1], part=0)

    found = matrix.troubles(shop, matrix.ROLLBACK, strikes[::2], matrix.roll_back_and_apply)
    found += matrix.troubles(shop, matrix.ROLLBACK, strikes[1::2], matrix.apply_and_finalize)

    assert found == [], "\n=====".join(found)


@pytest.mark.parametrize("then", [matrix.apply_and_finalize, matrix.roll_back_and_apply])
def test_code_that_is_killed_between_its_batches_begins_anew_or_is_undone(
    shop: Shop, then: matrix.Next, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.reset()
    with monkeypatch.context() as patched:
        patched.setattr(code, "dies_after", 1)
        ended = child.run(*matrix.APPLY)
    assert ended.signal == signal.SIGKILL

    assert then(shop) == []


@pytest.mark.slow
@pytest.mark.parametrize("then", [matrix.apply_and_finalize, matrix.roll_back_and_apply])
def test_the_next_command_copes_with_a_data_migration_that_was_killed_anywhere(shop: Shop, then: matrix.Next) -> None:
    every = matrix.every_strike(matrix.kinds_of_events(shop, *matrix.APPLY))

    found = matrix.troubles(shop, matrix.APPLY, every[1:], then)

    assert found == [], "\n=====".join(found)
