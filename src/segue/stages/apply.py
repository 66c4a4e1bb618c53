"""segue apply: carry a plan's migrations out as one release, resuming an interrupted one."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import connections
from django.db.migrations.state import ProjectState

from segue.carrier import ReleaseCarrier
from segue.core.errors import FailedAndUndone, Interrupted, NeedsPerson, SegueError
from segue.core.event import EventKind
from segue.core.evidence import NoBackup
from segue.core.plan import Direction
from segue.core.run import Run
from segue.history import MigrationPlan
from segue.session import Session


@dataclass(frozen=True, kw_only=True)
class Order:
    """What to apply: the migrations in order, and how.

    `resume` is the release of an interrupted run to go on with, `rolls_back` that of a finalized one to take
    back; `tables` are those to watch; a `fresh` database and an engine without traffic finalize at once.
    """

    migrations: MigrationPlan
    tables: tuple[str, ...] = ()
    fresh: bool = False
    fake_initial: bool = False
    resume: Run | None = None
    rolls_back: str = ""


def apply(
    session: Session, order: Order, backup: NoBackup, state: ProjectState | None = None
) -> tuple[Run, ProjectState]:
    """Carry out the migrations, one release for all; return the release and the project's state after it.

    Call it while holding the target. Raises FailedAndUndone when a migration failed and is taken back (those
    before it stay and the release stays open), NeedsPerson when it could not be taken back, Interrupted.
    """
    release = order.resume.release if order.resume else _start(session, order, backup)
    session.migrator.carrier = ReleaseCarrier(
        session, release, fresh=order.fresh, deferring=session.engine.online and not order.fresh
    )
    with session.watching(() if order.fresh else order.tables) as canary:
        try:
            state = session.migrator.migrate([], plan=order.migrations, state=state, fake_initial=order.fake_initial)
        except NeedsPerson:
            raise
        except (Exception, KeyboardInterrupt) as error:
            # Any code of a migration may raise anything; the carrier has taken back what was done of it.
            _close_after_failure(session, release, error)
            raise _failure(session, release, error) from error
    blocked = canary.blocked()
    ends = order.fresh or not session.engine.online
    session.journal.append(release, EventKind.RELEASE_FINALIZED if ends else EventKind.RELEASE_OPENED, blocked=blocked)
    return session.journal.run(release), state


def _start(session: Session, order: Order, backup: NoBackup) -> str:
    release = session.journal.new_release_id()
    backwards = bool(order.migrations) and order.migrations[0][1]
    session.journal.append(
        release,
        EventKind.RELEASE_STARTED,
        direction=Direction.BACKWARD if backwards else Direction.FORWARD,
        migrations=[(m.app_label, m.name) for m, _ in order.migrations],
        tables=order.tables,
        rolls_back=order.rolls_back,
        fresh=order.fresh,
        tag=session.tag_without([(m.app_label, m.name) for m, back in order.migrations if back]),
        by=session.by,
        no_backup=backup.reason,
    )
    return release


def _close_after_failure(session: Session, release: str, error: BaseException) -> None:
    """A release of which something stands is open; one of which nothing stands has failed."""
    if not connections[session.engine.connection.alias].is_usable():
        return  # The server is gone; the next command finds the release under way and settles it.
    run = session.journal.run(release)
    if run.work is not None or run.background:
        return  # Taking back was interrupted too; the next command goes on with it.
    what = str(error) or type(error).__name__  # Ctrl-C has no text, and a release without an error has not failed.
    if run.migrations:
        session.journal.append(release, EventKind.RELEASE_OPENED, blocked=[], error=what)
    else:
        session.journal.append(release, EventKind.RELEASE_FAILED, error=what)


def _failure(session: Session, release: str, error: BaseException) -> SegueError:
    run = session.journal.run(release)
    if run.work is not None and not isinstance(error, KeyboardInterrupt) and not run.work.steps:
        what = error.message if isinstance(error, SegueError) else str(error) or type(error).__name__
        return NeedsPerson(
            f"{'.'.join(run.work.migration)} failed: {what}\nIt is not atomic, so what it had done stays.",
            next_command="mend the cause and run the same command again: it runs the migration again",
        )
    if run.work is not None or run.background:
        failed = run.work.migration if run.work is not None else _failed(run)
        return Interrupted(
            f"Interrupted while {'.'.join(failed)} was being taken back.",
            next_command="segue rollback, which takes the rest back; or segue apply, which goes on",
        )
    standing = ", ".join(f"{app}.{name}" for app, name in run.migrations)
    backwards = run.direction is Direction.BACKWARD
    if standing:
        stands = f"What had been {'unapplied' if backwards else 'applied'} before it stays so: {standing}."
    else:
        stands = "The database is as it was." if backwards else "Nothing of it remains."
    if isinstance(error, KeyboardInterrupt):
        return Interrupted(
            f"Interrupted; the migration under way was taken back.\n{stands}",
            next_command="run the same command again to go on",
        )
    what = error.message if isinstance(error, SegueError) else str(error) or type(error).__name__
    label = ".".join(_failed(run))
    return FailedAndUndone(
        f"{label} could not be unapplied and stays applied: {what}\n{stands}"
        if backwards
        else f"{label} failed and was taken back: {what}\n{stands}",
        next_command="mend the cause and run the same command again; --traceback shows where it failed",
    )


def _failed(run: Run) -> tuple[str, ...]:
    return next((key for key in run.planned if key not in run.migrations), ("The migration",))
