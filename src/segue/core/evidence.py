"""What was measured: the lock canary's finding per table, what a sample predicts, what a connection says."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Blocked:
    """How long readers and writers of one table were held up, as the lock canary measured it.

    Seconds are sums of the waits over 10 ms; milliseconds are the longest single wait of either.
    """

    table: str
    readers_seconds: float
    writers_seconds: float
    longest_ms: float
    probes: int


@dataclass(frozen=True, kw_only=True)
class Blocker:
    """A session that stands in the way of a lock."""

    pid: int
    application: str
    user: str
    state: str
    transaction_seconds: float
    query: str

    def __str__(self) -> str:
        name = f' "{self.application}"' if self.application else ""
        return f"pid {self.pid}{name} {self.state} for {self.transaction_seconds:.0f} s: {self.query}"


@dataclass(frozen=True, kw_only=True)
class Connected:
    """A client of the target, and the release tag that its application name carries, if any."""

    pid: int
    application: str
    user: str
    tag: str
    since: str


@dataclass(frozen=True, kw_only=True)
class Timing:
    """What one step took: seconds in all, and of them the wait for its locks and the attempts at them.

    `longest_ms` is the longest wait that the lock canary saw meanwhile, on any table; None when it saw nothing
    of so short a step. `began_at` is in seconds since 1970.
    """

    id: str
    title: str
    phase: str
    seconds: float
    attempts: int
    waited_seconds: float
    began_at: float = 0.0
    longest_ms: float | None = None


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """How long others will wait for work on the rows of a table, and how many rows those are."""

    table: str
    rows: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class NoBackup:
    """Why a release is applied without a backup of its own."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class OldCode:
    """Connections that stand against finalizing, of other code than the release's or of code unknown; and the rest."""

    old: tuple[Connected, ...]
    unknown: tuple[Connected, ...]
    new: tuple[Connected, ...] = ()

    @property
    def is_gone(self) -> bool:
        """Whether every connection of the application is known to be of the new code."""
        return not self.old and not self.unknown
