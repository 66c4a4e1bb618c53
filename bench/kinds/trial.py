"""One trial of a kind of change: a contender on a copy of the shop by itself, and on another under traffic.

Owns the order of the phases and what is measured in each; a trial that ends early says why and keeps the rest.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import psycopg

from bench.database import wait_until_gone
from bench.kinds.changes import CHANGES
from bench.kinds.site import Shop, application_name
from bench.kinds.way import Way
from bench.project import VERSIONS
from bench.traffic import Traffic
from bench.trial import TrialEnded, measured, written_before
from segue.core.errors import SegueError
from segue.demo.latency import Window
from segue.demo.ledger import Ledger, compare, read
from segue.demo.record import Entry

SETTLE_SECONDS = 2.0
ANSWERED_SECONDS = 1.0
_SIZE = (
    "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class c"
    " WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname LIKE 'shop%'"
)
_TOKENS = "SELECT count(*), count(token), count(DISTINCT token) FROM shop_song WHERE id <= %s"


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How a trial goes: requests per second of all clients, songs, and lengths in seconds."""

    rate: float
    rows: int
    phase_seconds: float
    timeout_seconds: float


def alone(shop: Shop, pace: Pace) -> dict[str, Any]:
    """Go forth and back with nobody else connected; return the times, the log, the sizes and the tokens."""
    way = Way(shop, timeout_seconds=pace.timeout_seconds)
    found: dict[str, Any] = {"outcome": "done", "reason": None}
    with psycopg.connect(shop.url, autocommit=True) as connection:
        try:
            size, position = _one(connection, _SIZE), _one(connection, "SELECT pg_current_wal_insert_lsn()")
            found["forth"] = way.go("migrate", "forth")
            found["wal_bytes"] = int(_one(connection, f"SELECT pg_current_wal_insert_lsn() - '{position}'::pg_lsn"))
            found["growth"] = _one(connection, _SIZE) / size
            if CHANGES[shop.change].makes_tokens:
                counts = connection.execute(_TOKENS, [pace.rows]).fetchone()
                found["tokens"] = dict(zip(("rows", "filled", "distinct"), counts or (), strict=True))
            found["back"] = way.go("rollback", "back")
        except (SegueError, psycopg.Error, OSError) as error:
            found.update(outcome=getattr(error, "outcome", "failed"), reason=str(error))
    return found


def _one(connection: psycopg.Connection[Any], query: str) -> Any:
    row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]


class Trial:
    """One contender's turn under traffic."""

    def __init__(self, shop: Shop, pace: Pace, *, say: Callable[[str], None]) -> None:
        self._shop = shop
        self._pace = pace
        self._say = say
        self._change = CHANGES[shop.change]
        self._traffic = Traffic(shop.crew(rate=pace.rate, songs=pace.rows), shop.folder)
        self._way = Way(shop, timeout_seconds=pace.timeout_seconds, look=self._traffic.look)
        self._windows: dict[str, Window] = {}
        self._commands: dict[str, dict[str, Any]] = {}
        self._values: dict[str, dict[str, dict[str, Any]]] = {}

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
        self._go("migrate", "forth")
        with self._phase("joining"):
            traffic.start("new")
            traffic.relieve()
        with self._phase("both"):
            traffic.watch(seconds)
        self._go("rollback", "back")
        with self._phase("rolled back"):
            traffic.watch(seconds)
            self._compare("rolled back")
        self._go("migrate again", "forth")
        with self._phase("both again"):
            traffic.watch(seconds)
        traffic.stop("old")
        if self._way.finalizes:
            wait_until_gone(self._shop.url, application_name("old"))
            self._go("finalize", "contract")
            with self._phase("finalized"):
                traffic.watch(seconds)
        traffic.stop("new")
        self._compare("migrated again")

    def _go(self, title: str, way: str) -> None:
        with self._phase(title):
            self._commands[title] = self._way.go(title, way)

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        """Time a phase; one that ends early counts, too."""
        self._say(name)
        started_at = time.monotonic()
        try:
            yield
        finally:
            self._windows[name] = Window(name=name, started_at=started_at, ended_at=time.monotonic())

    def _compare(self, when: str) -> None:
        """Hold what each version had acknowledged before the way back against what is there now.

        A cell that was written later is left out; so is one that is being written right now.
        """
        before = self._windows["rollback"].started_at
        found: dict[str, dict[str, Any]] = {}
        with psycopg.connect(self._shop.url, autocommit=True) as connection:
            for version in VERSIONS:
                known = self._traffic.entries(version)
                ledger = written_before(self._in_words(known, when), before)
                rows = read(connection, ledger.rows)
                if when == "rolled back":
                    self._traffic.watch(ANSWERED_SECONDS)
                seen = set(map(id, known))
                fresh = [entry for entry in self._traffic.entries(version) if id(entry) not in seen]
                comparison = compare(_without(ledger, self._in_words(fresh, when)), rows)
                found[version] = {
                    "compared": comparison.compared,
                    "lost": len(comparison.lost),
                    "examples": list(comparison.lost[:3]),
                }
        self._values[when] = found

    def _in_words(self, entries: Iterable[Entry], when: str) -> list[Entry]:
        """Entries in the names of the schema that there is."""
        words = self._change.in_old_words if when == "rolled back" else self._change.in_new_words
        return [replace(entry, rows=tuple(words(row) for row in entry.rows)) for entry in entries]


def _without(ledger: Ledger, entries: Iterable[Entry]) -> Ledger:
    """The ledger without the cells that these entries wrote."""
    written = {(row.table, row.pk, column) for entry in entries for row in entry.rows for column in row.values}
    rows = {
        (table, pk): {column: value for column, value in cells.items() if (table, pk, column) not in written}
        for (table, pk), cells in ledger.rows.items()
    }
    return replace(ledger, rows=rows)
