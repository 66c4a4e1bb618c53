"""Who is connected, who holds which lock, and who stands in the way: reads of pg_stat_activity and pg_locks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Protocol

from django.db.backends.base.base import BaseDatabaseWrapper

from segue.core.change import LockMode, TableLock
from segue.core.evidence import Blocker, Connected

OWN_APPLICATION = "segue/"
_TAG = re.compile(r"segue:([0-9a-f]{8})")

# https://www.postgresql.org/docs/current/explicit-locking.html#TABLE-LOCK-COMPATIBILITY
CONFLICTS = {
    LockMode.SHARE_UPDATE_EXCLUSIVE: (
        "ShareUpdateExclusiveLock",
        "ShareLock",
        "ShareRowExclusiveLock",
        "ExclusiveLock",
        "AccessExclusiveLock",
    ),
    LockMode.SHARE_ROW_EXCLUSIVE: (
        "RowExclusiveLock",
        "ShareUpdateExclusiveLock",
        "ShareLock",
        "ShareRowExclusiveLock",
        "ExclusiveLock",
        "AccessExclusiveLock",
    ),
    LockMode.ACCESS_EXCLUSIVE: (
        "AccessShareLock",
        "RowShareLock",
        "RowExclusiveLock",
        "ShareUpdateExclusiveLock",
        "ShareLock",
        "ShareRowExclusiveLock",
        "ExclusiveLock",
        "AccessExclusiveLock",
    ),
}


class Cursor(Protocol):
    """What every driver's cursor can do."""

    def execute(self, sql: Any, params: Any = None) -> Any:
        """Run one statement."""

    def fetchall(self) -> list[Any]:
        """Return its rows."""


def blockers(connection: BaseDatabaseWrapper, locks: Sequence[TableLock]) -> tuple[Blocker, ...]:
    """Return the sessions that hold a lock in conflict with any of these, longest transaction first."""
    return _holders(connection, [(lock.table, CONFLICTS[lock.mode]) for lock in locks])


def row_holders(connection: BaseDatabaseWrapper, table: str) -> tuple[Blocker, ...]:
    """Return the sessions that may hold rows of a table, or the table: PostgreSQL lists no row locks."""
    return _holders(connection, [(table, ("RowShareLock", *CONFLICTS[LockMode.SHARE_ROW_EXCLUSIVE]))])


def _holders(connection: BaseDatabaseWrapper, modes_of: Sequence[tuple[str, Sequence[str]]]) -> tuple[Blocker, ...]:
    found: dict[int, Blocker] = {}
    with connection.cursor() as cursor:
        # Inside a transaction pg_stat_activity shows what it showed first, unless told to look again.
        cursor.execute("SELECT pg_stat_clear_snapshot()")
        for table, modes in modes_of:
            cursor.execute(
                """
                SELECT coalesce(l.pid, 0), coalesce(a.application_name, ''), coalesce(a.usename::text, ''),
                       coalesce(a.state, 'prepared transaction'),
                       coalesce(extract(epoch FROM clock_timestamp() - a.xact_start), 1e6)::float8,
                       left(regexp_replace(coalesce(a.query, 'see pg_prepared_xacts'), '\\s+', ' ', 'g'), 80)
                FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
                WHERE l.locktype = 'relation' AND l.granted AND l.relation = to_regclass(%s)::oid
                  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
                  AND l.pid IS DISTINCT FROM pg_backend_pid() AND l.mode = ANY(%s)
                """,
                [connection.ops.quote_name(table), list(modes)],
            )
            for pid, application, user, state, seconds, query in cursor.fetchall():
                found[pid] = Blocker(
                    pid=pid,
                    application=application,
                    user=user,
                    state=state,
                    transaction_seconds=seconds,
                    query=query,
                )
    return tuple(sorted(found.values(), key=lambda b: -b.transaction_seconds))


def connected(connection: BaseDatabaseWrapper) -> tuple[Connected, ...]:
    """Return the client sessions on this database of this role, or with a release tag; Segue's own left out.

    The role that migrates need not be the one that the application has. Another role's session without a tag is
    somebody's monitoring, or backup.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")
        cursor.execute(
            """
            SELECT pid, coalesce(application_name, ''), usename::text, coalesce(backend_start::text, '')
            FROM pg_stat_activity
            WHERE datname = current_database() AND (usename = current_user OR application_name ~ %s)
              AND pid <> pg_backend_pid() AND coalesce(backend_type, 'client backend') = 'client backend'
            ORDER BY backend_start
            """,
            [_TAG.pattern],
        )
        rows = cursor.fetchall()
    return tuple(
        Connected(pid=pid, application=application, user=user, tag=tag_of(application), since=since)
        for pid, application, user, since in rows
        if not application.startswith(OWN_APPLICATION)
    )


def tag_of(application: str) -> str:
    """Return the release tag in an application name, or "" when it carries none."""
    match = _TAG.search(application)
    return match[1] if match else ""


def advisory_holder(connection: BaseDatabaseWrapper, key: int) -> str:
    """Return who holds a 64-bit advisory lock on this database, in words."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT a.pid, a.application_name, coalesce(a.client_addr::text, 'this host'),
                   to_char(a.backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')
            FROM pg_locks l JOIN pg_stat_activity a USING (pid)
            WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
              AND l.classid = (%s::bigint >> 32)::int::oid AND l.objid = (%s::bigint & 4294967295)::oid
              AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
            """,
            [key, key],
        )
        rows = cursor.fetchall()
    if not rows:
        return "it ended this moment"
    pid, application, address, since = rows[0]
    return f'pid {pid} "{application}" from {address}, connected since {since} UTC'


def backend_pid(connection: BaseDatabaseWrapper) -> int:
    """Return the server process of the connection as it is now, 0 when it is closed; asks no server."""
    raw: Any = connection.connection
    if raw is None:
        return 0
    return int(raw.info.backend_pid)


def index_progress(cursor: Cursor, pid: int) -> str:
    """Return how far the index that a session builds has come, or whom it waits for; "" when it builds none.

    https://www.postgresql.org/docs/current/progress-reporting.html#CREATE-INDEX-PROGRESS-REPORTING
    """
    cursor.execute(
        """
        SELECT p.phase, p.blocks_done, p.blocks_total, p.current_locker_pid,
               coalesce((SELECT format('pid %%s "%%s" %%s: %%s', a.pid, a.application_name, a.state, left(a.query, 60))
                         FROM pg_stat_activity a WHERE a.pid = p.current_locker_pid), '')
        FROM pg_stat_progress_create_index p WHERE p.pid = %s
        """,
        [pid],
    )
    rows = cursor.fetchall()
    if not rows:
        return ""
    phase, done, total, locker, who = rows[0]
    if locker:
        return f"index: {phase}: waits for {who}"
    return f"index: {phase}" + (f", {100 * done // total} %" if total else "")
