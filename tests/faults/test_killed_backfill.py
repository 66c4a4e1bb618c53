"""SIGKILL in the midst of a backfill: whoever comes next goes on with it where the journal says, or takes it back."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import Any

import pytest
from django.db import connections

from segue import cli, executor
from segue.carrier import take_back
from segue.core.change import Act, Backfill
from segue.core.event import EventKind
from segue.core.plan import Direction, Phase, Step
from segue.core.run import Filled, Run
from segue.engines.postgresql import pace
from segue.journal import Journal
from segue.session import open_session
from tests.faults import child
from tests.faults.child import Strike
from tests.project import Project

RELEASE = "20260101-000000-abcd"
MIGRATION = ("shop", "0002_step")
ROWS = 2000
STEP = Step(
    id="shop.0002_step:forth:0:fill song.ms",
    title="fill song.ms",
    phase=Phase.BACKFILL,
    forward=Act(backfill=Backfill(table="song", assignments="ms = seconds * 1000", where="ms IS NULL")),
    undo=(Act(backfill=Backfill(table="song", assignments="ms = NULL", where="ms IS NOT NULL")),),
)
FILL, TAKE_BACK = "fill", "take back"


def _main(arguments: Sequence[str]) -> int:
    """What the process does in place of a command: carry out the step of a release under way, or take it back."""
    session = open_session("default")
    with session.engine.hold(session.say):
        if arguments == (FILL,):
            executor.carry_out(session, RELEASE, STEP)
        else:
            take_back(session, RELEASE, None, None)
    return 0


@pytest.fixture
def songs(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A table to fill, in a release under way; each batch is a block, and each is noted."""
    monkeypatch.setattr(cli, "main", _main)
    monkeypatch.setattr(pace, "FIRST_BLOCKS", 1)
    monkeypatch.setattr(pace, "MOST_BLOCKS", 1)
    monkeypatch.setattr(pace, "NOTE_EVERY_SECONDS", 0)
    monkeypatch.setattr(pace, "NOTE_EVERY_SHARE", 0)
    project.sql("CREATE TABLE song (id integer PRIMARY KEY, seconds integer NOT NULL, ms bigint, filler text)")
    project.sql(f"INSERT INTO song SELECT n, n, NULL, repeat('x', 100) FROM generate_series(1, {ROWS}) n")
    project.sql("CREATE TABLE django_migrations (id serial, app text, name text, applied timestamptz)")
    journal = _journal()
    journal.ensure()
    journal.append(
        RELEASE,
        EventKind.RELEASE_STARTED,
        direction=Direction.FORWARD,
        migrations=[MIGRATION],
        tables=["song"],
        tag="",
        by="me",
    )
    journal.append(RELEASE, EventKind.MIGRATION_STARTED, migration=MIGRATION, backwards=False)
    return project


def _journal() -> Journal:
    return Journal(connections["default"])


def _run() -> Run:
    return _journal().run(RELEASE)


def _noted(project: Project) -> list[tuple[str, int, int]]:
    """Return what the journal has of progress: the id, the block and the rows of each event."""
    rows: list[Any] = project.sql(
        "SELECT data ->> 'id', (data #>> '{filled,block}')::int, (data #>> '{filled,rows}')::int FROM segue_event "
        "WHERE kind = %s ORDER BY id",
        [EventKind.BACKFILL_PROGRESS],
    )
    return rows


def _left(project: Project) -> int:
    return int(project.sql("SELECT count(*) FROM song WHERE ms IS DISTINCT FROM seconds * 1000")[0][0])


def _kill(what: str, *, event: int) -> None:
    ended = child.run(what, strike=Strike(event=event, when="after"))
    assert ended.signal == signal.SIGKILL, ended.output


def _go_on(what: str) -> None:
    ended = child.run(what)
    assert ended.status == 0, ended.output


def test_a_killed_backfill_goes_on_where_the_journal_says(songs: Project) -> None:
    _kill(FILL, event=1 + 12)
    killed, left = _run(), _left(songs)
    _go_on(FILL)

    noted = _noted(songs)
    run = _run()
    assert killed.filling == (STEP.id, Filled(part='"song"', block=12, rows=ROWS - left))
    assert [block for _, block, _ in noted] == list(range(1, len(noted) + 1))
    assert noted[-1] == (STEP.id, len(noted), ROWS)
    assert _left(songs) == 0
    assert run.work is not None
    assert (run.work.steps, run.work.intended, run.filling) == ((STEP,), None, None)


def test_a_backfill_that_was_killed_before_it_noted_anything_begins_again(songs: Project) -> None:
    _kill(FILL, event=1)
    killed = _run()
    _go_on(FILL)

    assert killed.work is not None
    assert (killed.work.intended, killed.filling) == (STEP, None)
    assert _noted(songs)[0][1] == 1
    assert _left(songs) == 0


def test_a_backfill_that_was_killed_half_way_is_taken_back(songs: Project) -> None:
    _kill(FILL, event=1 + 12)
    filled = ROWS - _left(songs)
    _go_on(TAKE_BACK)

    run = _run()
    assert 0 < filled < ROWS
    assert songs.sql("SELECT count(*) FROM song WHERE ms IS NOT NULL") == [(0,)]
    assert (run.work, run.filling, run.background) == (None, None, ())


def test_a_killed_undo_goes_on_where_the_journal_says(songs: Project) -> None:
    _go_on(FILL)
    before = len(_noted(songs))
    _kill(TAKE_BACK, event=12)
    killed = _run()
    _go_on(TAKE_BACK)

    undone = _noted(songs)[before:]
    assert killed.filling is not None
    assert (killed.filling[0], killed.filling[1].block) == (f"{STEP.id}:undo:0", 12)
    assert [block for _, block, _ in undone] == list(range(1, len(undone) + 1))
    assert {id_ for id_, _, _ in undone} == {f"{STEP.id}:undo:0"}
    assert songs.sql("SELECT count(*) FROM song WHERE ms IS NOT NULL") == [(0,)]
    assert _run().work is None
