"""Columns that change their type: directly where that is a change of the catalog only, else by a twin and a swap.

A wider type is swapped in at once, because both versions of the code work with it. A narrower one waits for
finalize. One that old code cannot work with lies beside the old column until then: new code finds it by an
alias, or by the column's new name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from django.db.backends.ddl_references import Statement

from segue.core.change import Act, Kind
from segue.core.errors import StepFailed
from segue.core.plan import Phase
from segue.engines.postgresql.acts import retire
from segue.engines.postgresql.acts.retire import label
from segue.engines.postgresql.acts.twin import TWIN
from segue.engines.postgresql.catalog import Column
from segue.engines.postgresql.dependents import Rehearsed
from segue.engines.postgresql.editor import families
from segue.engines.postgresql.editor.columns_beside import Beside
from segue.engines.postgresql.editor.emission import CONTRACT
from segue.engines.postgresql.editor.hearing import Alteration
from segue.engines.postgresql.editor.twinning import Retyping, made_anew, marked


class RetypeVerbs(Beside):
    """What alter_field does to types."""

    if TYPE_CHECKING:
        # Parts of Django's editor that its stubs leave out.
        _using_sql: Any
        _part: Any
        _rename_by_twin: Any

    def _retype(self, altered: Alteration, column: str, to: str) -> bool:
        """Give the column its new type; `to` is its name in new code, another one when it is renamed too.

        Returns whether the column has its new type only at finalize, so that what is new on it must wait too.
        """
        old_type, new_type = (f.db_parameters(connection=self.connection)["type"] for f in self._pair(altered))
        old_collation, new_collation = (
            f.db_parameters(connection=self.connection).get("collation") for f in self._pair(altered)
        )
        kind = families.change(old_type, new_type)
        if kind is families.Change.SAME and old_collation != new_collation:
            kind = families.Change.WIDER
        if kind is families.Change.SAME and to == column:
            self._retire_gone(altered)
            return False
        first = self._retyping(altered.model, altered.old_field, altered.new_field, column, altered)
        others = [
            self._retyping(model, old, new, old.column, None)
            for model, old, new in altered.retyped
            if new is not altered.new_field
        ]
        if kind is families.Change.OTHER:
            to = self._final_name(altered.model._meta.db_table, column, to)
        if to != column or kind is families.Change.OTHER:
            self._require_alone(first, others)
            self._beside(altered, first, to)
            return True
        if kind is families.Change.NARROWER:
            self._exchange([first, *others], altered, Phase.CONTRACT)
            return True
        with self._twins_anew([(change.table, change.column, change.fields[1]) for change in (first, *others)]):
            if first.rehearsed.rewrites or others:
                self._exchange([first, *others], altered, Phase.EXPAND)
            else:
                self._retire_gone(altered)
                self._retype_in_place(first)
        return False

    @contextmanager
    def _twins_anew(self, changed: Sequence[tuple[str, str, Any]]) -> Iterator[None]:
        """Make the twins that columns have because of an earlier rename of the release of what the block leaves there.

        The columns are given by table and name, each with its new field.
        """
        renamed = [(*one, alias) for one in changed for alias in self._aliases_of(*one[:2]) if alias.twin]
        for *_, alias in renamed:
            self._part(alias)
        yield
        for table, column, field, alias in renamed:
            self._rename_by_twin(table, column, alias.column, field)

    def _final_name(self, table: str, column: str, to: str) -> str:
        """A twin of another type takes the name that an earlier rename of the release has given, and its place."""
        for alias in self._aliases_of(table, column):
            to = alias.column
            self._part(alias)
        return to

    def _retire_gone(self, altered: Alteration) -> None:
        """Retire the indexes that go where the column itself stays: no swap takes them along."""
        for name in dict.fromkeys(altered.indexes_gone):
            if name not in made_anew(altered):
                self._retire_index(altered.model._meta.db_table, name)

    def _exchange_index(self, table: str, name: str, statement: Statement) -> None:
        """Stock makes another index under the name of one that goes: old code keeps that until finalize."""
        beside = label(f"{TWIN}new_", name)
        parts = {**statement.parts, "name": self.quote_name(beside)}
        drop = self._sql_drop_index(table, beside)
        self._emit(
            f"index {beside}",
            f"build the index that is to be {name} on {table}",
            Act(
                statements=(str(Statement(self.sql_create_index_concurrently, **parts)),),
                locks=retire.weak(table),
                transactional=False,
            ),
            (Act(statements=(drop,), transactional=False, background=True),),
            probe=self._index_probe(table, beside),
            clean=(drop,),
        )
        rename = f"ALTER INDEX {self._index(table, beside)} RENAME TO {self.quote_name(name)}"
        for slug, act in (
            (f"drop index {name}", self._drop_index(table, name)),
            (f"rename index {beside}", Act(statements=(rename,), locks=retire.weak(table))),
        ):
            title = f"{slug} on {table}"
            self._emit(
                slug, title, act, CONTRACT, phase=Phase.CONTRACT, unless_retired=((Kind.TABLE.value, table, table),)
            )

    def _retyping(
        self, model: Any, old_field: Any, new_field: Any, column: str, altered: Alteration | None
    ) -> Retyping:
        table = model._meta.db_table
        params = new_field.db_parameters(connection=self.connection)
        cast = f"::{params['type']}" if self._using_sql(new_field, old_field) else ""
        collation = f" COLLATE {self.quote_name(params['collation'])}" if params.get("collation") else ""
        old_type = old_field.db_parameters(connection=self.connection)["type"]
        facts = self._catalog.column(table, column)
        change = Retyping(
            model=model,
            fields=(old_field, new_field),
            table=table,
            column=column,
            old_type=old_type,
            new_type=params["type"],
            collation=collation,
            cast=cast,
            facts=facts or Column(not_null=not old_field.null, default="", fills_itself=False, unique=False),
            rehearsed=Rehearsed(rewrites=True),
        )
        if facts is None:
            return change  # A plan's column that an earlier step of the same plan is to make.
        is_late = families.change(old_type, params["type"]) is families.Change.NARROWER
        if is_late and not facts.identity and new_field.db_type_suffix(connection=self.connection):
            # By the time of the swap the column numbers its rows itself.
            change = replace(change, facts=replace(facts, identity="BY DEFAULT", default=""))
        mark = self._mark(model, column, new_field)
        rehearsed = self._rehearsed(altered, table, column, label(f"{TWIN}{mark}", column), change)
        self._require_free(table, column, rehearsed)
        change = replace(change, mark=mark)
        return replace(change, rehearsed=replace(rehearsed, attached=marked(rehearsed, change)))

    def _require_alone(self, first: Retyping, others: list[Retyping]) -> None:
        if others or any(a.kind == "p" for a in first.rehearsed.attached):
            raise StepFailed(
                f"{first.table}.{first.column} is a key that others refer to, and old code cannot work with "
                f"{first.new_type} in it.",
                next_command="add a new key beside it and move the references in migrations of their own",
            )

    def _retype_in_place(self, change: Retyping) -> None:
        """A wider type whose values need no other form: PostgreSQL changes only its catalog."""
        table, column = self.quote_name(change.table), self.quote_name(change.column)
        self._emit(
            f"type {change.table}.{change.column}",
            f"change the type of {change.table}.{change.column} to {change.new_type}",
            Act(
                statements=(f"ALTER TABLE {table} ALTER COLUMN {column} TYPE {change.new_type}{change.collation}",),
                locks=retire.exclusive(change.table),
            ),
            (),
            note="on the way back the wider type stays: old code can read and write it",
        )
