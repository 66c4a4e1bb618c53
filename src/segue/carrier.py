"""A migration's way through: its operations, the engine's editor, the steps, and back again.

Decides whether a migration runs whole or step by step, resumes one that was interrupted, and takes back one
that failed. The steps themselves are the executor's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import count
from typing import Any

from django.db import transaction
from django.db.migrations import Migration, operations
from django.db.migrations.exceptions import IrreversibleError
from django.db.migrations.operations.base import Operation
from django.db.migrations.recorder import MigrationRecorder
from django.db.migrations.state import ProjectState

from segue import history
from segue.core.change import Act, Cemetery, Irreversible, Kind
from segue.core.errors import NeedsPerson, SegueError, StepFailed
from segue.core.event import EventKind
from segue.core.evidence import Timing
from segue.core.plan import Phase, Step
from segue.core.run import Run, Work
from segue.executor import carry_out, settle_intended, undo
from segue.session import Session

# Operations that reach the database only through the schema editor's verbs, so that they can be translated.
_TRANSLATED = (
    operations.CreateModel,
    operations.DeleteModel,
    operations.RenameModel,
    operations.AlterModelTable,
    operations.AlterModelTableComment,
    operations.AlterUniqueTogether,
    operations.AlterIndexTogether,
    operations.AlterOrderWithRespectTo,
    operations.AlterModelOptions,
    operations.AlterModelManagers,
    operations.AddIndex,
    operations.RemoveIndex,
    operations.RenameIndex,
    operations.AddConstraint,
    operations.RemoveConstraint,
    operations.AddField,
    operations.RemoveField,
    operations.AlterField,
    operations.RenameField,
)
# Those of them that have an online form; a migration without any runs whole, as stock Django runs it.
_ONLINE = (
    operations.CreateModel,
    operations.DeleteModel,
    operations.AddIndex,
    operations.RemoveIndex,
    operations.AddField,
    operations.RemoveField,
    operations.AlterOrderWithRespectTo,
)


def runs_whole(session: Session, migration: Migration, *, fresh: bool) -> bool:
    """Whether a migration runs in one transaction, as stock Django runs it."""
    if fresh or not session.engine.online:
        return True
    return not any(isinstance(op, _ONLINE) for op in _flat(migration.operations))


def _flat(ops: Iterable[Operation]) -> Iterable[Operation]:
    for op in ops:
        if isinstance(op, operations.SeparateDatabaseAndState):
            yield from _flat(op.database_operations)
        else:
            yield op


def is_translated(operation: Operation) -> bool:
    """Whether everything that the operation does to the database passes through the schema editor's verbs."""
    return all(isinstance(op, _TRANSLATED) for op in _flat([operation]))


def walk(
    migration: Migration, state: ProjectState, *, backwards: bool
) -> Iterator[tuple[int, Operation, ProjectState, ProjectState]]:
    """Yield each operation with its place in the file, the state that it starts from and the one that it leaves.

    Forwards, `state` itself becomes the state after the migration, as Django's own loop has it.
    """
    if not backwards:
        for index, operation in enumerate(migration.operations):
            before = state.clone()
            operation.state_forwards(migration.app_label, state)
            yield index, operation, before, state
        return
    states = [state]
    for operation in migration.operations:
        if not operation.reversible:
            raise IrreversibleError(f"Operation {operation} in {migration} is not reversible")
        after = states[-1].clone()
        operation.state_forwards(migration.app_label, after)
        states.append(after)
    for index in reversed(range(len(migration.operations))):
        yield index, migration.operations[index], states[index + 1], states[index]


Opaque = Callable[[str, Operation, ProjectState, ProjectState], None]


def translate(
    editor: Any, migration: Migration, state: ProjectState, *, backwards: bool, opaque: Opaque
) -> ProjectState:
    """Let every operation speak to the step editor, or to `opaque` when it does more than that.

    Returns the state after the migration, or backwards the one before it.
    """
    prefix = f"{migration.app_label}.{migration.name}:{'back' if backwards else 'forth'}"
    with editor:
        for index, operation, start, end in walk(migration, state, backwards=backwards):
            editor.prefix = f"{prefix}:{index}"
            if not is_translated(operation):
                opaque(editor.prefix, operation, start, end)
            elif backwards:
                operation.database_backwards(migration.app_label, editor, start, end)
            else:
                operation.database_forwards(migration.app_label, editor, start, end)
        editor.prefix = f"{prefix}:end"
    return state


def opaque_step(prefix: str, operation: Operation) -> Step:
    """Return the step of an operation that Segue cannot see through."""
    return Step(
        id=f"{prefix}:opaque",
        title=operation.describe(),
        phase=Phase.EXPAND,
        forward=Act(),
        undo=Irreversible(reason="it is the migration's own code"),
        online=False,
        opaque=True,
        note="its locks and its effects are unknown",
    )


class ReleaseCarrier:
    """Carries one release's migrations out: `history.Carrier` for the real thing.

    `deferring` says whether contract steps wait for finalize; when a release is rolled back there is nothing
    to wait for. An interrupted run's work is taken up where it stopped.
    """

    def __init__(self, session: Session, release: str, *, fresh: bool, deferring: bool) -> None:
        self._session = session
        self._release = release
        self._fresh = fresh
        self._deferring = deferring
        self._work: Work | None = session.journal.run(release).work
        self._cemetery: Cemetery = session.journal.cemetery(before_work_of=release)
        self._new_tables = _tables_made(session.journal.run(release))
        self._recorder = MigrationRecorder(session.engine.connection)

    def forward(self, migration: Migration, state: ProjectState) -> ProjectState:
        """Apply the migration to the database; return the state after it."""
        return self._carry(migration, state, backwards=False)

    def backward(self, migration: Migration, state: ProjectState) -> ProjectState:
        """Unapply the migration; `state` is the one before it."""
        return self._carry(migration, state, backwards=True)

    def _carry(self, migration: Migration, state: ProjectState, *, backwards: bool) -> ProjectState:
        self._session.engine.check_held()
        if runs_whole(self._session, migration, fresh=self._fresh):
            return self._whole(migration, state, backwards)
        key = (migration.app_label, migration.name)
        start = state.clone()
        try:
            if self._work is None or self._work.migration != key:
                self._work = Work(migration=key, backwards=backwards)
                self._append(EventKind.MIGRATION_STARTED, migration=key, backwards=backwards)
            state = self._stepwise(migration, state, backwards)
            with transaction.atomic(using=self._session.engine.connection.alias):
                history.record(self._recorder, migration, backwards=backwards)
                self._append(EventKind.MIGRATION_DONE, migration=key, backwards=backwards)
        except NeedsPerson:
            raise
        except (Exception, KeyboardInterrupt) as error:
            # Whatever the migration's own code raises, what was done is taken back before anybody hears of it.
            self._take_back(migration, start, error)
            raise
        self._work = None
        return state

    def _append(self, kind: EventKind, **data: Any) -> None:
        self._session.journal.append(self._release, kind, **data)

    # Whole: in one transaction, as stock Django

    def _whole(self, migration: Migration, state: ProjectState, backwards: bool) -> ProjectState:
        key = (migration.app_label, migration.name)

        archives = count(1)

        def archived(act: Act) -> None:
            self._cemetery.follow(act)
            step = Step(
                id=f"{migration.app_label}.{migration.name}:whole:{next(archives)}:archive",
                title="archive",
                phase=Phase.EXPAND,
                forward=act,
                undo=(),
            )
            self._append(EventKind.STEP_DONE, step=step)

        if self._fresh:
            # Nobody has written anything yet, so there is nothing to archive.
            made = self._session.engine.connection.schema_editor(atomic=migration.atomic)
        else:
            made = self._session.engine.whole_editor(
                atomic=migration.atomic, release=self._release, cemetery=self._cemetery, done=archived
            )
        with made as editor:
            self._append(EventKind.MIGRATION_STARTED, migration=key, backwards=backwards)
            state = migration.unapply(state, editor) if backwards else migration.apply(state, editor)
            for sql in editor.deferred_sql:
                editor.execute(sql, None)
            editor.deferred_sql.clear()
            history.record(self._recorder, migration, backwards=backwards)
            self._append(EventKind.MIGRATION_DONE, migration=key, backwards=backwards, whole=True)
        return state

    # Stepwise: each step commits by itself

    def _stepwise(self, migration: Migration, state: ProjectState, backwards: bool) -> ProjectState:
        assert self._work is not None
        run = self._session.journal.run(self._release)
        done = {step.id for step in self._work.steps} | {step.id for _, step in run.deferred}

        def carry(step: Step) -> None:
            if step.id in done:
                return
            if step.phase is not Phase.CONTRACT:
                carry_out(self._session, self._release, step)
            elif self._deferring:
                self._append(EventKind.STEP_DEFERRED, step=step)

        def opaque(prefix: str, operation: Operation, start: ProjectState, end: ProjectState) -> None:
            step = opaque_step(prefix, operation)
            if step.id not in done:
                self._run_opaque(migration, step, operation, start, end, backwards)

        return translate(self._editor(carry), migration, state, backwards=backwards, opaque=opaque)

    def _editor(self, emit: Callable[[Step], None]) -> Any:
        return self._session.engine.step_editor(
            emit=emit, prefix="", release=self._release, cemetery=self._cemetery, new_tables=self._new_tables
        )

    def _run_opaque(
        self,
        migration: Migration,
        step: Step,
        operation: Operation,
        start: ProjectState,
        end: ProjectState,
        backwards: bool,
    ) -> None:
        """Run the migration's own code with stock's editor, in a transaction of its own unless it wants none."""
        connection = self._session.engine.connection
        began, began_at = time.monotonic(), time.time()
        alone: AbstractContextManager[Any] = nullcontext()
        if migration.atomic or operation.atomic:
            alone = transaction.atomic(using=connection.alias)
        with alone:
            made = self._session.engine.whole_editor(
                atomic=False, release=self._release, cemetery=self._cemetery, done=self._cemetery.follow
            )
            with made as editor:
                method = operation.database_backwards if backwards else operation.database_forwards
                method(migration.app_label, editor, start, end)
            timing = Timing(
                id=step.id,
                title=step.title,
                phase=step.phase,
                seconds=round(time.monotonic() - began, 4),
                attempts=1,
                waited_seconds=0.0,
                began_at=began_at,
            )
            self._append(EventKind.STEP_DONE, step=step, timing=timing)
        self._session.timed(timing)

    # Taking back

    def _take_back(self, migration: Migration, start: ProjectState, error: BaseException) -> None:
        """Undo what is done of the migration; raise NeedsPerson, from the error, when something cannot be."""
        try:
            take_back(self._session, self._release, migration, start)
        except (SegueError, IrreversibleError) as second:
            raise NeedsPerson(
                f"{migration} failed: {error}\nand could not be taken back: {second}",
                next_command="mend the cause, then run the same command again: it goes on where it stopped",
            ) from error
        self._work = None
        self._cemetery = self._session.journal.cemetery()


def _tables_made(run: Run) -> set[str]:
    """The tables that a release has made in the migrations that are done, which nobody uses yet."""
    steps = [step for _, done in run.done for step in done if not step.forward.revives]
    acts = [act for step in steps if not isinstance(step.undo, Irreversible) for act in step.undo]
    return {retired.table for act in acts for retired in act.retires if retired.kind is Kind.TABLE}


def take_back(session: Session, release: str, migration: Migration | None, start: ProjectState | None) -> None:
    """Undo, newest first, what is done of the migration in work, and journal that it never was.

    Each act commits by itself; an interrupted one is gone on with by the next call. A step that has no undo of
    its own is undone by its operation's other direction, which needs the migration and the state before it;
    without them it raises StepFailed. A migration that was recorded as applied no longer is.
    """
    work = session.journal.run(release).work
    if work is None:
        return
    _require_undoable(work, migration if start is not None else None)
    if work.intended is not None:
        settle_intended(session, work.intended)
    undone: set[str] = set()
    for step in reversed(work.steps):
        operation = step.id.split(":")[2]
        if isinstance(step.undo, Irreversible) and operation in undone:
            session.journal.append(release, EventKind.ACT_UNDONE, id=step.id, act=Act(), acts_left=0)
        elif isinstance(step.undo, Irreversible) and migration is not None and start is not None:
            _undo_by_operation(session, release, migration, start, step, work.backwards)
            undone.add(operation)
        else:
            undo(session, release, step, (work.acts_left or {}).get(step.id))
    recorder = MigrationRecorder(session.engine.connection)
    with transaction.atomic(using=session.engine.connection.alias):
        if not work.backwards:
            history.unrecord(recorder, work.migration, migration)
        session.journal.append(release, EventKind.MIGRATION_UNDONE, migration=work.migration)


def _require_undoable(work: Work, migration: Migration | None) -> None:
    """Raise StepFailed before anything is undone, so that a migration that cannot go back can still go on."""
    for step in work.steps:
        if not isinstance(step.undo, Irreversible):
            continue
        place = step.id.split(":")[2]
        operation = migration.operations[int(place)] if migration is not None and place.isdigit() else None
        if operation is None or not (work.backwards or operation.reversible):
            raise StepFailed(f"{step.title} cannot be undone: {step.undo.reason}, without a reverse.")


def _undo_by_operation(
    session: Session, release: str, migration: Migration, start: ProjectState, step: Step, backwards: bool
) -> None:
    place = step.id.split(":")[2]
    for index, operation, before, after in walk(migration, start.clone(), backwards=backwards):
        if str(index) != place:
            continue
        if not backwards and not operation.reversible:
            raise StepFailed(f"{step.title} has no reverse.")
        alias = session.engine.connection.alias
        with transaction.atomic(using=alias):
            made = session.engine.whole_editor(atomic=False, release=release, cemetery=Cemetery(), done=lambda _: None)
            with made as editor:
                method = operation.database_forwards if backwards else operation.database_backwards
                method(migration.app_label, editor, after, before)
            session.journal.append(release, EventKind.ACT_UNDONE, id=step.id, act=Act(), acts_left=0)
        return
    raise StepFailed(f"{step.title} has no operation of its own to undo it by.")
