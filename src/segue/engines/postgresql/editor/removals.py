"""Columns taken away: retired where they stand, and buried at finalize under a name that is nobody's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from segue.core.change import Act, Alias, Kind, Retired
from segue.core.errors import StepFailed
from segue.core.plan import Phase
from segue.engines.names import logical_names
from segue.engines.postgresql.acts import retire
from segue.engines.postgresql.catalog import Column
from segue.engines.postgresql.editor.aliasing import Aliasing
from segue.engines.postgresql.editor.emission import CONTRACT
from segue.engines.postgresql.editor.keys import KeyVerbs
from segue.engines.postgresql.editor.primary import PrimaryKeys
from segue.engines.postgresql.editor.shape import NEW_COLUMN


class RemovalVerbs(PrimaryKeys, KeyVerbs, Aliasing):
    """remove_field."""

    # Whether finalize will come for what waits; on the way back of an open release nothing does.
    defers = True
    # Columns whose burial an earlier step has put off to finalize.
    _to_be_buried: frozenset[Retired] = frozenset()
    # Columns that this migration itself has added, which old code does not know.
    _added_columns: frozenset[tuple[str, str]] = frozenset()

    def remove_field(self, model: Any, field: Any) -> None:
        """Retire a column: its values stay, what would trip code that does not know it goes."""
        if field.many_to_many and field.remote_field.through._meta.auto_created:
            return self.delete_model(field.remote_field.through)
        if self._type(field) is None:
            return None
        table, column = model._meta.db_table, field.column
        if beside := [a for a in self._aliases_of(table, column) if a.place.startswith(NEW_COLUMN)]:
            return self._remove_from_beside(model, field, beside[0])
        for key in self._catalog.foreign_keys(table, column):
            self._detach(key)
        forward, undo = self._relaxed(model, field)
        known = table not in self._new and (table, column) not in self._added_columns
        retired = self._retired_column(model, field, in_use=known and self.defers)
        self._added_columns -= {(table, column)}
        with logical_names(model):
            known_as = self._retired_column(model, field)
        burial = list(self._burial(retired, known_as))
        self._emit(
            f"retire column {table}.{column}",
            f"retire column {table}.{column}",
            replace(forward, retires=(retired,)),
            (Act(revives=(retired,)), *undo),
        )
        for step in burial:
            self._emit(**step, undo=CONTRACT, phase=Phase.CONTRACT, while_retired=(retired,))
        self._to_be_buried |= {retired}
        self._forget_deferred(lambda s: s.references_column(table, column))
        return None

    def _remove_from_beside(self, model: Any, field: Any, alias: Alias) -> None:
        """Retire a column that has not got its name yet: only on the way back, since finalize is to name it."""
        table, place = model._meta.db_table, alias.place
        if not self._goes_back:
            raise StepFailed(
                f"{table}.{alias.column} has the name of a column that old code still uses: it cannot be removed yet.",
                next_command="segue finalize, when old code is gone; then the same command again",
            )
        for key in self._catalog.foreign_keys(table, place):
            self._detach(key)
        forward, undo = self._relaxed(model, field)
        field.column = alias.column
        try:
            retired = replace(self._retired_column(model, field), place=place)
        finally:
            field.column = place
        self._emit(
            f"retire column {table}.{alias.column}",
            f"retire column {table}.{alias.column}",
            replace(forward, retires=(retired,), unaliases=(alias,)),
            (Act(revives=(retired,), aliases=(alias,)), *undo),
        )

    def _relaxed(self, model: Any, field: Any) -> tuple[Act, tuple[Act, ...]]:
        """Let code that does not know the column insert: with the default that old code expects, if it can be one."""
        table, column = model._meta.db_table, field.column
        facts = self._catalog.column(table, column)
        if facts is None:
            return Act(), ()
        default = self._default_for_others(field, facts)
        relaxed = retire.relax(table, column, facts, default, self.quote_name)
        if relaxed and not default and self._key_of(table, column):
            self._drop_key_now(table, column)
        return relaxed or (Act(), ())

    def _default_for_others(self, field: Any, facts: Column) -> str:
        """The default that rows of code which does not know the column get, "" for none.

        In a unique column it must give each another value; a reference that may be NULL needs none.
        """
        function = self._function_of(field)
        if facts.unique and not (function and function.distinct):
            return ""
        if field.is_relation and not facts.not_null:
            return ""
        if function:
            return function.sql
        try:
            return self._default_literal(field)
        except Exception:
            # Safe to go on without: a callable may need what has gone with its model, and NULL serves as well.
            return ""

    def _burial(self, retired: Retired, known_as: Retired | None = None) -> Iterator[dict[str, Any]]:
        """Free a retired column's name and the names of what was built on it.

        Indexes and constraints hold no values of their own: they are dropped, and made again by a revival. So
        are the values of a computed column.
        """
        table, name = retired.table, retired.name
        for index in self._catalog.indexes(table, name):
            yield {
                "slug": f"drop index {index.name}",
                "title": f"drop index {index.name} of retired column {table}.{name}",
                "forward": self._drop_index(table, index.name),
            }
        yield from self._key_burial(retired)
        for constraint in self._catalog.constraints_on(table, name):
            statement = f"ALTER TABLE {self.quote_name(table)} DROP CONSTRAINT {self.quote_name(constraint)}"
            yield {
                "slug": f"drop constraint {table}.{constraint}",
                "title": f"drop constraint {constraint} of retired column {table}.{name}",
                "forward": Act(statements=(statement,), locks=retire.exclusive(table)),
            }
        facts = self._catalog.column(table, name)
        if facts and facts.fills_itself and not facts.identity:
            statement = f"ALTER TABLE {self.quote_name(table)} DROP COLUMN {self.quote_name(name)}"
            yield {
                "slug": f"drop column {table}.{name}",
                "title": f"drop computed column {table}.{name}, which holds no values of its own",
                "forward": Act(statements=(statement,), locks=retire.exclusive(table), purges=(retired,)),
            }
            return
        yield {
            "slug": f"bury column {table}.{name}",
            "title": f"rename retired column {table}.{name} out of the way",
            "forward": self._buried(retired, known_as),
        }

    def _buried(self, retired: Retired, known_as: Retired | None) -> Act:
        """Rename the column, and the sequence that numbers it, which comes back with it."""
        act = retire.bury_column(retired, self._grave(), self.quote_name, known_as=known_as)
        sequence = self._catalog.own_sequence(retired.table, retired.place or retired.name)
        if not sequence:
            return act
        rename = f"ALTER SEQUENCE {sequence} RENAME TO {self.quote_name(act.retires[0].place)}"
        return replace(act, statements=(*act.statements, rename))

    def _lies_there(self, retired: Retired, table: str = "") -> bool:
        """Whether the table that has the name now has the column; it may have gone with a table that was buried."""
        # After a crash the column may have its own name again already.
        names = (retired.place or retired.name, retired.name)
        return any(self._catalog.column(table or retired.table, name) is not None for name in names)

    def _bury_column_in_the_way(self, table: str, name: str) -> None:
        """A retired column of another shape that nobody uses keeps its values under another name."""
        for retired in self._cemetery.find(Kind.COLUMN, table, name):
            if not retired.place and not retired.in_use and self._lies_there(retired):
                for step in self._burial(retired):
                    self._emit(**step, undo=())
