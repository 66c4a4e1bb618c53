"""Every kind of column that RemoveField removes: both versions work until finalize, and every value comes back."""

from __future__ import annotations

import pytest
from django.db import migrations

from tests.operations.bookshop import assert_ends_as_stock, open_shop, plan
from tests.operations.kinds import GROUPS, Shop
from tests.project import Project


@pytest.fixture(params=GROUPS)
def shop(request: pytest.FixtureRequest, project: Project) -> Shop:
    """A shop whose books have every column of a group, and a migration that removes them all, not yet applied."""
    before, columns = GROUPS[request.param]
    open_shop(project)
    added = [migrations.AddField("book", name, column.field) for name, column in columns.items()]
    having = project.migration(*before, *added)
    project.live(having)
    project.finalize()
    without = project.migration(*(migrations.RemoveField("book", name) for name in columns))
    shop = Shop(project, columns).between(without, having)
    shop.write("before")
    return shop


def test_both_versions_write_while_nobody_waits_and_the_schema_ends_as_stocks(shop: Shop) -> None:
    planned = plan(shop.project)

    shop.project.apply()
    shop.write_unknowing("by new code")
    shop.knowing.objects.filter(title="before").update(pages=7)
    shop.knowing.objects.create(title="by old code", author_id=1, pages=1)

    assert [step.title for step in planned.steps if not step.online] == []
    assert shop.values("before") == shop.written
    assert shop.empty("by new code") == shop.left_empty
    assert_ends_as_stock(shop.project)


@pytest.mark.parametrize("finalizing", [False, True], ids=["open", "finalized"])
def test_every_value_is_back_after_a_rollback_and_the_schema_is_as_it_was(shop: Shop, finalizing: bool) -> None:
    shop.project.apply()
    shop.knowing.objects.create(title="by old code", author_id=1, pages=1)
    kept = shop.values("by old code")
    shop.write_unknowing("by new code")
    if finalizing:
        shop.project.finalize()
        shop.write_unknowing("later")

    shop.project.rollback()

    assert shop.values("before") == shop.written
    assert shop.values("by old code") == kept
    assert shop.empty("by new code") == shop.left_empty
    shop.project.finalize()
    assert shop.project.differences() == []


def test_removing_them_again_keeps_what_was_written_meanwhile(shop: Shop) -> None:
    shop.project.apply()
    shop.project.rollback()
    shop.knowing.objects.create(title="meanwhile", author_id=1, pages=1)
    kept = shop.values("meanwhile")

    shop.project.apply()
    shop.project.finalize()
    shop.project.rollback()

    assert shop.values("before") == shop.written
    assert shop.values("meanwhile") == kept
