"""Columns: added with a default that stays until finalize, retired where they stand, revived with their values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from django.db.backends.ddl_references import Statement
from django.db.backends.utils import strip_quotes
from django.db.models import NOT_PROVIDED

from segue.core.change import Act, Kind, Retired
from segue.core.plan import Phase
from segue.engines.postgresql import retire
from segue.engines.postgresql.emission import CONTRACT, STOCK
from segue.engines.postgresql.indexes import IndexVerbs
from segue.engines.postgresql.keys import KeyVerbs, keys_of


class ColumnVerbs(IndexVerbs, KeyVerbs):
    """add_field and remove_field."""

    if TYPE_CHECKING:
        # Parts of Django's editor that its stubs leave out.
        _alter_column_default_sql: Any
        _column_default_sql: Any

    def add_field(self, model: Any, field: Any) -> None:
        """Add a column whose default stays until finalize, or revive it when it is retired and was the same."""
        if field.many_to_many and field.remote_field.through._meta.auto_created:
            return self.create_model(field.remote_field.through)
        if field.db_parameters(connection=self.connection)["type"] is None:
            return None
        table, column = model._meta.db_table, field.column
        already_deferred = len(self.deferred_sql)
        with self._drafting(model, "add_field") as draft:
            super().add_field(model, field)
        statements = tuple(draft.statements)
        retired = self._retired(Kind.COLUMN, table, column, self._definition(model, field))
        if retired is not None and self._lies_there(retired):
            if retired.place:
                self._bury_column_in_the_way(table, column)
            self._forget_indexes_of_revived_column(table, already_deferred)
            return self._revive_column(model, field, retired)
        self._bury_column_in_the_way(table, column)
        if table in self._new:
            return self._emit_draft(draft)
        return self._add_column(model, field, statements)

    def _adds_online(self, field: Any) -> bool:
        """Whether adding the column only touches the catalog and old code can go on inserting.

        A unique column needs an index first, a check would be scanned for, a function as default or a
        generated value rewrites the table; and NOT NULL without any default stops old code's INSERT.
        """
        if field.unique or getattr(field, "generated", False) or field.db_type_suffix(self.connection):
            return False
        if field.db_parameters(connection=self.connection)["check"]:
            return False
        db_default = getattr(field, "db_default", NOT_PROVIDED)
        if db_default is not NOT_PROVIDED:
            return not hasattr(db_default, "resolve_expression")
        return bool(field.null or self.effective_default(field) is not None)

    def _add_column(self, model: Any, field: Any, statements: tuple[str, ...]) -> None:
        """Add the column with stock's statements, except that its default goes only at finalize."""
        table, column = model._meta.db_table, field.column
        online, keeps_default = self._adds_online(field), self._keeps_default(field)
        drop = self._drop_default(model, field) if keeps_default else ""
        old_code_can_insert = online or keeps_default or field.null
        self._emit(
            f"column {table}.{column}",
            f"add column {table}.{column}",
            Act(statements=tuple(s for s in statements if s != drop), locks=retire.exclusive(table)),
            (Act(retires=(self._retired_column(model, field),)),) if old_code_can_insert else STOCK,
            online=online,
            note="its default stays until finalize, so that old code can insert" if keeps_default else "",
        )
        self._drop_default_at_finalize(model, field)

    def _drop_default(self, model: Any, field: Any) -> str:
        changes, params = self._alter_column_default_sql(model, None, field, drop=True)
        table = self.quote_name(model._meta.db_table)
        return self._complete(self.sql_alter_column % {"table": table, "changes": changes}, params or None)

    def _keeps_default(self, field: Any) -> bool:
        """Whether the default that stock gives the column, and takes away at once, stays until finalize.

        A unique column cannot keep one: the second row of old code would collide.
        """
        has_db_default = getattr(field, "db_default", NOT_PROVIDED) is not NOT_PROVIDED
        return not has_db_default and not field.unique and self.effective_default(field) is not None

    def _drop_default_at_finalize(self, model: Any, field: Any) -> None:
        if not self._keeps_default(field):
            return
        table, column = model._meta.db_table, field.column
        self._emit(
            f"default {table}.{column}",
            f"drop the default of {table}.{column}",
            Act(statements=(self._drop_default(model, field),), locks=retire.exclusive(table)),
            CONTRACT,
            phase=Phase.CONTRACT,
            unless_retired=keys_of(table, column),
        )

    def _revive_column(self, model: Any, field: Any, retired: Retired) -> None:
        """Give the column its name and its default back; NOT NULL returns once no row is without a value."""
        table, column = model._meta.db_table, field.column
        # After a crash the column may have its own name again already.
        facts = self._catalog.column(table, retired.place or column) or self._catalog.column(table, column)
        alter = f"ALTER TABLE {self.quote_name(table)} ALTER COLUMN {self.quote_name(column)}"
        constraints = self._own_constraints(model, field) if retired.place else ()
        statements = [*retire.unbury_column(retired, self.quote_name), *constraints]
        default = "" if field.unique else self._default_literal(field)
        if self._keeps_default(field):
            statements += [] if facts and facts.default else [f"{alter} SET DEFAULT {default}"]
        self._emit(
            f"column {table}.{column}",
            f"revive column {table}.{column}",
            Act(
                statements=tuple(statements),
                locks=retire.exclusive(table) if statements else (),
                revives=(retired,),
            ),
            (Act(retires=(self._retired_column(model, field),)),),
            online=not constraints,
            note="every value that it had is still there",
        )
        if facts and not facts.not_null and not field.null:
            self._tighten(table, column, default)
        self._drop_default_at_finalize(model, field)

    def _own_constraints(self, model: Any, field: Any) -> tuple[str, ...]:
        """What a column's definition says inline and a burial drops; PostgreSQL gives them stock's names again."""
        alter = f"ALTER TABLE {self.quote_name(model._meta.db_table)} ADD"
        check = field.db_parameters(connection=self.connection)["check"]
        unique = [f"{alter} UNIQUE ({self.quote_name(field.column)})"] if field.unique else []
        return (*unique, *([f"{alter} CHECK ({check})"] if check else []))

    def _forget_indexes_of_revived_column(self, table: str, already_deferred: int) -> None:
        """A column that was retired where it stands kept its indexes; they need not be made again."""
        for statement in self.deferred_sql[already_deferred:]:
            is_index = isinstance(statement, Statement) and statement.template == self.sql_create_index
            if is_index and self._is_index_of(table, strip_quotes(str(statement.parts["name"]))):
                self.deferred_sql.remove(statement)

    def _is_index_of(self, table: str, name: str) -> bool:
        """Whether a valid index of that name is the table's; PostgreSQL keeps 63 bytes of a table's name."""
        return self._catalog.index_table(name) == retire.shorten(table)

    def _tighten(self, table: str, column: str, default: str) -> None:
        if default:
            fill = f"UPDATE {self.quote_name(table)} SET {self.quote_name(column)} = {default} "
            fill += f"WHERE {self.quote_name(column)} IS NULL"
            self._emit(
                f"fill {table}.{column}",
                f"fill {table}.{column} where old code left it empty",
                Act(statements=(fill,)),
                (),
                phase=Phase.BACKFILL,
            )
        for number, act in enumerate(retire.tighten(table, column, self.quote_name)):
            self._emit(
                f"not null {table}.{column} {number}",
                f"make {table}.{column} NOT NULL, part {number + 1} of 3",
                act,
                CONTRACT,
                phase=Phase.CONTRACT,
                unless_retired=keys_of(table, column),
            )

    def remove_field(self, model: Any, field: Any) -> None:
        """Retire a column: its values stay, what would trip code that does not know it goes."""
        if field.many_to_many and field.remote_field.through._meta.auto_created:
            return self.delete_model(field.remote_field.through)
        table, column = model._meta.db_table, field.column
        if field.db_parameters(connection=self.connection)["type"] is None:
            return None
        if field.primary_key:
            return self._as_stock(model, "remove_field", field)
        for key in self._catalog.foreign_keys(table, column):
            self._detach(key)
        facts = self._catalog.column(table, column)
        relaxed = retire.relax(table, column, facts, self._default_literal(field), self.quote_name) if facts else None
        forward, undo = relaxed or (Act(), ())
        retired = self._retired_column(model, field)
        burial = list(self._burial(retired))
        self._emit(
            f"retire column {table}.{column}",
            f"retire column {table}.{column}",
            Act(statements=forward.statements, locks=forward.locks, retires=(retired,)),
            (Act(revives=(retired,)), *undo),
        )
        for step in burial:
            self._emit(**step, undo=CONTRACT, phase=Phase.CONTRACT, while_retired=(retired,))
        self._forget_deferred(lambda s: s.references_column(table, column))
        return None

    def _burial(self, retired: Retired) -> Iterator[dict[str, Any]]:
        """Free a retired column's name and the names of what was built on it.

        Indexes and constraints hold no values of their own: they are dropped, and made again by a revival.
        """
        table, name = retired.table, retired.name
        for index in self._catalog.indexes(table, name):
            yield {
                "slug": f"drop index {index.name}",
                "title": f"drop index {index.name} of retired column {table}.{name}",
                "forward": self._drop_index(table, index.name),
            }
        for constraint in self._catalog.constraints_on(table, name):
            statement = f"ALTER TABLE {self.quote_name(table)} DROP CONSTRAINT {self.quote_name(constraint)}"
            yield {
                "slug": f"drop constraint {table}.{constraint}",
                "title": f"drop constraint {constraint} of retired column {table}.{name}",
                "forward": Act(statements=(statement,), locks=retire.exclusive(table)),
            }
        yield {
            "slug": f"bury column {table}.{name}",
            "title": f"rename retired column {table}.{name} out of the way",
            "forward": retire.bury_column(retired, self._grave(), self.quote_name),
        }

    def _retired_column(self, model: Any, field: Any) -> Retired:
        return Retired(
            kind=Kind.COLUMN,
            table=model._meta.db_table,
            name=field.column,
            definition=self._definition(model, field),
        )

    def _definition(self, model: Any, field: Any) -> str:
        """The column as Django would make it without its one-off default: what a revival compares."""
        definition, params = self.column_sql(model, field, include_default=False)
        check = field.db_parameters(connection=self.connection)["check"]
        target = field.target_field if field.remote_field and field.db_constraint else None
        return " ".join(
            [
                self._complete(definition, params or None),
                *([f"CHECK ({check})"] if check else []),
                *([f"REFERENCES {target.model._meta.db_table} ({target.column})"] if target else []),
            ]
        )

    def _default_literal(self, field: Any) -> str:
        value = self.effective_default(field)
        if value is None:
            return ""
        return self._complete(self._column_default_sql(field), [value])

    def _lies_there(self, retired: Retired) -> bool:
        """Whether the table that has the name now has the column; it may have gone with a table that was buried."""
        # After a crash the column may have its own name again already.
        names = (retired.place or retired.name, retired.name)
        return any(self._catalog.column(retired.table, name) is not None for name in names)

    def _bury_column_in_the_way(self, table: str, name: str) -> None:
        """A retired column of another shape keeps its values under another name."""
        for retired in self._cemetery.find(Kind.COLUMN, table, name):
            if not retired.place and self._lies_there(retired):
                for step in self._burial(retired):
                    self._emit(**step, undo=())
