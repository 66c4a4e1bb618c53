"""What a release will do, before it does it: Target, Step, PlannedMigration, Plan.

Values only: storable as JSON, comparable, hashed without their SQL, because defaults make SQL differ per run.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from enum import StrEnum

from segue.core.change import Act, Cemetery, Irreversible, Retired, TableLock
from segue.core.values import to_json


class Phase(StrEnum):
    """When a step may run."""

    EXPAND = "expand"
    BACKFILL = "backfill"
    VALIDATE = "validate"
    CONTRACT = "contract"
    PURGE = "purge"


class Direction(StrEnum):
    """Whether a release applies migrations or unapplies them."""

    FORWARD = "forward"
    BACKWARD = "backward"


@dataclass(frozen=True, kw_only=True)
class Target:
    """One database alias, its engine and server version."""

    alias: str
    name: str
    vendor: str
    version: str


@dataclass(frozen=True, kw_only=True)
class Step:
    """The smallest piece of work that is journaled, resumed or undone.

    `probe` is a query that answers "done", "absent" or "broken" for a step outside a transaction; `clean`
    removes the broken half. An opaque step's forward is code of the migration, so it carries no statements.
    A contract step may run days later: only while `while_retired` are still retired as they were, and unless
    one of `unless_retired`, keys of objects, has been retired meanwhile.
    """

    id: str
    title: str
    phase: Phase
    forward: Act
    undo: tuple[Act, ...] | Irreversible
    probe: str = ""
    clean: tuple[str, ...] = ()
    while_retired: tuple[Retired, ...] = ()
    unless_retired: tuple[tuple[str, ...], ...] = ()
    online: bool = True
    opaque: bool = False
    note: str = ""

    def is_due(self, cemetery: Cemetery) -> bool:
        """Whether a step that has waited still means what it meant when it was planned."""
        retired = cemetery.all()
        in_place = {tuple(map(str, r.key)) for r in retired if not r.place}
        return all(r in retired for r in self.while_retired) and in_place.isdisjoint(self.unless_retired)


@dataclass(frozen=True, kw_only=True)
class PlannedMigration:
    """One migration and its steps; `whole` says that it runs in one transaction, as stock Django runs it."""

    app: str
    name: str
    steps: tuple[Step, ...]
    whole: bool = False

    @property
    def label(self) -> str:
        """The migration as Django prints it: app.name."""
        return f"{self.app}.{self.name}"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a release will do to a target; `whole` says why every migration is one transaction, if so."""

    target: Target
    direction: Direction
    migrations: tuple[PlannedMigration, ...]
    whole: str = ""

    @property
    def steps(self) -> tuple[Step, ...]:
        """Every step, in the order in which it runs."""
        return tuple(step for migration in self.migrations for step in migration.steps)

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables that steps lock, in the order in which they are met."""
        locks: list[TableLock] = [lock for step in self.steps for lock in step.forward.locks]
        return tuple(dict.fromkeys(lock.table for lock in locks))

    @property
    def hash(self) -> str:
        """Twelve hex characters that change when the plan does."""
        essence = [
            self.direction,
            [(m.label, [(s.id, s.title, s.phase, to_json(s.forward.locks)) for s in m.steps]) for m in self.migrations],
        ]
        return hashlib.sha256(json.dumps(essence).encode()).hexdigest()[:12]
