"""What a model's field says of its column, in SQL: type, values, and what a revival compares. Emits nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db.models import NOT_PROVIDED, Value

from segue.core.change import Kind, Retired
from segue.engines.names import logical_column, logical_table
from segue.engines.postgresql.acts.retire import label
from segue.engines.postgresql.editor.emission import StepEmitter
from segue.engines.postgresql.editor.filling import DatabaseDefault, Filling, Function, filling, function_of

# What a column is called that lies beside one of the same name, until finalize.
NEW_COLUMN = "segue_new_"


class Shapes(StepEmitter):
    """Questions about fields, answered by Django's own editor wherever it knows."""

    if TYPE_CHECKING:
        # Parts of Django's editor that its stubs leave out.
        _alter_column_default_sql: Any
        _collate_sql: Any
        _column_default_sql: Any
        db_default_sql: Any

    def _complete(self, sql: Any, params: Any) -> str:
        """As the driver does, which knows an hstore only once its extension is there: a plan comes before that."""
        if params:
            params = [_hstore(value) if isinstance(value, dict) else value for value in params]
        return super()._complete(sql, params)

    # Shape

    def _type(self, field: Any) -> str | None:
        """The column's type, None for a field that has no column."""
        type_: str | None = field.db_parameters(connection=self.connection)["type"]
        return type_

    def _is_computed(self, field: Any) -> bool:
        return bool(getattr(field, "generated", False))

    def _is_numbered(self, field: Any) -> bool:
        """Whether PostgreSQL numbers the rows: an identity column."""
        return bool(field.db_type_suffix(connection=self.connection))

    def _may_be_null(self, field: Any) -> bool:
        return bool(field.null or self._is_computed(field))

    def _retired_column(self, model: Any, field: Any, *, in_use: bool = False) -> Retired:
        return Retired(
            kind=Kind.COLUMN,
            table=model._meta.db_table,
            name=field.column,
            definition=self._definition(model, field),
            in_use=in_use,
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
                *([f"REFERENCES {logical_table(target.model)} ({logical_column(target)})"] if target else []),
            ]
        )

    def _bare_definition(self, field: Any, default: str, *, not_null: bool) -> str:
        """What ADD COLUMN takes without moving or reading a row: no constraint but NOT NULL."""
        params = field.db_parameters(connection=self.connection)
        collation = params.get("collation")
        return " ".join(
            [
                params["type"],
                *([self._collate_sql(collation)] if collation else []),
                *([f"DEFAULT {default}"] if default else []),
                *(["NOT NULL"] if not_null else []),
            ]
        )

    # Values

    def _filling(self, model: Any, field: Any) -> Filling:
        """What the rows of the column get when it is added."""
        if self._is_computed(field):
            return Filling()
        if self._is_numbered(field):
            number = f"nextval({self.quote_value(self.quote_name(self._interim_sequence(model, field)))}::regclass)"
            return Filling(one_by_one=number, inserted=number)
        return filling(
            constant=self._default_literal(field),
            function=self._function_of(field),
            database=self._database_default(field),
            unique=field.unique,
            null=field.null,
        )

    def _interim_sequence(self, model: Any, field: Any) -> str:
        """The sequence that numbers rows until finalize makes the column an identity."""
        return label("segue_sequence_", f"{self._catalog.relation_name(model._meta.db_table)}_{field.column}")

    def _function_of(self, field: Any) -> Function | None:
        return function_of(field)

    def _database_default(self, field: Any) -> DatabaseDefault | None:
        if getattr(field, "db_default", NOT_PROVIDED) is NOT_PROVIDED:
            return None
        expression = getattr(field, "_db_default_expression", field.db_default)
        definition, params = self.db_default_sql(field)
        sql = self._complete(definition, params or None)
        constant = isinstance(expression, Value)
        return DatabaseDefault(sql=sql, constant=constant, volatile=not constant and self._catalog.is_volatile(sql))

    def _default_literal(self, field: Any) -> str:
        """The default that stock gives the rows that are there, "" for none; a callable runs now."""
        value = self.effective_default(field)
        if value is None:
            return ""
        return self._complete(self._column_default_sql(field), [value])

    def _drop_default(self, model: Any, field: Any) -> str:
        changes, params = self._alter_column_default_sql(model, None, field, drop=True)
        table = self.quote_name(model._meta.db_table)
        return self._complete(self.sql_alter_column % {"table": table, "changes": changes}, params or None)

    def _change_default(self, table: str, column: str, now: str, then: str) -> tuple[str, ...]:
        """Return the statement that replaces one default of a column by another, "" being none."""
        if now == then:
            return ()
        change = f"SET DEFAULT {then}" if then else "DROP DEFAULT"
        return (f"ALTER TABLE {self.quote_name(table)} ALTER COLUMN {self.quote_name(column)} {change}",)


def _hstore(values: dict[str, str | None]) -> str:
    """Return an hstore as text: https://www.postgresql.org/docs/current/hstore.html#HSTORE-EXTERNAL-REP"""
    return ", ".join(f"{_quoted(key)}=>{'NULL' if value is None else _quoted(value)}" for key, value in values.items())


def _quoted(text: str) -> str:
    escaped = str(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
