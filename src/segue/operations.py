"""A migration's operations: the states between them, and which of them Segue sees through.

Knows Django's operations and what third parties make of them. Runs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from django.contrib.postgres import operations as postgres
from django.db.migrations import Migration, operations
from django.db.migrations.exceptions import IrreversibleError
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState

from segue.core.change import Act, Irreversible
from segue.core.plan import Phase, Step

# They reach the database only through the schema editor's verbs, so that they can be translated.
_TRANSLATED: tuple[type[Operation], ...] = (
    operations.CreateModel,
    operations.DeleteModel,
    operations.RenameModel,
    operations.AlterModelTable,
    operations.AlterModelTableComment,
    operations.AlterUniqueTogether,
    operations.AlterIndexTogether,
    operations.AlterOrderWithRespectTo,
    operations.AddIndex,
    operations.RemoveIndex,
    operations.RenameIndex,
    operations.AddConstraint,
    operations.RemoveConstraint,
    operations.AddField,
    operations.RemoveField,
    operations.AlterField,
    operations.RenameField,
    *([operations.AlterConstraint] if hasattr(operations, "AlterConstraint") else []),
    postgres.AddIndexConcurrently,
    postgres.RemoveIndexConcurrently,
    postgres.AddConstraintNotValid,
    postgres.ValidateConstraint,
    postgres.CreateExtension,
    postgres.CreateCollation,
    postgres.RemoveCollation,
)
# They say nothing to the database at all.
_SILENT: tuple[type[Operation], ...] = (operations.AlterModelOptions, operations.AlterModelManagers)

Methods = frozenset[Any]


def _methods(classes: Iterable[type[Operation]]) -> tuple[Methods, Methods]:
    return frozenset(c.database_forwards for c in classes), frozenset(c.database_backwards for c in classes)


_KNOWN = {
    "translated": _methods(_TRANSLATED),
    "silent": _methods(_SILENT),
    "sql": _methods([operations.RunSQL]),
    "separated": _methods([operations.SeparateDatabaseAndState]),
}


def _does_as(operation: Operation, kind: str) -> bool:
    """Whether the operation does to the database what Django's own do; a subclass may have changed it."""
    forwards, backwards = _KNOWN[kind]
    return type(operation).database_forwards in forwards and type(operation).database_backwards in backwards


def is_translated(operation: Operation) -> bool:
    """Whether everything that the operation does to the database passes through the schema editor's verbs."""
    return _does_as(operation, "translated")


def is_silent(operation: Operation) -> bool:
    """Whether the operation changes nothing but Django's state."""
    return _does_as(operation, "silent")


def is_sql(operation: Operation) -> bool:
    """Whether the operation is SQL that somebody wrote by hand, which runs as it is."""
    return _does_as(operation, "sql")


def has_reverse(operation: Operation) -> bool:
    """Whether the operation's way back does anything."""
    nothing = (operations.RunPython.noop, operations.RunSQL.noop)
    reverse = getattr(operation, "reverse_code", getattr(operation, "reverse_sql", operation))
    return operation.reversible and reverse not in nothing


def on_database(ops: Iterable[Operation], *, of: str = "") -> Iterator[tuple[str, Operation]]:
    """Yield each operation that runs on the database, with its place: "3", or "3.1" inside a separated one."""
    for number, operation in enumerate(ops):
        place = f"{of}.{number}" if of else str(number)
        if _does_as(operation, "separated"):
            separated: Any = operation
            yield from on_database(separated.database_operations, of=place)
        else:
            yield place, operation


@dataclass(frozen=True, kw_only=True)
class Move:
    """One operation on the database, in one direction: its place, and the states that it goes from and to."""

    migration: Migration
    place: str
    operation: Operation
    start: ProjectState
    end: ProjectState
    backwards: bool

    def run(self, editor: Any) -> None:
        """Let the operation do to the database what it does, through a schema editor."""
        method = self.operation.database_backwards if self.backwards else self.operation.database_forwards
        method(self.migration.app_label, editor, self.start, self.end)

    def reverse(self) -> Move:
        """Return the same operation in the other direction."""
        return Move(
            migration=self.migration,
            place=self.place,
            operation=self.operation,
            start=self.end,
            end=self.start,
            backwards=not self.backwards,
        )


def walk(
    migration: Migration,
    state: ProjectState,
    *,
    backwards: bool,
    is_undone: Callable[[Operation], bool] = lambda operation: operation.reversible,
) -> Iterator[Move]:
    """Yield every operation on the database in the order in which it runs.

    Forwards, `state` itself becomes the state after the migration, as Django's own loop has it; backwards it is the
    state before the migration. Raises IrreversibleError at once when there is no way back that `is_undone` knows of.
    """
    if backwards:
        for operation in (*migration.operations, *(op for _, op in on_database(migration.operations))):
            if not is_undone(operation):
                raise IrreversibleError(f"Operation {operation} in {migration} is not reversible")
    yield from _moves(migration, migration.operations, state, "", backwards=backwards)


def _moves(
    migration: Migration, ops: Iterable[Operation], state: ProjectState, of: str, *, backwards: bool
) -> Iterator[Move]:
    numbered = list(enumerate(ops))
    if backwards:
        states = [state]
        for _, operation in numbered:
            after = states[-1].clone()
            operation.state_forwards(migration.app_label, after)
            states.append(after)
        for number, operation in reversed(numbered):
            yield from _move(migration, operation, _place(of, number), states[number], states[number + 1], True)
        return
    for number, operation in numbered:
        before = state.clone()
        operation.state_forwards(migration.app_label, state)
        yield from _move(migration, operation, _place(of, number), before, state, False)


def _move(
    migration: Migration, operation: Operation, place: str, before: ProjectState, after: ProjectState, backwards: bool
) -> Iterator[Move]:
    """Yield one operation, or those that are inside it; they have states of their own, as in Django."""
    if _does_as(operation, "separated"):
        separated: Any = operation
        inside = before if backwards else before.clone()
        yield from _moves(migration, separated.database_operations, inside, place, backwards=backwards)
        return
    start, end = (after, before) if backwards else (before, after)
    yield Move(migration=migration, place=place, operation=operation, start=start, end=end, backwards=backwards)


def _place(of: str, number: int) -> str:
    return f"{of}.{number}" if of else str(number)


# Ids of steps: app.migration:direction:place:what

_CAPTURE = "capture"


def prefix_of(move: Move) -> str:
    """Return how the ids of an operation's steps begin."""
    return f"{prefix(move.migration, backwards=move.backwards)}:{move.place}"


def prefix(migration: Migration, *, backwards: bool) -> str:
    """Return how the ids of a migration's steps begin."""
    return f"{migration.app_label}.{migration.name}:{'back' if backwards else 'forth'}"


def place_of(step: Step) -> str:
    """Return the place of the operation that a step belongs to; "end" for what Django leaves to a migration's end."""
    return step.id.split(":")[2]


def opaque_step(move: Move, *, undo: tuple[Act, ...] | None = None) -> Step:
    """Return the step that says that an operation which Segue cannot see through is done.

    Without an undo only the operation itself can take it back.
    """
    return Step(
        id=f"{prefix_of(move)}:opaque",
        title=move.operation.describe(),
        phase=Phase.EXPAND,
        forward=Act(),
        undo=Irreversible(reason="it is the migration's own code") if undo is None else undo,
        online=False,
        opaque=True,
        note="its locks and its effects are unknown",
    )


def writes_step(move: Move, *, captured: bool = False) -> Step:
    """Return the step that says that such an operation has written something that no step of it did.

    What was captured is undone by the step that began to capture it.
    """
    return Step(
        id=f"{prefix_of(move)}:{'written' if captured else 'writes'}",
        title=move.operation.describe(),
        phase=Phase.EXPAND,
        forward=Act(),
        undo=() if captured else Irreversible(reason="it is the migration's own code"),
        online=False,
        opaque=True,
    )


def capture_step(move: Move, table: str, forward: Act, undo: tuple[Act, ...]) -> Step:
    """Return the step by which the images begin of what such an operation changes in a table."""
    return Step(
        id=f"{prefix_of(move)}:{_CAPTURE} {table}",
        title=f"keep what {move.operation.describe()} changes in {table}",
        phase=Phase.EXPAND,
        forward=forward,
        undo=undo,
    )


def is_capture(step: Step) -> bool:
    """Whether a step only keeps what own code changes, which may not have begun yet."""
    return step.id.split(":")[3].startswith(f"{_CAPTURE} ")
