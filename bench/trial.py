"""One trial: one contender takes a copy of the database forward, back and forward again, under traffic.

Owns the order of the phases and what is measured in each; a trial that ends early says why and keeps the rest.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import psycopg

from bench.commands import Done, run_manage
from bench.database import BenchError, long_reader, wait_until_gone
from bench.project import APP, KINDS, MIGRATIONS, VERSIONS, Site, Version, application_name
from bench.traffic import Traffic, crew
from segue.core.errors import SegueError
from segue.demo.latency import Window, summarize
from segue.demo.ledger import Ledger, acknowledged, compare, read
from segue.demo.record import Entry

SETTLE_SECONDS = 2.0
MOST_ATTEMPTS = 20
# What PostgreSQL says where the contender gave up waiting: the one failure after which trying again makes sense.
GAVE_UP = ("canceling statement due to lock timeout", "canceling statement due to statement timeout")
REFUSED = "UnsafeOperationException"
# With a small letter, because PostgreSQL's DETAIL and HINT follow an exception and name none.
EXCEPTION = re.compile(r"(?:\w+\.)*[A-Z]\w*[a-z]\w*: ")


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How a trial goes: requests per second of all clients, and lengths in seconds."""

    rate: float
    phase_seconds: float
    reader_seconds: float
    timeout_seconds: float


class TrialEnded(BenchError):
    """The contender could not go on; `outcome` is refused or failed."""

    def __init__(self, outcome: str, message: str) -> None:
        super().__init__(message)
        self.outcome = outcome


class Trial:
    """One contender's turn on its own copy of the database."""

    def __init__(self, site: Site, pace: Pace, *, has_reader: bool, say: Callable[[str], None]) -> None:
        """With a reader, a transaction of `reader_seconds` holds the user table when migrate begins."""
        self._site = site
        self._pace = pace
        self._has_reader = has_reader
        self._say = say
        self._traffic = Traffic(crew(site, rate=pace.rate), site.folder)
        self._windows: dict[str, Window] = {}
        self._commands: dict[str, dict[str, Any]] = {}
        self._values: dict[Version, dict[str, int]] = {}

    def run(self) -> dict[str, Any]:
        """Play every phase, or as many as the contender allows, and return what was measured as JSON values."""
        outcome, reason = "done", None
        with self._traffic:
            try:
                self._play()
            except TrialEnded as ended:
                outcome, reason = ended.outcome, str(ended)
            except (SegueError, psycopg.Error, OSError) as error:
                outcome, reason = "failed", f"{type(error).__name__}: {error}"
        return {
            "outcome": outcome,
            "reason": reason,
            "commands": self._commands,
            "phases": {name: measured(self._traffic, window) for name, window in self._windows.items()},
            "values": self._values,
        }

    def _play(self) -> None:
        traffic, seconds = self._traffic, self._pace.phase_seconds
        traffic.start("old")
        traffic.watch(SETTLE_SECONDS)
        with self._phase("calm"):
            traffic.watch(seconds)
        with self._reader(), self._phase("migrate"):
            self._migrate("migrate", MIGRATIONS["new"][-1])
        with self._phase("joining"):
            traffic.start("new")
        with self._phase("both"):
            traffic.watch(seconds)
        with self._phase("rollback"):
            self._migrate("rollback", MIGRATIONS["old"][-1])
        with self._phase("rolled back"):
            traffic.watch(seconds)
        with self._phase("migrate again"):
            self._migrate("migrate again", MIGRATIONS["new"][-1])
        with self._phase("both again"):
            traffic.watch(seconds)
        traffic.stop("old")
        if self._site.contender.finalize:
            wait_until_gone(self._site.url, application_name("old"))
            with self._phase("finalize"):
                self._command("finalize", self._site.contender.finalize)
        traffic.stop("new")
        self._compare()

    def _migrate(self, title: str, migration: str) -> None:
        self._command(title, ("migrate", APP, migration, "--no-input", "--verbosity", "2"))

    def _command(self, title: str, arguments: Sequence[str]) -> None:
        """Run a command until it succeeds, again only where it gave up waiting; raises TrialEnded otherwise."""
        started_at = time.monotonic()
        for attempt in range(1, MOST_ATTEMPTS + 1):
            timeout_seconds = self._pace.timeout_seconds
            done = run_manage(
                self._site, arguments, version="new", timeout_seconds=timeout_seconds, look=self._traffic.look
            )
            self._commands[title] = {
                "status": done.status,
                "seconds": time.monotonic() - started_at,
                "migration_seconds": done.migration_seconds,
                "attempts": attempt,
            }
            if done.status == 0:
                return
            if not any(text in done.stderr for text in GAVE_UP):
                break
        raise TrialEnded("refused" if REFUSED in done.stderr else "failed", f"{title}: {error_line(done)}")

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        """Time a phase; one that ends early counts, too."""
        self._say(name)
        started_at = time.monotonic()
        try:
            yield
        finally:
            self._windows[name] = Window(name=name, started_at=started_at, ended_at=time.monotonic())

    def _reader(self) -> Any:
        return long_reader(self._site.url, seconds=self._pace.reader_seconds) if self._has_reader else nullcontext()

    def _compare(self) -> None:
        """Hold what each version had acknowledged before the way back against what is there now."""
        before = self._windows["rollback"].started_at
        with psycopg.connect(self._site.url, autocommit=True) as connection:
            for version in VERSIONS:
                ledger = written_before(self._traffic.entries(version), before)
                comparison = compare(ledger, read(connection, ledger.rows))
                self._values[version] = {"compared": comparison.compared, "lost": len(comparison.lost)}


def measured(traffic: Traffic, window: Window) -> dict[str, Any]:
    """A phase's latencies by version and kind (ms from when a request was due), and what failed in it."""
    found: dict[str, Any] = {"seconds": window.ended_at - window.started_at}
    for version in VERSIONS:
        due = [entry for entry in traffic.entries(version) if window.contains(entry.due_at)]
        failures = Counter(entry.failure for entry in due if entry.failure is not None)
        found[version] = {
            "requests": len(due),
            "failed": failures.total(),
            "errors": dict(failures.most_common(3)),
        }
        for kind in KINDS:
            latency = summarize(traffic.entries(version, kind), window)
            found[version][kind] = asdict(latency) if latency else None
    return found


def written_before(entries: Sequence[Entry], moment: float) -> Ledger:
    """The cells that were acknowledged before a moment (monotonic seconds) and that nobody wrote after it."""
    earlier = acknowledged(entry for entry in entries if entry.ended_at < moment)
    later = {
        (row.table, row.pk, column)
        for entry in entries
        if entry.ended_at >= moment
        for row in entry.rows
        for column in row.values
    }
    rows = {
        (table, pk): {column: value for column, value in cells.items() if (table, pk, column) not in later}
        for (table, pk), cells in earlier.rows.items()
    }
    return Ledger(rows={key: cells for key, cells in rows.items() if cells}, replaced=earlier.replaced)


def error_line(done: Done) -> str:
    """The line of a command's words that names the exception: details and advice may follow it."""
    named = [line for line in done.stderr.splitlines() if EXCEPTION.match(line)]
    return named[-1] if named else done.last_line
