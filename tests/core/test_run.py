"""A run is what its events add up to."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segue.core.change import Act, Backfill, Kind, Retired
from segue.core.plan import Direction, Phase, Step
from segue.core.run import Event, EventKind, Filled, State, acts, replay
from segue.core.values import to_json
from tests.core.examples import steps

MIGRATION = ["shop", "0002"]
COLUMN = Retired(kind=Kind.COLUMN, table="book", name="title", definition="text")
ADD = Step(id="add", title="add", phase=Phase.EXPAND, forward=Act(), undo=(Act(), Act(retires=(COLUMN,))))
DROP = Step(id="drop", title="drop", phase=Phase.CONTRACT, forward=Act(), undo=())
FILLING = Act(backfill=Backfill(table="book", assignments="pages = 1", where="pages IS NULL"))
FILL = Step(id="fill", title="fill", phase=Phase.BACKFILL, forward=FILLING, undo=(FILLING, Act()))
FILLED = Filled(part='"book"', block=7, rows=400)


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


FILLING_BEGUN = (
    *(*BEGUN, event(EventKind.STEP_DONE, step=ADD), event(EventKind.STEP_INTENDED, step=FILL)),
    event(EventKind.BACKFILL_PROGRESS, id="fill", filled=Filled(part='"book"', block=3, rows=200)),
    event(EventKind.BACKFILL_PROGRESS, id="fill", filled=FILLED),
)


def test_a_backfill_under_way_is_where_it_was_last() -> None:
    run = replay(FILLING_BEGUN)

    assert run.filling == ("fill", FILLED)
    assert run.work is not None
    assert (run.work.steps, run.work.intended, run.work.begun) == ((ADD,), FILL, (ADD, FILL))


def test_another_step_that_was_announced_has_left_nothing_to_undo() -> None:
    run = replay([*BEGUN, event(EventKind.STEP_DONE, step=ADD), event(EventKind.STEP_INTENDED, step=DROP)])

    assert run.work is not None
    assert run.work.begun == (ADD,)


ENDINGS = {
    "done": event(EventKind.STEP_DONE, step=FILL),
    "undone in part": event(EventKind.ACT_UNDONE, id="fill", act=FILLING, acts_left=1),
    "undone": event(EventKind.ACT_UNDONE, id="fill", act=Act(), acts_left=0),
    "begun anew": event(EventKind.MIGRATION_STARTED, migration=MIGRATION, backwards=False),
}


@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
def test_where_a_backfill_was_is_forgotten_when_it_is(ending: Event) -> None:
    assert replay([*FILLING_BEGUN, ending]).filling is None


def test_a_backfill_that_was_not_done_is_still_to_undo_until_its_last_act_is_undone() -> None:
    in_part = replay([*FILLING_BEGUN, ENDINGS["undone in part"]]).work
    wholly = replay([*FILLING_BEGUN, ENDINGS["undone in part"], ENDINGS["undone"]]).work

    assert in_part is not None and wholly is not None
    assert (in_part.begun, in_part.acts_left) == ((ADD, FILL), {"fill": 1})
    assert (wholly.begun, wholly.acts_left) == ((ADD,), {"fill": 0})


def test_a_backfill_of_finalize_is_where_it_was_last_and_then_done() -> None:
    open_release = [*BEGUN, event(EventKind.STEP_DEFERRED, step=FILL), DONE, OPENED]
    finalizing = [*open_release, event(EventKind.FINALIZE_STARTED), event(EventKind.STEP_INTENDED, step=FILL)]
    filling = [*finalizing, event(EventKind.BACKFILL_PROGRESS, id="fill", filled=FILLED)]

    under_way, done = replay(filling), replay([*filling, ENDINGS["done"]])

    assert (under_way.filling, under_way.intended) == (("fill", FILLED), FILL)
    assert (done.filling, done.intended, done.steps_left) == (None, None, ())


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


BACK = Act(revives=(COLUMN,))
LATER = Act(statements=("VALIDATE",), background=True)
TIGHTENS = Step(id="tightens", title="tightens", phase=Phase.EXPAND, forward=Act(), undo=(BACK, LATER, LATER))
UNDONE = event(EventKind.MIGRATION_UNDONE, migration=MIGRATION)


def test_what_is_left_of_an_undo_waits_in_the_background_when_its_migration_is_undone() -> None:
    begun = [*BEGUN, event(EventKind.STEP_DONE, step=TIGHTENS), event(EventKind.STEP_DONE, step=ADD)]
    first = [event(EventKind.ACT_UNDONE, id="add", act=Act(), acts_left=0)]
    second = [event(EventKind.ACT_UNDONE, id="tightens", act=BACK, acts_left=2)]

    run = replay([*begun, *first, *second, UNDONE])

    assert run.work is None
    assert [(step.id, step.undo) for step in run.background] == [("tightens", (LATER, LATER))]


def test_the_background_is_over_act_by_act() -> None:
    undone = [*BEGUN, event(EventKind.STEP_DONE, step=TIGHTENS)]
    undone += [event(EventKind.ACT_UNDONE, id="tightens", act=BACK, acts_left=2), UNDONE]
    one = [*undone, event(EventKind.ACT_UNDONE, id="tightens", act=LATER, acts_left=1)]

    both = replay([*one, event(EventKind.ACT_UNDONE, id="tightens", act=LATER, acts_left=0)])

    assert [step.undo for step in replay(one).background] == [(LATER,)]
    assert both.background == ()


def test_a_rollback_knows_how_long_it_took_until_old_code_ran() -> None:
    rolling = [*BEGUN, DONE, OPENED, event(EventKind.ROLLBACK_STARTED, migrations=[MIGRATION])]

    run = replay([*rolling, event(EventKind.OLD_CODE_RUNS, seconds=0.031)])

    assert replay(rolling).rolled_back_in_seconds is None
    assert (run.state, run.rolled_back_in_seconds) == (State.ROLLING_BACK, 0.031)


def test_the_steps_that_reverse_an_operation_are_remembered_while_it_is_taken_back() -> None:
    begun = [*BEGUN, event(EventKind.STEP_DONE, step=ADD)]

    run = replay([*begun, event(EventKind.ACT_UNDONE, id="shop.0002:forth:0", act=BACK, acts_left=1, by="back")])

    assert run.work is not None
    assert run.work.reversed_by == {"back"}
    assert run.work.steps == (ADD,)
