"""The one door: Django's schema editor, translated into steps.

Whatever a migration does to a schema passes through these verbs. Each emits Steps in place of running SQL; the
statements themselves are built by Django's own editor, so names and types are stock's. A verb that has no
online form becomes a step that runs stock's statements and says so. Columns, indexes and keys have files of
their own; here are tables, what Django defers to a migration's end, and the verbs that stay stock's.
"""

from __future__ import annotations

from dataclasses import replace
from functools import wraps
from typing import Any

from django.db.backends.ddl_references import Statement
from django.db.backends.postgresql.schema import DatabaseSchemaEditor
from django.db.backends.utils import strip_quotes

from segue.core.change import Act, Kind, Retired
from segue.engines.postgresql.acts import beside, retire
from segue.engines.postgresql.editor.contrib import ContribVerbs
from segue.engines.postgresql.editor.emission import STOCK, first_line
from segue.engines.postgresql.editor.namesakes import Namesakes, named
from segue.engines.postgresql.qualified import qualified, schema_of


class StepEditor(Namesakes, ContribVerbs):
    """Emits one migration's schema changes as steps."""

    _revived: frozenset[str] = frozenset()

    def __exit__(self, exc_type: Any, exc_value: Any, traceback: Any) -> None:
        """Translate what the stock editor defers to the migration's end; nothing of it after a failure."""
        if exc_type is None:
            self.translate_deferred()

    def create_model(self, model: Any) -> None:
        """Create a table, or revive it when it is retired and was the same."""
        if self._implicit_tables is not None:
            self._implicit_tables.append(model)
            return
        if self._must_lie_beside(model):
            self._prepare_beside(model)
            self.create_model(model)  # It has another name by now.
            return
        already_deferred = len(self.deferred_sql)
        implicit_tables = self._implicit_tables = []
        with self._drafting(model, "create_model") as draft:
            super().create_model(model)
        self._implicit_tables = None
        made = self._lain(model)
        retired = self._retired(Kind.TABLE, made.table, made.table, made.definition, fits=self._fitting(model))
        if retired is None:
            self._make_room(model)
            self._create_table(model, draft.statements, made)
        else:
            if retired.place and not made.place:
                self._make_room(model, retired)
            self._revive_table(model, retired, already_deferred)
        for implicit in implicit_tables:
            self.create_model(implicit)

    def _create_table(self, model: Any, statements: list[str], made: Retired) -> None:
        table = model._meta.db_table
        before: tuple[str, ...] = ()
        after: tuple[str, ...] = ()
        if made.place:
            going = [r.table for r in self._cemetery.all() if r.kind is Kind.TABLE and r.in_use]
            before = beside.opened(table, self.quote_name, self.quote_value)
            places = {schema_of(a.place) for a in self._cemetery.aliases if not a.column} - {"", made.place}
            after = (beside.numbered(table, named(model), going, sorted(places), self.quote_name, self.quote_value),)
        self._new.add(table)
        self._made_here.add(table)
        self._emit(
            f"table {made.table}",
            f"create table {made.table}",
            Act(statements=(*before, *statements, *after)),
            (Act(retires=(made,)),),
        )

    def _revive_table(self, model: Any, retired: Retired, already_deferred: int) -> None:
        """What the table already has need not be made again; its foreign keys are attached at the end.

        One that old code has another of the name of stays where it lies.
        """
        table, quote = model._meta.db_table, self.quote_name
        stays = self._lies_beside(table)
        lain = replace(retired, place=retired.place if stays else "", archive="")
        found = beside.opened(table, quote, self.quote_value) if stays else ()
        self._revived |= {table}
        self._emit(
            f"table {retired.table}",
            f"revive table {retired.table}",
            Act(statements=found or retire.unbury_table(retired, self._schema(), quote), revives=(retired,)),
            (Act(retires=(lain,)),),
        )
        for statement in self.deferred_sql[already_deferred:]:
            if self._is_there(statement, table, retired):
                self.deferred_sql.remove(statement)

    def _is_there(self, statement: Any, table: str, retired: Retired) -> bool:
        """Whether the index or unique constraint lies with the retired table."""
        if not isinstance(statement, Statement) or statement.template == self.sql_create_fk:
            return False
        name = strip_quotes(str(statement.parts["name"]))
        if self._cemetery.find(Kind.INDEX, table, name):
            return False  # It was retired by itself, as a rollback does, and is revived by itself.
        # In a run the table has its own place again by now; in a plan it still lies where it was buried.
        return self._is_index_of(table, name) or (
            bool(retired.place) and bool(self._catalog.index_table(qualified(retired.place, name)))
        )

    def delete_model(self, model: Any) -> None:
        """Retire a table: its rows stay, its foreign keys go, its name is freed by finalize."""
        for m2m in model._meta.local_many_to_many:
            if m2m.remote_field.through._meta.auto_created:
                self.delete_model(m2m.remote_field.through)
        table, known_as = model._meta.db_table, self._lain(model)
        for key in self._catalog.foreign_keys(table):
            self._detach(key)
        is_known = table not in self._new and not known_as.place
        retired = replace(self._retired_table(model), in_use=is_known and self.defers)
        if known_as.place and not self.defers:
            retired = known_as  # Nothing comes for it later.
        columns = [(alias.place, alias.column) for alias in self._aliases_of(table)]
        self._emit(
            f"retire table {table}",
            f"retire table {table}",
            Act(retires=(retired,)),
            (Act(revives=(retired,)),),
        )
        self._give_up_every_name(table)
        burial = retire.bury_table(retired, self._grave(), self.quote_name, known_as=known_as, columns=columns)
        if known_as.place:
            burial = retire.bury_where_it_lies(retired, known_as, columns, self.quote_name)
        # What is parted of its columns by then is parted by the name that the table has until this step.
        self._emit_burial(retired, burial, naming=known_as.table == table or bool(known_as.place))
        self._new.discard(table)
        self._made_here.discard(table)
        self._forget_deferred(lambda s: s.references_table(table))

    def translate_deferred(self) -> None:
        """Emit the deferred statements: indexes and constraints first, foreign keys in three passes.

        A revived table's keys are enforced first, then rows whose parents went away are put aside, parents
        before children, and only then is each key proved.
        """
        deferred, self.deferred_sql = self.deferred_sql, []
        keys = [s for s in deferred if isinstance(s, Statement) and s.template == self.sql_create_fk]
        for statement in deferred:
            if statement in keys:
                continue
            if isinstance(statement, Statement) and statement.template == self.sql_create_index:
                if not self._came_back_with(statement):
                    self._add_index(statement)
            else:
                self._deferred_as_stock(statement)
        fresh = [s for s in keys if s.parts["table"].table in self._new]
        for statement in fresh:
            self._add_key_of_new_table(statement)
        self._attach_keys([self._key(s) for s in keys if s not in fresh])

    def _came_back_with(self, statement: Statement) -> bool:
        """Whether a revived table has the index, under the name that a later rename in the migration gives it."""
        table, name = statement.parts["table"].table, strip_quotes(str(statement.parts["name"]))
        by_itself = self._cemetery.find(Kind.INDEX, table, name)
        return table in self._revived and not by_itself and self._is_index_of(table, name)

    def _deferred_as_stock(self, statement: Any) -> None:
        if isinstance(statement, Statement) and statement.template == self.sql_create_unique:
            parts: Any = statement.parts
            name, table = strip_quotes(str(parts["name"])), parts["table"].table
            if self._is_index_of(table, name):
                return  # A revived table has it, under the name that a later rename in the migration gives it.
            if table not in self._new:
                columns = tuple(parts["columns"].columns)
                self._build_unique(table=table, name=name, columns=columns, as_constraint=True)
                return
        table = statement.parts["table"].table if isinstance(statement, Statement) else ""
        if isinstance(statement, Statement) and statement.template == self.sql_create_check and table in self._revived:
            self._check_anew(table, strip_quotes(str(statement.parts["name"])), str(statement))
            return
        online = table in self._new
        locks = () if online or not table else retire.exclusive(table)
        act = Act(statements=(str(statement),), locks=locks)
        self._emit("deferred", first_line(str(statement)), act, () if online else STOCK, online=online)

    def _check_anew(self, table: str, name: str, statement: str) -> None:
        """A check that stock writes in a statement of its own; a table that is revived may have another of its name."""
        drop = f"ALTER TABLE {self.quote_name(table)} DROP CONSTRAINT IF EXISTS {self.quote_name(name)}"
        act = Act(statements=(drop, statement), locks=retire.exclusive(table))
        self._emit(f"check {table}.{name}", f"make {name} of {table} anew", act, ())

    def alter_db_tablespace(self, model: Any, old_db_tablespace: str, new_db_tablespace: str) -> None:
        """Move a table as stock Django does: PostgreSQL copies its files under the lock."""
        if self._drafts:
            super().alter_db_tablespace(model, old_db_tablespace, new_db_tablespace)
        else:
            self._as_stock(model, "alter_db_tablespace", old_db_tablespace, new_db_tablespace)


def _by_physical_names(verb: str) -> Any:
    """Let a verb see models by the names that the database has for them now."""
    method = getattr(StepEditor, verb)

    @wraps(method)
    def run(self: StepEditor, *args: Any, **options: Any) -> Any:
        with self.physically(*args):
            return method(self, *args, **options)

    return run


for _verb in (
    "create_model",
    "delete_model",
    "add_field",
    "remove_field",
    "alter_field",
    "add_index",
    "remove_index",
    "rename_index",
    "add_constraint",
    "remove_constraint",
    "alter_unique_together",
    "alter_index_together",
    "alter_db_table_comment",
    "alter_db_tablespace",
):
    setattr(StepEditor, _verb, _by_physical_names(_verb))


def editor_class(stock: type[DatabaseSchemaEditor]) -> type[StepEditor]:
    """Return the step editor over whatever editor the project's engine has (PostGIS and others)."""
    if issubclass(StepEditor, stock):
        return StepEditor
    return type("StepEditor", (StepEditor, stock), {})
