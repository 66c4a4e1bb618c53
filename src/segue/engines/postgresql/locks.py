"""The polite way to a lock on PostgreSQL, and the one lock that keeps runs apart.

A strong lock that waits makes everybody wait who comes after it. So nobody here waits in that queue for
longer than the lock timeout, nobody joins it while a long transaction would make the attempt useless, and
the weak lock taken first keeps autovacuum away, which otherwise wins against every short attempt.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from django.db import DatabaseError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from segue.core.change import Act, LockMode, TableLock, Work
from segue.core.errors import LockNotTaken, TargetHeld
from segue.engines.base import Say, Waited
from segue.engines.postgresql import activity

# Any constant will do, as long as nobody else's advisory locks use it: "segue" in ASCII.
RUNNER_KEY = 0x7365677565

_LOCK_NOT_AVAILABLE = "55P03"
_DEADLOCK = "40P01"
_CANCELLED = "57014"
# A holder older than this will not let go within one attempt, so the attempt would only make others wait.
_LONG_TRANSACTION_SECONDS = 0.2
_FIRST_TIMEOUT_MS = 10
_LONGEST_PAUSE_SECONDS = 1.0
# PostgreSQL cancels an autovacuum that blocks a lock only after deadlock_timeout, 1 s by default.
_WEAK_TIMEOUT = "1500ms"


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long one attempt may make others wait, and how long to go on trying.

    `blocking` is for how long work on rows may go on once its lock is taken.
    """

    timeout: timedelta
    deadline: timedelta
    blocking: timedelta = timedelta(milliseconds=50)

    @property
    def timeout_ms(self) -> int:
        """The longest attempt in whole milliseconds, at least one: 0 would mean no limit at all."""
        return max(1, round(self.timeout / timedelta(milliseconds=1)))


def sqlstate(error: BaseException) -> str:
    """Return the SQLSTATE of a Django database error, whichever driver raised it; "" when there is none."""
    cause = error.__cause__ or error
    return str(getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None) or "")


def is_busy(error: BaseException) -> bool:
    """Whether the statement failed only because somebody else held a lock."""
    return sqlstate(error) in {_LOCK_NOT_AVAILABLE, _DEADLOCK}


def was_cancelled(error: BaseException) -> bool:
    """Whether the statement was ended because it took too long, or by somebody's wish."""
    return sqlstate(error) == _CANCELLED


def carry_out(
    connection: BaseDatabaseWrapper,
    act: Act,
    note: Callable[[Waited], None],
    patience: Patience,
    say: Say,
) -> None:
    """Run an act under its locks in the caller's transaction, with what `note` writes; strong locks commit it.

    1. Limit what a hung client or a slow disk can do to others while locks are held.
    2. SHARE UPDATE EXCLUSIVE on every table in OID order: no reader or writer waits for it.
    3. Without strong locks: the statements, then the note.
    4. With strong locks: attempts within the lock timeout, in each of which everything that is left to do, the
       commit too, is one message to the server. So the locks are held for as long as the server works, and
       not while this process, on a busy host, waits for its turn.

    Raises LockNotTaken after the deadline. Every setting is local to the transaction.
    """
    began = time.monotonic()
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL idle_in_transaction_session_timeout = '10s'")
        # The note commits with the statements, so a lost commit loses both; the flush would happen while the
        # locks are held. The migration's own record is flushed, and with it all that came before.
        cursor.execute("SET LOCAL synchronous_commit = off")
        ordered = _in_oid_order(cursor, connection, act.locks)
    failed = 0
    for lock in ordered:
        weak = replace(lock, mode=LockMode.SHARE_UPDATE_EXCLUSIVE)
        failed += _until_taken(connection, [weak], patience, say, began, _weak_attempt(connection, weak))
    strong = [lock for lock in ordered if lock.mode is not LockMode.SHARE_UPDATE_EXCLUSIVE]
    if strong:
        attempt = _burst(connection, strong, _within_limit(act, patience), note, began)
        _until_taken(connection, strong, patience, say, began, attempt, failed)
        return
    with connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL lock_timeout = '{patience.timeout_ms}ms'")
        for statement in act.statements:
            cursor.execute(statement)
    note(Waited(attempts=failed + 1, seconds=time.monotonic() - began))


def _in_oid_order(
    cursor: activity.Cursor, connection: BaseDatabaseWrapper, locks: Sequence[TableLock]
) -> list[TableLock]:
    """Two runs that lock the same tables in one order cannot deadlock; the strongest mode of a table counts."""
    strongest: dict[str, TableLock] = {}
    for lock in locks:
        held = strongest.get(lock.table)
        if held is None or list(LockMode).index(lock.mode) > list(LockMode).index(held.mode):
            strongest[lock.table] = lock
    oids = {}
    for table in strongest:
        cursor.execute("SELECT coalesce(to_regclass(%s)::oid, 0)", [connection.ops.quote_name(table)])
        oids[table] = cursor.fetchall()[0][0]
    return sorted(strongest.values(), key=lambda lock: oids[lock.table])


def _until_taken(
    connection: BaseDatabaseWrapper,
    locks: Sequence[TableLock],
    patience: Patience,
    say: Say,
    began: float,
    attempt: Callable[[int, int], bool],
    failed: int = 0,
) -> int:
    """Return how many attempts have failed before one did not; `attempt` is told its milliseconds and that number.

    A strong lock is not attempted while a long transaction is in its way. A weak one is: nobody waits behind
    it, and only somebody who waits for long makes PostgreSQL cancel an autovacuum.
    """
    harmless = all(lock.mode is LockMode.SHARE_UPDATE_EXCLUSIVE for lock in locks)
    while True:
        blockers = () if harmless else activity.blockers(connection, locks)
        if not any(b.transaction_seconds > _LONG_TRANSACTION_SECONDS for b in blockers):
            if attempt(min(_FIRST_TIMEOUT_MS * 2 ** min(failed, 10), patience.timeout_ms), failed):
                return failed
            blockers = activity.blockers(connection, locks)
        failed += 1
        waited = time.monotonic() - began
        if waited > patience.deadline.total_seconds():
            raise LockNotTaken(_not_taken(locks, waited, blockers))
        if waited > _LONGEST_PAUSE_SECONDS:
            say(_waiting(locks, waited, blockers))
        time.sleep(min(_LONGEST_PAUSE_SECONDS, 0.02 * 2 ** min(failed, 10)) * random.uniform(0.5, 1.0))


def _weak_attempt(connection: BaseDatabaseWrapper, lock: TableLock) -> Callable[[int, int], bool]:
    """Take one weak lock in a savepoint; it may wait for long, because nobody waits behind it."""

    def attempt(_timeout_ms: int, _failed: int) -> bool:
        try:
            with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL lock_timeout = '{_WEAK_TIMEOUT}'")
                cursor.execute(f"LOCK TABLE {connection.ops.quote_name(lock.table)} IN {lock.mode} MODE")
        except DatabaseError as error:
            if not is_busy(error):
                raise
            return False
        return True

    return attempt


def _burst(
    connection: Any,
    locks: Sequence[TableLock],
    statements: Sequence[str],
    note: Callable[[Waited], None],
    began: float,
) -> Callable[[int, int], bool]:
    """Take the note first, then lock, change and commit in one message; a failed attempt leaves nothing."""

    def attempt(timeout_ms: int, failed: int) -> bool:
        each_ms = max(1, timeout_ms // len(locks))
        tables = [f"LOCK TABLE {connection.ops.quote_name(lock.table)} IN {lock.mode} MODE" for lock in locks]
        message = "; ".join([f"SET LOCAL lock_timeout = '{each_ms}ms'", *tables, *statements, "COMMIT"])
        hooks = list(connection.run_on_commit)
        savepoint = connection.savepoint()
        try:
            note(Waited(attempts=failed + 1, seconds=time.monotonic() - began))
            with connection.cursor() as cursor:
                cursor.execute(message)
        except DatabaseError as error:
            if not is_busy(error):
                raise
            connection.savepoint_rollback(savepoint)
            connection.run_on_commit = hooks
            return False
        return True

    return attempt


def _within_limit(act: Act, patience: Patience) -> tuple[str, ...]:
    """Let work on rows be cancelled when all of it, not each statement, takes longer than is allowed."""
    if act.work is Work.CATALOG:
        return act.statements
    allowed = f"interval '{max(1, round(patience.blocking / timedelta(milliseconds=1)))} ms'"
    until = f"SELECT set_config('segue.work_until', (clock_timestamp() + {allowed})::text, true)"
    left = "extract(epoch FROM current_setting('segue.work_until')::timestamptz - clock_timestamp()) * 1000"
    limit = f"SELECT set_config('statement_timeout', greatest(1, ceil({left}))::int::text, true)"
    return (until, *(part for statement in act.statements for part in (limit, statement)))


def _names(locks: Sequence[TableLock]) -> str:
    return ", ".join(f"{lock.mode} on {lock.table}" for lock in locks)


def _waiting(locks: Sequence[TableLock], waited: float, blockers: Sequence[object]) -> str:
    who = "; ".join(str(b) for b in blockers) or "a short transaction each time"
    return f"waiting for {_names(locks)} for {waited:.0f} s, making nobody wait: {who}"


def _not_taken(locks: Sequence[TableLock], waited: float, blockers: Sequence[object]) -> str:
    who = "; ".join(str(b) for b in blockers) or "many short transactions"
    return f"{_names(locks)} was not free for {waited:.0f} s. In the way: {who}."


@contextmanager
def sole_runner(connection: BaseDatabaseWrapper, wait: timedelta, say: Say) -> Iterator[Callable[[], bool]]:
    """Hold the target's advisory lock on the connection that runs the steps, so that both die together.

    Yields a question: is it still held? Polls, because a session that waits for an advisory lock deadlocks
    with CREATE INDEX CONCURRENTLY. Raises TargetHeld, naming the holder.
    """
    began = time.monotonic()
    told = False
    while not _try_advisory(connection):
        holder = activity.advisory_holder(connection, RUNNER_KEY)
        if time.monotonic() - began > wait.total_seconds():
            raise TargetHeld(
                f"Another run holds this database: {holder}.",
                next_command="wait for it, or end it in its own terminal",
            )
        if not told:
            say(f"another run holds this database: {holder}; waiting up to {wait.total_seconds():.0f} s")
            told = True
        time.sleep(0.2)
    held_by = activity.backend_pid(connection)
    try:
        yield lambda: activity.backend_pid(connection) == held_by
    finally:
        if connection.connection is not None and connection.is_usable() and not connection.in_atomic_block:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [RUNNER_KEY])


def _try_advisory(connection: BaseDatabaseWrapper) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [RUNNER_KEY])
        return bool(cursor.fetchall()[0][0])
