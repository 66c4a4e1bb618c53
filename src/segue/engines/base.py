"""What the rest of Segue may ask of a database engine.

Owns no SQL. An engine that is not `online` runs each migration whole, in one transaction, and archives what
it drops; its acts then only say what was archived.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from django.db.backends.base.base import BaseDatabaseWrapper

from segue.core.change import Act, Cemetery
from segue.core.evidence import Blocked, Connected
from segue.core.plan import Step, Target

Say = Callable[[str], None]
Emit = Callable[[Step], None]


@dataclass(frozen=True, kw_only=True)
class Waited:
    """What the locks of one act cost: attempts made and seconds spent before they were held."""

    attempts: int = 1
    seconds: float = 0.0


class Canary(Protocol):
    """A measurement that goes on beside a run."""

    def blocked(self) -> tuple[Blocked, ...]:
        """Return what was measured, one value a table; call it once the block is over."""

    def longest_ms(self, began_at: float, ended_at: float) -> float | None:
        """Return the longest wait between two moments, in seconds since 1970; None when no probe fell there."""


class Engine(Protocol):
    """One target's engine, over Django's own connection to it."""

    connection: BaseDatabaseWrapper
    online: bool

    def target(self) -> Target:
        """Return the alias, the database's name and the server's version."""

    def hold(self, say: Say) -> AbstractContextManager[None]:
        """Hold the target for the block; raise TargetHeld when another run keeps it for too long."""

    def check_held(self) -> None:
        """Raise StepFailed when the target is no longer held, because the connection was replaced."""

    def whole_editor(self, *, atomic: bool, release: str, cemetery: Cemetery, done: Callable[[Act], None]) -> Any:
        """Return a schema editor that runs a migration whole; `done` hears of what it archived and revived."""

    def step_editor(self, *, emit: Emit, prefix: str, release: str, cemetery: Cemetery, new_tables: set[str]) -> Any:
        """Return a schema editor that emits steps in place of running statements; only where `online`."""

    def carry_out(self, act: Act, *, then: Callable[[Waited], None], say: Say) -> None:
        """Run the act's statements under its locks, and `then` in the same transaction if it has one.

        Raises LockNotTaken after the deadline, StepFailed for any other refusal, NeedsPerson for a lost server.
        """

    def probe(self, step: Step) -> str:
        """Return "done", "absent" or "broken" for a step outside a transaction."""

    def canary(self, tables: tuple[str, ...]) -> AbstractContextManager[Canary]:
        """Measure for the block how long readers and writers of the tables wait."""

    def connected(self) -> tuple[Connected, ...]:
        """Return the clients of the application's role, Segue's own left out."""
