"""SIGKILL at every event of rollback: the next command completes the way back, and apply brings everything again."""

from __future__ import annotations

import pytest

from segue.core.event import EventKind
from tests.faults import child, matrix
from tests.faults.child import Strike
from tests.faults.shop import Shop

pytestmark = pytest.mark.usefixtures("unwatched")


@pytest.fixture
def opened(shop: Shop) -> Shop:
    """The shop with its release open, new code having written."""
    shop.project.apply()
    shop.write_as_new_code()
    shop.prepare()
    return shop


@pytest.fixture
def half_applied(shop: Shop) -> Shop:
    """The shop with an apply that was killed after its last step, the index and the foreign key being there."""
    kinds = matrix.kinds_of_events(shop, *matrix.APPLY)
    last_step = len(kinds) - kinds[::-1].index(EventKind.STEP_DONE)
    shop.reset()
    child.run(*matrix.APPLY, strike=Strike(event=last_step, when="after"))
    shop.write_as_new_code()
    shop.prepare()
    return shop


def test_rollback_or_apply_copes_with_a_killed_rollback(opened: Shop) -> None:
    # After the last event nothing is left to do, and rollback would take the release before it back.
    strikes = matrix.a_share(matrix.kinds_of_events(opened, *matrix.ROLLBACK)[:-1], part=0)[::4]

    found = matrix.troubles(opened, matrix.ROLLBACK, strikes[::2], matrix.roll_back)
    found += matrix.troubles(opened, matrix.ROLLBACK, strikes[1::2], matrix.apply_and_finalize)

    assert found == [], "\n=====".join(found)


def test_apply_copes_with_a_killed_rollback_of_a_killed_apply(half_applied: Shop) -> None:
    strikes = matrix.a_share(matrix.kinds_of_events(half_applied, *matrix.ROLLBACK), part=1)[:8:2]

    found = matrix.troubles(half_applied, matrix.ROLLBACK, strikes, matrix.apply_and_finalize)

    assert found == [], "\n=====".join(found)


@pytest.mark.slow
@pytest.mark.parametrize("then", [matrix.roll_back_and_apply, matrix.apply_and_finalize])
def test_the_next_command_copes_with_a_rollback_of_a_killed_apply_that_was_killed_anywhere(
    half_applied: Shop, then: matrix.Next
) -> None:
    every = matrix.every_strike(matrix.kinds_of_events(half_applied, *matrix.ROLLBACK))

    found = matrix.troubles(half_applied, matrix.ROLLBACK, every[:-1], then)

    assert found == [], "\n=====".join(found)


@pytest.mark.slow
def test_rollback_completes_a_rollback_that_was_killed_anywhere(opened: Shop) -> None:
    every = matrix.every_strike(matrix.kinds_of_events(opened, *matrix.ROLLBACK))

    # After its last event nothing is left to do, and rollback would take the release before it back.
    found = matrix.troubles(opened, matrix.ROLLBACK, every[:-1], matrix.roll_back_and_apply)

    assert found == [], "\n=====".join(found)


@pytest.mark.slow
def test_apply_copes_with_a_rollback_that_was_killed_anywhere(opened: Shop) -> None:
    every = matrix.every_strike(matrix.kinds_of_events(opened, *matrix.ROLLBACK))

    found = matrix.troubles(opened, matrix.ROLLBACK, every, matrix.apply_and_finalize)

    assert found == [], "\n=====".join(found)
