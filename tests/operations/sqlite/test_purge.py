"""On SQLite nothing is purged: what a migration drops is archived in the database's own file. Quarantine is listed."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import migrations, models

from segue import pipeline
from segue.core.errors import UsageError
from tests.operations.sqlite.shop import Shop

BOOK = migrations.CreateModel("Book", [("id", models.BigAutoField(primary_key=True)), ("title", models.TextField())])


def test_purge_is_refused_with_the_reason(shop: Shop) -> None:
    shop.migration(BOOK)
    shop.apply()

    with pytest.raises(UsageError) as refused:
        pipeline.purge(shop.session(), timedelta(0))

    assert str(refused.value) == (
        "SQLite keeps what its migrations drop in the database's own file; there is nothing to purge.\n"
        "Next: segue status, to see what is kept"
    )


def test_a_line_of_the_quarantine_is_listed_and_kept_and_nothing_is_put_back_by_itself(shop: Shop) -> None:
    shop.migration(BOOK)
    shop.apply()
    journal = shop.session().journal
    journal._connection.cursor().execute(
        'INSERT INTO segue_quarantine ("release", "table", "reason", "row", "at") '
        "VALUES ('r1', 'shop_book', 'no parent', '{\"id\": 7}', '2026-01-01')"
    )

    (group,) = pipeline.quarantine(shop.session())
    chosen = pipeline.quarantine_chosen(shop.session(), [], "r1", "shop_book")
    with pytest.raises(UsageError) as refused:
        pipeline.settle(shop.session(), chosen, restoring=True)
    settled = pipeline.settle(shop.session(), chosen, restoring=False)

    assert (group.count, group.samples) == (1, ("id = 7",))
    assert group.command == "segue quarantine settle --release r1 --table shop_book --keep"
    assert refused.value.message == "On SQLite a row goes back when its migration is applied again."
    assert len(settled.settled) == 1
    assert pipeline.quarantine(shop.session()) == ()
