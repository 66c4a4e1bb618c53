"""A backfill's batches come near their time from either side, and its progress is told in words."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from segue.engines.postgresql.pace import FIRST_BLOCKS, MOST_BLOCKS, TARGET_SECONDS, Pace, Progress, note_due_at


@given(st.floats(min_value=1e-5, max_value=0.05))
def test_batches_come_to_take_the_target_time(block_seconds: float) -> None:
    pace = Pace()

    for _ in range(12):
        pace.took(pace.blocks, pace.blocks * block_seconds)

    wanted = TARGET_SECONDS / block_seconds
    assert abs(pace.blocks - min(wanted, MOST_BLOCKS)) <= 1


@given(st.lists(st.floats(min_value=0, max_value=100), max_size=50))
def test_a_batch_is_at_most_twice_the_one_before_and_never_none(durations: list[float]) -> None:
    pace = Pace()

    for seconds in durations:
        before = pace.blocks
        pace.took(before, seconds)
        assert 1 <= pace.blocks <= min(before * 2, MOST_BLOCKS)
        assert pace.blocks >= before // 2


def test_a_last_batch_that_is_small_makes_the_next_at_most_half_as_large() -> None:
    pace = Pace()

    pace.took(1, TARGET_SECONDS / 2)

    assert pace.blocks == FIRST_BLOCKS // 2


def test_after_a_batch_that_took_too_long_the_next_is_a_small_one() -> None:
    pace = Pace()
    for _ in range(10):
        pace.took(pace.blocks, 0.0001)
    large = pace.blocks

    pace.too_long()

    assert (large, pace.blocks) == (MOST_BLOCKS, FIRST_BLOCKS)


def test_a_row_that_is_held_halves_the_batch_down_to_a_block() -> None:
    pace = Pace()

    sizes = []
    for _ in range(8):
        pace.held()
        sizes.append(pace.blocks)

    assert sizes == [32, 16, 8, 4, 2, 1, 1, 1]


def test_progress_is_told_in_words() -> None:
    progress = Progress(blocks=1000, walked=0, rows=0, began=100.0)

    progress.walked = 380

    assert progress.words(412_000, 120.0) == "412,000 rows, 38 %, 20,600 rows/s, about 33 s left"


def test_progress_counts_what_an_interrupted_run_did_but_not_its_time() -> None:
    progress = Progress(blocks=1000, walked=400, rows=40_000, began=100.0)

    progress.walked = 500

    assert progress.words(50_000, 110.0) == "50,000 rows, 50 %, 1,000 rows/s, about 50 s left"


def test_a_long_time_is_told_in_minutes_and_hours() -> None:
    progress = Progress(blocks=10_000, walked=0, rows=0, began=0.0)

    progress.walked = 100
    soon, late = progress.words(0, 6.0), progress.words(0, 600.0)

    assert soon == "0 rows, 1 %, 0 rows/s, about 10 min left"
    assert late == "0 rows, 1 %, 0 rows/s, about 16.5 h left"


def test_a_backfill_of_a_day_is_noted_each_second_at_first_and_some_hundreds_of_times() -> None:
    noted_at = [0.0]
    while noted_at[-1] < 24 * 60 * 60:
        noted_at.append(note_due_at(0.0, noted_at[-1]))

    assert noted_at[:4] == [0.0, 1.0, 2.0, 3.0]
    assert len(noted_at) < 1000
