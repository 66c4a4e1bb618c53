"""What stock Django would do to alter a field, heard and not run.

Stock's own `_alter_field` decides what changes, in every version of Django and for every third-party field; its
statements are kept apart by what they are for. Owns the hearing; what becomes of it is decided in `alter`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from django.db.backends.ddl_references import Statement
from django.db.backends.utils import strip_quotes

from segue.engines.postgresql.editor.aliasing import Aliasing

_HEARD = "/* heard by segue */"


@dataclass
class Alteration:
    """One alteration of a field, as stock would carry it out: names of what goes, statements of what comes.

    `primary_key` is the name of the table's new primary key, "" where the field does not become that.
    """

    model: Any
    old_field: Any
    new_field: Any
    foreign_keys_gone: list[tuple[Any, str]] = field(default_factory=list)
    uniques_gone: list[str] = field(default_factory=list)
    checks_gone: list[str] = field(default_factory=list)
    indexes_gone: list[str] = field(default_factory=list)
    retyped: list[tuple[Any, Any, Any]] = field(default_factory=list)
    nullability: bool = False
    db_default: bool = False
    primary_key_gone: bool = False
    primary_key: str = ""
    uniques: list[Any] = field(default_factory=list)
    indexes: list[Any] = field(default_factory=list)
    foreign_keys: list[Any] = field(default_factory=list)
    checks: list[tuple[str, str]] = field(default_factory=list)
    others: list[str] = field(default_factory=list)


class Hearing(Aliasing):
    """Overrides what stock's `_alter_field` builds its statements with."""

    _heard: Alteration | None = None

    @property
    def _stock(self) -> Any:
        """The editor below this one; Django's stubs leave its parts out."""
        return super()

    def _hear(self, model: Any, old_field: Any, new_field: Any, strict: bool) -> Alteration:
        """Return what stock would do; raises what stock raises for an alteration that it does not know."""
        heard = self._heard = Alteration(model, old_field, new_field)
        # Stock would give the deferred statements new names; they have the database's own.
        deferred, self.deferred_sql = self.deferred_sql, []
        try:
            super().alter_field(model, old_field, new_field, strict)
        finally:
            self._heard, self.deferred_sql = None, deferred
        return heard

    def execute(self, sql: Any, params: Any = ()) -> None:
        """While stock is heard, note what only its text tells."""
        heard = self._heard
        if heard is None:
            return super().execute(sql, params)
        text = self._complete(sql, params)
        if _HEARD in text or text.startswith("UPDATE "):
            return None
        if isinstance(sql, Statement) and sql.template == self.sql_create_fk:
            heard.foreign_keys.append(sql)
        elif isinstance(sql, Statement) and sql.template in (self.sql_create_index, self.sql_create_index_concurrently):
            heard.indexes.append(sql)
        else:
            heard.others.append(text)
        return None

    def _delete_fk_sql(self, model: Any, name: str) -> Any:
        if self._heard is None:
            return self._stock._delete_fk_sql(model, name)
        self._heard.foreign_keys_gone.append((model, name))
        return _HEARD

    def _delete_unique_sql(self, model: Any, name: str, *args: Any, **kwargs: Any) -> Any:
        if self._heard is None:
            return self._stock._delete_unique_sql(model, name, *args, **kwargs)
        self._heard.uniques_gone.append(name)
        return _HEARD

    def _delete_check_sql(self, model: Any, name: str) -> Any:
        if self._heard is None:
            return self._stock._delete_check_sql(model, name)
        self._heard.checks_gone.append(name)
        return _HEARD

    def _delete_index_sql(self, model: Any, name: str, *args: Any, **kwargs: Any) -> Any:
        if self._heard is None:
            return self._stock._delete_index_sql(model, name, *args, **kwargs)
        self._heard.indexes_gone.append(name)
        return _HEARD

    def _rename_field_sql(self, table: str, old_field: Any, new_field: Any, new_type: str) -> Any:
        if self._heard is None:
            return self._stock._rename_field_sql(table, old_field, new_field, new_type)
        return _HEARD

    def _alter_column_type_sql(self, model: Any, old_field: Any, new_field: Any, *args: Any, **kwargs: Any) -> Any:
        if self._heard is None:
            return self._stock._alter_column_type_sql(model, old_field, new_field, *args, **kwargs)
        self._heard.retyped.append((model, old_field, new_field))
        types = [f.db_parameters(connection=self.connection)["type"] for f in (old_field, new_field)]
        if (old_field.db_index or old_field.unique) and _leaves_text(*types):
            self._heard.indexes_gone.append(
                self._create_index_name(model._meta.db_table, [old_field.column], suffix="_like")
            )
        return (_HEARD, []), []

    def _alter_column_null_sql(self, model: Any, old_field: Any, new_field: Any) -> Any:
        if self._heard is None:
            return self._stock._alter_column_null_sql(model, old_field, new_field)
        self._heard.nullability = True
        return _HEARD, []

    def _alter_column_database_default_sql(self, model: Any, old_field: Any, new_field: Any, drop: bool = False) -> Any:
        if self._heard is None:
            return self._stock._alter_column_database_default_sql(model, old_field, new_field, drop=drop)
        self._heard.db_default = True
        return _HEARD, []

    def _alter_column_default_sql(self, model: Any, old_field: Any, new_field: Any, drop: bool = False) -> Any:
        if self._heard is None:
            return self._stock._alter_column_default_sql(model, old_field, new_field, drop=drop)
        return _HEARD, []

    def _delete_primary_key(self, model: Any, strict: bool = False) -> None:
        if self._heard is None:
            self._stock._delete_primary_key(model, strict)
        else:
            self._heard.primary_key_gone = True

    def _create_primary_key_sql(self, model: Any, field: Any) -> Any:
        statement = self._stock._create_primary_key_sql(model, field)
        if self._heard is None:
            return statement
        self._heard.primary_key = strip_quotes(str(statement.parts["name"]))
        return _HEARD

    def _create_unique_sql(self, model: Any, fields: Any, *args: Any, **kwargs: Any) -> Any:
        statement = self._stock._create_unique_sql(model, fields, *args, **kwargs)
        if self._heard is not None:
            self._heard.uniques.append(statement)
            return _HEARD
        return statement

    def _create_check_sql(self, model: Any, name: str, check: str) -> Any:
        if self._heard is None:
            return self._stock._create_check_sql(model, name, check)
        self._heard.checks.append((name, check))
        return _HEARD


def _leaves_text(old_type: str, new_type: str) -> bool:
    """Whether a text becomes another type: stock then drops its index for LIKE, in some versions by a method."""
    return any(old_type.startswith(t) and not new_type.startswith(t) for t in ("varchar", "text", "citext"))
