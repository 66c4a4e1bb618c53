"""Segue in place of stock Django, where Django's own tests call it.

Those tests know no finalize and no releases: what they do to a schema must be done when the call returns. So each
`with connection.schema_editor()`, each `migrate` and each `MigrationExecutor.migrate()` is a release here that
is finalized at once. Every database counts as live, because a fresh one is migrated as stock does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from django.core.management.commands import migrate as stock_command
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations import Migration
from django.db.migrations import executor as stock_executor

from segue import pipeline
from segue.carrier import ReleaseCarrier
from segue.core.change import Act, Irreversible
from segue.core.errors import SegueError
from segue.core.event import EventKind
from segue.core.plan import Direction, Phase, Step
from segue.engines.postgresql import PostgreSQL, canary
from segue.executor import carry_out, undo
from segue.history import Migrator
from segue.journal import Journal, new_release_id
from segue.management.commands import migrate as command
from segue.session import Session, open_session
from segue.stages import finalize as finalize_stage

_WORK = ("a test", "a block")
_stock_schema_editor = BaseDatabaseWrapper.schema_editor
_stock_apply = Migration.apply
_stock_unapply = Migration.unapply
_migrate = pipeline.migrate
_append = Journal.append
_sync_apps = command.Command.sync_apps
_inside_segue: set[str] = set()
_blocks: dict[Any, Block] = {}


def install() -> None:
    """Put Segue in the place of the schema editor, the executor and the migrate command of Django's tests."""
    Session.fresh = property(lambda session: False)  # type: ignore[assignment]
    # What the canary measures beside a run changes nothing of it and takes half a second.
    PostgreSQL.canary = lambda engine, tables: canary.watching(engine.connect, ())  # type: ignore[method-assign]
    Journal.append = _append_unlogged  # type: ignore[method-assign]
    BaseDatabaseWrapper.schema_editor = schema_editor  # type: ignore[method-assign]
    Migration.apply = _apply  # type: ignore[method-assign]
    Migration.unapply = _unapply  # type: ignore[method-assign]
    pipeline.migrate = _migrate_and_finalize
    stock_executor.MigrationExecutor = Executor  # type: ignore[misc]
    stock_command.Command = command.Command  # type: ignore[misc]
    command.Command.sync_apps = _sync_apps_as_stock


# connection.schema_editor()


def schema_editor(connection: Any, *args: Any, **options: Any) -> Any:
    """Return a block that is a release; stock's editor for SQL that is only shown, and for Segue's own use."""
    if options.get("collect_sql") or connection.alias in _inside_segue:
        return _stock_schema_editor(connection, *args, **options)
    return Block(connection)


class Block:
    """`with connection.schema_editor() as editor`: what the editor is told is carried out at once, then finalized.

    After a failure what was done is taken back; what runs as stock, and has no undo of its own, stays.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._stack = ExitStack()
        self._release = new_release_id()
        self._begun = self._works = False

    def __getattr__(self, name: str) -> Any:
        """Answer a test that asks the editor something without entering it."""
        return getattr(_stock_schema_editor(self._connection), name)

    def __enter__(self) -> Any:
        with ExitStack() as stack:
            stack.enter_context(_within_segue(self._connection))
            self._session = open_session(self._connection.alias)
            stack.enter_context(self._session.engine.hold(self._session.say))
            self._session.journal.ensure()
            self._editor = self._make_editor()
            _blocks[self._editor] = self
            stack.callback(_blocks.pop, self._editor)
            entered = self._editor.__enter__()
            self._stack = stack.pop_all()
        return entered

    def __exit__(self, *error: Any) -> None:
        with self._stack, _own_errors():
            try:
                self._editor.__exit__(*error)
            except BaseException as second:
                self._take_back(second)
                raise
            if error[0] is None:
                self._finalize()
            else:
                self._take_back(error[1])

    def carry(self, migration: Migration, state: Any, *, backwards: bool) -> Any:
        """Carry out a whole migration that a test hands the editor to."""
        self._begin(Direction.BACKWARD if backwards else Direction.FORWARD, (migration.app_label, migration.name))
        carrier = ReleaseCarrier(self._session, self._release, fresh=False, deferring=self._session.engine.online)
        with _own_errors():
            return (carrier.backward if backwards else carrier.forward)(migration, state)

    def _make_editor(self) -> Any:
        engine, cemetery = self._session.engine, self._session.journal.cemetery()
        if engine.online:
            return engine.step_editor(
                emit=self._step, prefix="a.block:forth:0", release=self._release, cemetery=cemetery, new_tables=set()
            )
        return engine.whole_editor(atomic=True, release=self._release, cemetery=cemetery, done=self._archived)

    def _step(self, step: Step) -> None:
        self._work()
        if step.phase is Phase.CONTRACT:
            self._journal(EventKind.STEP_DEFERRED, step=step)
            return
        with _own_errors():
            carry_out(self._session, self._release, step)

    def _archived(self, act: Act) -> None:
        self._work()
        step = Step(id="a.block:whole:0:archive", title="archive", phase=Phase.EXPAND, forward=act, undo=())
        self._journal(EventKind.STEP_DONE, step=step)

    def _begin(self, direction: Direction, migration: tuple[str, str]) -> None:
        if not self._begun:
            self._begun = True
            told = {"direction": direction, "migrations": [migration], "tables": (), "tag": "", "by": "a test"}
            self._journal(EventKind.RELEASE_STARTED, **told)

    def _work(self) -> None:
        """Begin a migration of the block's own, which the verbs that a test calls belong to."""
        if not self._works:
            self._begin(Direction.FORWARD, _WORK)
            self._works = True
            self._journal(EventKind.MIGRATION_STARTED, migration=_WORK, backwards=False)

    def _finalize(self) -> None:
        if self._works:
            self._journal(EventKind.MIGRATION_DONE, migration=_WORK, backwards=False)
        if self._begun:
            self._journal(EventKind.RELEASE_OPENED, blocked=[])
            finalize_stage.finalize(self._session, self._session.journal.run(self._release))

    def _take_back(self, error: BaseException) -> None:
        if not self._begun or not self._session.engine.online:
            return  # One transaction has taken everything back.
        work = self._session.journal.run(self._release).work
        for step in reversed(work.steps if work else ()):
            if not isinstance(step.undo, Irreversible):
                undo(self._session, self._release, step)
        self._journal(EventKind.RELEASE_FAILED, error=repr(error))

    def _journal(self, kind: EventKind, **data: Any) -> None:
        self._session.journal.append(self._release, kind, **data)


def _apply(migration: Migration, state: Any, editor: Any, collect_sql: bool = False) -> Any:
    block = _blocks.get(editor)
    if block is None:
        return _stock_apply(migration, state, editor, collect_sql)
    return block.carry(migration, state, backwards=False)


def _unapply(migration: Migration, state: Any, editor: Any, collect_sql: bool = False) -> Any:
    block = _blocks.get(editor)
    if block is None:
        return _stock_unapply(migration, state, editor, collect_sql)
    return block.carry(migration, state, backwards=True)


# The executor and the command


class Executor(Migrator):
    """`MigrationExecutor(connection)`, whose migrations are releases of their own."""

    def migrate(
        self, targets: Any, plan: Any = None, state: Any = None, fake: bool = False, fake_initial: bool = False
    ) -> Any:
        """Carry the plan out as the migrate command does."""
        if plan is None:
            plan = self.migration_plan(targets)
        if fake or not plan:
            return super().migrate(targets, plan=plan, state=state, fake=fake, fake_initial=fake_initial)
        session = open_session(self.connection.alias, progress=self.progress_callback)
        return pipeline.migrate(session, plan, state, fake_initial=fake_initial)

    def apply_migration(self, state: Any, migration: Migration, fake: bool = False, fake_initial: bool = False) -> Any:
        """Apply one migration that may not be in the graph."""
        if fake or fake_initial:
            return super().apply_migration(state, migration, fake=fake, fake_initial=fake_initial)
        with schema_editor(self.connection) as editor:
            return migration.apply(state, editor)


def _migrate_and_finalize(session: Session, migrations: Any, state: Any, *, fake_initial: bool) -> Any:
    with _within_segue(session.engine.connection), _own_errors():
        reached = _migrate(session, migrations, state, fake_initial=fake_initial)
        pipeline.finalize(session, old_code_gone=True)
    return reached


def _sync_apps_as_stock(self: Any, connection: Any, app_labels: Any) -> Any:
    """Make the tables of apps without migrations as a project does that uses Segue: with stock's editor."""
    with _within_segue(connection):
        return _sync_apps(self, connection, app_labels)


# What both need


@contextmanager
def _within_segue(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Give whatever asks the connection for an editor in the block stock's, as in a project that uses Segue."""
    nested = connection.alias in _inside_segue
    _inside_segue.add(connection.alias)
    try:
        yield
    finally:
        if not nested:
            _inside_segue.discard(connection.alias)


@contextmanager
def _own_errors() -> Iterator[None]:
    """Raise what the migration's code or the database raised, as stock does, and not what Segue makes of it."""
    try:
        yield
    except SegueError as error:
        cause: BaseException | None = error
        while isinstance(cause, SegueError):
            cause = cause.__cause__
        if cause is None:
            raise
        raise cause from None


def _append_unlogged(journal: Journal, release: str, kind: EventKind, **data: Any) -> None:
    """Keep the journal out of the queries that a test captures: it quotes each statement that was carried out."""
    log = journal._connection.queries_log
    before = list(log)
    _append(journal, release, kind, **data)
    log.clear()
    log.extend(before)
