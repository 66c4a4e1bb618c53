"""A run is what its events add up to."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segue.core.change import Act, Kind, Retired
from segue.core.plan import Direction, Phase, Step
from segue.core.run import Event, EventKind, State, acts, replay
from segue.core.values import to_json
from tests.core.examples import steps

MIGRATION = ["shop", "0002"]
COLUMN = Retired(kind=Kind.COLUMN, table="book", name="title", definition="text")
ADD = Step(id="add", title="add", phase=Phase.EXPAND, forward=Act(), undo=(Act(), Act(retires=(COLUMN,))))
DROP = Step(id="drop", title="drop", phase=Phase.CONTRACT, forward=Act(), undo=())


def event(kind: EventKind, **data: Any) -> Event:
    """Return an event of one release, with the data that the journal would have."""
    return Event(release="r1", kind=kind, at="2026-01-01T00:00:00+00:00", data=to_json(data))


def started(direction: Direction = Direction.FORWARD) -> Event:
    """Return the first event of a release."""
    return event(
        EventKind.RELEASE_STARTED, direction=direction, by="me", tag="00000000", migrations=[MIGRATION], tables=["book"]
    )


BEGUN = (started(), event(EventKind.MIGRATION_STARTED, migration=MIGRATION, backwards=False))
DONE = event(EventKind.MIGRATION_DONE, migration=MIGRATION, backwards=False)
OPENED = event(EventKind.RELEASE_OPENED, blocked=[])


def test_a_release_begins_with_its_start() -> None:
    run = replay([started()])

    assert run.state is State.APPLYING
    assert run.planned == (("shop", "0002"),)
    assert run.tables == ("book",)
    assert run.migrations == ()


def test_another_beginning_is_an_error() -> None:
    with pytest.raises(ValueError) as caught:
        replay([OPENED])

    assert str(caught.value) == "release r1 begins with release opened"


def test_no_event_at_all_is_an_error() -> None:
    with pytest.raises(ValueError) as caught:
        replay([])

    assert str(caught.value) == "a release without events"


def test_work_holds_the_steps_that_are_done_and_the_one_that_was_announced() -> None:
    run = replay([*BEGUN, event(EventKind.STEP_DONE, step=ADD), event(EventKind.STEP_INTENDED, step=DROP)])

    assert run.work is not None
    assert run.work.migration == ("shop", "0002")
    assert run.work.steps == (ADD,)
    assert run.work.intended == DROP


def test_a_migration_that_is_done_is_in_effect_and_its_deferred_steps_wait() -> None:
    run = replay([*BEGUN, event(EventKind.STEP_DEFERRED, step=DROP), DONE, OPENED])

    assert run.state is State.OPEN
    assert run.work is None
    assert run.migrations == (("shop", "0002"),)
    assert run.steps_left == (DROP,)


def test_a_step_undone_in_part_is_still_to_undo_and_undone_wholly_it_is_gone() -> None:
    in_part = [*BEGUN, event(EventKind.STEP_DONE, step=ADD), event(EventKind.ACT_UNDONE, id="add", act=Act(),
                                                                   acts_left=1)]  # fmt: skip
    wholly = [*in_part, event(EventKind.ACT_UNDONE, id="add", act=ADD.undo[1], acts_left=0)]  # type: ignore[index]

    one, other = replay(in_part).work, replay(wholly).work

    assert one is not None and other is not None
    assert (one.steps, one.acts_left) == ((ADD,), {"add": 1})
    assert (other.steps, other.acts_left) == ((), {"add": 0})


def test_a_migration_that_was_taken_back_leaves_nothing_to_finalize() -> None:
    run = replay(
        [*BEGUN, event(EventKind.STEP_DEFERRED, step=DROP), event(EventKind.MIGRATION_UNDONE, migration=MIGRATION)]
    )

    assert (run.migrations, run.work, run.deferred) == ((), None, ())


def test_rolling_back_takes_the_migration_out_of_effect() -> None:
    back = event(EventKind.MIGRATION_STARTED, migration=MIGRATION, backwards=True)
    unapplied = event(EventKind.MIGRATION_DONE, migration=MIGRATION, backwards=True)

    under_way = replay([*BEGUN, DONE, OPENED, event(EventKind.ROLLBACK_STARTED, migrations=[MIGRATION])])
    run = replay(
        [
            *(*BEGUN, DONE, OPENED, event(EventKind.ROLLBACK_STARTED, migrations=[MIGRATION]), back, unapplied),
            event(EventKind.RELEASE_ROLLED_BACK, blocked=[]),
        ]
    )

    assert under_way.state is State.ROLLING_BACK
    assert run.state is State.ROLLED_BACK
    assert run.migrations == ()


def test_a_backward_release_has_in_effect_what_it_has_unapplied() -> None:
    run = replay(
        [
            started(Direction.BACKWARD),
            event(EventKind.MIGRATION_STARTED, migration=MIGRATION, backwards=True),
            event(EventKind.MIGRATION_DONE, migration=MIGRATION, backwards=True),
        ]
    )

    assert run.migrations == (("shop", "0002"),)


def test_a_step_done_while_finalizing_waits_no_longer() -> None:
    open_release = [*BEGUN, event(EventKind.STEP_DEFERRED, step=DROP), DONE, OPENED]
    finalizing = [*open_release, event(EventKind.FINALIZE_STARTED), event(EventKind.STEP_DONE, step=DROP)]

    run = replay([*finalizing, event(EventKind.RELEASE_FINALIZED, blocked=[])])

    assert replay(finalizing).state is State.FINALIZING
    assert run.state is State.FINALIZED
    assert run.steps_left == ()


def test_a_failed_release_says_why() -> None:
    run = replay([*BEGUN, event(EventKind.RELEASE_FAILED, error="the disk is full")])

    assert (run.state, run.error, run.work) == (State.FAILED, "the disk is full", None)


@given(st.lists(steps, max_size=4, unique_by=lambda step: step.id))
def test_the_acts_of_a_journal_are_those_of_the_steps_that_were_done(steps: list[Step]) -> None:
    events = [*BEGUN, *(event(EventKind.STEP_DONE, step=step) for step in steps)]

    assert acts(events) == tuple(step.forward for step in steps)


@given(st.lists(steps, max_size=4, unique_by=lambda step: step.id))
def test_replaying_a_prefix_never_fails(steps: list[Step]) -> None:
    events = [*BEGUN, *(event(EventKind.STEP_DONE, step=step) for step in steps), DONE, OPENED]

    states = [replay(events[:length]).state for length in range(1, len(events) + 1)]

    assert states == [State.APPLYING] * (len(events) - 1) + [State.OPEN]
