"""What the rest of Segue may ask of a database engine.

Owns no SQL. An engine that is not `online` runs each migration whole, in one transaction, and archives what
it drops; its acts then only say what was archived.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from django.db.backends.base.base import BaseDatabaseWrapper

from segue.core.archive import Contents, Fingerprint, Manifest
from segue.core.change import Act, Cemetery, Retired
from segue.core.evidence import Blocked, Connected, Prediction
from segue.core.plan import Step, Target
from segue.core.purge import Remains
from segue.core.quarantine import Line
from segue.core.run import UNFILLED, Filled

Say = Callable[[str], None]
Emit = Callable[[Step], None]
Note = Callable[[Filled], None]


@dataclass(frozen=True, kw_only=True)
class Waited:
    """What the locks of one act cost: attempts made and seconds spent before they were held.

    For a backfill that is what rows cost that somebody else held: its first attempt, and those that failed.
    """

    attempts: int = 1
    seconds: float = 0.0


class SchemaTouched(BaseException):
    """A migration's own code was about to change the schema, within a transaction of its own if it is `nested`.

    It is not an Exception, because such code may catch those and go on.
    """

    def __init__(self, *, nested: bool) -> None:
        super().__init__()
        self.nested = nested


class Uncaptured(BaseException):
    """A migration's own code has written to tables whose rows had no images; once they do it must run again.

    It is not an Exception, because such code may catch those and go on.
    """

    def __init__(self, tables: tuple[int, ...]) -> None:
        super().__init__()
        self.tables = tables


def unnoted(_: Filled) -> None:
    """Nobody writes down how far a backfill is; an interrupted one begins again."""


class Canary(Protocol):
    """A measurement that goes on beside a run."""

    def wait(self) -> None:
        """Return once it measures, or has given up: it starts while the run prepares itself."""

    def blocked(self) -> tuple[Blocked, ...]:
        """Return what was measured, one value a table; call it once the block is over."""

    def longest_ms(self, began_at: float, ended_at: float) -> float | None:
        """Return the longest wait between two moments, in seconds since 1970; None when no probe fell there."""


class Archivist(Protocol):
    """What purge asks of an engine, while the target is held."""

    def look(self, retired: Retired) -> Remains | None:
        """Return what is left of the object, None when it is not where it was retired; reads no row."""

    def measure(self, retired: Retired, remains: Remains) -> Remains:
        """Add how many values there are and what they take; reads every row."""

    def bury(self, retired: Retired, grave: str) -> Act:
        """Return the act that frees the name of an object that still lies under it."""

    def snapshot(self) -> AbstractContextManager[None]:
        """Let the block see one state of the database."""

    def contents(self, retired: Retired) -> Contents:
        """Return what an archive of the object holds and how it is made again; call it in a snapshot."""

    def fingerprint(self, contents: Contents) -> Fingerprint:
        """Return the fingerprint of the rows as they are in the database; call it in the same snapshot."""

    def copy(self, contents: Contents, write: Callable[[bytes], None]) -> None:
        """Hand the rows out one by one; call it in the same snapshot."""

    def fingerprint_of(self, parts: Iterable[bytes]) -> Fingerprint:
        """Return the fingerprint of rows that `copy` handed out, however they were cut into parts."""

    def drop(self, retired: Retired, archived: Manifest | None) -> Act:
        """Return the act that drops the object, whose values the archive has if it has any."""


class Capture(Protocol):
    """The images of rows that one run of a migration's own code changes."""

    place: str
    missed: list[str]
    """Why not everything that the code changed has images, as sentences."""

    def watching(self, *, local: bool) -> AbstractContextManager[None]:
        """Keep images for the block, which is the code, `local` to the transaction that it is in."""

    def paused(self) -> AbstractContextManager[None]:
        """Keep none for the block, which is no code of the migration."""

    def covers(self, sql: str) -> bool:
        """Whether the images have whatever a statement of the code changes, which has been looked at."""

    def begin(self, table_id: int) -> None:
        """Let the images of a table begin, unless they have or cannot."""

    def settle(self, *, counted: bool) -> None:
        """See that nothing has been missed, and lay over it what an earlier run had made; in a transaction.

        In that of the code it is `counted` which tables were written to; raises Uncaptured.
        """


class Settler(Protocol):
    """What settling the quarantine asks of an engine, while the target is held."""

    def stands(self, table: str, name: str) -> bool:
        """Whether a constraint or index of that name holds for every row of the table."""

    def put_back(self, line: Line, settle: Callable[[Sequence[Line]], None]) -> str:
        """Put a row or a value back and settle the line, in one transaction; return why not, "" when it is done."""


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

    def whole_editor(
        self,
        *,
        atomic: bool,
        release: str,
        migration: str,
        backwards: bool,
        cemetery: Cemetery,
        done: Callable[[Act], None],
    ) -> Any:
        """Return a schema editor that runs a migration whole; `done` hears of what it archived and revived."""

    def step_editor(self, *, emit: Emit, prefix: str, release: str, cemetery: Cemetery, new_tables: set[str]) -> Any:
        """Return a schema editor that emits steps in place of running statements; only where `online`."""

    def carry_out(
        self, act: Act, *, then: Callable[[Waited], None], say: Say, since: Filled = UNFILLED, note: Note = unnoted
    ) -> None:
        """Run the act's statements under its locks, and `then` in the same transaction if it has one.

        A backfill goes on from `since` and tells `note` about once a second how far it is. Raises LockNotTaken
        after the deadline, StepFailed for any other refusal, NeedsPerson for a lost server.
        """

    def capture(
        self,
        release: str,
        operation: str,
        *,
        begin: Callable[[str, Act, tuple[Act, ...]], None],
        most_rows: Callable[[str], int],
        columns_made: frozenset[tuple[str, str]],
        tables_made: frozenset[str],
        earlier: str,
    ) -> Capture:
        """Return what keeps images of the rows that an operation's own code changes; only where `online`.

        `begin` is to carry out, in another session, the act by which a table's images begin; it gets their undo, too,
        or none where they had begun before an interruption.
        `most_rows` says how many a table may have. `earlier` is where those of an earlier run lie, "" for nowhere.
        """

    def captures_left(self) -> tuple[Act, ...]:
        """Return acts that take away what still keeps images of rows, whoever made it; only where `online`."""

    def elsewhere(self) -> Engine:
        """Return the engine on the connection of the thread that calls, while another one holds the target."""

    def settler(self) -> Settler:
        """Return what puts rows and values in quarantine back; only where `online`."""

    def predict(self, act: Act) -> Prediction | None:
        """Return for how long others will wait for the act's work on rows; None where there is none."""

    def probe(self, step: Step) -> str:
        """Return "done", "absent" or "broken" for a step outside a transaction."""

    def name_of(self, retired: Retired) -> str:
        """Return what statements call a retired table where it lies."""

    def archivist(self) -> Archivist:
        """Return what reads retired objects into archives and drops them; only where `online`."""

    def canary(self, tables: tuple[str, ...]) -> AbstractContextManager[Canary]:
        """Measure for the block how long readers and writers of the tables wait."""

    def connected(self) -> tuple[Connected, ...]:
        """Return the clients of the application's role, Segue's own left out."""
