"""Other sessions of the same database: those that stand in a release's way, and one that only wants to work."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from tests.project import Project

PATIENCE_SECONDS = 40
# Segue looks at how old a transaction is before it joins a lock's queue: from here on it is a long one.
LONG_SECONDS = 0.3


@contextmanager
def reading(project: Project, table: str) -> Iterator[int]:
    """Read a table in a transaction that stays open for the block; yield the session's process id."""
    with _in_transaction(project, "monthly report", f"SELECT count(*) FROM {table}") as pid:
        yield pid


@contextmanager
def writing(project: Project, table: str, column: str) -> Iterator[int]:
    """Insert into a table in a transaction that stays open for the block; yield the session's process id."""
    with _in_transaction(project, "nightly import", f"INSERT INTO {table} ({column}) VALUES ('uncommitted')") as pid:
        yield pid


@contextmanager
def _in_transaction(project: Project, application: str, statement: str) -> Iterator[int]:
    session = project.connect(application)
    session.execute(statement)
    time.sleep(LONG_SECONDS)
    try:
        yield session.info.backend_pid
    finally:
        session.close()


@contextmanager
def watching(project: Project) -> Iterator[psycopg.Connection[Any]]:
    """Yield a session that looks at what the others do, and holds no lock that anybody waits for."""
    with project.connect("watcher") as session:
        session.autocommit = True
        yield session


def wait_for(session: psycopg.Connection[Any], question: str, *params: Any) -> Any:
    """Ask until there is an answer, and return its first value."""
    found: list[Any] = []

    def asked() -> bool:
        row = session.execute(question, params).fetchone()
        found[:] = row or ()
        return row is not None

    until(asked, f"there never was an answer to {question}")
    return found[0]


def until(happened: Callable[[], bool], otherwise: str) -> None:
    """Wait until something has happened; fail with `otherwise` after a generous time."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not happened():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.02)


class Traffic:
    """A session that reads and writes one table all the time, and another that looks for queues at its lock.

    `failures` are statements that were made to wait for longer than `patience`; `queued` counts in how many
    `looks` somebody waited for ACCESS EXCLUSIVE on the table, which makes everybody wait who comes after.
    """

    def __init__(self, project: Project, table: str, column: str, *, patience: str = "500ms") -> None:
        self.statements = 0
        self.failures: list[str] = []
        self.queued = 0
        self.looks = 0
        self._table = table
        self._column = column
        self._patience = patience
        self._sessions = [project.connect("traffic"), project.connect("watcher")]
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work), threading.Thread(target=self._look)]

    def __enter__(self) -> Traffic:
        for session in self._sessions:
            session.autocommit = True
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        for session in self._sessions:
            session.close()

    def _work(self) -> None:
        session = self._sessions[0]
        session.execute(f"SET lock_timeout = '{self._patience}'")
        while not self._stop.wait(0.005):
            for statement in (
                f"INSERT INTO {self._table} ({self._column}) VALUES ('traffic')",
                f"SELECT count(*) FROM {self._table}",
            ):
                try:
                    session.execute(statement)
                except psycopg.Error as error:
                    self.failures.append(f"{statement}: {error}")
                self.statements += 1

    def _look(self) -> None:
        while not self._stop.wait(0.005):
            row = (
                self._sessions[1]
                .execute(
                    "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock' "
                    "AND relation = to_regclass(%s)",
                    [self._table],
                )
                .fetchone()
            )
            self.queued += row[0] if row else 0
            self.looks += 1
