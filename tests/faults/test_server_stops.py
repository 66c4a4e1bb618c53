"""PostgreSQL stopped in immediate mode, inside a step and between steps: the command says what to do, and it works."""

from __future__ import annotations

import signal
from collections.abc import Iterable

import pytest

from segue.core.event import EventKind
from tests.faults import bystanders, child, matrix, standstill
from tests.faults.child import Strike
from tests.faults.shop import Shop

pytestmark = pytest.mark.usefixtures("unwatched")


def stopped_between_steps(
    shop: Shop, command: tuple[str, ...], strikes: Iterable[Strike], then: matrix.Next
) -> list[str]:
    """Stop the server while the command stands still at each strike; return what is wrong then and afterwards."""
    found = []
    for strike in strikes:
        shop.reset()
        running = child.start(*command, strike=strike)
        running.wait_until_stopped()
        shop.project.server.stop("immediate")
        running.send(signal.SIGCONT)
        ended = running.wait()
        shop.project.server.restart()
        found += [f"{strike}: {wrong}" for wrong in (*standstill.complaints(ended), *then(shop))]
    return found


@pytest.mark.parametrize(
    "then", [matrix.apply_and_finalize, pytest.param(matrix.roll_back_and_apply, marks=pytest.mark.slow)]
)
def test_a_server_that_stops_while_an_index_is_built(fragile: Shop, then: matrix.Next) -> None:
    command = standstill.before_building(fragile)

    with (
        bystanders.watching(fragile.project) as watcher,
        bystanders.writing(fragile.project, "shop_book", "title"),
    ):
        command.send(signal.SIGCONT)
        bystanders.wait_for(watcher, standstill.BUILDING)
        fragile.project.server.stop("immediate")
        ended = command.wait()
    fragile.project.server.restart()
    fragile.disconnect()
    left = fragile.left_behind()
    found = then(fragile)

    assert standstill.complaints(ended) == []
    assert left == ["INVALID index book_language"]
    assert found == [], "\n=====".join(found)


def test_a_server_that_stops_between_the_steps_of_apply(fragile: Shop) -> None:
    strikes = standstill.some_stops(matrix.kinds_of_events(fragile, *matrix.APPLY))

    found = stopped_between_steps(fragile, matrix.APPLY, strikes[::6], matrix.apply_and_finalize)
    found += stopped_between_steps(fragile, matrix.APPLY, strikes[3::6], matrix.roll_back)

    assert found == [], "\n=====".join(found)


def test_a_server_that_stops_between_the_steps_of_rollback(fragile: Shop) -> None:
    fragile.project.apply()
    fragile.write_as_new_code()
    fragile.prepare()
    strikes = standstill.some_stops(matrix.kinds_of_events(fragile, *matrix.ROLLBACK))

    found = stopped_between_steps(fragile, matrix.ROLLBACK, strikes[::6], matrix.roll_back)
    found += stopped_between_steps(fragile, matrix.ROLLBACK, strikes[3::6], matrix.apply_and_finalize)

    assert found == [], "\n=====".join(found)


@pytest.mark.slow
@pytest.mark.parametrize(("part", "then"), [(0, matrix.apply_and_finalize), (1, matrix.roll_back_and_apply)])
def test_a_server_that_stops_anywhere_in_apply(fragile: Shop, part: int, then: matrix.Next) -> None:
    kinds = matrix.kinds_of_events(fragile, *matrix.APPLY)
    strikes = standstill.stops(matrix.a_share(kinds, part=part))

    found = stopped_between_steps(fragile, matrix.APPLY, strikes[1:-1], then)

    assert kinds[-1] == EventKind.RELEASE_OPENED
    assert found == [], "\n=====".join(found)


@pytest.mark.slow
@pytest.mark.parametrize(("part", "then"), [(0, matrix.apply_and_finalize), (1, matrix.roll_back_and_apply)])
def test_a_server_that_stops_anywhere_in_rollback(fragile: Shop, part: int, then: matrix.Next) -> None:
    fragile.project.apply()
    fragile.write_as_new_code()
    fragile.prepare()
    kinds = matrix.kinds_of_events(fragile, *matrix.ROLLBACK)
    strikes = standstill.stops(matrix.a_share(kinds, part=part))

    found = stopped_between_steps(fragile, matrix.ROLLBACK, strikes[:-1], then)

    assert kinds[-1] == EventKind.RELEASE_ROLLED_BACK
    assert found == [], "\n=====".join(found)
