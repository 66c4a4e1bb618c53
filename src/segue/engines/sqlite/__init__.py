"""SQLite: the development engine. Each migration runs whole, in one transaction, and archives what it drops.

There are no steps, so nothing is online and nothing waits for finalize; what is promised is that a rollback,
and a re-apply after it, bring every value back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

from django.db.backends.base.base import BaseDatabaseWrapper

from segue.core.change import Act, Cemetery, Retired
from segue.core.errors import SegueError, StepFailed
from segue.core.evidence import Blocked, Connected
from segue.core.plan import Step, Target
from segue.engines.base import Emit, Say, Waited
from segue.engines.sqlite import locks, owncode


class _NoCanary:
    """Nobody is measured: a writer of the file waits for every migration, and a reader for none."""

    def wait(self) -> None:
        """Return at once."""

    def longest_ms(self, began_at: float, ended_at: float) -> None:
        """Return nothing, which reads as unknown."""

    def blocked(self) -> tuple[Blocked, ...]:
        """Return nothing, which reads as unknown and not as zero."""
        return ()


class SQLite:
    """The engine of one SQLite target; a command waits up to `runner_wait` for another that holds it."""

    online = False

    def __init__(self, connection: BaseDatabaseWrapper, runner_wait: timedelta) -> None:
        self.connection: Any = connection
        self._runner_wait = runner_wait
        self._still_held: Callable[[], bool] = lambda: False

    def target(self) -> Target:
        """Return the alias, the database's name and the library's version."""
        return Target(
            alias=self.connection.alias,
            name=str(self.connection.settings_dict["NAME"]),
            vendor="SQLite",
            version=".".join(str(part) for part in self.connection.get_database_version()),
        )

    @contextmanager
    def hold(self, say: Say) -> Iterator[None]:
        """Hold the target for the block; raise TargetHeld when another run keeps it for too long."""
        if self.connection.in_atomic_block:
            raise SegueError(
                "Segue cannot migrate inside a transaction: SQLite lets go of its foreign keys only outside one.",
                next_command="call it outside transaction.atomic() (in tests: TransactionTestCase)",
            )
        with self._sole_runner(say) as still_held:
            self._still_held = still_held
            yield

    def _sole_runner(self, say: Say) -> AbstractContextManager[Callable[[], bool]]:
        """Hold the database's file; a database in memory has none, and no other process to keep out."""
        with self.connection.cursor() as cursor:
            cursor.execute("PRAGMA database_list")
            path = next(file for _, name, file in cursor.fetchall() if name == "main")
        if not path:
            return nullcontext(lambda: True)
        return locks.sole_runner(Path(path).resolve(), self._runner_wait, say)

    def check_held(self) -> None:
        """Raise StepFailed when the target is no longer held, because its lock file was deleted."""
        if not self._still_held():
            raise StepFailed(
                "The lock file beside the database was deleted or replaced, so another run could have begun."
            )

    def whole_editor(
        self,
        *,
        atomic: bool,  # noqa: ARG002
        release: str,
        migration: str = "",
        backwards: bool = False,
        cemetery: Cemetery,
        done: Callable[[Act], None],
    ) -> owncode.OwnCodeEditor:
        """Return a schema editor that archives what it drops; `done` hears what it archived and revived.

        It is in a transaction whether or not that is asked for: see OwnCodeEditor.
        """
        make = owncode.editor_class(self.connection.SchemaEditorClass)
        return make(
            self.connection, release=release, migration=migration, backwards=backwards, cemetery=cemetery, done=done
        )

    def step_editor(
        self, *, emit: Emit, prefix: str, release: str, cemetery: Cemetery, new_tables: set[str]
    ) -> NoReturn:
        """Raise TypeError: there are no steps to emit."""
        del emit, release, cemetery, new_tables
        raise _no_step(prefix or "a migration")

    def carry_out(self, act: Act, *, then: Callable[[Waited], None], say: Say, **_: Any) -> NoReturn:
        """Raise TypeError: what an act tells of SQLite is done already."""
        del then, say
        raise _no_step("; ".join(act.statements) or "an act")

    def name_of(self, retired: Retired) -> str:
        """Return the retired table's name: its migration has made another of it already."""
        return retired.table

    def archivist(self) -> NoReturn:
        """Raise TypeError: what a migration drops is archived by the migration itself, in the same file."""
        raise _no_step("purge")

    def settler(self) -> NoReturn:
        """Raise TypeError: the next apply of a migration takes in by itself what its way back has left out."""
        raise _no_step("settle")

    def capture(self, release: str, operation: str, **_: Any) -> NoReturn:
        """Raise TypeError: what own code changes is watched by the editor that runs its migration whole."""
        del release
        raise _no_step(operation)

    def captures_left(self) -> tuple[Act, ...]:
        """Return none: what watches ends with its transaction."""
        return ()

    def elsewhere(self) -> NoReturn:
        """Raise TypeError: a second session would wait for the first one's transaction."""
        raise _no_step("a session beside it")

    def predict(self, act: Act) -> None:
        """Predict nothing: others who write wait for every migration."""

    def probe(self, step: Step) -> NoReturn:
        """Raise TypeError: no step can be half done."""
        raise _no_step(step.title)

    @contextmanager
    def canary(self, tables: tuple[str, ...]) -> Iterator[_NoCanary]:  # noqa: ARG002
        """Measure nothing: see _NoCanary."""
        yield _NoCanary()

    def connected(self) -> tuple[Connected, ...]:
        """Return nobody: SQLite does not know who has its file open."""
        return ()


def _no_step(what: str) -> TypeError:
    return TypeError(f"SQLite runs every migration whole; it was asked for a step of its own: {what}")
