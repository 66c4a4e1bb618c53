"""Names that new code has for what the database still calls otherwise, until finalize.

Owns the views that stand for renamed tables, and puts one in its place again whenever a step changes the columns
below it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from typing import Any

from django.db.backends.ddl_references import IndexName, Reference, Statement

from segue.core.change import Act, Alias, Irreversible, Kind, LockMode, Retired
from segue.core.plan import Phase
from segue.engines.names import logical_table, physical_names
from segue.engines.postgresql.acts import alias as alias_table
from segue.engines.postgresql.acts import retire
from segue.engines.postgresql.editor.emission import StepEmitter
from segue.engines.postgresql.qualified import schema_of

_MARK = "segue: the table under the name that new code has for it"


class Aliasing(StepEmitter):
    """A step emitter that knows the open aliases."""

    _states: tuple[Any, ...] = ()
    _aliases_at_start: tuple[Alias, ...] = ()

    @property
    def states(self) -> tuple[Any, ...]:
        """The project's state before and after the operation that speaks now."""
        return self._states

    @states.setter
    def states(self, states: tuple[Any, ...]) -> None:
        self._states, self._aliases_at_start = states, self._cemetery.aliases

    def physically(self, *things: Any) -> AbstractContextManager[Any]:
        """Let models use the database's own names for the block: those of the states, of models and of fields.

        The state before knows a table that the operation itself has renamed by the name that it had then.
        """
        self._catalog.named = {a.place: a.table for a in self._cemetery.aliases if not a.column}
        former = (a for a in self._aliases_at_start if not a.column and a not in self._cemetery.aliases)
        aliases = (*former, *self._cemetery.aliases)
        if not aliases:
            return nullcontext()
        models = (thing if hasattr(thing, "_meta") else getattr(thing, "model", None) for thing in things)
        every = [state.apps for state in self.states]
        every += [model._meta.apps for model in models if model is not None]
        stack = ExitStack()
        for number, apps in enumerate(every):
            if not any(apps is earlier for earlier in every[:number]):
                stack.enter_context(physical_names(apps, aliases))
        return stack

    def _field_should_be_altered(self, old_field: Any, new_field: Any, ignore: Any = None) -> bool:
        """As stock, which names a foreign key anew when the table that it refers to has another name in new code."""
        stock: Any = super()
        if stock._field_should_be_altered(old_field, new_field, ignore):
            return True
        if new_field.many_to_many or not (old_field.remote_field and new_field.remote_field):
            return False
        return logical_table(old_field.remote_field.model) != logical_table(new_field.remote_field.model)

    # Tables whose name old code has for another one

    def _is_in_use(self, name: str) -> bool:
        """Whether old code has a table of a name that new code gives to another one."""
        return self._table_in_use(name) is not None or any(
            not alias.column and alias.place == name for alias in self._cemetery.aliases
        )

    def _table_in_use(self, name: str) -> Retired | None:
        """The table that the release removes and old code still uses under the name."""
        return next((r for r in self._cemetery.find(Kind.TABLE, name, name) if r.in_use and not r.place), None)

    def _lies_beside(self, table: str) -> bool:
        """Whether the table has a schema of its own until old code has given up its name."""
        return bool(schema_of(table)) and table in {a.place for a in self._cemetery.aliases if not a.column}

    def _refers_anew(self, model: Any, *fields: Any) -> bool:
        """Whether one of the model's fields refers to another table whose name means a third one to old code."""
        targets = [field.remote_field.model for field in fields if field.remote_field]
        return any(target is not model and self._is_in_use(logical_table(target)) for target in targets)

    # Names

    def _physical_table(self, table: str) -> str:
        return next((a.place for a in self._cemetery.aliases if not a.column and a.table == table), table)

    @property
    def _tables_called_otherwise(self) -> set[str]:
        """The tables that new code had another name for, or for a column of theirs, when the operation began."""
        return {a.table if a.column else a.place for a in self._aliases_at_start}

    def _aliases_of(self, table: str, column: str | None = None) -> tuple[Alias, ...]:
        """The open aliases of a table's columns, or of one column, by the database's names."""
        mine = (a for a in self._cemetery.aliases if a.column and a.table == table)
        return tuple(a for a in mine if column is None or a.place == column)

    def _create_index_name(self, table_name: Any, column_names: Any, suffix: str = "") -> str:
        """Name what is made after the names of new code, which are those that stay."""
        aliases = {a.place: a.table for a in self._cemetery.aliases if not a.column}
        columns = {a.place: a.column for a in self._aliases_of(self._physical_table(table_name))}
        logical = [columns.get(name, name) for name in column_names]
        stock: Any = super()
        return str(stock._create_index_name(aliases.get(table_name, table_name), logical, suffix))

    def _name_anew(self, table: str, to: str, column: str = "", to_column: str = "") -> None:
        """What is deferred gets the name that new code's names for table and column give it; the rest of it stays."""
        for statement in self.deferred_sql:
            name: Any = statement.parts.get("name") if isinstance(statement, Statement) else None
            if not isinstance(name, Reference):
                continue
            if isinstance(name, IndexName) and str(name) == self._own_index_name(name):
                # Stock keeps the name that it once gave.
                name = IndexName(name.table, name.columns, name.suffix, self._quoted_index_name)
                statement.parts["name"] = name
            if not column:
                name.rename_table_references(table, to)
                continue
            # The list of columns is shared with the statement's own reference to them.
            for reference in (name, getattr(name, "to_reference", None)):
                if reference is not None:
                    reference.columns = list(reference.columns)
            for known in dict.fromkeys([table, to]):
                name.rename_column_references(known, column, to_column)

    def _own_index_name(self, name: Any) -> str:
        return self._quoted_index_name(name.table, name.columns, name.suffix)

    def _quoted_index_name(self, *args: Any) -> str:
        return str(self.quote_name(self._create_index_name(*args)))

    def _fk_constraint_name(self, model: Any, field: Any, suffix: str) -> Any:
        """As stock, after the names that stay."""
        logical = {a.place: a.table for a in self._cemetery.aliases if not a.column}
        options = field.target_field.model._meta
        physical = options.db_table
        columns = {a.place: a.column for a in self._aliases_of(physical)}
        target, column = field.target_field, field.target_field.column
        options.db_table = logical.get(physical, physical)
        target.column = columns.get(column, column)
        try:
            stock: Any = super()
            return stock._fk_constraint_name(model, field, suffix)
        finally:
            options.db_table, target.column = physical, column

    def _app_alias(self, aliases: Sequence[Alias]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The statements that tell new code's models of the aliases, and those that stop it."""
        app, name = self.prefix.split(":")[0].split(".", 1)
        opened = [
            alias_table.opened(
                alias,
                release=self._release,
                app=app,
                migration=name,
                literal=self.quote_value,
                backwards=":back:" in self.prefix,
            )
            for alias in aliases
        ]
        return tuple(opened), tuple(alias_table.closed(alias, literal=self.quote_value) for alias in aliases)

    # Views

    def _view_of(self, table: str) -> str:
        """The view through which new code sees a table, "" where it needs none."""
        return next((a.view for a in self._cemetery.aliases if not a.column and a.place == table), "")

    def _view_statement(self, view: str, table: str, aliases: Sequence[Alias] | None = None) -> str:
        """Make a view of the columns that the table has when it runs, for whoever may use the table.

        A column with an alias is shown under it: the view follows the column when that gets its name at finalize.
        """
        literal, quote = self.quote_value, self.quote_name
        names = {a.place: a.column for a in (self._aliases_of(table) if aliases is None else aliases)}
        shown = "quote_ident(a.attname)"
        for place, column in names.items():
            renamed = literal(f"{quote(place)} AS {quote(column)}")
            shown = f"CASE WHEN a.attname = {literal(place)} THEN {renamed} ELSE {shown} END"
        kept = " OR ".join(["a.attname NOT LIKE 'segue\\_%'", *(f"a.attname = {literal(p)}" for p in names)])
        hidden = "".join(f" AND a.attname <> {literal(c)}" for c in names.values() if c not in names)
        listed = f"string_agg({shown}, ', ' ORDER BY a.attnum)"
        return _block(
            f"SELECT 'SELECT ' || {listed} || ' FROM ' || {literal(quote(table))} INTO shown FROM pg_attribute a "
            f"WHERE a.attrelid = {literal(quote(table))}::regclass AND a.attnum > 0 AND NOT a.attisdropped "
            f"AND ({kept}){hidden}; {_made(literal(quote(view)), literal(quote(table)))}"
        )

    def _view_anew(self, table: str) -> tuple[str, str]:
        """Two statements to put around a change of a table's columns: its view means the same names after it."""
        literal = self.quote_value
        regclass = f"{literal(self.quote_name(table))}::regclass"
        view = (
            f"SELECT c.oid::regclass::text INTO view FROM pg_class c WHERE c.relkind = 'v' "
            f"AND obj_description(c.oid, 'pg_class') = {literal(_MARK)} AND EXISTS (SELECT FROM pg_rewrite r "
            "JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid "
            f"WHERE r.ev_class = c.oid AND d.refobjid = {regclass})"
        )
        # One transaction may make the views of several tables anew.
        digest = hashlib.sha256(table.encode()).hexdigest()[:8]
        named, seen = f"'segue.view_{digest}'", f"'segue.shown_{digest}'"
        kept = f"PERFORM set_config({named}, view, true), set_config({seen}, pg_get_viewdef(view::regclass), true)"
        away = _block(
            f"PERFORM set_config({named}, '', true); "
            f"{view}; IF view IS NOT NULL THEN {kept}; EXECUTE 'DROP VIEW ' || view; END IF"
        )
        again = _block(
            f"view := current_setting({named}); IF view <> '' THEN shown := rtrim(current_setting({seen}), '; '); "
            f"{_made('view', literal(self.quote_name(table)))} END IF"
        )
        return away, again

    def _emit(self, slug: str, title: str, forward: Act, undo: tuple[Act, ...] | Irreversible, **more: Any) -> None:
        """Emit a step; where it changes the columns of a table that has a view, the view is made anew with it."""
        changing = more.pop("changes_columns_of", "")
        viewed = [lock.table for lock in forward.locks if lock.mode is LockMode.ACCESS_EXCLUSIVE] + [changing]
        viewed += [alias.table for alias in (*forward.aliases, *forward.unaliases) if alias.column]
        tables = [t for t in dict.fromkeys(viewed) if t and self._view_of(t)]
        waiting = more.get("phase") is Phase.CONTRACT
        if tables and not waiting and (changing or _changes_columns(forward)):
            before = self._cemetery.aliases
            after = (*(a for a in before if a not in forward.unaliases), *forward.aliases)
            forward = self._reviewed(forward, tables, after)
            if not isinstance(undo, Irreversible):
                undo = tuple(
                    # What waits on the way back comes when the view is gone.
                    self._reviewed(act, tables, before)
                    if (changing or _changes_columns(act)) and not act.background
                    else act
                    for act in undo
                )
        super()._emit(slug, title, forward, undo, **more)

    def _reviewed(self, act: Act, tables: list[str], aliases: Sequence[Alias]) -> Act:
        """The act with the views taken away before it and made anew after it."""
        views = {table: self._view_of(table) for table in tables}
        gone = [f"DROP VIEW IF EXISTS {self.quote_name(view)}" for view in views.values()]
        made = [
            self._view_statement(view, table, [a for a in aliases if a.column and a.table == table])
            for table, view in views.items()
        ]
        locks = act.locks or retire.exclusive(*tables)
        return replace(act, statements=(*gone, *act.statements, *made), locks=locks)


def _changes_columns(act: Act) -> bool:
    """Whether a view of the table must mean other columns after it, or the same ones by other names."""
    renamed = any(alias.column for alias in (*act.aliases, *act.unaliases))
    return renamed or any(" COLUMN " in statement for statement in act.statements)


def _made(view: str, table: str) -> str:
    """Make the view that `shown` selects, mark it, and grant on it what is granted on the table."""
    return (
        f"EXECUTE 'CREATE VIEW ' || {view} || ' AS ' || shown; "
        f"EXECUTE format('COMMENT ON VIEW %s IS %L', {view}, '{_MARK}'); "
        "FOR given IN SELECT grantee, privilege_type FROM pg_class c, aclexplode(c.relacl) "
        f"WHERE c.oid = {table}::regclass AND grantee <> c.relowner "
        "AND privilege_type IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE') LOOP "
        f"EXECUTE format('GRANT %s ON %s TO %s', given.privilege_type, {view}, "
        "CASE given.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(given.grantee)) END); END LOOP;"
    )


def _block(body: str) -> str:
    return f"DO $segue$ DECLARE view text; shown text; given record; BEGIN {body}; END $segue$".replace(";;", ";")
