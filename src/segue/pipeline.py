"""One release's whole life, one screen: plan, apply, roll back, finalize. Start here.

Composes stages, which never call each other. Every function that writes holds the target while it does, and
first settles what an interrupted run left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from io import StringIO
from typing import Any

from django.core.management.sql import emit_post_migrate_signal, emit_pre_migrate_signal
from django.db.migrations.state import ProjectState

from segue import alias, history
from segue.core.change import Kind, Retired
from segue.core.errors import FailedAndUndone, GateNotMet, Interrupted, NewCodeConnected, UsageError
from segue.core.event import EventKind
from segue.core.evidence import NoBackup
from segue.core.plan import Direction, Plan
from segue.core.purge import Purge, Survey
from segue.core.quarantine import Group, Line, Settled
from segue.core.run import UNDER_WAY, Run, State
from segue.executor import end_captures
from segue.history import MigrationPlan
from segue.session import Session
from segue.stages import apply as apply_stage
from segue.stages import blocking
from segue.stages import finalize as finalize_stage
from segue.stages import plan as plan_stage
from segue.stages import purge as purge_stage
from segue.stages import quarantine as quarantine_stage
from segue.stages import rollback as rollback_stage
from segue.stages import status as status_stage
from segue.stages.status import Status
from segue.storage.archives import Archives

_ENDED = frozenset({State.FINALIZED, State.PURGED})
_NO_BACKUP = NoBackup(reason="this command takes none")


def plan(session: Session, app: str | None = None, name: str | None = None) -> Plan:
    """Return what `apply` to the same place would do; writes nothing."""
    return plan_stage.plan(session, _migrations(session, app, name))


def rollback_plan(session: Session, release: str | None = None) -> Plan:
    """Return what `rollback` would do; writes nothing."""
    if _is_rolled_back(session, release):
        return plan_stage.plan(session, [])
    run = _newest_standing(session, release)
    if run.state not in _ENDED and run.direction is Direction.FORWARD:
        rollback_stage.require_way_back(session, run, None)
    return plan_stage.plan(session, history.backwards_plan(session.migrator, run.migrations))


def apply(session: Session, app: str | None = None, name: str | None = None) -> Run | None:
    """Bring the target to the wanted migration as one release; None when it is there already.

    A failure takes the whole release back, not only the migration that failed, unless one before it has no way back.
    """
    with _holding(session):
        migrations = _migrations(session, app, name)
        with _signals(session, migrations) as (before, after):
            try:
                runs = _carry(session, migrations, before)
            except (FailedAndUndone, Interrupted) as error:
                _take_release_back(session, error)
                raise
            after(runs[-1][1] if runs else before)
        return runs[-1][0] if runs else None


def migrate(
    session: Session, migrations: MigrationPlan, state: ProjectState | None, *, fake_initial: bool
) -> ProjectState | None:
    """What `manage.py migrate` runs once it has worked out its plan; it sends the signals itself.

    Returns the state after it, None when another run had done everything meanwhile.
    """
    with _holding(session):
        session.migrator.reload(migrations)
        applied = set(session.migrator.loader.applied_migrations)
        backwards = bool(migrations) and migrations[0][1]
        left = [(m, back) for m, back in migrations if ((m.app_label, m.name) in applied) == backwards]
        runs = _carry(session, left, state if len(left) == len(migrations) else None, fake_initial=fake_initial)
        alias.look_again(session.engine.connection)
        return runs[-1][1] if runs else None


def rollback(session: Session, release: str | None = None) -> Run:
    """Take the newest release that stands back to where it began; it must be `release`, if one is named.

    With a name it can be repeated safely: a release that is rolled back already is returned as it is.
    """
    with _holding(session, settling=False):
        if release is not None and _is_rolled_back(session, release):
            return session.journal.run(release)
        unfinished = session.journal.under_way()
        if unfinished and unfinished.direction is Direction.BACKWARD:
            return _go_on_backwards(session, unfinished)
        _finish_what_is_behind(session, [])
        run = _newest_standing(session, release)
        _require_nothing_behind(session, run.tables)
        nodes = session.migrator.loader.graph.nodes
        migrations = [(nodes[key], True) for key in reversed(run.migrations) if key in nodes]
        anew = run.state in _ENDED or run.direction is Direction.BACKWARD
        if not anew:
            blocking.require_for_way_back(session, run)
        with _signals(session, migrations) as (before, after):
            if anew:
                run, state = _go_back_as_release(session, run, before)
            else:
                run, state = rollback_stage.rollback(session, run), None
            after(state)
        return run


def finalize(session: Session, *, old_code_gone: bool = False) -> list[Run]:
    """Carry out what waits of every open release, oldest first, and of those that are rolled back; return them."""
    with _holding(session):
        watched = None if old_code_gone else finalize_stage.WATCHED
        behind = [rollback_stage.finish_when_gone(session, run, watched) for run in session.journal.runs_behind()]
        runs = session.journal.open_runs()
        for run in runs:
            if not old_code_gone:
                finalize_stage.require_gone(session, run)
        blocking.require_for_finalize(session, runs)
        return [*behind, *(finalize_stage.finalize(session, run) for run in runs)]


def purge_survey(session: Session, older_than: timedelta) -> Survey:
    """Return what `purge` would drop and what it would leave, each with its size; writes nothing."""
    _require_purgeable(session)
    return purge_stage.survey(session, older_than, measured=True)


def purge(session: Session, older_than: timedelta) -> Purge:
    """Archive and drop what was retired longer ago than that; what cannot go now is in the result."""
    archives = _require_purgeable(session)
    with _holding(session):
        if run := session.journal.under_way():
            raise GateNotMet(
                f"Release {run.release} is {run.state} and may need what was retired; nothing was purged.",
                next_command="segue apply, to complete it, or segue rollback, to take it back; then segue purge again",
            )
        return purge_stage.purge(session, archives, older_than)


def forget_archive(session: Session, key: str) -> Retired:
    """Give the values in an archive up: what it holds will be made anew, without them."""
    with _holding(session):
        return purge_stage.forget(session, key)


def quarantine(session: Session) -> tuple[Group, ...]:
    """Return what waits in quarantine for a person, in groups; reads only."""
    return quarantine_stage.groups(session)


def quarantine_chosen(session: Session, ids: Sequence[int], release: str, table: str) -> tuple[Line, ...]:
    """Return the lines of the quarantine that are meant; reads only."""
    return quarantine_stage.chosen(session, ids, release, table)


def settle(session: Session, lines: Sequence[Line], *, restoring: bool) -> Settled:
    """Settle lines of the quarantine: put back what fits by now, or leave everything as it is."""
    if restoring and not session.engine.online:
        raise UsageError(
            f"On {session.engine.target().vendor} a row goes back when its migration is applied again.",
            next_command="segue apply; or settle it with --keep",
        )
    with _holding(session):
        return (quarantine_stage.restore if restoring else quarantine_stage.keep)(session, lines)


def _require_purgeable(session: Session) -> Archives:
    if not session.engine.online:
        raise UsageError(
            f"{session.engine.target().vendor} keeps what its migrations drop in the database's own file; there is "
            "nothing to purge.",
            next_command="segue status, to see what is kept",
        )
    if session.archives is None:
        raise UsageError(
            "Purge drops nothing that it has not archived, and there is no store to archive it in: "
            'SEGUE["STORE"] is not set.',
            next_command='set SEGUE["STORE"] to file:///an/absolute/folder or s3://bucket/prefix',
        )
    return session.archives


def status(session: Session) -> Status:
    """Return where the target stands; reads only."""
    return status_stage.status(session)


# Holding and settling


@contextmanager
def _holding(session: Session, *, settling: bool = True) -> Iterator[None]:
    """Hold the target, with a journal and with nothing half done but a release that can be gone on with."""
    with session.engine.hold(session.say):
        session.migrator.reload()
        session.journal.ensure()
        end_captures(session)
        if settling:
            _settle(session)
        yield


def _settle(session: Session) -> None:
    run = session.journal.under_way()
    if run is None:
        return
    if run.state is State.APPLYING and run.direction is Direction.FORWARD:
        if run.work is not None and run.work.acts_left:
            # Half of the migration is retired already: it must be wholly so before it can be revived.
            rollback_stage.take_back_unfinished(session, run)
        rollback_stage.finish(session, run)
        return
    session.say(f"release {run.release} was interrupted while {run.state}; that is completed first")
    if run.state is State.APPLYING:
        _go_on_backwards(session, run)
    elif run.state is State.ROLLING_BACK:
        rollback_stage.rollback(session, run, run.planned)
    else:
        finalize_stage.finalize(session, run)
    session.migrator.reload()


def _go_on_backwards(session: Session, run: Run) -> Run:
    """Complete an interrupted release that unapplies migrations."""
    rollback_stage.finish(session, run)
    left = [key for key in reversed(run.planned) if key not in run.migrations]
    migrations = history.backwards_plan(session.migrator, left)
    order = apply_stage.Order(migrations=migrations, tables=run.tables, resume=run)
    return apply_stage.apply(session, order, _NO_BACKUP)[0]


def _take_release_back(session: Session, error: FailedAndUndone | Interrupted) -> None:
    """Add to the error what became of the migrations that had succeeded before."""
    session.migrator.reload()
    runs = session.journal.runs()
    if runs and runs[-1].state is State.OPEN and runs[-1].error and runs[-1].direction is Direction.FORWARD:
        if rollback_stage.no_way_back(session, runs[-1]):
            return  # The error's last line says what stays.
        run = rollback_stage.rollback(session, runs[-1])
        # The last line said what stays; nothing does.
        what = error.message.rsplit("\n", 1)[0]
        error.message = f"{what}\nRelease {run.release} was taken back whole."


# Carrying out


def _migrations(session: Session, app: str | None, name: str | None) -> MigrationPlan:
    targets = history.targets(session.migrator.loader, app, name)
    return session.migrator.migration_plan(targets)


def _carry(
    session: Session,
    migrations: MigrationPlan,
    state: ProjectState | None = None,
    *,
    fake_initial: bool = False,
    rolls_back: str = "",
    undoes: str = "",
) -> list[tuple[Run, ProjectState | None]]:
    """Carry migrations out: an interrupted release is gone on with, an open one is rolled back by going back.

    `state` is what is applied now; on the way back Django makes states of its own.
    """
    backwards = bool(migrations) and migrations[0][1]
    _finish_what_is_behind(session, migrations)
    unfinished = session.journal.under_way()
    results: list[tuple[Run, ProjectState | None]] = []
    if backwards:
        results, migrations = _roll_back_open(session, migrations)
        unfinished = None
    fresh = session.fresh and not fake_initial  # with --fake-initial the tables may be there already
    planned = plan_stage.plan(session, migrations) if migrations and session.engine.online and not fresh else None
    tables = planned.tables if planned else ()
    if planned:
        blocking.require_for_plan(session, planned)
        purge_stage.prove_archives(session, planned)
    if unfinished is not None:
        _require_same_way(unfinished, migrations)
    _require_nothing_behind(session, tables, migrations)
    if unfinished is None and not backwards:
        _finalize_what_overlaps(session, tables, but=undoes)
        if planned:
            _require_no_waiting_steps(session, planned, but=undoes)
    if not migrations and unfinished is None:
        return results
    order = apply_stage.Order(
        migrations=migrations,
        tables=tables,
        fresh=fresh,
        fake_initial=fake_initial,
        resume=unfinished,
        rolls_back=rolls_back,
    )
    results.append(apply_stage.apply(session, order, _NO_BACKUP, state))
    return results


def _finish_what_is_behind(session: Session, migrations: MigrationPlan) -> None:
    """Carry out what rollbacks have left for when new code is gone, if it is, or is to have its migrations again."""
    for run in session.journal.runs_behind():
        connected, comes_again = bool(session.new_code(run)), _comes_again(run, migrations)
        if connected and comes_again:
            _require_unedited(session, run)
        if not connected or comes_again:
            rollback_stage.finish(session, run, sparing=connected)
            session.migrator.reload()


def _comes_again(run: Run, migrations: Sequence[tuple[Any, bool]]) -> bool:
    return {*run.planned} <= {(m.app_label, m.name) for m, back in migrations if not back}


def _require_unedited(session: Session, run: Run) -> None:
    """What new code still uses of a release that is rolled back can be taken up again by the same migrations alone."""
    nodes = session.migrator.loader.graph.nodes
    # The last time that a migration began counts; releases of an earlier version have no digests.
    known = {key: digest for key, digest in dict(run.files).items() if digest and key in nodes}
    edited = [".".join(key) for key, digest in known.items() if history.file_digest(nodes[key]) != digest]
    if edited:
        raise NewCodeConnected(
            f"Release {run.release} is rolled back and its new code is still connected, but "
            f"{', '.join(edited)} {'has' if len(edited) == 1 else 'have'} been edited since, and would not fit that "
            "code.",
            next_command="stop that code, then the same command again; or put the file back as it was",
        )


def _require_nothing_behind(
    session: Session, tables: tuple[str, ...], migrations: Sequence[tuple[Any, bool]] = ()
) -> None:
    for run in session.journal.runs_behind():
        if {*run.tables} & {*tables} and not _comes_again(run, migrations):
            raise NewCodeConnected(
                f"Release {run.release} is rolled back, its new code is still connected, and this one changes the "
                f"same tables: {', '.join(sorted({*run.tables} & {*tables}))}.",
                next_command="stop that code, then the same command again; segue status shows what waits",
            )


def _require_same_way(unfinished: Run, migrations: MigrationPlan) -> None:
    """An interrupted migration must be among those to carry out, in the same direction."""
    if unfinished.work is None:
        return
    wanted = {((m.app_label, m.name), back) for m, back in migrations}
    if (unfinished.work.migration, unfinished.work.backwards) not in wanted:
        raise UsageError(
            f"Release {unfinished.release} was interrupted in {'.'.join(unfinished.work.migration)}, which this "
            "command does not include.",
            next_command="segue apply to complete it, or segue rollback to take it back",
        )


def _roll_back_open(
    session: Session, migrations: MigrationPlan
) -> tuple[list[tuple[Run, ProjectState | None]], MigrationPlan]:
    """Unapply through the open releases that had applied them; return what is left for a release of its own."""
    results: list[tuple[Run, ProjectState | None]] = []
    runs = session.journal.open_runs()
    unfinished = session.journal.under_way()
    for run in reversed([*runs, *([unfinished] if unfinished else [])]):
        keys = [(m.app_label, m.name) for m, _ in migrations]
        touched = set(keys) & set(run.migrations) or run is unfinished
        if run.direction is Direction.FORWARD and touched:
            blocking.require_for_way_back(session, run, keys)
            results.append((rollback_stage.rollback(session, run, keys), None))
            session.migrator.reload()
            migrations = [(m, back) for m, back in migrations if (m.app_label, m.name) not in run.migrations]
    return results, migrations


def _require_no_waiting_steps(session: Session, planned: Plan, *, but: str) -> None:
    """What runs as stock may rename what the steps of an open release are waiting to change; and where new code
    and the database have different names for a thing, only the release that made them so can go on with it.
    """
    stock = {lock.table for step in planned.steps if not step.online for lock in step.forward.locks}
    for run in session.journal.open_runs():
        waiting = {lock.table for step in run.steps_left for lock in step.forward.locks}
        # A table that is buried takes nobody's name.
        naming = [s for s in run.steps_left if not any(r.kind is Kind.TABLE for r in s.forward.retires)]
        named = {lock.table for step in naming if step.naming for lock in step.forward.locks}
        named |= {name for step in naming for names in step.forward.renames for name in names}
        touched = (stock & waiting) | (set(planned.tables) & named)
        if touched and run.release != but:
            known = {alias.place: alias.table for alias in session.journal.cemetery().aliases if not alias.view}
            tables = sorted({known.get(table, table) for table in touched})
            raise GateNotMet(
                f"Release {run.release} is open and has steps that wait on {', '.join(tables)}, which "
                "this one changes too.",
                next_command="segue finalize, when its old code is gone; then the same command again",
            )


def _finalize_what_overlaps(session: Session, tables: tuple[str, ...], *, but: str) -> None:
    """An open release ends where the next one touches its tables, if its new code is seen and no old; else both stay.

    Nobody connected proves nothing: the application may be between two requests.
    """
    for run in session.journal.open_runs():
        if not set(run.tables) & set(tables) or run.release == but:
            continue
        seen = session.old_code(run, watched=finalize_stage.WATCHED)
        if seen.is_gone and seen.new:
            blocking.require_for_finalize(session, [run])
            session.say(f"release {run.release} is finalized: the next one touches its tables, and old code is gone")
            finalize_stage.finalize(session, run)


def _is_rolled_back(session: Session, release: str | None) -> bool:
    return any(r.release == release and r.state is State.ROLLED_BACK for r in session.journal.runs())


def _newest_standing(session: Session, release: str | None) -> Run:
    standing = {State.OPEN, *_ENDED}
    every = session.journal.runs()
    by_release = {run.release: run for run in every}
    taken_back = {
        run.rolls_back
        for run in every
        if run.rolls_back and set(by_release[run.rolls_back].migrations) <= set(run.migrations)
    }
    # A run that is under way counts even with nothing to show: passing over it would take back the one before it.
    runs = [
        run
        for run in every
        if run.state in UNDER_WAY
        or (run.state in standing and run.migrations and not run.rolls_back and run.release not in taken_back)
    ]
    if not runs:
        raise UsageError(
            f'There is no release on "{session.engine.target().alias}" to roll back.',
            next_command="manage.py migrate APP MIGRATION, to go back to a migration by name",
        )
    if release is not None and runs[-1].release != release:
        raise UsageError(
            f"Release {release} is not the newest that stands; {runs[-1].release} is.",
            next_command=f"segue rollback {runs[-1].release}, if that is meant; segue status shows both",
        )
    if runs[-1].fresh and runs[-1].state in _ENDED:
        raise UsageError(
            f"The newest release, {runs[-1].release}, made this database from nothing: there is nothing to go back to.",
            next_command="manage.py migrate APP MIGRATION, to go back to a migration by name",
        )
    if runs[-1].state is State.FINALIZING:
        raise UsageError(
            f"Release {runs[-1].release} is half finalized.",
            next_command="segue finalize, to complete it; segue rollback then goes back from there",
        )
    return runs[-1]


def _go_back_as_release(session: Session, run: Run, state: ProjectState) -> tuple[Run, ProjectState | None]:
    """What is finalized, or went backwards itself, is undone by a release in the other direction."""
    migrator = session.migrator
    if run.direction is Direction.FORWARD:
        migrations = history.backwards_plan(migrator, run.migrations)
        done = _carry(session, migrations, rolls_back=run.release)
    else:
        applied = migrator.loader.applied_migrations
        keys = [key for key in reversed(run.migrations) if key not in applied]
        done = _carry(session, [(migrator.loader.graph.nodes[key], False) for key in keys], state, undoes=run.release)
        if run.state is State.OPEN:
            session.journal.append(run.release, EventKind.RELEASE_ROLLED_BACK, blocked=[])
    if not done:
        raise UsageError(
            f"Nothing of release {run.release} is left to take back.", next_command="segue status, to see what stands"
        )
    return done[-1]


@contextmanager
def _signals(
    session: Session, migrations: MigrationPlan
) -> Iterator[tuple[ProjectState, Callable[[ProjectState | None], None]]]:
    """Send pre_migrate before the block, as the stock command does, and yield the state and what sends post_migrate.

    The state is for the migrations to go on with, not a copy: the models of one still know those that the other lost.
    """
    database: Any = session.engine.connection.alias
    before = session.migrator._create_project_state(with_applied_migrations=True)
    emit_pre_migrate_signal(0, False, database, stdout=StringIO(), apps=before.apps, plan=migrations)

    def after(state: ProjectState | None) -> None:
        if state is None:
            session.migrator.reload()
            state = session.migrator._create_project_state(with_applied_migrations=True)
        state.clear_delayed_apps_cache()
        alias.look_again(session.engine.connection)
        emit_post_migrate_signal(0, False, database, stdout=StringIO(), apps=state.apps, plan=migrations)

    yield before, after
