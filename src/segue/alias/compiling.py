"""What Django decides before a statement exists, where an alias or a view in a table's place changes the answer."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.db import OperationalError
from django.db.models.sql.compiler import SQLCompiler

from segue.alias.names import NAMES, say


def connect_first(then: Callable[[Any], None]) -> None:
    """Make Django open a PostgreSQL connection before it compiles a statement for it, not after.

    Only then are the names known. `then` is called with every connection that is about to compile.
    """
    compiler_class: Any = SQLCompiler
    compiled_first = compiler_class.execute_sql

    @wraps(compiled_first)
    def execute_sql(compiler: Any, *args: Any, **kwargs: Any) -> Any:
        if compiler.connection.vendor == "postgresql" and _connected(compiler.connection):
            then(compiler.connection)
        return compiled_first(compiler, *args, **kwargs)

    compiler_class.execute_sql = execute_sql


def _connected(connection: Any) -> bool:
    try:
        connection.ensure_connection()
    except OperationalError:
        raise  # The server does not answer; nobody should wait for that twice.
    except Exception:
        if connection.connection is not None:
            raise
        # Where connecting is forbidden (a test without a database, an event loop) a statement that needs none may
        # still be compiled; the others are refused a moment later, by whoever forbids it.
        return False
    return True


def recognize_columns(connection: Any) -> None:
    """Let `Model.objects.raw()` find a column that has a token among those that a statement returned."""
    convert = connection.introspection.identifier_converter

    def identifier_converter(name: str) -> Any:
        return convert(say(name, NAMES.words(connection.alias)))

    connection.introspection.identifier_converter = identifier_converter


def group_by_all_columns_of_views(connection: Any) -> None:
    """Keep Django from grouping by the primary key alone where a view stands in for a renamed table.

    PostgreSQL knows of no primary key there: https://www.postgresql.org/docs/current/sql-select.html#SQL-GROUPBY
    """
    allows = connection.features.allows_group_by_selected_pks_on_model

    def allows_group_by_selected_pks_on_model(model: Any) -> bool:
        return bool(allows(model)) and not _is_view(connection, model)

    connection.features.allows_group_by_selected_pks_on_model = allows_group_by_selected_pks_on_model


# By database and table. New code meets a view that becomes a table, for which all columns are right too, and
# never a table that becomes a view.
_views: dict[tuple[str, str], bool] = {}


def _is_view(connection: Any, model: Any) -> bool:
    key = (connection.alias, model._meta.db_table)
    if key not in _views:
        table = connection.ops.quote_name(say(key[1], NAMES.words(connection.alias)))
        try:
            connection.ensure_connection()
            with connection.connection.cursor() as cursor:
                cursor.execute("SELECT relkind = 'v' FROM pg_class WHERE oid = to_regclass(%s)", [table])
                found = cursor.fetchone()
        except Exception:
            return True  # Without an answer all columns are grouped by, which is right for tables too.
        if found is None:
            return False
        _views[key] = found[0]
    return _views[key]
