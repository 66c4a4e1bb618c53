"""Tables of one name: whether old code still has another, and where each lies until that has gone.

Owns when a table is buried, and when one is made, or found again, in a schema of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import Any

from django.core.exceptions import FieldError

from segue.core.change import Act, Kind, Retired
from segue.core.plan import Phase
from segue.engines.names import logical_names
from segue.engines.postgresql.acts import beside, retire
from segue.engines.postgresql.archives import unarchive
from segue.engines.postgresql.editor.alter import AlterVerbs
from segue.engines.postgresql.editor.emission import CONTRACT
from segue.engines.postgresql.qualified import qualified, schema_of


class Namesakes(AlterVerbs):
    """What create_model, delete_model and alter_db_table ask about the tables of a name."""

    # Tables whose burial an earlier step has put off to finalize.
    _tables_to_be_buried: frozenset[Retired] = frozenset()

    # What the database has

    def _retired_table(self, model: Any) -> Retired:
        """The table as Django would make it, under the names that the model has for now."""
        table, before = model._meta.db_table, len(self.deferred_sql)
        try:
            sql, params = self.table_sql(model)
            definition = self._complete(sql, params or None)
        except FieldError:
            definition = ""  # A constraint says the name of a field that has another by now: nobody makes it again.
        del self.deferred_sql[before:]
        return Retired(kind=Kind.TABLE, table=table, name=table, definition=definition)

    def _lain(self, model: Any) -> Retired:
        """The model's table as it lies once it is retired: by the name that stays, in the schema that it has now."""
        table = model._meta.db_table
        with logical_names(model):
            lain = self._retired_table(model)
        return replace(lain, place=schema_of(table)) if self._lies_beside(table) else lain

    # Beside another table

    def _must_lie_beside(self, model: Any) -> bool:
        """Whether old code has another table of the name: one of the same shape is taken up again as it lies."""
        table = model._meta.db_table
        if self._lies_beside(table):
            return False
        if not self._is_in_use(table):
            return self._has_names_in_use(model)
        namesake = self._table_in_use(table)
        return namesake is None or self._lain(model).definition != namesake.definition or self._is_another(model)

    def _has_names_in_use(self, model: Any) -> bool:
        """Whether an index of the model, or of its retired table, has the name of one that goes at finalize."""
        names, table, lain = named(model), model._meta.db_table, self._lain(model)
        if schema_of(table):
            return False
        found = self._lies_elsewhere(lain)
        if found and found.archive:
            names += unarchive.manifest(found, self._archives).contents.indexes
        elif found:
            names += self._catalog.relations_of(qualified(found.place, table))
        return any(self._goes_at_finalize(name) for name in names)

    def _make_room(self, model: Any, retired: Retired | None = None) -> None:
        """Let what nobody uses make room for the table, and for what comes along with it in its schema."""
        table, names = model._meta.db_table, named(model)
        self._bury_table_in_the_way(table)
        if retired is not None:
            names += self._catalog.relations_of(qualified(retired.place, table))
        for name in dict.fromkeys(names):
            self._make_room_for(table, name)

    def _lies_elsewhere(self, lain: Retired) -> Retired | None:
        """The retired table of the model's shape that lies in a schema of its own, unless one lies in its place."""
        same = [r for r in self._cemetery.find(Kind.TABLE, lain.table, lain.table) if r.definition == lain.definition]
        if any(not r.place and not r.in_use for r in same):
            return None
        return next((r for r in sorted(same, key=lambda r: bool(r.archive)) if r.place), None)

    def _is_another(self, model: Any) -> bool:
        """Whether rows of the model refer to others than those of old code's table of the name."""
        return self._refers_anew(model, *model._meta.local_fields)

    def _fitting(self, model: Any) -> Callable[[Retired], bool]:
        """What says whether a retired table of the model's shape lies where the model's is to be."""
        place = schema_of(model._meta.db_table) if self._lies_beside(model._meta.db_table) else ""
        another = self._is_another(model)
        return lambda r: r.place == place if place else not (r.in_use and another)

    def _prepare_beside(self, model: Any) -> None:
        """Tell new code where its table is until finalize: where one of the shape lies retired, or in a new schema."""
        table = model._meta.db_table
        found = self._lies_elsewhere(self._lain(model))
        schema = found.place if found else self._free_schema(table)
        self._bury_table_in_use(table)
        self._call_by(table, qualified(schema, table))

    def _free_schema(self, table: str) -> str:
        """A schema in which no retired table lies; what an interrupted run has made of this one does not count."""
        retired = (*self._cemetery.all(), *self._cemetery.archived())
        taken = {r.place or schema_of(r.table) for r in retired if r.kind is Kind.TABLE}
        taken |= {schema_of(a.place) for a in self._cemetery.aliases if not a.column}
        return next(name for name in (beside.schema_for(table, number) for number in count()) if name not in taken)

    # Away

    def _emit_burial(self, retired: Retired, burial: Act, *, naming: bool = True) -> None:
        self._emit(
            f"bury table {retired.table}",
            f"move retired table {retired.table} out of the schema",
            burial,
            CONTRACT,
            phase=Phase.CONTRACT,
            while_retired=(retired,),
            naming=naming,
        )
        self._tables_to_be_buried |= {retired}

    def _bury_table_in_use(self, table: str) -> None:
        """The release that removed it does so too at finalize; whichever is finalized first."""
        retired = self._table_in_use(table)
        if retired is not None and retired not in self._tables_to_be_buried:
            self._emit_burial(retired, retire.bury_table(retired, self._grave(), self.quote_name))

    def _bury_table_in_the_way(self, table: str) -> None:
        """A retired table of another shape that nobody uses keeps its rows in a schema of its own."""
        for retired in self._cemetery.find(Kind.TABLE, table, table):
            if not retired.place and not retired.in_use:
                forward = retire.bury_table(retired, self._grave(), self.quote_name)
                self._emit(f"bury table {table}", f"move retired table {table} out of the schema", forward, ())


def named(model: Any) -> list[str]:
    """Return what the model itself names of the relations that its table brings along."""
    return sorted({part.name for part in (*model._meta.constraints, *model._meta.indexes)})
