"""SIGKILL at every event of finalize: the next finalize completes it."""

from __future__ import annotations

import pytest

from tests.faults import matrix
from tests.faults.shop import Shop

pytestmark = pytest.mark.usefixtures("unwatched")


@pytest.fixture
def opened(shop: Shop) -> Shop:
    """The shop with its release open, new code having written."""
    shop.project.apply()
    shop.write_as_new_code()
    shop.prepare()
    return shop


def test_finalize_completes_a_killed_finalize(opened: Shop) -> None:
    strikes = matrix.a_share(matrix.kinds_of_events(opened, *matrix.FINALIZE), part=0)[::3]

    found = matrix.troubles(opened, matrix.FINALIZE, strikes, matrix.finalize)

    assert found == [], "\n=====".join(found)


@pytest.mark.slow
def test_finalize_completes_a_finalize_that_was_killed_anywhere(opened: Shop) -> None:
    every = matrix.every_strike(matrix.kinds_of_events(opened, *matrix.FINALIZE))

    found = matrix.troubles(opened, matrix.FINALIZE, every, matrix.finalize)

    assert found == [], "\n=====".join(found)
