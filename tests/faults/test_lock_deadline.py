"""A lock that is not free in time: the failure names who is in the way, all is undone, and nobody had to wait."""

from __future__ import annotations

import re

import pytest
from django.test.utils import override_settings

from tests.faults import bystanders, child, matrix
from tests.faults.shop import Shop

pytestmark = pytest.mark.usefixtures("unwatched")

_BRIEF = {"LOCK_DEADLINE": "2s", "RUNNER_WAIT": "1s"}
_IN_THE_WAY = (
    r'was not free for \d+ s\. In the way: pid {pid} "monthly report" idle in transaction for \d+ s: '
    r"SELECT count\(\*\) FROM {table}[.;]"
)

_STOPPED = (
    r"segue {command}: Rolling back release \S+ stopped: ACCESS EXCLUSIVE on \w+(, ACCESS EXCLUSIVE on \w+)* "
    + _IN_THE_WAY
    + r".*\nOld and new code both still run\.\n"
    r"Next: mend the cause and run segue rollback again: it goes on where it stopped\n$"
)


def test_a_long_reader_makes_apply_fail_cleanly_and_nobody_else_waits(shop: Shop) -> None:
    before = shop.contents()

    with override_settings(SEGUE=_BRIEF), bystanders.reading(shop.project, "shop_book") as reader:
        command = child.start(*matrix.APPLY)
        with bystanders.Traffic(shop.project, "shop_book", "title") as traffic:
            ended = command.wait()
    shop.project.sql("DELETE FROM shop_book WHERE title = 'traffic'")

    assert ended.status == 7
    assert re.search(
        r"segue apply: shop\.0002_step failed and was taken back: ACCESS EXCLUSIVE on shop_book "
        + _IN_THE_WAY.format(pid=reader, table="shop_book")
        + r".*\nNothing of it remains\.\nNext: mend the cause and run the same command again; --traceback shows where "
        r"it failed\n$",
        ended.output,
    ), ended.output
    assert traffic.failures == []
    assert traffic.queued == 0
    assert traffic.statements > 0
    assert traffic.looks > 0
    assert shop.troubles_of_the_undone(before) == []
    assert matrix.apply_and_finalize(shop) == []


def test_a_reader_that_also_stands_in_the_way_back_leaves_a_release_that_the_next_command_settles(shop: Shop) -> None:
    with override_settings(SEGUE=_BRIEF), bystanders.reading(shop.project, "shop_reader") as reader:
        command = child.start(*matrix.APPLY)
        with bystanders.Traffic(shop.project, "shop_reader", "name") as traffic:
            ended = command.wait()
    shop.project.sql("DELETE FROM shop_reader WHERE name = 'traffic'")

    assert ended.status == 7
    assert re.search(_STOPPED.format(command="apply", pid=reader, table="shop_reader"), ended.output), ended.output
    assert traffic.failures == []
    assert traffic.queued == 0
    assert matrix.roll_back_and_apply(shop) == []


@pytest.mark.parametrize("table", ["shop_book", pytest.param("shop_reader", marks=pytest.mark.slow)])
def test_a_long_reader_makes_rollback_fail_and_the_next_rollback_goes_on(shop: Shop, table: str) -> None:
    shop.project.apply()
    shop.write_as_new_code()

    with override_settings(SEGUE=_BRIEF), bystanders.reading(shop.project, table) as reader:
        ended = child.run(*matrix.ROLLBACK)

    assert ended.status == 7
    assert re.search(_STOPPED.format(command="rollback", pid=reader, table=table), ended.output), ended.output
    assert matrix.roll_back_and_apply(shop) == []
