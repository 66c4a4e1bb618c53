"""The lock canary's process: reads an order on stdin, probes until stdin ends, prints its findings as JSON.

Two sessions a table take, every 50 ms, the lock that a SELECT or an INSERT takes, and let it go at once. What
they wait is what the application waits at that moment. They see table locks, not row locks. Imports nothing
of Segue, so that it starts fast.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql

EVERY_SECONDS = 0.05
NOTICED_SECONDS = 0.010
GIVE_UP = "5s"
MODES = ("ACCESS SHARE", "ROW EXCLUSIVE")
# Of a long run, the waits worth telling are kept and the rest only counted.
MANY = 50_000
WORTH_TELLING_MS = 1.0


@dataclass
class Probe:
    """One session's findings; only its own thread writes them."""

    table: str
    mode: str
    blocked_seconds: float = 0.0
    longest_seconds: float = 0.0
    count: int = 0
    waits: list[tuple[float, float]] = field(default_factory=list)

    def saw(self, at: float, waited: float) -> None:
        """Add one probe: when it began, in seconds since 1970, and the seconds that it waited."""
        self.count += 1
        self.longest_seconds = max(self.longest_seconds, waited)
        if waited > NOTICED_SECONDS:
            self.blocked_seconds += waited
        if self.count < MANY or waited * 1000 >= WORTH_TELLING_MS:
            self.waits.append((round(at, 4), round(waited * 1000, 2)))


def watch(probe: Probe, connect: dict[str, Any], started: threading.Barrier, stop: threading.Event) -> None:
    """Probe one table in one mode until told to stop."""
    table = sql.SQL(probe.table) if probe.table.startswith('"') else sql.Identifier(probe.table)
    lock = sql.SQL("LOCK TABLE {} IN {} MODE").format(table, sql.SQL(probe.mode))
    try:
        with psycopg.connect(autocommit=True, application_name="segue/canary", **connect) as connection:
            connection.execute(f"SET lock_timeout = '{GIVE_UP}'")
            # The first probe also loads the catalog into the session's cache: it is made and not counted.
            seconds_waited(connection, lock)
            with suppress(threading.BrokenBarrierError):
                started.wait(timeout=3)
            while not stop.wait(EVERY_SECONDS):
                probe.saw(time.time(), seconds_waited(connection, lock))
    except psycopg.Error:
        started.abort()  # A table that cannot be probed is unknown; the others are measured all the same.


def seconds_waited(connection: psycopg.Connection[Any], lock: sql.Composed) -> float:
    """Return how long the lock was waited for, granted or given up; it is let go at once."""
    with connection.transaction(force_rollback=True):
        began = time.perf_counter()
        # A probe that gave up waited for that long all the same.
        with suppress(psycopg.errors.LockNotAvailable):
            connection.execute(lock)
        return time.perf_counter() - began


def finding(reader: Probe, writer: Probe) -> dict[str, Any]:
    """One table's findings, as segue.core.evidence.Blocked has them."""
    return {
        "table": reader.table,
        "readers_seconds": round(reader.blocked_seconds, 4),
        "writers_seconds": round(writer.blocked_seconds, 4),
        "longest_ms": round(max(reader.longest_seconds, writer.longest_seconds) * 1000, 1),
        "probes": reader.count + writer.count,
    }


def main() -> None:
    """Probe every table of the order until stdin ends."""
    order = json.loads(sys.stdin.readline())
    pairs = [[Probe(table=table, mode=mode) for mode in MODES] for table in order["tables"]]
    probes = [probe for pair in pairs for probe in pair]
    started, stop = threading.Barrier(len(probes) + 1), threading.Event()
    threads = [threading.Thread(target=watch, args=(p, order["connect"], started, stop), daemon=True) for p in probes]
    for thread in threads:
        thread.start()
    with suppress(threading.BrokenBarrierError):
        started.wait(timeout=3)
    print("ready", flush=True)
    sys.stdin.read()
    stop.set()
    for thread in threads:
        thread.join(timeout=6)
    tables = [finding(*pair) for pair in pairs if all(p.count for p in pair)]
    print(json.dumps({"tables": tables, "waits": [wait for p in probes for wait in p.waits]}), flush=True)


if __name__ == "__main__":
    main()
