"""Django's schema editor, with an archive before everything that holds values and is dropped.

Stock does every change itself; here is only what comes before a drop and after a creation. What stock copies
from a table into its remade form is neither archived nor revived: nothing of it goes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from django.db.backends.sqlite3.schema import DatabaseSchemaEditor
from django.db.models import NOT_PROVIDED, Field, Model

from segue.core.change import Act, Cemetery, Kind, Retired
from segue.core.errors import StepFailed
from segue.engines.sqlite import revive
from segue.engines.sqlite.archive import Archives
from segue.engines.sqlite.revive import BuriedColumn, Reference


class ArchivingEditor(DatabaseSchemaEditor):
    """Runs a migration in one transaction; `done` hears in it of each archive that is made or emptied.

    A migration that asks for no transaction gets one all the same: nothing else could take it back.
    """

    def __init__(
        self,
        connection: Any,
        *,
        release: str,
        cemetery: Cemetery,
        done: Callable[[Act], None],
    ) -> None:
        super().__init__(connection, atomic=True)
        self._archives = Archives(connection, release)
        self._cemetery = cemetery
        self._done = done
        self._created: list[type[Model]] = []
        self._is_copying = False
        self._instead_of: Callable[[str], str] | None = None

    def __exit__(self, exc_type: Any, exc_value: Any, traceback: Any) -> None:
        """Check the foreign keys and commit, or take everything back.

        Stock leaves its transaction open when a foreign key does not hold, and checks them after a failure
        too, where the violation would hide the failure.
        """
        if exc_type is not None:
            return self._take_back(exc_value)
        try:
            super().__exit__(None, None, None)
        except BaseException as error:
            self._take_back(error)
            raise

    def _take_back(self, error: BaseException) -> None:
        if self.connection.in_atomic_block:
            self.atomic.__exit__(type(error), error, error.__traceback__)
        self.connection.enable_constraint_checking()

    # Tables

    def create_model(self, model: type[Model]) -> None:
        """Create a table, and fill it again when it is retired and was the same."""
        if self._is_copying:
            return super().create_model(model)
        self._created.append(model)
        super().create_model(model)
        # Stock creates implicit tables inside: their rows need this table's rows to be back first.
        if self._created[0] is model:
            created, self._created = self._created, []
            for table in created:
                self._revive_table(table)
        return None

    def _revive_table(self, model: type[Model]) -> None:
        table, columns = model._meta.db_table, self._columns(model)
        retired = self._find(Kind.TABLE, table, table, self._table_definition(model), columns)
        if retired is None:
            return
        references = [self._reference(f) for f in model._meta.local_concrete_fields]
        known = [reference for reference in references if reference is not None]
        revive.put_back_table(self._archives, retired.place, table, columns, known)
        self._done(Act(revives=(retired,)))

    def delete_model(self, model: type[Model], handle_autom2m: bool = True) -> None:
        """Archive a table's rows and drop it; its implicit tables go the same way."""
        if self._is_copying:
            return super().delete_model(model, handle_autom2m=handle_autom2m)
        table = model._meta.db_table
        place = self._archives.bury(table, self._columns(model))
        definition = self._table_definition(model)
        super().delete_model(model, handle_autom2m=handle_autom2m)
        retired = Retired(kind=Kind.TABLE, table=table, name=table, definition=definition, place=place)
        self._done(Act(retires=(retired,)))
        return None

    # Columns

    def add_field(self, model: type[Model], field: Field[Any, Any]) -> None:
        """Add a column, with the values that it had when it is retired and was the same.

        A row that has been written since keeps the default; a column that is the rows' key has no row to go
        back to, so its values stay archived.
        """
        retired = None
        if self._has_values(field) and not field.primary_key:
            definition = self._column_definition(model, field)
            columns = (*self._key(model), _column(field))
            retired = self._find(Kind.COLUMN, model._meta.db_table, _column(field), definition, columns)
        if retired is None:
            super().add_field(model, field)
        else:
            self._revive_column(model, field, retired)

    def _revive_column(self, model: type[Model], field: Field[Any, Any], retired: Retired) -> None:
        buried = BuriedColumn(
            place=retired.place,
            table=retired.table,
            key=self._key(model),
            column=_column(field),
            reference=self._reference(field),
        )
        if getattr(field, "db_default", NOT_PROVIDED) is not NOT_PROVIDED:
            super().add_field(model, field)
            revive.put_back(self._archives, buried)
        else:
            self._add_with_values(model, field, buried)
        revive.settle(self._archives, buried)
        self._done(Act(revives=(retired,)))

    def _add_with_values(self, model: type[Model], field: Field[Any, Any], buried: BuriedColumn) -> None:
        """Let stock copy the archived values into the remade table, where it would copy the default.

        A column that is unique, or takes no NULL and has no default, could not be added in any other way.
        """
        if not field.null and self.effective_default(field) is None:
            missing = revive.count_without_value(self._archives, buried)
            if missing:
                raise StepFailed(
                    f"{buried.table}.{buried.column} takes no NULL and has no default, and {missing} rows have "
                    "no value for it: they were written while it was away, or what it pointed at is gone. Give "
                    "the field a default in its migration, or settle these rows first."
                )
        self._instead_of = partial(revive.value_or, self._archives, buried)
        try:
            self._remake_table(model, create_field=field)
        finally:
            self._instead_of = None

    def prepare_default(self, value: Any) -> str:
        """Return the SQL of what a new column is filled with: its default, or what it had before."""
        default = str(super().prepare_default(value))
        return self._instead_of(default) if self._instead_of else default

    def remove_field(self, model: type[Model], field: Field[Any, Any]) -> None:
        """Archive a column's values and drop it."""
        if self._has_values(field):
            self._done(Act(retires=(self._bury_column(model, field),)))
        super().remove_field(model, field)

    def _bury_column(self, model: type[Model], field: Field[Any, Any]) -> Retired:
        table, column, key = model._meta.db_table, _column(field), self._key(model)
        definition = self._column_definition(model, field)
        if column in key:  # Without their key only the rest of a row can tell whose value it was.
            place = self._archives.bury(table, self._columns(model))
        else:
            place = self._archives.bury(table, (*key, column), key)
        return Retired(kind=Kind.COLUMN, table=table, name=column, definition=definition, place=place)

    # What stock copies

    def _remake_table(self, model: type[Model], *args: Any, **kwargs: Any) -> None:
        """Remake a table as stock does, and let its numbers go on where they were.

        Stock begins again after the highest number that is left, so that a new row could get the number, and
        with it the archived value, of one that was deleted.
        """
        table = model._meta.db_table
        last = self._archives.sequence(table)
        with self._copying():
            super()._remake_table(model, *args, **kwargs)  # type: ignore[misc]  # not in the stubs
        self._archives.raise_sequence(table, last)

    def _alter_many_to_many(self, *args: Any, **kwargs: Any) -> None:
        with self._copying():
            super()._alter_many_to_many(*args, **kwargs)  # type: ignore[misc]  # not in the stubs

    @contextmanager
    def _copying(self) -> Iterator[None]:
        outer, self._is_copying = self._is_copying, True
        try:
            yield
        finally:
            self._is_copying = outer

    # Pieces

    def _find(self, kind: Kind, table: str, name: str, definition: str, columns: tuple[str, ...]) -> Retired | None:
        """Return the newest retired object that was the same."""
        same = (r for r in self._cemetery.find(kind, table, name) if r.place and r.definition == definition)
        return next((r for r in same if self._archives.holds(r, columns)), None)

    def _has_values(self, field: Field[Any, Any]) -> bool:
        """Whether the field is a column whose values are stored, and not computed."""
        if field.many_to_many or field.column is None or getattr(field, "generated", False):
            return False
        return field.db_parameters(connection=self.connection)["type"] is not None

    def _columns(self, model: type[Model]) -> tuple[str, ...]:
        return tuple(_column(f) for f in model._meta.local_concrete_fields if self._has_values(f))

    def _key(self, model: type[Model]) -> tuple[str, ...]:
        return tuple(_column(f) for f in getattr(model._meta, "pk_fields", [model._meta.pk]))

    def _reference(self, field: Any) -> Reference | None:
        if not (field.remote_field and getattr(field, "db_constraint", False)):
            return None
        return Reference(
            column=field.column,
            to_table=field.remote_field.model._meta.db_table,
            to_column=field.target_field.column,
            nullable=field.null,
        )

    def _column_definition(self, model: type[Model], field: Field[Any, Any]) -> str:
        """The column as Django would make it without its one-off default, and what it refers to."""
        sql, params = self.column_sql(model, field, include_default=False)
        reference = self._reference(field)
        refers = f" REFERENCES {reference.to_table} ({reference.to_column})" if reference else ""
        return self._complete(sql, params) + refers

    def _table_definition(self, model: type[Model]) -> str:
        already_deferred = len(self.deferred_sql)
        sql, params = self.table_sql(model)
        del self.deferred_sql[already_deferred:]
        return self._complete(sql, params)

    def _complete(self, sql: Any, params: Any) -> str:
        return str(sql) % tuple(self.quote_value(p) for p in params) if params else str(sql)


def _column(field: Field[Any, Any]) -> str:
    """Return the name of the field's column, which it must have."""
    return str(field.column)


def editor_class(stock: type[DatabaseSchemaEditor]) -> type[ArchivingEditor]:
    """Return the archiving editor over whatever editor the project's engine has (SpatiaLite and others)."""
    if issubclass(ArchivingEditor, stock):
        return ArchivingEditor
    return type("ArchivingEditor", (ArchivingEditor, stock), {})
