"""Every kind of column that AddField adds: nobody waits, both versions work, and nothing is lost on the way back."""

from __future__ import annotations

import pytest
from django.db import migrations

from tests.operations.bookshop import RAW_BOOK, assert_ends_as_stock, open_shop, plan
from tests.operations.kinds import GROUPS, Shop
from tests.project import Project


@pytest.fixture(params=GROUPS)
def shop(request: pytest.FixtureRequest, project: Project) -> Shop:
    """A shop with two books, and a migration with every column of a group that is still to be applied."""
    before, columns = GROUPS[request.param]
    open_shop(project)
    project.sql(RAW_BOOK, ["Gaban"])
    added = [migrations.AddField("book", name, column.field) for name, column in columns.items()]
    return Shop(project, columns).between("0001_step", project.migration(*before, *added))


def test_both_versions_write_while_nobody_waits_and_the_schema_ends_as_stocks(shop: Shop) -> None:
    planned = plan(shop.project)

    shop.project.apply()
    shop.write_unknowing("by old code")
    shop.write("by new code")

    assert [step.title for step in planned.steps if not step.online and "extension" not in step.title] == []
    assert shop.values("by new code") == shop.written
    assert shop.empty("by old code") == shop.left_empty
    assert shop.empty("Gaban") == shop.left_empty
    assert_ends_as_stock(shop.project)


def test_a_rollback_keeps_every_value_for_the_next_apply(shop: Shop) -> None:
    shop.project.apply()
    shop.write("by new code")
    before = shop.values("Gaban")

    shop.project.rollback()
    shop.write_unknowing("by old code")
    shop.unknowing.objects.filter(title="by new code").update(pages=7)
    shop.project.apply()

    assert shop.values("by new code") == shop.written
    assert shop.values("Gaban") == before
    assert shop.empty("by old code") == shop.left_empty
    assert shop.unknowing.objects.get(title="by new code").pages == 7
    assert_ends_as_stock(shop.project)


def test_a_finalized_release_that_is_taken_back_keeps_every_value_for_the_next_apply(shop: Shop) -> None:
    shop.project.apply()
    shop.write("by new code")
    before = shop.values("Gaban")
    shop.project.finalize()

    shop.project.rollback()
    shop.write_unknowing("by old code")
    shop.knowing.objects.create(title="by new code again", author_id=1, pages=1)
    shop.project.finalize()
    shop.write_unknowing("by old code later")
    shop.project.apply()

    assert shop.values("by new code") == shop.written
    assert shop.values("Gaban") == before
    assert shop.empty("by old code later") == shop.left_empty
    assert_ends_as_stock(shop.project)
