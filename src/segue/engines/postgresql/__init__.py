"""PostgreSQL: the online engine, put together from its parts.

Steps run on Django's own connection, so that a step and its journal row commit together; the canary has
sessions of its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg
from django.db import DatabaseError, IntegrityError, InterfaceError, OperationalError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from segue.core.change import Act, Backfill, Cemetery, Restore, Retired, Work
from segue.core.errors import LockNotTaken, NeedsPerson, SegueError, StepFailed
from segue.core.evidence import Connected, Prediction
from segue.core.plan import Step, Target
from segue.core.run import UNFILLED, Filled
from segue.engines.base import Emit, Note, Say, Waited, unnoted
from segue.engines.postgresql import activity, backfill, canary, catalog, locks, prediction
from segue.engines.postgresql.archives import archive, settle, unarchive
from segue.engines.postgresql.editor import door
from segue.engines.postgresql.images import capture, restore
from segue.engines.postgresql.qualified import qualified

_PROGRESS_EVERY_SECONDS = 1.0
_RETRY_PAUSE_SECONDS = 0.2
_ATTEMPTS_AT_WORK = 5
# No SQLSTATE: libpq itself found the connection gone. Class 57P is the server going down, class 08 the connection.
_LOST = frozenset({"", "57P01", "57P02", "57P03", "08003", "08006"})


class PostgreSQL:
    """The engine of one PostgreSQL target."""

    online = True

    def __init__(
        self,
        connection: BaseDatabaseWrapper,
        patience: locks.Patience,
        runner_wait: timedelta,
        archives: unarchive.Archives | None = None,
        *,
        alias_from: int,
    ) -> None:
        self.connection: Any = connection
        self._patience = patience
        self._runner_wait = runner_wait
        self._archives = archives
        self._alias_from = alias_from
        self._still_held: Callable[[], bool] = lambda: False
        self.catalog = catalog.Catalog(connection.cursor, connection.ops.quote_name)

    def target(self) -> Target:
        """Return the alias, the database's name and the server's version."""
        major, minor = divmod(self.connection.pg_version, 10000)
        return Target(
            alias=self.connection.alias,
            name=str(self.connection.settings_dict["NAME"]),
            vendor="PostgreSQL",
            version=f"{major}.{minor}",
        )

    @contextmanager
    def hold(self, say: Say) -> Iterator[None]:
        """Hold the target for the block; raise TargetHeld when another run keeps it for too long."""
        if self.connection.in_atomic_block:
            raise SegueError(
                "Segue cannot migrate inside a transaction: its steps commit one by one.",
                next_command="call it outside transaction.atomic() (in tests: TransactionTestCase)",
            )
        with (
            _lost_translated(self.connection.alias),
            locks.sole_runner(self.connection, self._runner_wait, say) as still_held,
            _not_replaced(self.connection),
        ):
            self._still_held = still_held
            yield

    def check_held(self) -> None:
        """Raise StepFailed when the target is no longer held, because the connection was replaced."""
        if not self._still_held():
            raise StepFailed(
                "The connection that held the database was closed by the migration's own code, so another run "
                "could have begun."
            )

    def whole_editor(self, *, atomic: bool, **_: Any) -> Any:
        """Return stock Django's editor: what has no online form runs as stock runs it."""
        return self.connection.SchemaEditorClass(self.connection, atomic=atomic)

    def step_editor(
        self, *, emit: Emit, prefix: str, release: str, cemetery: Cemetery, new_tables: set[str]
    ) -> door.Door:
        """Return a schema editor that emits steps in place of running statements."""
        make = door.editor_class(self.connection.SchemaEditorClass)
        made = make(
            self.connection,
            emit=emit,
            prefix=prefix,
            release=release,
            cemetery=cemetery,
            new_tables=new_tables,
            archives=self._archives,
        )
        made.alias_from = self._alias_from
        return made

    def name_of(self, retired: Retired) -> str:
        """Return what statements call a retired table where it lies."""
        return qualified(retired.place, retired.table) if retired.place else retired.table

    def capture(
        self,
        release: str,
        operation: str,
        *,
        begin: Callable[[str, Act, tuple[Act, ...]], None],
        most_rows: Callable[[str], int],
        columns_made: frozenset[tuple[str, str]],
        tables_made: frozenset[str],
        earlier: str,
    ) -> capture.Capture:
        """Return what keeps images of the rows that an operation's own code changes."""
        return capture.Capture(
            self.connection,
            release=release,
            operation=operation,
            begin=begin,
            most_rows=most_rows,
            columns_made=columns_made,
            tables_made=tables_made,
            earlier=earlier,
        )

    def captures_left(self) -> tuple[Act, ...]:
        """Return acts that take away what still keeps images of rows, whoever made it."""
        return capture.left(self.connection)

    def elsewhere(self) -> PostgreSQL:
        """Return the engine on this thread's own connection; the caller's thread holds the target and waits."""
        made = connections[self.connection.alias]
        made.settings_dict = self.connection.settings_dict
        engine = PostgreSQL(made, self._patience, self._runner_wait, self._archives, alias_from=self._alias_from)
        engine._still_held = lambda: True
        return engine

    def archivist(self) -> archive.Archivist:
        """Return what reads retired objects into archives and drops them."""
        return archive.Archivist(self.connection, lambda: translated(self.connection.alias))

    def settler(self) -> settle.Settler:
        """Return what puts rows and values in quarantine back."""
        return settle.Settler(self.connection, lambda: translated(self.connection.alias))

    def carry_out(
        self, act: Act, *, then: Callable[[Waited], None], say: Say, since: Filled = UNFILLED, note: Note = unnoted
    ) -> None:
        """Run the act's statements under its locks, and `then` in the same transaction if it has one.

        An attempt that fails only because somebody else held a lock is made again until the deadline. A backfill
        goes on from `since` and tells `note`, in a transaction, how far it is.
        """
        if act.backfill is not None:
            return self._fill(act.backfill, then, say, since, note)
        if act.restore is not None:
            return self._restore(act.restore, then, say)
        began = time.monotonic()
        attempts = stopped = 0
        while True:
            self.check_held()
            attempts += 1
            try:
                with translated(self.connection.alias):
                    run = self._in_transaction if act.transactional else self._outside_transaction
                    return run(act, then, say, attempts - 1)
            except LockNotTaken:
                raise
            except StepFailed as error:
                if self._took_too_long(act, error):
                    stopped += 1
                    if stopped == _ATTEMPTS_AT_WORK:
                        raise StepFailed(_too_long(act, self._patience, stopped)) from error
                    time.sleep(_RETRY_PAUSE_SECONDS)
                    continue
                busy = error.__cause__ is not None and locks.is_busy(error.__cause__)
                if not busy or time.monotonic() - began > self._patience.deadline.total_seconds():
                    raise
                say(f"somebody else held a lock; trying again: {str(error).splitlines()[0]}")
                time.sleep(_RETRY_PAUSE_SECONDS)

    def _took_too_long(self, act: Act, error: StepFailed) -> bool:
        """Whether work on rows was stopped at its limit; on a busy host the next attempt may be quicker."""
        return act.work is not Work.CATALOG and error.__cause__ is not None and locks.was_cancelled(error.__cause__)

    def predict(self, act: Act) -> Prediction | None:
        """Return for how long others will wait for the act's work on rows; None where there is none."""
        return prediction.predict(self.connection, act)

    def _fill(self, work: Backfill, then: Callable[[Waited], None], say: Say, since: Filled, note: Note) -> None:
        filler = backfill.Filler(
            connection=self.connection,
            backfill=work,
            filled=since,
            note=note,
            check_held=self.check_held,
            patience=self._patience,
            say=say,
        )
        with translated(self.connection.alias):
            waited = filler.run()
            with transaction.atomic(using=self.connection.alias):
                then(waited)

    def _restore(self, work: Restore, then: Callable[[Waited], None], say: Say) -> None:
        restorer = restore.Restorer(
            connection=self.connection, restore=work, check_held=self.check_held, patience=self._patience, say=say
        )
        with translated(self.connection.alias):
            waited = restorer.run()
            with transaction.atomic(using=self.connection.alias):
                then(waited)

    def _in_transaction(self, act: Act, then: Callable[[Waited], None], say: Say, failed: int) -> None:
        def note(waited: Waited) -> None:
            then(replace(waited, attempts=waited.attempts + failed))

        with transaction.atomic(using=self.connection.alias):
            if act.load is not None:
                unarchive.load(self.connection, act, self._archives, say)
                note(Waited())
            else:
                locks.carry_out(self.connection, act, note, self._patience, say)

    def _outside_transaction(self, act: Act, then: Callable[[Waited], None], say: Say, failed: int) -> None:
        """CREATE and DROP INDEX CONCURRENTLY wait for others and make nobody wait: they get no lock timeout.

        A lock timeout would leave an INVALID index behind: https://www.postgresql.org/docs/current/sql-createindex.html
        """
        with self.connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = 0")
            cursor.execute("SET statement_timeout = 0")
            try:
                with self._telling_progress(say):
                    self._execute_each(act)
            finally:
                if self.connection.connection is not None and not self.connection.connection.closed:
                    cursor.execute("RESET lock_timeout")
                    cursor.execute("RESET statement_timeout")
        then(Waited(attempts=1 + failed))

    def _execute_each(self, act: Act) -> None:
        """Each statement commits by itself; where rows contradict one, `otherwise` settles the act, if it can."""
        with self.connection.cursor() as cursor:
            try:
                for statement in act.statements:
                    cursor.execute(statement)
            except IntegrityError:
                if not act.otherwise:
                    raise
                for statement in act.otherwise:
                    cursor.execute(statement)

    @contextmanager
    def _telling_progress(self, say: Say) -> Iterator[None]:
        """Say once a second how far the index is, or whom it waits for, from a session of its own."""
        done = threading.Event()
        pid = activity.backend_pid(self.connection)

        def tell() -> None:
            if done.wait(_PROGRESS_EVERY_SECONDS):
                return
            try:
                with psycopg.connect(autocommit=True, application_name="segue/progress", **self.connect) as watcher:
                    while not done.wait(_PROGRESS_EVERY_SECONDS):
                        if text := activity.index_progress(watcher.cursor(), pid):
                            say(text)
            except psycopg.Error:
                return  # Progress is a courtesy: the work goes on without it.

        thread = threading.Thread(target=tell, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join(timeout=5)

    def probe(self, step: Step) -> str:
        """Return "done", "absent" or "broken" for a step outside a transaction."""
        with translated(self.connection.alias), self.connection.cursor() as cursor:
            cursor.execute(step.probe)
            return str(cursor.fetchall()[0][0])

    def canary(self, tables: tuple[str, ...]) -> AbstractContextManager[canary.PostgreSQLCanary]:
        """Measure for the block how long readers and writers of the tables that exist now wait."""
        return canary.watching(self.connect, tuple(t for t in tables if self.catalog.exists(t)))

    def connected(self) -> tuple[Connected, ...]:
        """Return the clients of the application's role, Segue's own left out."""
        return activity.connected(self.connection)

    @property
    def connect(self) -> dict[str, Any]:
        """What psycopg needs for a session of Segue's own to the same database."""
        given = self.connection.settings_dict
        known = {option.keyword.decode() for option in psycopg.pq.Conninfo.get_defaults()}
        options = {k: v for k, v in given.get("OPTIONS", {}).items() if k in known and k != "application_name"}
        named = {"dbname": "NAME", "user": "USER", "password": "PASSWORD", "host": "HOST", "port": "PORT"}
        return {**options, **{key: given[name] for key, name in named.items() if given.get(name)}}


@contextmanager
def translated(alias: str) -> Iterator[None]:
    """Raise the database's errors as Segue's: a lost connection needs the next command, anything else failed."""
    try:
        with _lost_translated(alias):
            yield
    except (OperationalError, InterfaceError) as error:
        raise StepFailed(_first_line(error)) from error
    except DatabaseError as error:
        # Where in Segue's own block it happened tells a person nothing.
        raise StepFailed(str(error).split("\nCONTEXT:")[0].strip()) from error


@contextmanager
def _lost_translated(alias: str) -> Iterator[None]:
    """Raise NeedsPerson for a lost connection; any other error passes as it is."""
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        if locks.sqlstate(error) not in _LOST:
            raise
        raise NeedsPerson(
            f'The connection to database "{alias}" was lost: {_first_line(error)}. The journal knows every '
            "step that was done; nothing is lost.",
            next_command="run the same command again, and it goes on where it stopped; or segue rollback",
        ) from error


@contextmanager
def _not_replaced(connection: Any) -> Iterator[None]:
    """Keep Django from connecting anew for the block, because a new session would not hold the target.

    Django does so by itself after it closed a lost connection; an undo or a journal row would then be written
    although another run may have begun, or be told as done.
    """

    def refuse() -> None:
        raise InterfaceError("the connection that held the database is closed")

    connection.connect = refuse
    try:
        yield
    finally:
        del connection.connect


def _too_long(act: Act, patience: locks.Patience, attempts: int) -> str:
    tables = ", ".join(dict.fromkeys(lock.table for lock in act.locks))
    return (
        f"others would have waited for {tables} for longer than the {patience.blocking.total_seconds():g} s that are "
        f"allowed, in each of {attempts} attempts. More is allowed with --allow-blocking."
    )


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
