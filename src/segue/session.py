"""Session: every effect that a stage may use, for one target. Stages take one and reach for nothing else."""

from __future__ import annotations

import getpass
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from django.db import OperationalError, connections

from segue import alias as aliases
from segue import conf
from segue.core.errors import SegueError, UsageError
from segue.core.evidence import Connected, OldCode, Timing
from segue.core.run import Run, State
from segue.engines.base import Canary, Engine
from segue.history import Key, Migrator, installed_migrations, is_fresh, release_tag
from segue.journal import Journal
from segue.storage import ObjectStorage
from segue.storage.archives import Archives


@dataclass
class Session:
    """One target's engine, journal and migrations, and somebody to tell."""

    engine: Engine
    journal: Journal
    migrator: Migrator
    say: Callable[[str], None]
    told: Callable[[Timing], None]
    archives: Archives | None = None
    allow_blocking: timedelta = timedelta(milliseconds=50)
    command: str = "the same command with"
    """What was typed, for the next command that an error names."""
    capture: Mapping[str, int] = field(default_factory=dict)
    """Per table, and "*" for every other, of how many rows what a migration's own code changes is kept."""
    reverse_code: bool = False
    """Whether a way back runs what migrations have as their reverse in place of putting back what they changed."""
    timings: list[Timing] = field(default_factory=list)
    _canary: Canary | None = None

    def timed(self, timing: Timing) -> None:
        """Keep a step's timing for the result and tell of it."""
        self.timings.append(timing)
        self.told(timing)

    @contextmanager
    def watching(self, tables: tuple[str, ...]) -> Iterator[Canary]:
        """Measure for the block what others wait, and add it to the timings of the steps done in it.

        The measurement starts beside the block; call `await_canary` before anything that it is to see.
        """
        first = len(self.timings)
        with self.engine.canary(tables) as canary:
            self._canary = canary
            try:
                yield canary
            finally:
                self._canary = None
        self.timings[first:] = [
            replace(t, longest_ms=canary.longest_ms(t.began_at, t.began_at + t.seconds)) for t in self.timings[first:]
        ]

    def await_canary(self) -> None:
        """Return once it is measured what others wait, if that is to be."""
        if self._canary is not None:
            self._canary.wait()

    @property
    def fresh(self) -> bool:
        """Whether nobody can have used the database: nothing is recorded, and no release ever stood.

        A database whose migrations were all unapplied is not fresh: what they had made lies retired in it.
        """
        ended = {State.APPLYING, State.FAILED}
        return is_fresh(self.migrator.recorder) and all(r.fresh and r.state in ended for r in self.journal.runs())

    @property
    def tag(self) -> str:
        """The release tag of the code that runs this."""
        return release_tag(installed_migrations())

    def old_code(self, run: Run, *, watched: timedelta = timedelta(0)) -> OldCode:
        """Return who is connected, or was while it was `watched`, and is not known to run the new code.

        An application that opens a connection for each request is between two of them most of the time, so a
        single look proves little.
        """
        applied = {
            key for key in self.migrator.loader.applied_migrations if key in self.migrator.loader.disk_migrations
        }
        # This code is the new code only if the database is where this code wants it.
        current = {run.tag, *([self.tag] if set(installed_migrations()) == applied else [])}
        seen = self._connected(watched)
        return OldCode(
            old=tuple(c for c in seen if c.tag and c.tag not in current),
            unknown=tuple(c for c in seen if not c.tag),
            new=tuple(c for c in seen if c.tag in current),
        )

    def new_code(self, run: Run, *, watched: timedelta = timedelta(0)) -> tuple[Connected, ...]:
        """Return who is connected, or was while it was `watched`, and runs the code that a release led to."""
        return tuple(c for c in self._connected(watched) if c.tag and c.tag == run.tag)

    def _connected(self, watched: timedelta) -> tuple[Connected, ...]:
        seen: dict[int, Connected] = {}
        until = time.monotonic() + watched.total_seconds()
        while True:
            seen |= {c.pid: c for c in self.engine.connected()}
            if time.monotonic() >= until:
                return tuple(seen.values())
            time.sleep(0.05)

    def tag_without(self, unapplied: Sequence[Key]) -> str:
        """The release tag of the code that a release leads to: this one's, or the one without what is unapplied."""
        return release_tag(set(installed_migrations()) - set(unapplied))

    def most_captured(self, table: str) -> int:
        """Return of how many rows of a table what own code changes is kept."""
        return self.capture.get(table, self.capture.get("*", 0))

    @property
    def captures(self) -> bool:
        """Whether what a migration's own code changes in rows is kept, of any table."""
        return self.engine.online and any(self.capture.values())

    def elsewhere(self, work: Callable[[Session], None]) -> None:
        """Do a piece of work on a connection of its own and wait for it: it commits whatever becomes of this one's.

        Raises what the work raises.
        """
        failed: list[BaseException] = []

        def run() -> None:
            engine = self.engine.elsewhere()
            journal = Journal(engine.connection, self.journal.store)
            try:
                work(replace(self, engine=engine, journal=journal, _canary=None))
            except BaseException as error:
                failed.append(error)  # The thread that waits raises it.
            finally:
                engine.connection.close()

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        if failed:
            raise failed[0]

    @property
    def by(self) -> str:
        """Who runs this, for whoever finds the target held or reads the journal."""
        try:
            user = getpass.getuser()
        except (KeyError, OSError):
            user = "unknown"  # A container's user may have no name; the host still tells where to look.
        return f"{user}@{socket.gethostname()}"


def open_session(
    alias: str,
    *,
    say: Callable[[str], None] = lambda _: None,
    told: Callable[[Timing], None] = lambda _: None,
    progress: Callable[..., None] | None = None,
    allow_blocking: timedelta | None = None,
    command: str = "the same command with",
    reverse_code: bool = False,
) -> Session:
    """Return a session for a database alias; raise UsageError for an unknown alias or engine."""
    if alias not in connections:
        raise UsageError(
            f'There is no database "{alias}" in DATABASES; there are {", ".join(connections)}.',
            next_command="choose one of them with --database",
        )
    settings = conf.read()
    if allow_blocking is not None:
        settings = replace(settings, ALLOW_BLOCKING=allow_blocking)
    connection: Any = connections[alias]
    _require_answer(connection)
    aliases.spare_written_names(connection)
    store = ObjectStorage(settings.STORE) if settings.STORE else None
    archives = Archives(store) if store else None
    return Session(
        engine=_engine(connection, settings, archives),
        journal=Journal(connection, store),
        migrator=Migrator(connection, progress),
        say=say,
        told=told,
        archives=archives,
        allow_blocking=settings.ALLOW_BLOCKING,
        command=command,
        capture=settings.CAPTURE,
        reverse_code=reverse_code,
    )


def _require_answer(connection: Any) -> None:
    try:
        connection.ensure_connection()
    except OperationalError as error:
        raise SegueError(
            f'Database "{connection.alias}" does not answer: {str(error).strip().splitlines()[0]}',
            next_command="check that the server runs and that DATABASES is right, then run the same command again",
        ) from error


@contextmanager
def direct(alias: str) -> Iterator[None]:
    """Send the alias past a transaction pooler for the block, as SEGUE["DIRECT"] says."""
    override = conf.read().DIRECT.get(alias)
    if not override:
        yield
        return
    connection: Any = connections[alias]
    pooled = connection.settings_dict
    connection.close()
    connection.settings_dict = {**pooled, **override}
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict = pooled


def _engine(connection: Any, settings: conf.Settings, archives: Archives | None) -> Engine:
    if connection.vendor == "postgresql":
        from segue.engines.postgresql import PostgreSQL
        from segue.engines.postgresql.locks import Patience

        patience = Patience(
            timeout=settings.LOCK_TIMEOUT, deadline=settings.LOCK_DEADLINE, blocking=settings.ALLOW_BLOCKING
        )
        postgresql: Engine = PostgreSQL(
            connection, patience, settings.RUNNER_WAIT, archives, alias_from=settings.ALIAS_FROM
        )
        return postgresql
    if connection.vendor == "sqlite":
        from segue.engines.sqlite import SQLite

        sqlite: Engine = SQLite(connection, settings.RUNNER_WAIT)
        return sqlite
    raise UsageError(
        f'Database "{connection.alias}" is {connection.display_name}; Segue knows PostgreSQL and SQLite.',
        next_command="take segue out of INSTALLED_APPS for this project, or move it to PostgreSQL",
    )
