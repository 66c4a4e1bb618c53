"""SIGKILL at every event of apply: the next command completes the release or takes it back."""

from __future__ import annotations

import pytest

from tests.faults import matrix
from tests.faults.shop import Shop

pytestmark = pytest.mark.usefixtures("unwatched")


def test_apply_completes_what_a_killed_apply_began(shop: Shop) -> None:
    strikes = matrix.a_share(matrix.kinds_of_events(shop, *matrix.APPLY), part=0)[::6]

    found = matrix.troubles(shop, matrix.APPLY, strikes, matrix.apply_and_finalize)

    assert found == [], "\n=====".join(found)


def test_rollback_takes_back_what_a_killed_apply_began(shop: Shop) -> None:
    strikes = matrix.a_share(matrix.kinds_of_events(shop, *matrix.APPLY), part=0)[3::6]

    found = matrix.troubles(shop, matrix.APPLY, strikes, matrix.roll_back)

    assert found == [], "\n=====".join(found)


@pytest.mark.slow
def test_apply_completes_an_apply_that_was_killed_anywhere(shop: Shop) -> None:
    every = matrix.every_strike(matrix.kinds_of_events(shop, *matrix.APPLY))

    found = matrix.troubles(shop, matrix.APPLY, every, matrix.apply_and_finalize)

    assert found == [], "\n=====".join(found)


@pytest.mark.slow
def test_rollback_takes_back_an_apply_that_was_killed_anywhere(shop: Shop) -> None:
    every = matrix.every_strike(matrix.kinds_of_events(shop, *matrix.APPLY))

    # Before its first event is committed nothing has begun, and rollback would take the release before it back.
    found = matrix.troubles(shop, matrix.APPLY, every[1:], matrix.roll_back_and_apply)

    assert found == [], "\n=====".join(found)
