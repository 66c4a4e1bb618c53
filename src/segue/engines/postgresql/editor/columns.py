"""add_field and remove_field: which column a field's name means, for new code and for old.

A column that is removed and one of another type that is added under its name are both in use until finalize. The
new one then has another name in the database, and new code's models are told of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from typing import Any

from django.db.backends.ddl_references import Statement
from django.db.backends.utils import strip_quotes

from segue.core.change import Act, Alias, Kind, Retired
from segue.core.plan import Phase
from segue.engines.names import logical_table
from segue.engines.postgresql.acts import retire
from segue.engines.postgresql.acts.retire import label
from segue.engines.postgresql.acts.swap import name_not_null
from segue.engines.postgresql.editor.arrivals import Arrival, ArrivalVerbs
from segue.engines.postgresql.editor.emission import CONTRACT
from segue.engines.postgresql.editor.implicit import not_null_names
from segue.engines.postgresql.editor.shape import NEW_COLUMN
from segue.engines.postgresql.qualified import beside


class ColumnVerbs(ArrivalVerbs):
    """add_field and remove_field."""

    def add_field(self, model: Any, field: Any) -> None:
        """Add a column that old code need not know, or revive it when it is retired and was the same."""
        if field.many_to_many and field.remote_field.through._meta.auto_created:
            return self.create_model(field.remote_field.through)
        if self._type(field) is None:
            return None
        table, column = model._meta.db_table, field.column
        retired = self._retired_column(model, field)
        found = self._found_column(model, field, retired.definition)
        self._added_columns |= {(table, column)}
        namesake = self._namesake(table, column)
        if (namesake is not None and namesake != found) or self._is_renamed(table, column):
            return self._add_beside(model, field, namesake, found)
        before = len(self.deferred_sql)
        arrival = Arrival(model=model, field=field, retired=retired, stock=self._stock_statements(model, field))
        if found is None or found.place:
            self._bury_column_in_the_way(table, column)
        if found is None:
            return self._arrive(arrival)
        self._forget_indexes_of_revived_column(table, before)
        return self._revive(arrival, found)

    def _found_column(self, model: Any, field: Any, definition: str) -> Retired | None:
        """The retired column that was the same, unless old code's refers to other rows than the field is to.

        What was retired with a table is known by the name that the table had; it may lie beside another for now.
        """
        table, another = model._meta.db_table, self._refers_anew(model, field)

        def fits(retired: Retired) -> bool:
            # What is archived lies there once it is brought back.
            return (bool(retired.archive) or self._lies_there(retired, table)) and not (retired.in_use and another)

        for name in dict.fromkeys([table, logical_table(model)]) if self._lies_beside(table) else [table]:
            found = self._retired(Kind.COLUMN, name, field.column, definition, fits=fits)
            if found is not None and self._lies_there(found, table):
                return found
        return None

    def _stock_statements(self, model: Any, field: Any) -> tuple[str, ...]:
        """What stock would run at once; what it defers is in `deferred_sql`."""
        with self._drafting(model, "add_field") as draft:
            super().add_field(model, field)
        return tuple(draft.statements)

    def _forget_indexes_of_revived_column(self, table: str, already_deferred: int) -> None:
        """A column that was retired where it stands kept its indexes; they need not be made again.

        One that is retired by itself is revived by itself.
        """
        for statement in self._deferred_indexes(already_deferred):
            name = strip_quotes(str(statement.parts["name"]))
            if self._is_index_of(table, name) and not self._cemetery.find(Kind.INDEX, table, name):
                self.deferred_sql.remove(statement)

    def _deferred_indexes(self, already_deferred: int) -> list[Statement]:
        new = self.deferred_sql[already_deferred:]
        return [s for s in new if isinstance(s, Statement) and s.template == self.sql_create_index]

    def _is_index_of(self, table: str, name: str) -> bool:
        """Whether a valid index of that name is the table's; PostgreSQL keeps 63 bytes of a table's name."""
        return self._catalog.index_table(beside(table, name)) == retire.shorten(table)

    # Beside a column of the same name

    def _namesake(self, table: str, column: str) -> Retired | None:
        """The column that old code still uses under the name."""
        named = self._cemetery.find(Kind.COLUMN, table, column)
        return next((r for r in named if r.in_use and not r.place and self._lies_there(r)), None)

    def _is_renamed(self, table: str, column: str) -> bool:
        """Whether the name is the one that old code has for a column which new code calls otherwise."""
        return any(alias.place == column != alias.column for alias in self._aliases_of(table))

    def _add_beside(self, model: Any, field: Any, namesake: Retired | None, found: Retired | None) -> None:
        """Give new code a column beside the one that old code calls the same; the name is its own at finalize."""
        table, column = model._meta.db_table, field.column
        place = found.place if found and found.place.startswith(NEW_COLUMN) else self._free_place(table, column)
        alias = Alias(table=table, column=column, place=place)
        retired = replace(self._retired_column(model, field), place=place)
        indexes = [index.name for index in self._catalog.indexes(table, column)]
        # What hangs on a renamed column keeps its names, as with stock.
        taken = frozenset([*indexes, *self._catalog.constraints_on(table, column)] if namesake else ())
        before = len(self.deferred_sql)
        with self._called(field, place):
            arrival = Arrival(
                model=model,
                field=field,
                retired=retired,
                stock=self._stock_statements_for(model, field, alias),
                aliases=(alias,),
                opening=self._opening(alias),
                taken=taken,
            )
            for statement in self._deferred_indexes(before):
                name = self._name_for_now(arrival, "INDEX", strip_quotes(str(statement.parts["name"])))
                _give_name(statement, self.quote_name(name))
            if found is None:
                self._arrive(arrival)
            else:
                self._revive(arrival, found)
        if namesake is not None:
            self._bury_at_finalize(namesake)
        self._emit_name(arrival)

    def _free_place(self, table: str, column: str) -> str:
        """A name that no retired column has; what an interrupted run has made of this one does not count."""
        taken = {r.place for r in self._cemetery.all() if r.table == table}
        names = (label(NEW_COLUMN, f"{number}_{column}" if number else column) for number in count())
        return next(name for name in names if name not in taken)

    @contextmanager
    def _called(self, field: Any, place: str) -> Iterator[None]:
        """Let the field say where its column is for the block."""
        column, field.column = field.column, place
        try:
            yield
        finally:
            field.column = column

    def _stock_statements_for(self, model: Any, field: Any, alias: Alias) -> tuple[str, ...]:
        """As stock's, with everything that is deferred named after the column's own name."""
        open_ones, before = self._cemetery.aliases, len(self.deferred_sql)
        self._cemetery.aliases = (*open_ones, alias)
        try:
            statements = self._stock_statements(model, field)
            for statement in self.deferred_sql[before:]:
                if isinstance(statement, Statement) and "name" in statement.parts:
                    _give_name(statement, str(statement.parts["name"]))
        finally:
            self._cemetery.aliases = open_ones
        return statements

    def _opening(self, alias: Alias) -> tuple[str, ...]:
        """Tell new code of the place; one that was rolled back may still be told of another, or of this one."""
        retired = self._cemetery.find(Kind.COLUMN, alias.table, alias.column)
        stale = {r.place for r in retired if r.place.startswith(NEW_COLUMN)} | {alias.place}
        return (
            *self._app_alias([replace(alias, place=place) for place in sorted(stale)])[1],
            *self._app_alias([alias])[0],
        )

    def _bury_at_finalize(self, namesake: Retired) -> None:
        """The release that removed it does so too; whichever is finalized first."""
        if namesake in self._to_be_buried:
            return
        for step in self._burial(namesake):
            self._emit(**step, undo=CONTRACT, phase=Phase.CONTRACT, while_retired=(namesake,))

    def _emit_name(self, arrival: Arrival) -> None:
        table, column, quote = arrival.table, arrival.retired.name, self.quote_name
        alter = f"ALTER TABLE {quote(table)} RENAME"
        renames = [f"{alter} COLUMN {quote(arrival.retired.place)} TO {quote(column)}"]
        for kind, now, name in arrival.later:
            index = f"ALTER INDEX {self._index(table, now)} RENAME"
            start = f"{alter} CONSTRAINT {quote(now)}" if kind == "CONSTRAINT" else index
            renames.append(f"{start} TO {quote(name)}")
        self._emit(
            f"name {table}.{column}",
            f"give {table}.{column} its name, which was old code's column's until now",
            Act(
                statements=(
                    *renames,
                    name_not_null(table, column, not_null_names(table, column), quote),
                    *self._app_alias(arrival.aliases)[1],
                ),
                locks=retire.exclusive(table),
                unaliases=arrival.aliases,
            ),
            CONTRACT,
            phase=Phase.CONTRACT,
            unless_retired=((Kind.TABLE.value, table, table),),
            naming=True,
            last=True,
        )


def _give_name(statement: Statement, name: str) -> None:
    parts: dict[str, Any] = statement.parts
    parts["name"] = name
