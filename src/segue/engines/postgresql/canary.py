"""The lock canary: how long readers and writers wait, table by table, measured beside a run.

Owns the process that measures; what it does stands in canary_probes.py. A process of its own, because a
thread here would wait for Python's own lock while a migration computes, and report that as the database's.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from segue.core.evidence import Blocked
from segue.core.values import from_json
from segue.engines import process

MAX_TABLES = 8
_PROBES = Path(__file__).with_name("canary_probes.py")
_START_SECONDS = 5.0
_END_SECONDS = 10.0


class PostgreSQLCanary:
    """One measurement; its findings are there once it has ended."""

    def __init__(self) -> None:
        self._found: tuple[Blocked, ...] = ()
        self._waits: list[tuple[float, float]] = []
        self.started = threading.Event()

    def wait(self) -> None:
        """Return once it measures, or has given up: it starts while the run prepares itself."""
        self.started.wait(_START_SECONDS)

    def blocked(self) -> tuple[Blocked, ...]:
        """Return what was measured; a table that no probe reached is left out: its waiting is unknown."""
        return self._found

    def longest_ms(self, began_at: float, ended_at: float) -> float | None:
        """Return the longest wait between two moments, in seconds since 1970; None when no probe fell there."""
        waits = [ms for at, ms in self._waits if at <= ended_at and at + ms / 1000 >= began_at]
        return max(waits, default=None)

    def take(self, said: str) -> None:
        """Take over what the process said last; nothing, when it could not measure."""
        if said.strip():
            findings = json.loads(said)
            self._found = tuple(from_json(Blocked, one) for one in findings["tables"])
            self._waits = [(at, ms) for at, ms in findings["waits"]]


@contextmanager
def watching(connect: Mapping[str, Any], tables: tuple[str, ...]) -> Iterator[PostgreSQLCanary]:
    """Measure for the length of the block, the first eight tables of those given.

    The process ends when its input does, so it cannot outlive this one, however this one ends.
    """
    canary = PostgreSQLCanary()
    if not tables:
        canary.started.set()
        yield canary
        return
    child = process.spawn(
        [sys.executable, str(_PROBES)], stdin=process.PIPE, stdout=process.PIPE, stderr=process.DISCARD
    )
    assert child.stdin is not None and child.stdout is not None
    said: list[str] = []

    def listen() -> None:
        for line in child.stdout or ():
            said.append(line.decode())
            canary.started.set()
        canary.started.set()

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    order = {"connect": dict(connect), "tables": tables[:MAX_TABLES]}
    child.stdin.write(json.dumps(order, default=str).encode() + b"\n")
    child.stdin.flush()
    try:
        yield canary
    finally:
        child.stdin.close()
        process.reap(child, patience=_END_SECONDS)
        listener.join(_END_SECONDS)
        child.stdout.close()
        canary.take(said[1] if len(said) > 1 else "")
