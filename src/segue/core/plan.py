"""What a release will do, before it does it: Target, Step, PlannedMigration, Plan.

Values only: storable as JSON, comparable, hashed without their SQL, because defaults make SQL differ per run.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from enum import StrEnum

from segue.core.change import Act, Cemetery, Irreversible, Retired, TableLock
from segue.core.evidence import Prediction
from segue.core.values import to_json

PLANNED = "plan"
"""What a plan calls the release that there is not yet."""


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
    one of `unless_retired` has been retired meanwhile: keys of objects, with the definition where only that is meant.
    Those that are `naming` come after the others, and `last` of them those that take a name which others free.
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
    naming: bool = False
    last: bool = False
    blocks: Prediction | None = None
    note: str = ""

    @property
    def blocks_seconds(self) -> float | None:
        """How long others will wait for the step's work; None where it is none. Of an opaque step nothing is known."""
        return self.blocks.seconds if self.blocks else None

    def is_due(self, cemetery: Cemetery, before: Cemetery | None = None) -> bool:
        """Whether a step that has waited still means what it meant when it was planned.

        `before` is what lay where before any of the steps that wait was carried out: those may move what they find.
        """
        retired = cemetery.all()
        keys = [(tuple(map(str, r.key)), r.definition) for r in (before or cemetery).all() if not r.place]
        in_place = {key for key, _ in keys} | {(*key, definition) for key, definition in keys}
        return (
            all(r in retired for r in self.while_retired)
            and in_place.isdisjoint(self.unless_retired)
            and all(alias in cemetery.aliases for alias in self.forward.unaliases)
        )


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
