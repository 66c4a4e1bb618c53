"""What a step does to a database, as values: acts, the locks that they need, and what they hide or bring back.

Engines build these; nothing here knows a dialect.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum


class Kind(StrEnum):
    """What can be retired."""

    TABLE = "table"
    COLUMN = "column"
    INDEX = "index"
    CONSTRAINT = "constraint"
    VALUES = "values"
    ROWS = "rows"


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
    buried column's its new name, and on SQLite it is the table that holds the archived values. Once purge has
    dropped it, `archive` is the key of its values in the store; an object brought back goes to its place first.
    One that is `in_use` lies under its own name because old code still reads and writes it.
    """

    kind: Kind
    table: str
    name: str
    definition: str
    place: str = ""
    archive: str = ""
    in_use: bool = False

    @property
    def key(self) -> tuple[Kind, str, str]:
        """The name that the object had."""
        return (self.kind, self.table, self.name)


@dataclass(frozen=True, kw_only=True)
class Alias:
    """What new code calls by another name than the database has for it, until finalize.

    For a table, `table` is new code's name and `column` is empty; for a column, `column` is new code's name
    and `table` the database's own. `place` is what the database calls it; `view` stands for a table until then,
    `twin` for a column.
    """

    table: str
    column: str
    place: str
    view: str = ""
    twin: str = ""


@dataclass(frozen=True, kw_only=True)
class Backfill:
    """Rows of one table that are updated in batches: every row that `where` is true of gets `assignments`.

    Both are SQL and complete. Applying it to a row makes `where` false, so that it can be repeated safely.
    """

    table: str
    assignments: str
    where: str


class Work(StrEnum):
    """What an act does, while it holds its strong locks, to the rows of the tables that they are on."""

    CATALOG = "nothing"
    SCAN = "reads every row"
    BUILD = "builds an index"
    REWRITE = "rewrites the table"


@dataclass(frozen=True, kw_only=True)
class Load:
    """The rows of an archive, all of them or none, into columns of a table that nobody uses yet.

    `finishing` are statements for when they are there, in the same transaction. `of` and `key` name the table and
    the columns that tell which row a value belongs to, so that values without a row can be counted.
    """

    archive: str
    table: str
    columns: tuple[str, ...]
    finishing: tuple[str, ...] = ()
    of: str = ""
    key: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Restore:
    """The rows that an operation's own code has changed, as they were, as far as nobody has changed them since.

    `place` is where their images lie; `operation` and `release` name whose they are, for whoever finds what is kept.
    What has served is deleted when it `forgets`, because the same run of the operation begins anew.
    """

    place: str
    operation: str
    release: str
    forgets: bool = False


def images_of(operation: str) -> str:
    """Return what the journal has as the definition of a table of such images."""
    return f"rows that {operation} changed"


@dataclass(frozen=True, kw_only=True)
class Act:
    """Statements that are carried out together, in one transaction unless they cannot be.

    Statements are complete: no parameters are left to fill in. `purges` names what is gone afterwards. An act
    with a backfill or a restore has no statements and no locks: its batches commit one by one. One with a load takes
    no lock that anybody could wait for. On the way back a `background` act waits until everything that old code needs
    is in place again. One `against_new_code` makes code that has the release's migrations fail: it may wait until that
    is gone. `otherwise` is done in place of failing when rows contradict a statement outside a transaction.
    `work` is what others wait for; `builds` is the constraint whose index is built then, as ADD takes it.
    """

    statements: tuple[str, ...] = ()
    locks: tuple[TableLock, ...] = ()
    transactional: bool = True
    backfill: Backfill | None = None
    load: Load | None = None
    restore: Restore | None = None
    background: bool = False
    against_new_code: bool = False
    otherwise: tuple[str, ...] = ()
    work: Work = Work.CATALOG
    builds: str = ""
    retires: tuple[Retired, ...] = ()
    revives: tuple[Retired, ...] = ()
    purges: tuple[Retired, ...] = ()
    aliases: tuple[Alias, ...] = ()
    unaliases: tuple[Alias, ...] = ()
    renames: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Irreversible:
    """Why a step cannot be undone by itself."""

    reason: str


def moved(retired: Retired, act: Act) -> Retired:
    """Return what lies retired in a table as it is after the act; a retired table is not the one that is renamed."""
    for old, new in act.renames:
        if retired.kind is not Kind.TABLE and retired.table == old:
            retired = replace(retired, table=new)
    return retired


class Cemetery:
    """Every retired object, as the acts so far have left them; one name may have several generations.

    Those that purge has dropped are among them: their values lie in the store. `aliases` are those that are open;
    `giving_way` are columns whose places others take at finalize.
    """

    def __init__(self, acts: tuple[Act, ...] = ()) -> None:
        self._objects: list[Retired] = []
        self.aliases: tuple[Alias, ...] = ()
        self.giving_way: tuple[Retired, ...] = ()
        for act in acts:
            self.follow(act)

    def follow(self, act: Act) -> None:
        """Take note of what an act retires, revives and purges, of aliases that it opens and closes, and of renames."""
        self.aliases = (*(a for a in self.aliases if a not in act.unaliases), *act.aliases)
        self._objects = [moved(o, act) for o in self._objects]
        for old, new in act.renames:
            self.aliases = tuple(replace(a, table=new) if a.column and a.table == old else a for a in self.aliases)
        for gone in (*act.revives, *act.purges):
            if gone in self._objects:
                self._objects.remove(gone)
        self._objects += act.retires
        self.giving_way = tuple(r for r in self.giving_way if r not in act.retires)

    def expect(self, act: Act) -> None:
        """Take note of an act that waits for finalize: of columns that both versions use until it retires them."""
        if not act.revives:
            self.giving_way += tuple(retired for retired in act.retires if retired.kind is Kind.COLUMN)

    def find(self, kind: Kind, table: str, name: str) -> tuple[Retired, ...]:
        """Return the retired objects of that name, newest first."""
        return tuple(o for o in reversed(self._objects) if o.key == (kind, table, name))

    def all(self) -> tuple[Retired, ...]:
        """Return every retired object that lies in the database, oldest first."""
        return tuple(o for o in self._objects if not o.archive)

    def archived(self) -> tuple[Retired, ...]:
        """Return every object whose values lie in the store alone, oldest first."""
        return tuple(o for o in self._objects if o.archive)
