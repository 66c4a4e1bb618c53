"""alter_field: what stock Django would do, aspect by aspect, each in the form that holds up nobody.

The order keeps every aspect simple: what goes, goes first; a column is tightened under its old type and name;
then type and name change; what is new comes last.
"""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from django.db.backends.ddl_references import Columns, Statement
from django.db.backends.utils import strip_quotes
from django.db.models import NOT_PROVIDED

from segue.core.change import Act, Kind, Retired
from segue.core.errors import StepFailed
from segue.core.plan import Phase
from segue.engines.postgresql.acts import nulls, retire
from segue.engines.postgresql.acts.blocks import fail_if_any
from segue.engines.postgresql.acts.twin import TWIN
from segue.engines.postgresql.catalog import ForeignKey
from segue.engines.postgresql.editor import families
from segue.engines.postgresql.editor.emission import CONTRACT
from segue.engines.postgresql.editor.hearing import Alteration
from segue.engines.postgresql.editor.rename import RenameVerbs
from segue.engines.postgresql.editor.shape import NEW_COLUMN

_AUTO = ("AutoField", "BigAutoField", "SmallAutoField")


class AlterVerbs(RenameVerbs):
    """alter_field, and the comments of tables."""

    if TYPE_CHECKING:
        # Parts of Django's editor that its stubs leave out.
        _field_should_be_altered: Any

    def alter_field(self, model: Any, old_field: Any, new_field: Any, strict: bool = False) -> None:
        """Alter a field in steps; raises ValueError as stock does for what cannot be altered."""
        if self._drafts or self._heard is not None:
            return super().alter_field(model, old_field, new_field, strict)
        types = [f.db_parameters(connection=self.connection)["type"] for f in (old_field, new_field)]
        if None in types:
            return super().alter_field(model, old_field, new_field, strict)
        self._give_up_names(model, old_field, new_field)
        if not self._field_should_be_altered(old_field, new_field):
            return None
        self._require_one_column(model._meta.db_table, old_field.column)
        altered = self._hear(model, old_field, new_field, strict)
        if self._has_no_online_form(altered):
            return self._as_stock(model, "alter_field", old_field, new_field, strict)
        return self._carry_over(altered, old_field.column)

    def _has_no_online_form(self, altered: Alteration) -> bool:
        """Whether others refer to a primary key that goes, or a key or numbers are to come out of what is none.

        Or the database computes the column: a twin of that would have nothing to be true to.
        """
        types = [f.db_parameters(connection=self.connection)["type"] for f in (altered.old_field, altered.new_field)]
        change = families.change(*types)
        if altered.primary_key_gone and self._is_referred_to(altered.model._meta.db_table):
            return True
        is_computed = getattr(altered.old_field, "generated", False)
        if change is not families.Change.SAME and (altered.primary_key or is_computed):
            return True
        return _is_auto(altered.old_field) != _is_auto(altered.new_field) and change is families.Change.OTHER

    def _require_one_column(self, table: str, column: str) -> None:
        """What lies beside old code's column until finalize cannot become another one before that."""
        for alias in self._aliases_of(table, column):
            if alias.place.startswith((TWIN, NEW_COLUMN)):
                raise StepFailed(
                    f"{table}.{alias.column} lies beside the column that old code uses until finalize: it cannot be "
                    "altered again before that.",
                    next_command="manage.py migrate APP MIGRATION, to go one migration less far; segue finalize, when "
                    "the code before it is gone; then the same command again",
                )

    def _carry_over(self, altered: Alteration, column: str) -> None:
        """Emit the steps of one alteration."""
        table, to = altered.model._meta.db_table, altered.new_field.column
        kept, new_key = self._keys_kept(altered)
        if new_key is not None and not self._goes_back:
            self._require_parents(altered, new_key, column)
        for name in altered.uniques_gone + altered.checks_gone:
            self._drop_constraint(table, name, self._catalog.constraint(table, name))
        if altered.primary_key_gone and self._key_there(table):
            self._drop_key_at_finalize(table)
        becomes_not_null = altered.nullability and not altered.new_field.null
        if becomes_not_null:
            self._forbid_null(altered, column)
        late = False
        if any(new is altered.new_field for _, _, new in altered.retyped):
            late = self._retype(altered, column, to)
        else:
            self._retire_gone(altered)
            if to != column:
                self._rename_column(altered.model, altered.old_field, altered.new_field, column)
        now = self._now(table, to)
        if altered.nullability and altered.new_field.null:
            self._allow_null(altered, now)
        if altered.db_default:
            self._alter_db_default(altered, now)
        self._comment(altered, now)
        self._number_anew(altered, now)
        self._add_what_is_new(altered, now, late)
        if new_key is not None:
            self._attach_at_finalize(new_key)
        for key, statement in kept:
            self._rename_key(key, statement)

    def _number_anew(self, altered: Alteration, column: str) -> None:
        """Another primary key, and a column that begins or ceases to number its rows."""
        table, (old, new) = altered.model._meta.db_table, map(_is_auto, (altered.old_field, altered.new_field))
        if new and not old:
            self._number(table, column, altered.new_field)
        if old and not new:
            self._number_no_more(table, column)
        if altered.primary_key:
            self._emit_key_index(table, column)
            self._make_key(table, column, waits=self._waits_for_key(altered.model, table), name=altered.primary_key)

    def _now(self, table: str, column: str) -> str:
        """What the database calls a column of new code's at this point of the release."""
        places = [a.place for a in self._cemetery.aliases if a.table == table and a.column == column]
        return places[-1] if places else column

    # Foreign keys

    def _keys_kept(self, altered: Alteration) -> tuple[list[tuple[ForeignKey, Statement]], ForeignKey | None]:
        """Detach the field's old key and return its new one; a key that only changes its name is kept."""
        table = altered.model._meta.db_table
        mine = [s for s in altered.foreign_keys if s.parts["table"].table == table]
        new = next((s for s in mine if altered.new_field.column in s.parts["column"].columns), None)
        kept = self._keys_onto_the_field(altered)
        for _, name in altered.foreign_keys_gone:
            if any(name == onto.name for onto, _ in kept):
                continue
            key = next((k for k in self._catalog.foreign_keys(table) if k.name == name and k.table == table), None)
            if key is None:
                continue
            if new is not None and self._joins_the_same(key, new):
                kept.append((key, new))
            else:
                self._detach(key)
        if new is None or any(statement is new for _, statement in kept):
            return kept, None
        return kept, replace(self._key(new), while_open="")

    def _keys_onto_the_field(self, altered: Alteration) -> list[tuple[ForeignKey, Statement]]:
        """Keys that refer to the field, or to a key that changes with it: the swap carries them, stock renames them."""
        changed = [(model._meta.db_table, old.column) for model, old, _ in altered.retyped]
        onto = []
        for table, column in dict.fromkeys([(altered.model._meta.db_table, altered.old_field.column), *changed]):
            for key in self._catalog.foreign_keys(table, column):
                if retire.shorten(key.to_table) != retire.shorten(table) or column not in key.to_columns:
                    continue
                for statement in altered.foreign_keys:
                    parts: Any = statement.parts
                    child = retire.shorten(parts["table"].table)
                    if (retire.shorten(key.table), key.columns) == (child, tuple(parts["column"].columns)):
                        onto.append((key, statement))
        return onto

    def _joins_the_same(self, key: ForeignKey, statement: Statement) -> bool:
        parts: Any = statement.parts
        joined = (retire.shorten(parts["to_table"].table), tuple(parts["to_column"].columns))
        return (retire.shorten(key.to_table), key.to_columns) == joined

    def _require_parents(self, altered: Alteration, key: ForeignKey, column: str) -> None:
        """What refers to nothing today is told today; the column has neither its new name nor its new type yet."""
        old, new = (f.db_parameters(connection=self.connection)["type"] for f in (altered.old_field, altered.new_field))
        value = f"c.{self.quote_name(column)}{'' if old == new else f'::{new}'}"
        child, parent, to_column = map(self.quote_name, (key.table, key.to_table, key.to_columns[0]))
        orphans = f"NOT EXISTS (SELECT FROM {parent} p WHERE p.{to_column} = {value})"
        self._emit(
            f"references {key.table}.{key.name}",
            f"see that every {key.table}.{key.columns[0]} is in {key.to_table}",
            Act(
                statements=(
                    fail_if_any(
                        f"{child} c WHERE {value} IS NOT NULL AND {orphans}",
                        f" of {key.table} with a {key.columns[0]} that is not in {key.to_table}",
                        error="foreign_key_violation",
                    ),
                ),
            ),
            (),
            phase=Phase.VALIDATE,
        )

    def _attach_at_finalize(self, key: ForeignKey) -> None:
        """Old code writes references that the new key would refuse, so it comes when old code has gone.

        By then the column has its new name, and its new type.
        """
        enforce, prove = retire.attach(key, self.quote_name)
        acts: tuple[Act, ...] = (enforce, prove)
        if self._goes_back:
            acts = (enforce, Act(statements=(retire.until_settled(self._quarantine(key)),)), prove)
        for number, act in enumerate(acts):
            self._emit(
                f"foreign key {key.table}.{key.name} {number}",
                f"attach foreign key {key.table}.{key.columns[0]} to {key.to_table}, part {number + 1} of {len(acts)}",
                act,
                CONTRACT,
                phase=Phase.CONTRACT,
                naming=True,
            )

    # Null

    def _forbid_null(self, altered: Alteration, column: str) -> None:
        """NULLs get the default that stock would give them; without one the column waits for finalize."""
        table = altered.model._meta.db_table
        default = self._value_for_null(altered.new_field)
        if default:
            type_ = self._type_of(table, column, altered.old_field)
            with self._twins_anew([(table, column, altered.new_field)]):
                for step in nulls.forbid(table, column, type_, default, self.quote_name):
                    self._emit(**step)
            flag = nulls.flag(column)
            retired = Retired(kind=Kind.COLUMN, table=table, name=flag, definition=type_, place=flag)
            self._emit(
                f"part {table}.{column} from NULL",
                f"stop turning NULL in {table}.{column} into its default",
                Act(
                    statements=nulls.part(table, column, self.quote_name),
                    locks=retire.exclusive(table),
                    retires=(retired,),
                ),
                CONTRACT,
                phase=Phase.CONTRACT,
                naming=True,
            )
            return
        if not self._goes_back:
            self._emit(
                f"values {table}.{column}",
                f"see that no {table}.{column} is NULL",
                nulls.require_none(table, column, self.quote_name),
                (),
                phase=Phase.VALIDATE,
            )
        acts = (retire.tighten_where_possible if self._goes_back else retire.tighten)(table, column, self.quote_name)
        for number, act in enumerate(acts):
            self._emit(
                f"not null {table}.{column} {number}",
                f"make {table}.{column} NOT NULL, part {number + 1} of 3",
                act,
                CONTRACT,
                phase=Phase.CONTRACT,
            )

    def _value_for_null(self, field: Any) -> str:
        """The SQL of what stock writes in place of NULL, "" for nothing."""
        if getattr(field, "db_default", NOT_PROVIDED) is not NOT_PROVIDED:
            sql, params = self.db_default_sql(field)
            return self._complete(sql, params or None)
        return self._default_literal(field) if field.has_default() or self._default_literal(field) else ""

    def _allow_null(self, altered: Alteration, column: str) -> None:
        """Allow NULL; what once stood in for it, and still does, becomes NULL again."""
        table = altered.model._meta.db_table
        if (table, self._key_of(table, column)) in self._leaving:
            self._give_up_key(table, column)
        alter = f"ALTER TABLE {self.quote_name(table)} ALTER COLUMN {self.quote_name(column)}"
        tighten = retire.tighten_where_possible(table, column, self.quote_name)
        self._emit(
            f"null {table}.{column}",
            f"allow NULL in {table}.{column}",
            Act(statements=(f"{alter} DROP NOT NULL",), locks=retire.exclusive(table)),
            tuple(replace(act, background=True) for act in tighten),
        )
        flag = nulls.flag(altered.new_field.column)
        if self._cemetery.find(Kind.COLUMN, table, flag) and self._catalog.column(table, flag):
            self._restore_null(altered, column)

    def _restore_null(self, altered: Alteration, column: str) -> None:
        """A column beside the one that holds the stand-ins would get them again: it waits until it is the only one."""
        table, name = altered.model._meta.db_table, altered.new_field.column
        type_ = self._type_of(table, column, altered.new_field)
        there, back = nulls.restore(table, name, type_, self.quote_name)
        slug, title = f"restore NULL {table}.{name}", f"make {table}.{name} NULL again where its stand-in still is"
        if column == name:
            undo = (Act(backfill=back, background=True),)
            with self._twins_anew([(table, column, altered.new_field)]):
                self._emit(slug, title, Act(backfill=there), undo, phase=Phase.BACKFILL)
        else:
            self._emit(slug, title, Act(backfill=there), CONTRACT, phase=Phase.CONTRACT, naming=True)

    def _type_of(self, table: str, column: str, field: Any) -> str:
        facts = self._catalog.column(table, column)
        return facts.type if facts else str(field.db_parameters(connection=self.connection)["type"])

    # Defaults and comments

    def _alter_db_default(self, altered: Alteration, column: str) -> None:
        """A default that old code may rely on goes at finalize; another one is set at once."""
        table = altered.model._meta.db_table
        alter = f"ALTER TABLE {self.quote_name(table)} ALTER COLUMN {self.quote_name(column)}"
        facts = self._catalog.column(table, column)
        restore = f"{alter} SET DEFAULT {facts.default}" if facts and facts.default else f"{alter} DROP DEFAULT"
        if altered.new_field.db_default is NOT_PROVIDED:
            self._emit(
                f"default {table}.{column}",
                f"drop the default of {table}.{column}",
                Act(statements=(f"{alter} DROP DEFAULT",), locks=retire.exclusive(table)),
                CONTRACT,
                phase=Phase.CONTRACT,
            )
            return
        sql, params = self.db_default_sql(altered.new_field)
        self._emit(
            f"default {table}.{column}",
            f"set the default of {table}.{column}",
            Act(
                statements=(f"{alter} SET DEFAULT {self._complete(sql, params or None)}",),
                locks=retire.exclusive(table),
            ),
            (Act(statements=(restore,), locks=retire.exclusive(table)),),
        )

    def _comment(self, altered: Alteration, column: str) -> None:
        old, new = (getattr(f, "db_comment", None) for f in (altered.old_field, altered.new_field))
        if old == new:
            return
        table = altered.model._meta.db_table
        on = f"COMMENT ON COLUMN {self.quote_name(table)}.{self.quote_name(column)} IS"
        texts = [self.quote_value(text) if text else "NULL" for text in (new, old)]
        self._emit(
            f"comment {table}.{column}",
            f"comment on {table}.{column}",
            Act(statements=(f"{on} {texts[0]}",), locks=retire.weak(table)),
            (Act(statements=(f"{on} {texts[1]}",), locks=retire.weak(table)),),
        )

    def alter_db_table_comment(self, model: Any, old_db_table_comment: str, new_db_table_comment: str) -> None:
        """Change a table's comment, which holds up nobody."""
        if self._drafts:
            return super().alter_db_table_comment(model, old_db_table_comment, new_db_table_comment)
        table = model._meta.db_table
        texts = [self.quote_value(text or "") for text in (new_db_table_comment, old_db_table_comment)]
        on = f"COMMENT ON TABLE {self.quote_name(table)} IS"
        self._emit(
            f"comment {table}",
            f"comment on {table}",
            Act(statements=(f"{on} {texts[0]}",), locks=retire.weak(table)),
            (Act(statements=(f"{on} {texts[1]}",), locks=retire.weak(table)),),
        )
        return None

    # What is new

    def _add_what_is_new(self, altered: Alteration, column: str, late: bool) -> None:
        """Unique constraints and indexes are built now; checks wait, because old code may violate them.

        `late`: the column has its new form only at finalize, and what is built now would stay with the old one.
        """
        table = altered.model._meta.db_table
        for statement in altered.uniques:
            name = strip_quotes(str(statement.parts["name"]))
            if late:
                self._add_late(table, f"UNIQUE ({self.quote_name(altered.new_field.column)})", name)
            else:
                self._build_unique(table=table, name=name, columns=(column,), as_constraint=True)
        for statement in altered.indexes:
            name = strip_quotes(str(statement.parts["name"]))
            if late:
                self._build_late(table, statement)
            elif name in altered.indexes_gone:
                self._exchange_index(table, name, statement)
            else:
                self._add_index(self._on_the_column(statement, altered.new_field.column, column))
        for quoted, check in altered.checks:
            name = strip_quotes(quoted)
            if late or column != altered.new_field.column:
                self._add_late(table, f"CHECK ({check})", name)
            else:
                self._add_check(table=table, name=name, check_sql=check, phase=Phase.CONTRACT)
        for text in altered.others:
            self._emit("sql", " ".join(text.split())[:100], Act(statements=(text,), locks=retire.exclusive(table)), ())

    def _on_the_column(self, statement: Statement, to: str, column: str) -> Statement:
        """Return an index on what the column is called until finalize, which then takes it along to its own name."""
        columns = statement.parts["columns"]
        if column == to or not isinstance(columns, Columns):
            return statement
        now: Any = copy(columns)
        now.columns = [column if name == to else name for name in now.columns]
        name = self.quote_name(strip_quotes(str(statement.parts["name"])))
        return Statement(statement.template, **{**statement.parts, "name": name, "columns": now})

    def _add_late(self, table: str, definition: str, name: str) -> None:
        """Add a constraint to a column that has its type and name only when everything else is done."""
        quote, alter = self.quote_name, f"ALTER TABLE {self.quote_name(table)}"
        if definition.startswith("UNIQUE"):
            columns = definition.removeprefix("UNIQUE ")
            build = f"CREATE UNIQUE INDEX CONCURRENTLY {quote(name)} ON {quote(table)} {columns}"
            first = Act(statements=(build,), locks=retire.weak(table), transactional=False)
            then = Act(
                statements=(f"{alter} ADD CONSTRAINT {quote(name)} UNIQUE USING INDEX {quote(name)}",),
                locks=retire.exclusive(table),
            )
            probe: dict[str, Any] = {
                "probe": self._index_probe(table, name),
                "clean": (self._sql_drop_index(table, name),),
            }
        else:
            add = f"{alter} ADD CONSTRAINT {quote(name)} {definition} NOT VALID"
            first = Act(statements=(add,), locks=retire.exclusive(table))
            then = Act(statements=(f"{alter} VALIDATE CONSTRAINT {quote(name)}",), locks=retire.weak(table))
            probe = {}
        late: dict[str, Any] = {"phase": Phase.CONTRACT, "naming": True}
        self._emit(f"build {table}.{name}", f"build {name} of {table}", first, CONTRACT, **late, **probe)
        self._emit(f"constraint {table}.{name}", f"make {name} a constraint of {table}", then, CONTRACT, **late)


def _is_auto(field: Any) -> bool:
    return field.get_internal_type() in _AUTO
