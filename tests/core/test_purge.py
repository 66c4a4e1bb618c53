"""What purge may drop is decided from the journal alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from segue.core.change import Act, Kind, Retired
from segue.core.event import EventKind
from segue.core.plan import Direction, Phase, Step
from segue.core.purge import reason_to_keep, spoken, words
from segue.core.run import Event, Grave, Graveyard, Run, State, graveyard, replay
from segue.core.values import to_json

TITLE = Retired(kind=Kind.COLUMN, table="book", name="title", definition="text")
BURIED = Retired(kind=Kind.COLUMN, table="book", name="title", definition="text", place="grave")
ARCHIVED = Retired(kind=Kind.COLUMN, table="book", name="title", definition="text", place="grave", archive="key")
NOW = datetime(2026, 1, 10, tzinfo=UTC)
WEEK = timedelta(days=7)


def step_done(release: str, day: int, *, phase: Phase = Phase.EXPAND, **acts: Any) -> Event:
    """Return the event of a step that was done on a day of January."""
    step = Step(id="s", title="s", phase=phase, forward=Act(**acts), undo=())
    at = datetime(2026, 1, day, tzinfo=UTC).isoformat()
    return Event(release=release, kind=EventKind.STEP_DONE, at=at, data=to_json({"step": step}))


def run(state: State) -> Run:
    """Return a release in a state."""
    return Run(release="r1", state=state, direction=Direction.FORWARD, started_at="", by="me", tag="", planned=())


def grave(day: int = 1, retired: Retired = BURIED) -> Grave:
    """Return what was retired on a day of January."""
    return Grave(retired=retired, since=datetime(2026, 1, day, tzinfo=UTC).isoformat(), releases=("r1",))


def test_an_object_lies_there_since_it_was_moved_last_and_knows_who_moved_it() -> None:
    events = [step_done("r1", 1, retires=(TITLE,)), step_done("r2", 5, revives=(TITLE,), retires=(BURIED,))]

    (found,) = graveyard(events).graves

    assert found == Grave(retired=BURIED, since="2026-01-05T00:00:00+00:00", releases=("r1", "r2"))


def test_a_release_that_had_revived_an_object_counts_too() -> None:
    events = [
        step_done("r1", 1, retires=(TITLE,)),
        step_done("r2", 2, revives=(TITLE,)),
        step_done("r2", 3, retires=(TITLE,)),
    ]

    assert graveyard(events).graves[0].releases == ("r1", "r2")


def test_what_purge_dropped_lies_there_no_longer_and_its_releases_are_known() -> None:
    events = [
        step_done("r1", 1, retires=(TITLE,)),
        step_done("r2", 2, revives=(TITLE,), retires=(BURIED,)),
        step_done("r2", 9, phase=Phase.PURGE, purges=(BURIED,), retires=(ARCHIVED,)),
    ]

    assert graveyard(events) == Graveyard(graves=(), purged=frozenset({"r1", "r2"}))


def test_an_object_follows_its_table_to_another_name_but_a_retired_table_does_not() -> None:
    table = Retired(kind=Kind.TABLE, table="book", name="book", definition="", place="schema")
    events = [step_done("r1", 1, retires=(TITLE, table)), step_done("r2", 2, renames=(("book", "tome"),))]

    assert [g.retired.table for g in graveyard(events).graves] == ["tome", "book"]


@pytest.mark.parametrize("state", [State.FINALIZED, State.PURGED, State.ROLLED_BACK, State.FAILED])
def test_what_a_release_that_is_over_has_retired_long_enough_ago_is_due(state: State) -> None:
    assert reason_to_keep(grave(), {"r1": run(state)}, set(), NOW, WEEK) == ""


@pytest.mark.parametrize("state", [State.APPLYING, State.OPEN, State.ROLLING_BACK, State.FINALIZING])
def test_what_another_release_may_need_stays(state: State) -> None:
    reason = reason_to_keep(grave(), {"r1": run(state)}, set(), NOW, WEEK)

    assert reason == f"release r1 is {state} and may need it"


def test_what_was_retired_lately_stays() -> None:
    assert reason_to_keep(grave(8), {"r1": run(State.FINALIZED)}, set(), NOW, WEEK) == (
        "it was retired 2 days ago, less than 7 days"
    )


def test_only_what_has_its_own_name_still_can_be_in_use() -> None:
    used = {("book", "title"), ("book", "")}
    runs = {"r1": run(State.ROLLED_BACK)}

    assert reason_to_keep(grave(retired=TITLE), runs, used, NOW, WEEK) == "the project's code uses that name"
    assert reason_to_keep(grave(retired=BURIED), runs, used, NOW, WEEK) == ""


def test_a_finalized_release_is_purged_when_nothing_of_it_is_left_and_any_other_stays_what_it_is() -> None:
    started = Event(
        release="r1",
        kind=EventKind.RELEASE_STARTED,
        at="2026-01-01T00:00:00+00:00",
        data={"direction": "forward", "by": "me", "tag": "", "migrations": [], "tables": []},
    )

    def ends(kind: EventKind, left: int) -> State:
        ended = Event(release="r1", kind=kind, at="", data={"blocked": []})
        return replay(
            [started, ended, Event(release="r1", kind=EventKind.PURGE_ENDED, at="", data={"left": left})]
        ).state

    assert ends(EventKind.RELEASE_FINALIZED, 0) is State.PURGED
    assert ends(EventKind.RELEASE_FINALIZED, 1) is State.FINALIZED
    assert ends(EventKind.RELEASE_ROLLED_BACK, 0) is State.ROLLED_BACK


def test_durations_and_objects_are_said_as_a_person_says_them() -> None:
    durations = (timedelta(days=9, hours=3), timedelta(hours=1), timedelta(seconds=90), timedelta(0))

    assert [words(d) for d in durations] == ["9 days", "1 hour", "1 minute", "0 seconds"]
    assert [spoken(r) for r in (TITLE, Retired(kind=Kind.INDEX, table="book", name="by_title", definition=""))] == [
        "column book.title",
        "index by_title",
    ]
