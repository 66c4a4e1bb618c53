"""segue rollback: take an open or interrupted release back; what it had added is retired, not dropped."""

from __future__ import annotations

from collections.abc import Sequence

from django.db.migrations import Migration

from segue.carrier import ReleaseCarrier, take_back
from segue.core.change import Cemetery, Irreversible
from segue.core.errors import FailedAndUndone, Interrupted, LockNotTaken, NeedsPerson, SegueError, StepFailed
from segue.core.event import EventKind
from segue.core.plan import Step
from segue.core.run import Run, State
from segue.history import Key, backwards_plan
from segue.session import Session


def rollback(session: Session, run: Run, keys: Sequence[Key] | None = None) -> Run:
    """Unapply the release's migrations, or only those in `keys`, newest first.

    Call it while holding the target, with a forward release that is open, being applied or being rolled
    back. What was done step by step is undone step by step, from the journal alone: the time does not depend on
    rows, nor on how long Django takes to compute its states. What ran whole is unapplied by Django. Raises
    FailedAndUndone or Interrupted when it stopped on the way; calling it again goes on.
    """
    if run.work is not None and not run.work.backwards:
        take_back_unfinished(session, run)
        run = session.journal.run(run.release)
    wanted = [key for key in run.migrations if keys is None or key in keys]
    plan = backwards_plan(session.migrator, wanted)
    if run.state is not State.ROLLING_BACK:
        session.journal.append(run.release, EventKind.ROLLBACK_STARTED, migrations=wanted)
    session.migrator.carrier = ReleaseCarrier(session, run.release, fresh=False, deferring=False)
    with session.watching(_tables(run)) as canary:
        try:
            for migration, _ in plan:
                _unapply(session, run, migration)
        except NeedsPerson:
            raise
        except (Exception, KeyboardInterrupt) as error:
            if not session.engine.connection.is_usable():
                raise  # The engine, which holds the target, says what a lost connection means.
            # Any code of a migration may raise anything; what it had done is journaled, so the next call goes on.
            raise _failure(run, error) from error
    left = session.journal.run(run.release).migrations
    kind = EventKind.RELEASE_OPENED if left else EventKind.RELEASE_ROLLED_BACK
    session.journal.append(run.release, kind, blocked=canary.blocked())
    return session.journal.run(run.release)


def _unapply(session: Session, run: Run, migration: Migration) -> None:
    key = (migration.app_label, migration.name)
    steps = dict(run.done).get(key)
    if steps is None or not _journal_suffices(steps, session.journal.cemetery()):
        session.migrator.reload()
        session.migrator.migrate([], plan=[(migration, True)])
        return
    session.migrator.progress("unapply_start", migration)
    session.journal.append(run.release, EventKind.MIGRATION_REOPENED, migration=key)
    take_back(session, run.release, migration, None)
    session.migrator.progress("unapply_success", migration)


def _journal_suffices(steps: tuple[Step, ...], cemetery: Cemetery) -> bool:
    """Whether undoing the steps as journaled leads back: each has an undo, and what it revives lies where it lay.

    A release that buried something gave its name to something else; only a new translation sorts that out.
    """
    retired = cemetery.all()
    for step in steps:
        if isinstance(step.undo, Irreversible) or any(r.place for r in step.forward.retires):
            return False
        if any(r not in retired for act in step.undo for r in act.revives):
            return False
    return True


def _tables(run: Run) -> tuple[str, ...]:
    acts = [act for _, steps in run.done for s in steps if not isinstance(s.undo, Irreversible) for act in s.undo]
    return tuple(dict.fromkeys([*run.tables, *(lock.table for act in acts for lock in act.locks)]))


def take_back_unfinished(session: Session, run: Run) -> None:
    """Take back what an interrupted run had done of one migration, or finish taking it back."""
    assert run.work is not None
    loader = session.migrator.loader
    migration = loader.graph.nodes.get(run.work.migration)
    needs_state = any(isinstance(step.undo, Irreversible) for step in run.work.steps)
    start = loader.project_state(run.work.migration, at_end=False) if migration and needs_state else None
    try:
        take_back(session, run.release, migration, start)
    except LockNotTaken:
        raise
    except StepFailed as error:
        raise NeedsPerson(
            f"{'.'.join(run.work.migration)} was interrupted and cannot be taken back: {error}",
            next_command="segue apply, which goes on forwards",
        ) from error
    session.migrator.reload()


def _failure(run: Run, error: BaseException) -> FailedAndUndone | Interrupted:
    if isinstance(error, KeyboardInterrupt):
        return Interrupted(
            f"Interrupted; release {run.release} is rolled back half way, and old and new code both still run.",
            next_command="segue rollback, to go on",
        )
    what = error.message if isinstance(error, SegueError) else str(error) or type(error).__name__
    return FailedAndUndone(
        f"Rolling back release {run.release} stopped: {what}\nOld and new code both still run.",
        next_command="mend the cause and run segue rollback again: it goes on where it stopped",
    )
