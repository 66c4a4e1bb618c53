"""Names with a schema in them, as Django lets a `db_table` say its own: "schema"."table".

What belongs to such a table lies in its schema, so its indexes are named with it too.
"""

from __future__ import annotations

_BETWEEN = '"."'


def qualified(schema: str, name: str) -> str:
    """Return the name with its schema, quoted so that Django's own quoting leaves it as it is."""
    return f'"{schema}{_BETWEEN}{name}"'


def schema_of(table: str) -> str:
    """Return the schema that the table's name says, "" where search_path finds the table."""
    return table.split(_BETWEEN)[0].strip('"') if _BETWEEN in table else ""


def relation_of(table: str) -> str:
    """Return the table's name without the schema that it may say."""
    return table.split(_BETWEEN)[1].strip('"') if _BETWEEN in table else table


def beside(table: str, name: str) -> str:
    """Return the name of an index, found in the schema that its table's name says."""
    schema = schema_of(table)
    return qualified(schema, name) if schema else name
