"""What a migration's own code gets as its schema editor: first a tripwire, then one whose steps are done at once.

Owns what tells a change of the schema, which goes through the one door, from any other statement.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import count
from typing import Any
from zlib import crc32

from django.db import transaction
from django.db.backends.postgresql.schema import DatabaseSchemaEditor

from segue.core.change import Act
from segue.engines.base import SchemaTouched
from segue.engines.postgresql import editor
from segue.engines.postgresql.editor.emission import STOCK, first_line

_COMMENT = r"(?:\s|--[^\n]*(?:\n|$)|/\*.*?\*/)*"
_OBJECT = r"(?:TABLE|INDEX|VIEW|MATERIALIZED\s+VIEW|TRIGGER|RULE|POLICY|SEQUENCE)\b"
_ADJECTIVES = r"(?:(?:OR\s+REPLACE|UNIQUE|UNLOGGED|FOREIGN|CONSTRAINT|RECURSIVE)\s+)*"
# What belongs to a table, and so needs a lock on it. An extension, a function, a type or a temporary table does not.
_CHANGE = re.compile(
    rf"(?:^|;){_COMMENT}(?:(?:CREATE|ALTER|DROP)\s+{_ADJECTIVES}{_OBJECT}"
    rf"|COMMENT\s+ON\s+(?:{_OBJECT}|(?:COLUMN|CONSTRAINT)\b))",
    re.IGNORECASE | re.DOTALL,
)
_READ = re.compile(
    rf"^{_COMMENT}(?:SELECT|EXPLAIN|SHOW|SET|RESET|SAVEPOINT|RELEASE|ROLLBACK|BEGIN|START|COMMIT|DECLARE|FETCH|CLOSE"
    r"|VALUES|TABLE)\b",
    re.IGNORECASE | re.DOTALL,
)
_READ_WITH = re.compile(rf"^{_COMMENT}WITH\b(?!.*\b(?:INSERT|UPDATE|DELETE|MERGE)\b)", re.IGNORECASE | re.DOTALL)

_ROWS = re.compile(rf"^{_COMMENT}(?:INSERT|UPDATE|DELETE|MERGE|WITH|COPY|TRUNCATE)\b", re.IGNORECASE | re.DOTALL)
_PLANNED = re.compile(rf"^{_COMMENT}(?:INSERT|UPDATE|DELETE|MERGE|WITH)\b", re.IGNORECASE | re.DOTALL)
_SEVERAL = re.compile(r";\s*\S")


def changes_schema(sql: str) -> bool:
    """Whether a statement, or one of several, makes, changes or drops a table or what belongs to one."""
    return _CHANGE.search(sql) is not None


def writes(sql: str) -> bool:
    """Whether a statement may change rows or anything else; only what surely reads does not."""
    return not (_READ.match(sql) or _READ_WITH.match(sql)) or _SEVERAL.search(sql) is not None


def is_of_rows(sql: str) -> bool:
    """Whether a text is one statement that changes rows, of which the planner can say in which tables."""
    return _PLANNED.match(sql) is not None and _SEVERAL.search(sql) is None


class Tripwire(DatabaseSchemaEditor):
    """Stock's schema editor, which stops at the first change of the schema while it is `armed`."""

    armed = True
    _tripped: SchemaTouched | None = None

    def execute(self, sql: Any, params: Any = ()) -> None:
        """Run a statement as stock does, or raise SchemaTouched in its place."""
        if self.armed and changes_schema(str(sql)):
            self._tripped = SchemaTouched(nested=bool(self.connection.savepoint_ids))
            raise self._tripped
        super().execute(sql, params)

    def require_untouched(self) -> None:
        """Raise SchemaTouched when code has caught it and gone on, or has left a statement for the end."""
        if self._tripped is not None:
            raise self._tripped
        if self.armed and self.deferred_sql:
            raise SchemaTouched(nested=False)


class Door(editor.StepEditor):
    """A step editor that a migration's own code may be given, as a third party expects one to be."""

    _runs_own_code = False

    def execute(self, sql: Any, params: Any = ()) -> None:
        """Run what changes no schema at once; emit what does as a step, by its text: code may come another way."""
        if not self._runs_own_code or self._drafts:
            super().execute(sql, params)
        elif not changes_schema(str(sql)):
            DatabaseSchemaEditor.execute(self, sql, params)
        else:
            text = self._complete(sql, params)
            concurrent = re.search(r"\bCONCURRENTLY\b", text, re.IGNORECASE) is not None
            act = Act(statements=(text,), transactional=not concurrent)
            self._emit(f"sql {crc32(text.encode()):08x}", first_line(text), act, STOCK, online=False)

    @contextmanager
    def tripwire(self, *, atomic: bool, armed: bool = True) -> Iterator[Tripwire]:
        """Yield stock's editor with a tripwire; while it is armed the connection gives away no other."""
        stock = self.connection.SchemaEditorClass
        make = type("TripwireEditor", (Tripwire, stock), {"armed": armed})
        with make(self.connection, atomic=atomic) as tripwire:
            if not armed:
                yield tripwire
                return
            # Code that asks the connection for an editor shares the transaction: one of its own would look nested.
            with self._gives_away(lambda: make(self.connection, atomic=False)):
                yield tripwire

    @contextmanager
    def own_code(self, listens: Callable[[str], bool], wrote: Callable[[str], None]) -> Iterator[None]:
        """Carry the steps of a migration's own code out at once for the block; `wrote` hears of writes to the database.

        It does while it `listens`, and commits together with the write, where that can be in a transaction.
        """
        inner = count(1)

        def another() -> Door:
            made = type(self)(
                self.connection,
                emit=self._emit_step,
                prefix=f"{self.prefix}:editor {next(inner)}",
                release=self._release,
                cemetery=self._cemetery,
                new_tables=self._new,
                archives=self._archives,
            )
            made.defers, made._runs_own_code = self.defers, True
            return made

        def hear(execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
            text = str(sql)
            if not writes(text) or not listens(text):
                return execute(sql, params, many, context)
            together: AbstractContextManager[Any] = nullcontext()
            if _ROWS.match(text) and not self.connection.in_atomic_block:
                together = transaction.atomic(using=self.connection.alias)
            with together:
                result = execute(sql, params, many, context)
                wrote(text)
            return result

        self._runs_own_code = True
        try:
            with self._gives_away(another), self.connection.execute_wrapper(hear):
                yield
        finally:
            self._runs_own_code = False

    @contextmanager
    def _gives_away(self, make: Callable[[], Any]) -> Iterator[None]:
        """Let `connection.schema_editor()` return such editors for the block."""
        connection: Any = self.connection
        connection.schema_editor = lambda *_, **__: make()
        try:
            yield
        finally:
            del connection.schema_editor


def editor_class(stock: type[DatabaseSchemaEditor]) -> type[Door]:
    """Return the door over whatever editor the project's engine has (PostGIS and others)."""
    return type("StepEditor", (Door, editor.editor_class(stock)), {})
