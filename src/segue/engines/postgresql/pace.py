"""How large a backfill's next batch is, how far it has come, and when to write that down. Knows no database."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

TARGET_SECONDS = 0.06
FIRST_BLOCKS = 64
MOST_BLOCKS = 1024
NOTE_EVERY_SECONDS = 1.0
# So that a backfill of days leaves some hundreds of events in the journal, and a crash costs a hundredth of it.
NOTE_EVERY_SHARE = 0.01


class Pace:
    """How many blocks the next batch has."""

    def __init__(self) -> None:
        self.blocks = FIRST_BLOCKS

    def took(self, blocks: int, seconds: float) -> None:
        """So many blocks took so long: come near the target time, at most by twice or half the size."""
        wanted = round(blocks * TARGET_SECONDS / max(seconds, 1e-6))
        self.blocks = max(1, self.blocks // 2, min(wanted, self.blocks * 2, MOST_BLOCKS))

    def too_long(self) -> None:
        """A batch was cancelled; the blocks before it had perhaps nothing to change."""
        self.blocks = max(1, min(self.blocks // 2, FIRST_BLOCKS))

    def held(self) -> None:
        """A row was not free: a smaller batch holds fewer rows while it waits."""
        self.blocks = max(1, self.blocks // 2)


def note_due_at(began: float, noted_at: float) -> float:
    """Return when to write down next how far a backfill is, all in the same clock's seconds."""
    return noted_at + max(NOTE_EVERY_SECONDS, (noted_at - began) * NOTE_EVERY_SHARE)


@dataclass(kw_only=True)
class Progress:
    """One pass: how many blocks it has, and how many of them are walked.

    An interrupted run may have walked some, and changed `rows`, before this one began.
    """

    blocks: int
    walked: int
    rows: int
    began: float = field(default_factory=time.monotonic)
    walked_before: int = field(init=False)

    def __post_init__(self) -> None:
        self.walked_before = self.walked

    def words(self, rows: int, now: float) -> str:
        """Return how far the pass is: "412,000 rows, 38 %, 21,300 rows/s, about 32 s left"; `rows` are those so far."""
        seconds = max(now - self.began, 1e-6)
        left = seconds * (self.blocks - self.walked) / max(self.walked - self.walked_before, 1)
        percent = 100 * self.walked // max(self.blocks, 1)
        return f"{rows:,} rows, {percent} %, {(rows - self.rows) / seconds:,.0f} rows/s, about {_duration(left)} left"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
