"""The ORM's statements, compiled once and executed often: what the server sees is the ORM's, the client's cost is not.

They go through Django's own cursor, so that whatever an app attaches to connections meets them, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import connection
from django.db.models.sql import InsertQuery, UpdateQuery

MOST_OF_GET = 21  # QuerySet.get() asks for no more rows than this


class Statements:
    """A model's statements; values are by the attribute's name."""

    def __init__(self, model: Any) -> None:
        self.table: str = model._meta.db_table
        self._model = model
        self._fields = [field for field in model._meta.concrete_fields if not field.primary_key]
        self._columns = {field.attname: field.column for field in self._fields}
        self._sample = model(**{field.attname: 1 for field in self._fields if not field.has_default()})
        self._made: dict[object, str] = {}

    def cells(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Values by column."""
        return {self._columns[name]: value for name, value in values.items()}

    def get(self, pk: int) -> dict[str, Any]:
        """Model.objects.get(pk=…): a row's values."""
        found = self._execute(self._compiled("get", self._get), [pk])
        return dict(zip(self._columns, found[0][1:], strict=True))

    def among(self, pks: Sequence[int]) -> list[Any]:
        """Model.objects.filter(pk__in=…)."""
        return self._execute(self._compiled(("among", len(pks)), lambda: self._among(pks)), pks)

    def with_related(self, name: str, pk: int) -> list[Any]:
        """Model.objects.select_related(name).get(pk=…)."""
        return self._execute(self._compiled(("related", name), lambda: self._related(name)), [pk])

    def update(self, pk: int, values: Mapping[str, Any]) -> None:
        """Model.objects.filter(pk=…).update(…), which is also what save() sends."""
        statement = self._compiled(("update", *values), lambda: self._update(list(values)))
        self._execute(statement, [*values.values(), pk])

    def create(self, values: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        """Model.objects.create(…): the new primary key, and all values."""
        given = {f.attname: values[f.attname] if f.attname in values else f.get_default() for f in self._fields}
        rows = self._execute(self._compiled("create", self._create), list(given.values()))
        return rows[0][0], given

    def _compiled(self, key: object, compile_: Any) -> str:
        if key not in self._made:
            self._made[key] = compile_()
        return self._made[key]

    def _get(self) -> str:
        return str(self._model.objects.filter(pk=1)[:MOST_OF_GET].query.sql_with_params()[0])

    def _among(self, pks: Sequence[int]) -> str:
        return str(self._model.objects.filter(pk__in=list(range(len(pks)))).query.sql_with_params()[0])

    def _related(self, name: str) -> str:
        one = self._model.objects.select_related(name).filter(pk=1)[:MOST_OF_GET]
        return str(one.query.sql_with_params()[0])

    def _update(self, names: Sequence[str]) -> str:
        query = self._model.objects.filter(pk=1).query.chain(UpdateQuery)
        sample = {name: getattr(self._sample, name) for name in names}
        query.add_update_fields(
            [
                (field, None, 1 if sample[field.attname] is None else sample[field.attname])
                for field in self._named(names)
            ]
        )
        return str(query.get_compiler(connection=connection).as_sql()[0])

    def _named(self, names: Sequence[str]) -> list[Any]:
        by_name = {field.attname: field for field in self._fields}
        return [by_name[name] for name in names]

    def _create(self) -> str:
        query = InsertQuery(self._model)
        query.insert_values(self._fields, [self._sample])
        compiler = query.get_compiler(connection=connection)
        compiler.returning_fields = [self._model._meta.pk]
        return str(compiler.as_sql()[0][0])

    @staticmethod
    def _execute(statement: str, params: Sequence[Any]) -> list[Any]:
        with connection.cursor() as cursor:
            cursor.execute(statement, params)
            return cursor.fetchall() if cursor.description else []
