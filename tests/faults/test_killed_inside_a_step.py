"""SIGKILL while a step waits: for somebody's transaction during CREATE INDEX CONCURRENTLY, or for its lock."""

from __future__ import annotations

import re
import signal

import pytest

from tests.faults import bystanders, child, matrix, standstill
from tests.faults.shop import Shop

pytestmark = pytest.mark.usefixtures("unwatched")

_ENDED = "SELECT 1 WHERE NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = %s)"


@pytest.mark.parametrize(
    ("is_told", "then"),
    [
        (True, matrix.apply_and_finalize),
        (False, matrix.roll_back_and_apply),
        pytest.param(True, matrix.roll_back_and_apply, marks=pytest.mark.slow),
        pytest.param(False, matrix.apply_and_finalize, marks=pytest.mark.slow),
    ],
)
def test_an_index_that_was_being_built_is_settled_by_the_next_command(
    shop: Shop, then: matrix.Next, is_told: bool
) -> None:
    command = standstill.before_building(shop)

    with bystanders.watching(shop.project) as watcher:
        with bystanders.writing(shop.project, "shop_book", "title"):
            command.send(signal.SIGCONT)
            builder = int(bystanders.wait_for(watcher, standstill.BUILDING))
            command.send(signal.SIGKILL)
            command.wait()
            held = child.run(*matrix.APPLY)
            if is_told:
                watcher.execute("SELECT pg_terminate_backend(%s)", [builder])
                bystanders.wait_for(watcher, _ENDED, builder)
        bystanders.wait_for(watcher, _ENDED, builder)
    invalid = shop.left_behind()
    found = then(shop)

    assert held.status == 6
    assert re.search(
        rf'segue apply: Another run holds this database: pid {builder} ".*" from 127\.0\.0\.1(/32)?, '
        r"connected since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC\.\n"
        r"Next: wait for it, or end it in its own terminal\n$",
        held.output,
    ), held.output
    assert invalid == (["INVALID index book_language"] if is_told else [])
    assert found == [], "\n=====".join(found)


@pytest.mark.parametrize("then", [matrix.apply_and_finalize, matrix.roll_back_and_apply])
def test_a_command_that_was_killed_while_it_waited_for_a_lock_leaves_nothing_in_the_way(
    shop: Shop, then: matrix.Next
) -> None:
    with bystanders.reading(shop.project, "shop_reader"):
        command = child.start(*matrix.APPLY)
        command.wait_until_it_says("waiting for ACCESS EXCLUSIVE on shop_reader")
        command.send(signal.SIGKILL)
        command.wait()
    found = then(shop)

    assert found == [], "\n=====".join(found)
