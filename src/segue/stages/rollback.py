"""segue rollback: take an open or interrupted release back; what it had added is retired, not dropped."""

from __future__ import annotations

from collections.abc import Sequence

from django.db.migrations.state import ProjectState

from segue.core.errors import FailedAndUndone, Interrupted, NeedsPerson
from segue.core.event import EventKind
from segue.core.run import Run, State
from segue.executor import ReleaseCarrier, take_back
from segue.history import Key, backwards_plan
from segue.session import Session


def rollback(
    session: Session, run: Run, keys: Sequence[Key] | None = None, tables: tuple[str, ...] = ()
) -> tuple[Run, ProjectState | None]:
    """Unapply the release's migrations, or only those in `keys`, newest first.

    Call it while holding the target, with a forward release that is open, being applied or being rolled
    back. Returns the release and the state after it. Raises FailedAndUndone when a migration could not be
    unapplied: it stays applied, and so do those before it.
    """
    if run.work is not None and not run.work.backwards:
        _take_back_unfinished(session, run)
        run = session.journal.run(run.release)
    wanted = [key for key in run.migrations if keys is None or key in keys]
    plan = backwards_plan(session.migrator, wanted)
    if run.state is not State.ROLLING_BACK:
        session.journal.append(run.release, EventKind.ROLLBACK_STARTED, migrations=wanted)
    session.migrator.carrier = ReleaseCarrier(session, run.release, fresh=False, deferring=False)
    state = None
    with session.watching(tables or run.tables) as canary:
        try:
            if plan:
                state = session.migrator.migrate([], plan=plan)
        except NeedsPerson:
            raise
        except (Exception, KeyboardInterrupt) as error:
            # Any code of a migration may raise anything; the carrier has taken back what was done of it.
            session.journal.append(run.release, EventKind.RELEASE_OPENED, blocked=[], error=str(error))
            raise _failure(error) from error
    left = session.journal.run(run.release).migrations
    kind = EventKind.RELEASE_OPENED if left else EventKind.RELEASE_ROLLED_BACK
    session.journal.append(run.release, kind, blocked=canary.blocked())
    return session.journal.run(run.release), state


def _take_back_unfinished(session: Session, run: Run) -> None:
    assert run.work is not None
    graph = session.migrator.loader.graph
    migration = graph.nodes.get(run.work.migration)
    start = session.migrator.loader.project_state(run.work.migration, at_end=False) if migration else None
    take_back(session, run.release, migration, start)


def _failure(error: BaseException) -> FailedAndUndone | Interrupted:
    if isinstance(error, KeyboardInterrupt):
        return Interrupted(
            "Interrupted; the migration that was being unapplied is as it was.",
            next_command="segue rollback, to go on",
        )
    return FailedAndUndone(
        f"The rollback failed, and the migration that was being unapplied is as it was: {error}",
        next_command="mend the cause and run segue rollback again",
    )
