"""What a model's table and columns are in SQL: the names, and the definitions by which what is retired is known.

Reads models only, never the database.
"""

from __future__ import annotations

from typing import Any

from django.db.models import Field, Model

from segue.engines.sqlite import following


class Shape:
    """Questions about models, answered as the given schema editor would make them."""

    def __init__(self, editor: Any) -> None:
        self._editor = editor

    def is_stored(self, field: Field[Any, Any]) -> bool:
        """Whether the field is a column whose values are stored, and not computed."""
        if field.many_to_many or field.column is None or getattr(field, "generated", False):
            return False
        return field.db_parameters(connection=self._editor.connection)["type"] is not None

    def columns(self, model: type[Model]) -> tuple[str, ...]:
        """Return the columns of the model's table whose values are stored."""
        return tuple(str(f.column) for f in model._meta.local_concrete_fields if self.is_stored(f))

    def key(self, model: type[Model]) -> tuple[str, ...]:
        """Return the columns of the model's primary key."""
        return tuple(str(f.column) for f in getattr(model._meta, "pk_fields", [model._meta.pk]))

    def unique(self, model: type[Model]) -> list[tuple[str, ...]]:
        """Return the groups of columns that tell the model's rows apart."""
        meta = model._meta
        single = [(f.name,) for f in meta.local_concrete_fields if f.unique]
        constraints = [c.fields for c in getattr(meta, "total_unique_constraints", [])]
        return [
            tuple(str(meta.get_field(name).column) for name in names)  # type: ignore[union-attr]  # no relation's
            for names in (*single, *meta.unique_together, *constraints)
        ]

    def column(self, model: type[Model], field: Any) -> str:
        """Return the column as Django would make it without its one-off default, and what it refers to.

        The field's kind tells columns apart that SQLite declares alike: a duration and a whole number.
        """
        sql, params = self._editor.column_sql(model, field, include_default=False)
        quote = self._editor.quote_name
        check = field.db_parameters(connection=self._editor.connection)["check"]
        made = self._complete(sql, params) + (f" CHECK ({check})" if check else "")
        definition = following.column_definition(made, str(field.column), quote)
        definition = f"{field.get_internal_type()}: {definition}"
        if not (field.remote_field and getattr(field, "db_constraint", False)):
            return definition
        parent, target = field.remote_field.model._meta.db_table, field.target_field.column
        return f"{definition} REFERENCES {quote(parent)} ({quote(target)})"

    def table(self, model: type[Model]) -> str:
        """Return the statement that makes the model's table."""
        deferred: list[Any] = self._editor.deferred_sql
        already = len(deferred)
        sql, params = self._editor.table_sql(model)
        del deferred[already:]
        return self._complete(sql, params)

    def _complete(self, sql: Any, params: Any) -> str:
        return str(sql) % tuple(self._editor.quote_value(p) for p in params) if params else str(sql)
