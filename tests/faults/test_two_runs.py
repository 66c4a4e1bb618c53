"""Two people at once: the second is told who holds the database, and a killed holder holds nothing."""

from __future__ import annotations

import signal

import pytest

from segue.core.errors import TargetHeld
from tests.faults import bystanders, child, matrix
from tests.faults.shop import Shop

pytestmark = pytest.mark.usefixtures("unwatched")

_HELD = (
    r'^Another run holds this database: pid {pid} ".*" from 127\.0\.0\.1(/32)?, '
    r"connected since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d UTC\.\n"
    r"Next: wait for it, or end it in its own terminal$"
)
_HOLDER = (
    "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


@pytest.mark.parametrize("second", ["apply", "rollback", pytest.param("finalize", marks=pytest.mark.slow)])
def test_a_second_run_is_told_who_holds_the_database(shop: Shop, second: str) -> None:
    before = shop.contents()

    with bystanders.reading(shop.project, "shop_book"), bystanders.watching(shop.project) as watcher:
        first = child.start(*matrix.APPLY)
        first.wait_until_it_says("waiting for ACCESS EXCLUSIVE on shop_book")
        holder = bystanders.wait_for(watcher, _HOLDER)
        with pytest.raises(TargetHeld, match=_HELD.format(pid=holder)) as held:
            getattr(shop.project, second)()
    ended = first.wait()

    assert held.value.exit_status == 6
    assert ended.status == 0, ended.output
    assert matrix.finalize(shop) == []
    assert shop.lost(before) == []


def test_a_killed_holder_holds_nothing(shop: Shop) -> None:
    with bystanders.reading(shop.project, "shop_book"):
        first = child.start(*matrix.APPLY)
        first.wait_until_it_says("waiting for ACCESS EXCLUSIVE on shop_book")
        first.send(signal.SIGKILL)
        first.wait()
        undone = child.run(*matrix.ROLLBACK)

    assert undone.status == 0, undone.output
    assert matrix.apply_and_finalize(shop) == []
