"""Foreign keys: attached without holding up anybody, in a form that old code can live with until finalize."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from django.db import models
from django.db.backends.ddl_references import Statement
from django.db.backends.utils import strip_quotes

from segue.core.change import Act, Kind
from segue.core.plan import Phase
from segue.engines.postgresql.acts import retire
from segue.engines.postgresql.catalog import ForeignKey
from segue.engines.postgresql.editor.emission import CONTRACT, StepEmitter

# What old code's DELETE of a parent does to children that only new code knows, as long as both run. PROTECT and
# RESTRICT are new code's refusal and stay one; SET_DEFAULT and SET() are values that only Django computes.
_ON_DELETE: dict[Any, str] = {models.CASCADE: "CASCADE", models.SET_NULL: "SET NULL"}
_ON_DELETE_NOTE = "until finalize the database does what on_delete says, so that old code can delete"


class KeyVerbs(StepEmitter):
    """Foreign keys as steps: new ones, those of revived tables, and their detachment."""

    # Columns that no row had before: a reference in them to no row is an error, not an orphan.
    _fresh: frozenset[tuple[str, str]] = frozenset()

    # Without an inline form Django defers a new column's foreign key, which is then a step of its own.
    sql_create_column_inline_fk = ""

    def _create_fk_sql(self, model: Any, field: Any, suffix: str) -> Statement:
        """Build stock's statement, and keep with it what it leaves out: what deleting the parent should do."""
        stock: Any = super()
        statement: Statement = stock._create_fk_sql(model, field, suffix)
        statement.parts["on_delete_in_django"] = field.remote_field.on_delete
        return statement

    def _key(self, statement: Statement) -> ForeignKey:
        """The foreign key, and its form while old code runs, which deletes parents without knowing the child.

        The database then does what Django's on_delete does in new code; otherwise old code's DELETE would fail.
        """
        parts: Any = statement.parts
        to_column = ", ".join(self.quote_name(c) for c in parts["to_column"].columns)
        columns = ", ".join(self.quote_name(c) for c in parts["column"].columns)
        references = f"FOREIGN KEY ({columns}) REFERENCES {parts['to_table']} ({to_column})"
        stock = str(statement).rsplit(" ADD CONSTRAINT ", 1)[1].removeprefix(f"{parts['name']} ")
        action = _ON_DELETE.get(parts.get("on_delete_in_django"))
        return ForeignKey(
            name=strip_quotes(str(parts["name"])),
            table=parts["table"].table,
            to_table=parts["to_table"].table,
            columns=tuple(parts["column"].columns),
            to_columns=tuple(parts["to_column"].columns),
            definition=stock,
            while_open=f"{references} ON DELETE {action}{parts['deferrable']}" if action else "",
        )

    def _add_key_of_new_table(self, statement: Statement) -> None:
        key = self._key(statement)
        locks = () if key.to_table in self._new else retire.share_row(key.to_table)
        add = f"ALTER TABLE {self.quote_name(key.table)} ADD CONSTRAINT {self.quote_name(key.name)} "
        self._emit(
            f"foreign key {key.table}.{key.name}",
            f"add foreign key {key.table}.{key.columns[0]} to {key.to_table}",
            Act(statements=(add + (key.while_open or key.definition),), locks=locks),
            (retire.detach(key, self.quote_name),),
            note=_ON_DELETE_NOTE if key.while_open else "",
        )
        self._exchange_at_finalize(key)

    def _exchange_at_finalize(self, key: ForeignKey) -> None:
        if not key.while_open:
            return
        for number, act in enumerate(retire.exchange(key, self.quote_name)):
            self._emit(
                f"exchange {key.table}.{key.name} {number}",
                f"make foreign key {key.table}.{key.columns[0]} as stock Django has it, part {number + 1} of 3",
                act,
                CONTRACT,
                phase=Phase.CONTRACT,
                unless_retired=(*keys_of(key.table, key.columns[0]), *keys_of(key.to_table, key.to_columns[0])),
            )

    def _attach_keys(self, keys: list[ForeignKey]) -> None:
        """Attach what holds rows to tables in use, settle what lost its parent, then attach revived tables to
        each other: a key that cascades must not take rows along that quarantine is about to keep.
        """
        revived = {key.table for key in keys}
        inner = [key for key in keys if key.to_table in revived]
        self._attach([key for key in keys if key not in inner])
        self._settle_orphans("quarantine", keys)
        self._attach(inner)
        self._settle_orphans("quarantine late", inner)
        for key in keys:
            self._emit(
                f"validate {key.table}.{key.name}",
                f"validate foreign key {key.table}.{key.columns[0]} to {key.to_table}",
                retire.attach(key, self.quote_name)[1],
                (),
                phase=Phase.VALIDATE,
            )
            self._exchange_at_finalize(key)

    def _attach(self, keys: list[ForeignKey]) -> None:
        for key in keys:
            self._emit(
                f"foreign key {key.table}.{key.name}",
                f"attach foreign key {key.table}.{key.columns[0]} to {key.to_table}",
                retire.attach(key, self.quote_name)[0],
                (retire.detach(key, self.quote_name),),
                note=_ON_DELETE_NOTE if key.while_open else "",
            )

    def _settle_orphans(self, slug: str, keys: list[ForeignKey]) -> None:
        keys = [key for key in keys if (key.table, key.columns[0]) not in self._fresh]
        if keys:
            self._emit(
                slug,
                f"put orphans of {', '.join(dict.fromkeys(key.table for key in keys))} into quarantine",
                Act(statements=(retire.until_settled(tuple(s for key in keys for s in self._quarantine(key))),)),
                (),
                phase=Phase.VALIDATE,
            )

    def _quarantine(self, key: ForeignKey) -> tuple[str, ...]:
        facts = self._catalog.column(key.table, key.columns[0])
        nullable = facts is not None and not facts.not_null
        return retire.quarantine(key, nullable, self._release, self.quote_value, self.quote_name)

    def _detach(self, key: ForeignKey) -> None:
        self._emit(
            f"detach foreign key {key.table}.{key.name}",
            f"detach foreign key {key.table}.{key.columns[0]} from {key.to_table}",
            retire.detach(key, self.quote_name),
            self._attached_again(key),
        )

    def _attached_again(self, key: ForeignKey) -> tuple[Act, ...]:
        """Undo a detachment: enforce the key, put aside the rows whose parent went away meanwhile, prove it."""
        enforce, prove = retire.attach(key, self.quote_name)
        acts = (enforce, Act(statements=(retire.until_settled(self._quarantine(key)),)), prove)
        return tuple(replace(act, against_new_code=True) for act in acts)


def keys_of(table: str, column: str) -> tuple[tuple[str, ...], ...]:
    """The keys of a table and of one of its columns, for a step that must not run once either is retired."""
    return ((Kind.TABLE.value, table, table), (Kind.COLUMN.value, table, column))
