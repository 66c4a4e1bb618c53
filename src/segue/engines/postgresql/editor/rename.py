"""Renames: both names work until finalize.

A column has a twin under its new name; the old one stays the true one, with everything that hangs on it, and
takes the new name at finalize. A table is seen by new code through a view, which renames columns for nothing.
On a huge table a column is not copied: new code's models are told what it is still called.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from django.db.backends.ddl_references import Statement
from django.db.backends.utils import strip_quotes

from segue.core.change import Act, Alias, Kind
from segue.core.errors import StepFailed
from segue.core.plan import Phase
from segue.engines.names import logical_column, logical_table
from segue.engines.postgresql.acts import beside, nulls, retire
from segue.engines.postgresql.acts import twin as twins
from segue.engines.postgresql.acts.retire import label
from segue.engines.postgresql.acts.twin import TWIN, Conversion, Twin
from segue.engines.postgresql.catalog import ForeignKey
from segue.engines.postgresql.dependents import rehearse
from segue.engines.postgresql.editor.emission import CONTRACT
from segue.engines.postgresql.editor.keys import keys_of
from segue.engines.postgresql.editor.retype import RetypeVerbs
from segue.engines.postgresql.qualified import qualified, schema_of


class RenameVerbs(RetypeVerbs):
    """alter_db_table, and what alter_field does to names; `alias_from` rows on a table is huge."""

    alias_from = 10_000_000

    if TYPE_CHECKING:
        _bury_table_in_the_way: Any
        _bury_table_in_use: Any

    def alter_db_table(self, model: Any, old_db_table: str, new_db_table: str) -> None:
        """Let new code see the table under its new name; it takes that name at finalize."""
        if old_db_table == new_db_table:
            return None
        if self._drafts:
            return super().alter_db_table(model, old_db_table, new_db_table)
        table = self._physical_table(old_db_table)
        self._require_name("" if self._lies_beside(table) else table, new_db_table)
        if table == new_db_table:
            return self._give_up_view(table)
        self._bury_table_in_the_way(new_db_table)
        self._bury_table_in_use(new_db_table)
        if table in self._new or self._lies_beside(table):
            return self._rename_new_table(table, new_db_table)
        self._see_through_view(table, new_db_table)
        return None

    def _require_name(self, table: str, name: str) -> None:
        """Refuse now what PostgreSQL would refuse at finalize."""
        if '"' in table + name:
            raise StepFailed(
                f"{table} cannot be called {name}: PostgreSQL renames a table within its schema.",
                next_command="move the table with ALTER TABLE … SET SCHEMA in a RunSQL, and change the model's "
                "db_table with SeparateDatabaseAndState",
            )

    def _see_through_view(self, table: str, name: str) -> None:
        before = tuple(a for a in self._cemetery.aliases if not a.column and a.place == table)
        # Old code may have another table of the name that new code gives to this one.
        view = label("segue_view_", name) if self._catalog.relation_kind(name) == "r" else name
        alias = Alias(table=name, column="", place=table, view=view)
        opening, closing = self._app_alias((replace(alias, place=view),) if view != name else ())
        gone = [f"DROP VIEW IF EXISTS {self.quote_name(a.view)}" for a in before]
        again = [self._view_statement(a.view, table) for a in before]
        drop = f"DROP VIEW IF EXISTS {self.quote_name(view)}"
        self._name_anew(before[-1].table if before else table, name)
        self._emit(
            f"view {view}",
            f"let new code see table {table} as {name}",
            # A view that a rollback has left to new code is made anew.
            Act(
                statements=(*gone, drop, self._view_statement(view, table), *opening),
                aliases=(alias,),
                unaliases=before,
            ),
            (self._unnamed((drop, *closing, *again), alias, before),),
            note="until finalize new code works through a view",
        )
        if view != name:
            alias = self._move_aside_at_finalize(alias)
        self._emit_table_rename(alias, (drop, *closing), table)

    def _unnamed(self, statements: tuple[str, ...], alias: Alias, before: tuple[Alias, ...]) -> Act:
        """Take a name from new code, on the way back, for the names that it had in the middle of the release."""
        return Act(statements=statements, aliases=before, unaliases=(alias,), against_new_code=not before)

    def _move_aside_at_finalize(self, alias: Alias) -> Alias:
        """Old code's other table of the name may want this one's: each then leaves its own before it takes another."""
        table, aside = alias.place, label("segue_moving_", alias.place)
        moved = replace(alias, place=aside)
        self._emit(
            f"move table {table} aside",
            f"free the name of table {table}",
            Act(
                statements=(f"ALTER TABLE {self.quote_name(table)} RENAME TO {self.quote_name(aside)}",),
                locks=retire.exclusive(table),
                unaliases=(alias,),
                aliases=(moved,),
                renames=((table, aside),),
            ),
            CONTRACT,
            phase=Phase.CONTRACT,
            unless_retired=((Kind.TABLE.value, table, table),),
        )
        return moved

    def _emit_table_rename(self, alias: Alias, gone: tuple[str, ...], original: str) -> None:
        """The table takes the name that new code has for it, when those that were to leave theirs have done so."""
        table, name = alias.place, alias.table
        renames: tuple[str, ...] = (f"ALTER TABLE {self.quote_name(table)} RENAME TO {self.quote_name(name)}",)
        if schema_of(table):
            renames = beside.moved(table, name, self._schema(), self.quote_name)
        self._emit(
            f"rename table {original}",
            f"rename table {original} to {name}",
            Act(
                statements=(*gone, *renames),
                locks=retire.exclusive(table, *([alias.view] if alias.view else [])),
                unaliases=(alias,),
                renames=((table, name),),
            ),
            CONTRACT,
            phase=Phase.CONTRACT,
            unless_retired=((Kind.TABLE.value, original, original),),
            naming=table != original or bool(schema_of(table)),
        )

    def _give_up_view(self, table: str) -> None:
        """Going back while a rename is open, new code's name goes: the table has had the old one all the time."""
        aliases = tuple(a for a in self._cemetery.aliases if not a.column and a.place == table)
        closing = self._app_alias([replace(a, place=a.view or a.place) for a in aliases])[1]
        self._emit(
            f"part {table}",
            f"no longer call table {table} anything else",
            Act(
                statements=(*(f"DROP VIEW IF EXISTS {self.quote_name(a.view)}" for a in aliases if a.view), *closing),
                unaliases=aliases,
            ),
            (Act(aliases=aliases),),
        )

    def _give_up_every_name(self, table: str) -> None:
        """A table that is retired has no more names than the one that old code has for it."""
        for alias in self._aliases_of(table):
            self._part(alias)
        if any(not alias.column and alias.place == table for alias in self._cemetery.aliases):
            self._give_up_view(table)

    def _rename_new_table(self, table: str, name: str) -> None:
        """Nobody uses a table that this migration has made, unless old code has another one of the name.

        Of one that an earlier migration has made, finalize is told by its name already.
        """
        if self._is_in_use(name) or self._lies_beside(table) or table not in self._made_here:
            return self._call_by(name, table)
        for made in (self._new, self._made_here):
            made.discard(table)
            made.add(name)
        for statement in self.deferred_sql:
            if isinstance(statement, Statement):
                statement.rename_table_references(table, name)
        alter = "ALTER TABLE {} RENAME TO {}"
        quote = self.quote_name
        self._emit(
            f"rename table {table}",
            f"rename table {table} to {name}",
            Act(statements=(alter.format(quote(table), quote(name)),), renames=((table, name),)),
            (Act(statements=(alter.format(quote(name), quote(table)),), renames=((name, table),)),),
        )
        return None

    def _call_by(self, name: str, place: str) -> None:
        """Let new code find its table under another name until the one that has the name has given it up."""
        before = tuple(a for a in self._cemetery.aliases if not a.column and a.place == place)
        alias = Alias(table=name, column="", place=place)
        opening, closing = self._app_alias((alias,))
        reopening, closing_before = self._app_alias(before)
        # New code of a release that was rolled back may still be told of it, or of one of another shape.
        told = {qualified(r.place, name) for r in self._cemetery.find(Kind.TABLE, name, name) if r.place} | {place}
        stale = self._app_alias([replace(alias, place=one) for one in sorted(told)])[1]
        self._name_anew(before[-1].table if before else place, name)
        self._emit(
            f"alias {name}",
            f"let new code find {name} as {place}",
            Act(statements=(*closing_before, *stale, *opening), aliases=(alias,), unaliases=before),
            (self._unnamed((*closing, *reopening), alias, before),),
        )
        self._emit_table_rename(alias, closing, place)

    # Columns

    def _rename_column(self, model: Any, old_field: Any, new_field: Any, column: str) -> None:
        """Give new code the column under its new name, by the cheapest way that serves both versions."""
        table, to = model._meta.db_table, new_field.column
        # What is deferred may have been named after the column's own name, or after one that it got in this release.
        for name in dict.fromkeys([logical_column(old_field), column]):
            self._name_anew(table, logical_table(model), name, to)
        self._bury_column_in_the_way(table, to)
        if table in self._made_here:
            self._rename_new_column(table, column, to)
        elif self._view_of(table):
            self._rename_by_alias(table, column, to, app=False)
        elif table in self._new or (self._needs_one_column(table, column) and not self._catalog.column(table, to)):
            self._rename_by_alias(table, column, to, app=True)
        else:
            self._rename_by_twin(table, column, to, old_field)

    def _rename_new_column(self, table: str, column: str, to: str) -> None:
        """Nobody uses a column of a table that this migration has made."""
        for statement in self.deferred_sql:
            if isinstance(statement, Statement):
                statement.rename_column_references(table, column, to)
        alter = f"ALTER TABLE {self.quote_name(table)} RENAME COLUMN {{}} TO {{}}"
        forth, back = (alter.format(*map(self.quote_name, names)) for names in ((column, to), (to, column)))
        self._emit(
            f"rename {table}.{column}",
            f"rename {table}.{column} to {to}",
            Act(statements=(forth,), locks=retire.exclusive(table)),
            (Act(statements=(back,), locks=retire.exclusive(table)),),
        )

    def _give_up_names(self, model: Any, old_field: Any, new_field: Any) -> None:
        """Where a column gets its name again while a rename is open, the other goes: the database has always had it."""
        column = old_field.column
        if column == new_field.column and logical_column(old_field) != logical_column(new_field):
            for alias in self._aliases_of(model._meta.db_table, column):
                self._part(alias)

    def _rename_by_alias(self, table: str, column: str, to: str, *, app: bool) -> None:
        for parted in self._aliases_of(table, column):
            if parted.twin:
                self._part(parted)
        alias = Alias(table=table, column=to, place=column)
        before = self._aliases_of(table, column)
        opening, closing = self._app_alias((alias,) if app else ())
        reopening, closing_before = self._app_alias([a for a in before if app])
        self._emit(
            f"alias {table}.{to}",
            f"let new code call {table}.{column} {to}",
            Act(statements=(*closing_before, *opening), aliases=(alias,), unaliases=before),
            (self._unnamed((*closing, *reopening), alias, before),),
            note="no row is moved: new code's models are told the old name until finalize" if app else "",
            changes_columns_of=table,
        )
        self._emit_rename_at_finalize(column, alias, closing)

    def _rename_by_twin(self, table: str, column: str, to: str, old_field: Any) -> None:
        for alias in self._aliases_of(table, column):
            self._part(alias)
        quote = self.quote_name
        taken = self._catalog.column(table, to) is not None and not self._is_twin(table, column, to)
        name = label(TWIN, to) if taken else to
        facts = self._catalog.column(table, column)
        type_ = facts.type if facts else old_field.db_parameters(connection=self.connection)["type"]
        default = facts.default if facts and facts.steady else ""
        plain = Conversion(type=type_)
        stands_in = self._catalog.has_trigger(table, nulls.trigger(table, column))
        remembers = nulls.flag(column) if stands_in else ""
        twin = Twin(table=table, old=column, new=name, forth=plain, back=plain, default=default, remembers=remembers)
        alias = Alias(table=table, column=to, place=column, twin=name)
        opening, closing = self._app_alias((replace(alias, place=name),) if taken else ())
        alter = f"ALTER TABLE {quote(table)}"
        made = [f"{alter} ADD COLUMN {quote(name)} {type_}{self._collation(old_field)}", twins.settings(twin, quote)]
        if default:
            made.append(f"{alter} ALTER COLUMN {quote(name)} SET DEFAULT {default}")
        if self._is_twin(table, column, name):
            made = []  # A rollback has left it to new code.
        self._emit(
            f"twin {table}.{to}",
            f"add {table}.{to}, a twin of {column}",
            Act(
                statements=(*made, *twins.attach(twin, twins.both(twin, quote), quote), *opening),
                locks=retire.exclusive(table),
                aliases=(alias,),
            ),
            (
                Act(
                    statements=(*closing, *self._parted(alias)),
                    locks=retire.exclusive(table),
                    unaliases=(alias,),
                    against_new_code=True,
                ),
            ),
            note="both names hold the same values until finalize",
        )
        self._emit(
            f"fill {table}.{to}",
            f"fill {table}.{to} from {column}",
            Act(backfill=twins.fill(twin, quote)),
            (),
            phase=Phase.BACKFILL,
        )
        if facts:
            for attached in rehearse(self.connection, table, column, name).attached:
                if attached.kind not in ("c", "x") and not attached.deferrable:
                    named = label(TWIN, f"{twin.digest}_{attached.name}")
                    self._emit_index_clone(table, named, attached, Phase.EXPAND, f"for {to}")
        self._emit_rename_at_finalize(column, alias, (*closing, *self._parted(alias)))

    def _parted(self, alias: Alias) -> tuple[str, ...]:
        """The statements that take a renamed column's twin away; all its values are in the column itself.

        What has the name and no trigger is no twin: the release has given the name to a column of its own since.
        """
        if not alias.twin:
            return ()
        plain = Conversion(type="")
        twin = Twin(table=alias.table, old=alias.place, new=alias.twin, forth=plain, back=plain)
        drop = f"ALTER TABLE {self.quote_name(alias.table)} DROP COLUMN IF EXISTS {self.quote_name(alias.twin)}"
        function = self.quote_value(f"{self.quote_name(twin.function)}()")
        guarded = f"DO $segue$ BEGIN IF to_regprocedure({function}) IS NOT NULL THEN {drop}; END IF; END $segue$"
        return (guarded, *twins.detach(twin, self.quote_name))

    def _part(self, alias: Alias) -> None:
        """Take away a name that only the middle of this release knows."""
        closing = self._app_alias((replace(alias, place=alias.twin or alias.place),))[1]
        self._emit(
            f"part {alias.table}.{alias.column}",
            f"no longer call {alias.table}.{alias.place} {alias.column}",
            Act(
                statements=(*closing, *self._parted(alias)),
                locks=retire.exclusive(alias.table),
                unaliases=(alias,),
            ),
            (Act(aliases=(alias,)),),
        )

    def add_field(self, model: Any, field: Any) -> None:
        """Add a column; stock makes its foreign key at once, so a later rename does not name that anew."""
        deferred = len(self.deferred_sql)
        super().add_field(model, field)
        for statement in () if field.many_to_many else self.deferred_sql[deferred:]:
            if isinstance(statement, Statement) and statement.template == self.sql_create_fk:
                parts: Any = statement.parts
                parts["name"] = str(parts["name"])

    def remove_field(self, model: Any, field: Any) -> None:
        """Retire a column; a name that new code had for it goes."""
        table, column = model._meta.db_table, field.column
        super().remove_field(model, field)
        if column is not None:
            for alias in self._aliases_of(table, column):
                self._part(alias)

    def _is_twin(self, table: str, column: str, to: str) -> bool:
        """Whether an interrupted run has made the twin already."""
        plain = Conversion(type="")
        made = Twin(table=table, old=column, new=to, forth=plain, back=plain)
        return self._catalog.has_trigger(table, made.trigger)

    def _needs_one_column(self, table: str, column: str) -> bool:
        """Whether a twin would cost too much, or be passed over by a trigger that is UPDATE OF the column."""
        return self._catalog.rows_estimated(table) >= self.alias_from or self._catalog.is_watched(table, column)

    def _collation(self, field: Any) -> str:
        collation = field.db_parameters(connection=self.connection).get("collation")
        return f" COLLATE {self.quote_name(collation)}" if collation else ""

    def _emit_rename_at_finalize(self, column: str, alias: Alias, first: tuple[str, ...]) -> None:
        """The old column, with everything that hangs on it, takes the new name."""
        table, to, quote = alias.table, alias.column, self.quote_name
        rename = f"ALTER TABLE {quote(table)} RENAME COLUMN {quote(column)} TO {quote(to)}"
        others = [a for a in self._cemetery.aliases if a.table == table and a.column and a != alias]
        if any(a.place == to or a.column == column for a in others):
            rename = self._rename_in_a_ring(table, column, to)
        self._emit(
            f"rename {table}.{column}",
            f"rename {table}.{column} to {to}",
            Act(statements=(*first, rename), locks=retire.exclusive(table), unaliases=(alias,)),
            CONTRACT,
            phase=Phase.CONTRACT,
            unless_retired=keys_of(table, column),
            naming=True,
        )

    def _rename_in_a_ring(self, table: str, column: str, to: str) -> str:
        """Rename where columns exchange their names: what still has the name moves aside, and its twin is told."""
        literal, quote = self.quote_value, self.quote_name
        aside, moved = label("segue_moving_", to), label("segue_moving_", column)
        there = "EXISTS (SELECT FROM pg_attribute WHERE attrelid = {}::regclass AND attname = {} AND NOT attisdropped)"
        alter = f"ALTER TABLE {quote(table)} RENAME COLUMN"
        regclass = literal(quote(table))
        return (
            f"DO $segue$ DECLARE body text; BEGIN IF {there.format(regclass, literal(to))} THEN "
            f"{alter} {quote(to)} TO {quote(aside)}; "
            "FOR body IN SELECT pg_get_functiondef(tgfoid) FROM pg_trigger "
            f"WHERE tgrelid = {regclass}::regclass AND tgname LIKE 'zzzz\\_segue%' LOOP "
            f"EXECUTE replace(body, {literal('.' + quote(to))}, {literal('.' + quote(aside))}); END LOOP; END IF; "
            f"IF {there.format(regclass, literal(moved))} THEN {alter} {quote(moved)} TO {quote(to)}; "
            f"ELSE {alter} {quote(column)} TO {quote(to)}; END IF; END $segue$"
        )

    def _rename_key(self, key: ForeignKey, statement: Statement) -> None:
        """Stock Django names a foreign key after what it joins; the key itself stays as it is.

        An earlier operation may have left it another name to take at finalize, so there it is found by what it joins.
        """
        to = strip_quotes(str(statement.parts["name"]))
        if key.name == to and not {key.table, key.to_table} & self._tables_called_otherwise:
            return
        literal, quote = self.quote_value, self.quote_name
        columns = ", ".join(literal(column) for column in key.columns)
        of_columns = "ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY u(number, place) "
        of_columns += "JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.number ORDER BY u.place)"
        rename = (
            f"format('ALTER TABLE %s RENAME CONSTRAINT %I TO %I', {literal(quote(key.table))}, found, {literal(to)})"
        )
        self._emit(
            f"rename key {key.table}.{key.name}",
            f"rename foreign key {key.name} of {key.table} to {to}",
            Act(
                statements=(
                    "DO $segue$ DECLARE found name; BEGIN SELECT k.conname INTO found FROM pg_constraint k "
                    f"WHERE k.contype = 'f' AND k.conrelid = to_regclass({literal(quote(key.table))}) "
                    f"AND k.confrelid = to_regclass({literal(quote(key.to_table))}) "
                    f"AND {of_columns} = ARRAY[{columns}]; "
                    f"IF found <> {literal(to)} THEN EXECUTE {rename}; END IF; END $segue$",
                ),
                locks=retire.exclusive(key.table),
            ),
            CONTRACT,
            phase=Phase.CONTRACT,
            unless_retired=((Kind.TABLE.value, key.table, key.table),),
        )
