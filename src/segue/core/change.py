"""What a step does to a database, as values: acts, the locks that they need, and what they hide or bring back.

Engines build these; nothing here knows a dialect.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What can be retired."""

    TABLE = "table"
    COLUMN = "column"
    INDEX = "index"
    CONSTRAINT = "constraint"


class LockMode(StrEnum):
    """PostgreSQL's table locks that steps need, weakest first.

    https://www.postgresql.org/docs/current/explicit-locking.html#LOCKING-TABLES
    """

    SHARE_UPDATE_EXCLUSIVE = "SHARE UPDATE EXCLUSIVE"
    SHARE_ROW_EXCLUSIVE = "SHARE ROW EXCLUSIVE"
    ACCESS_EXCLUSIVE = "ACCESS EXCLUSIVE"

    @property
    def stops(self) -> str:
        """Whom the lock holds up while it is held."""
        return {"SHARE UPDATE EXCLUSIVE": "nobody", "SHARE ROW EXCLUSIVE": "writers"}.get(
            self.value, "readers and writers"
        )


@dataclass(frozen=True, kw_only=True)
class TableLock:
    """A lock on one table, by the table's name as Django knows it."""

    table: str
    mode: LockMode


@dataclass(frozen=True, kw_only=True)
class Retired:
    """An object that was retired: where it lies, and what it was.

    `place` is empty while the object lies under its own name; a buried table's place is its schema, a
    buried column's its new name, and on SQLite it is the table that holds the archived values.
    """

    kind: Kind
    table: str
    name: str
    definition: str
    place: str = ""

    @property
    def key(self) -> tuple[Kind, str, str]:
        """The name that the object had."""
        return (self.kind, self.table, self.name)


@dataclass(frozen=True, kw_only=True)
class Alias:
    """What new code calls by another name than the database has for it, until finalize.

    `table` and `column` are new code's names, `column` is empty for the table itself; `place` is what the
    database calls it.
    """

    table: str
    column: str
    place: str


@dataclass(frozen=True, kw_only=True)
class Backfill:
    """Rows of one table that are updated in batches: every row that `where` is true of gets `assignments`.

    Both are SQL and complete. Applying it to a row makes `where` false, so that it can be repeated safely.
    """

    table: str
    assignments: str
    where: str


@dataclass(frozen=True, kw_only=True)
class Act:
    """Statements that are carried out together, in one transaction unless they cannot be.

    Statements are complete: no parameters are left to fill in. `purges` names what is gone afterwards. An act
    with a backfill has no statements and no locks: its batches commit one by one. On the way back a
    `background` act waits until everything that old code needs is in place again.
    """

    statements: tuple[str, ...] = ()
    locks: tuple[TableLock, ...] = ()
    transactional: bool = True
    backfill: Backfill | None = None
    background: bool = False
    retires: tuple[Retired, ...] = ()
    revives: tuple[Retired, ...] = ()
    purges: tuple[Retired, ...] = ()
    aliases: tuple[Alias, ...] = ()
    unaliases: tuple[Alias, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Irreversible:
    """Why a step cannot be undone by itself."""

    reason: str


class Cemetery:
    """Every retired object, as the acts so far have left them; one name may have several generations.

    `aliases` are those that are open.
    """

    def __init__(self, acts: tuple[Act, ...] = ()) -> None:
        self._objects: list[Retired] = []
        self.aliases: tuple[Alias, ...] = ()
        for act in acts:
            self.follow(act)

    def follow(self, act: Act) -> None:
        """Take note of what an act retires, revives and purges, and of the aliases that it opens and closes."""
        self.aliases = (*(a for a in self.aliases if a not in act.unaliases), *act.aliases)
        for gone in (*act.revives, *act.purges):
            if gone in self._objects:
                self._objects.remove(gone)
        self._objects += act.retires

    def find(self, kind: Kind, table: str, name: str) -> tuple[Retired, ...]:
        """Return the retired objects of that name, newest first."""
        return tuple(o for o in reversed(self._objects) if o.key == (kind, table, name))

    def all(self) -> tuple[Retired, ...]:
        """Return every retired object, oldest first."""
        return tuple(self._objects)
