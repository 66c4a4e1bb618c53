"""A connection that is cut while the server goes on: nothing is claimed that is not so, and the next command works."""

from __future__ import annotations

import signal
from collections.abc import Iterable

import pytest

from tests.faults import bystanders, child, matrix, standstill
from tests.faults.child import Strike
from tests.faults.shop import Shop

pytestmark = pytest.mark.usefixtures("unwatched")

_CUT = (
    "SELECT pg_terminate_backend(pid, 5000) FROM pg_locks WHERE locktype = 'advisory' AND granted "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


def cut(shop: Shop, command: tuple[str, ...], strikes: Iterable[Strike], then: matrix.Next) -> list[str]:
    """End the command's server process while it stands still at each strike; return what is wrong afterwards."""
    found = []
    for strike in strikes:
        shop.reset()
        running = child.start(*command, strike=strike)
        running.wait_until_stopped()
        with bystanders.watching(shop.project) as watcher:
            watcher.execute(_CUT)
        running.send(signal.SIGCONT)
        ended = running.wait()
        found += [f"{strike}: {wrong}" for wrong in (*standstill.complaints(ended), *then(shop))]
    return found


def test_a_connection_that_is_cut_between_the_steps_of_apply(shop: Shop) -> None:
    strikes = standstill.some_stops(matrix.kinds_of_events(shop, *matrix.APPLY))[::2]

    found = cut(shop, matrix.APPLY, strikes[::2], matrix.apply_and_finalize)
    found += cut(shop, matrix.APPLY, strikes[1::2], matrix.roll_back)

    assert found == [], "\n=====".join(found)


@pytest.mark.slow
def test_a_connection_that_is_cut_anywhere_in_apply(shop: Shop) -> None:
    strikes = standstill.stops(matrix.every_strike(matrix.kinds_of_events(shop, *matrix.APPLY)))[1:-1]

    found = cut(shop, matrix.APPLY, strikes, matrix.apply_and_finalize)

    assert found == [], "\n=====".join(found)


@pytest.mark.slow
def test_a_connection_that_is_cut_anywhere_in_rollback(shop: Shop) -> None:
    shop.project.apply()
    shop.write_as_new_code()
    shop.prepare()
    strikes = standstill.stops(matrix.every_strike(matrix.kinds_of_events(shop, *matrix.ROLLBACK)))[:-1]

    found = cut(shop, matrix.ROLLBACK, strikes, matrix.roll_back_and_apply)

    assert found == [], "\n=====".join(found)


@pytest.mark.slow
def test_a_connection_that_is_cut_anywhere_in_finalize(shop: Shop) -> None:
    shop.project.apply()
    shop.write_as_new_code()
    shop.prepare()
    strikes = standstill.stops(matrix.every_strike(matrix.kinds_of_events(shop, *matrix.FINALIZE)))[:-1]

    found = cut(shop, matrix.FINALIZE, strikes, matrix.finalize)

    assert found == [], "\n=====".join(found)
