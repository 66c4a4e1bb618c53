"""How long requests took, counted from when they were due: waiting behind a slow one counts, too."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from segue.demo.record import Entry


@dataclass(frozen=True, kw_only=True)
class Window:
    """A stretch of the story, in monotonic seconds."""

    name: str
    started_at: float
    ended_at: float

    def contains(self, moment: float) -> bool:
        """Was this moment within the stretch? Its end belongs to the next one."""
        return self.started_at <= moment < self.ended_at


@dataclass(frozen=True, kw_only=True)
class Latency:
    """The requests that were due in one window."""

    requests: int
    failed: int
    p50_ms: float
    p99_ms: float
    max_ms: float


def summarize(entries: Iterable[Entry], window: Window) -> Latency | None:
    """The latencies of a window's requests, or None where none was due."""
    due = [entry for entry in entries if window.contains(entry.due_at)]
    if not due:
        return None
    taken = sorted(entry.latency_ms for entry in due)
    return Latency(
        requests=len(due),
        failed=sum(entry.failure is not None for entry in due),
        p50_ms=percentile(taken, 50),
        p99_ms=percentile(taken, 99),
        max_ms=taken[-1],
    )


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile: the smallest value that `percent` of all values do not exceed."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]
