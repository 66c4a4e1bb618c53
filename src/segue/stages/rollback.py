"""segue rollback: take an open or interrupted release back; what it had added is retired, not dropped."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta

from django.db.migrations import Migration
from django.db.migrations.state import ProjectState

from segue.carrier import ReleaseCarrier, finish_in_background, is_undoable, needs_operation, take_back
from segue.core.change import Cemetery, Irreversible, moved
from segue.core.errors import (
    FailedAndUndone,
    GateNotMet,
    Interrupted,
    LockNotTaken,
    NeedsPerson,
    NewCodeConnected,
    SegueError,
    StepFailed,
)
from segue.core.event import EventKind
from segue.core.plan import Step
from segue.core.run import Run, State
from segue.history import Key, backwards_plan, state_before, with_content_types
from segue.operations import on_database
from segue.session import Session

# Old code waits for this; it is long enough to see most applications that connect for each request.
WATCHED = timedelta(milliseconds=250)


def rollback(session: Session, run: Run, keys: Sequence[Key] | None = None) -> Run:
    """Unapply the release's migrations, or only those in `keys`, newest first.

    Call it while holding the target, with a forward release that is open, being applied or being rolled
    back. What was done step by step is undone step by step, from the journal alone: the time does not depend on
    rows, nor on how long Django takes to compute its states. What ran whole is unapplied by Django. What only
    tightens again waits until old code runs, and while new code is connected what is against that waits, too, for
    `finish_when_gone`. Raises GateNotMet, before anything is changed, when an operation has
    no way back, and FailedAndUndone or Interrupted when it stopped on the way; calling it again goes on.
    """
    began = time.monotonic()
    is_new = run.state is not State.ROLLING_BACK
    if run.work is not None and not run.work.backwards:
        take_back_unfinished(session, run)
        run = session.journal.run(run.release)
    wanted = [key for key in run.migrations if keys is None or key in keys]
    plan = backwards_plan(session.migrator, wanted)
    if is_new:
        require_way_back(session, run, keys)
        session.journal.append(run.release, EventKind.ROLLBACK_STARTED, migrations=wanted)
    session.migrator.carrier = ReleaseCarrier(session, run.release, fresh=False, deferring=False)
    old_code_runs = False
    with session.watching(_tables(run)) as canary:
        try:
            spares = len(wanted) == len(run.migrations) and _is_against_new_code(run) and _sees_new_code(session, run)
            for migration, _ in plan:
                _unapply(session, run, migration, spares=spares)
            old_code_runs = True
            _tell_that_old_code_runs(session, run, time.monotonic() - began if is_new else None)
            if not spares:
                finish_in_background(session, run.release)
        except NeedsPerson:
            raise
        except (Exception, KeyboardInterrupt) as error:
            if not session.engine.connection.is_usable():
                raise  # The engine, which holds the target, says what a lost connection means.
            # Any code of a migration may raise anything; what it had done is journaled, so the next call goes on.
            raise _failure(run, error, old_code_runs=old_code_runs) from error
    left = session.journal.run(run.release).migrations
    kind = EventKind.RELEASE_OPENED if left else EventKind.RELEASE_ROLLED_BACK
    session.journal.append(run.release, kind, blocked=canary.blocked())
    return session.journal.run(run.release)


def _is_against_new_code(run: Run) -> bool:
    """Whether taking the release back step by step makes its new code fail."""
    if {key for key, _ in run.done} != {*run.migrations}:
        return False
    undos = [step.undo for _, steps in run.done for step in steps] + [step.undo for step in run.background]
    return any(act.against_new_code for acts in undos if not isinstance(acts, Irreversible) for act in acts)


def _sees_new_code(session: Session, run: Run) -> bool:
    return session.engine.online and bool(session.new_code(run, watched=WATCHED))


def finish_when_gone(session: Session, run: Run, watched: timedelta | None) -> Run:
    """Carry out what a rollback has left for when new code is gone; raises NewCodeConnected while it is not.

    It is `watched` for so long, or taken for gone with None.
    """
    if watched is not None and (connected := session.new_code(run, watched=watched)):
        lines = [f'  pid {c.pid} "{c.application}" since {c.since}' for c in connected]
        raise NewCodeConnected(
            f"Release {run.release} is rolled back, and its new code is still connected:\n" + "\n".join(lines),
            next_command="stop it, then segue finalize; or segue finalize --old-code-gone, if it may fail from now on",
        )
    finish(session, run)
    return session.journal.run(run.release)


def no_way_back(session: Session, run: Run, keys: Sequence[Key] | None = None) -> list[str]:
    """Return what in a release, or in those migrations of it, can never be taken back, as sentences."""
    if not session.engine.online:
        return []  # There the images of what own code wrote are its way back.
    cemetery = session.journal.cemetery()
    found = []
    for key in run.migrations if keys is None else [key for key in run.migrations if key in keys]:
        migration = session.migrator.loader.graph.nodes.get(key)
        steps = dict(run.done).get(key)
        if migration is None or (steps is not None and _journal_suffices(steps, migration, cemetery)):
            continue
        every = (*migration.operations, *(operation for _, operation in on_database(migration.operations)))
        names = dict.fromkeys(str(operation) for operation in every if not operation.reversible)
        found += [f"Operation {name} in {migration} is not reversible" for name in names]
    return found


def require_way_back(session: Session, run: Run, keys: Sequence[Key] | None) -> None:
    """Raise GateNotMet when something in a release, or in those migrations of it, can never be taken back."""
    if found := no_way_back(session, run, keys):
        listed = "\n".join(f"  {line}" for line in found)
        raise GateNotMet(
            f"Release {run.release} cannot be rolled back, and nothing was changed:\n{listed}",
            next_command="segue finalize, to keep it; or give the operation a reverse and run segue rollback again",
        )


def _tell_that_old_code_runs(session: Session, run: Run, seconds: float | None) -> None:
    """Journal that nothing of the release is in old code's way any more; nobody knows how long an interruption was."""
    now = session.journal.run(run.release)
    if run.state is not State.ROLLING_BACK or run.migrations != now.migrations:
        session.journal.append(run.release, EventKind.OLD_CODE_RUNS, seconds=seconds and round(seconds, 3))
    if now.background:
        left = len(now.background)
        session.say(f"old code runs again; {left} background {'step' if left == 1 else 'steps'} left")


def _unapply(session: Session, run: Run, migration: Migration, *, spares: bool) -> None:
    key = (migration.app_label, migration.name)
    steps = dict(run.done).get(key)
    work = session.journal.run(run.release).work
    if steps is None or work is not None or not _journal_suffices(steps, migration, session.journal.cemetery()):
        session.migrator.reload()
        session.migrator.migrate([], plan=[(migration, True)])
        return
    session.migrator.progress("unapply_start", migration)
    session.journal.append(run.release, EventKind.MIGRATION_REOPENED, migration=key)
    older = [step for other, done in run.done[: [k for k, _ in run.done].index(key)] for step in done]
    take_back(session, run.release, migration, _start(session, migration, steps), older=older if spares else None)
    session.migrator.progress("unapply_success", migration)


def _start(session: Session, migration: Migration, steps: tuple[Step, ...]) -> ProjectState | None:
    """The state before a migration, where a step can only be undone by its operation."""
    if not any(needs_operation(session, step) for step in steps):
        return None
    return state_before(session.migrator, migration)


def _journal_suffices(steps: tuple[Step, ...], migration: Migration, cemetery: Cemetery) -> bool:
    """Whether undoing the steps as journaled leads back: each can be undone, and what it revives lies where it lay.

    A release that buried something gave its name to something else; only a new translation sorts that out.
    """
    lying = cemetery.all()
    for step in reversed(steps):
        acts = () if isinstance(step.undo, Irreversible) else step.undo
        if not acts and any(r.place for r in step.forward.retires):
            return False
        for act in acts:
            if any(r not in lying for r in act.revives):
                return False
            lying = (*(moved(r, act) for r in lying if r not in act.revives), *act.retires)
    return is_undoable(steps, migration)


def _tables(run: Run) -> tuple[str, ...]:
    acts = [act for _, steps in run.done for s in steps if not isinstance(s.undo, Irreversible) for act in s.undo]
    return tuple(dict.fromkeys([*run.tables, *(lock.table for act in acts for lock in act.locks)]))


def take_back_unfinished(session: Session, run: Run) -> None:
    """Take back what an interrupted run had done of one migration, or finish taking it back."""
    assert run.work is not None
    loader = session.migrator.loader
    migration = loader.graph.nodes.get(run.work.migration)
    if migration is not None:
        migration = with_content_types(session.migrator, migration)
    start = _start(session, migration, run.work.begun) if migration else None
    # Where taking back had begun, what cannot be taken back had been left already.
    leaving = bool(run.work.acts_left)
    try:
        take_back(session, run.release, migration, start, leaving_writes=leaving)
    except LockNotTaken:
        raise
    except StepFailed as error:
        raise NeedsPerson(
            f"{'.'.join(run.work.migration)} was interrupted and cannot be taken back: {error}",
            next_command="segue apply, which goes on forwards",
        ) from error
    session.migrator.reload()


def finish(session: Session, run: Run, *, sparing: bool = False) -> None:
    """Carry out what taking back had left for when old code runs again, or only what new code is not against."""
    try:
        finish_in_background(session, run.release, sparing=sparing)
    except LockNotTaken:
        raise
    except StepFailed as error:
        raise NeedsPerson(
            f"Release {run.release} was taken back, and what old code needs is there; what was left failed: {error}",
            next_command="mend the cause, then run the same command again: it goes on where it stopped",
        ) from error


def _failure(run: Run, error: BaseException, *, old_code_runs: bool) -> FailedAndUndone | Interrupted:
    if isinstance(error, KeyboardInterrupt):
        stands = "what old code needs is back" if old_code_runs else "old and new code both still run"
        return Interrupted(
            f"Interrupted; release {run.release} is rolled back half way, and {stands}.",
            next_command="segue rollback, to go on",
        )
    what = error.message if isinstance(error, SegueError) else str(error) or type(error).__name__
    stands = "What old code needs is back." if old_code_runs else "Old and new code both still run."
    return FailedAndUndone(
        f"Rolling back release {run.release} stopped: {what}\n{stands}",
        next_command="mend the cause and run segue rollback again: it goes on where it stopped",
    )
