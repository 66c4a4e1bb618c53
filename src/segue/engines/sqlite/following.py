"""What is retired follows the table and the columns that it belongs to, when they are called something else.

Pure: each function says what a retired object is from then on. A table that is dropped itself takes what belongs
to it along, under the name of its archive, so that another table of its name does not find it; what refers to it
does so there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from segue.core.change import Kind, Retired

Quote = Callable[[str], str]


def table_renamed(retired: Retired, old: str, new: str, quote: Quote) -> Retired:
    """Return the object after a table got another name."""
    definition = referring(retired.definition, old, new, quote)
    is_its = retired.table == old and retired.kind is not Kind.TABLE
    return replace(retired, definition=definition, table=new if is_its else retired.table)


def column_renamed(retired: Retired, table: str, old: str, new: str, quote: Quote) -> Retired:
    """Return the object after a column that is in use got another name.

    A retired column of that name is another one, and keeps its name.
    """
    before, after = (f"REFERENCES {quote(table)} ({quote(c)})" for c in (old, new))
    is_its = retired.kind is Kind.VALUES and (retired.table, retired.name) == (table, old)
    return replace(retired, definition=retired.definition.replace(before, after), name=new if is_its else retired.name)


def table_dropped(retired: Retired, table: str, place: str, quote: Quote) -> Retired:
    """Return the object after the table that it belongs to, or refers to, went into an archive, if it had rows."""
    is_its = retired.table == table and retired.kind is not Kind.TABLE
    definition = referring(retired.definition, table, place, quote) if place else retired.definition
    return replace(retired, definition=definition, table=place if is_its else retired.table)


def table_revived(retired: Retired, place: str, table: str, quote: Quote) -> Retired:
    """Return the object after the table that it belongs to, or refers to, came back from its archive."""
    definition = referring(retired.definition, place, table, quote)
    return replace(retired, definition=definition, table=table if retired.table == place else retired.table)


def referring(definition: str, table: str, other: str, quote: Quote) -> str:
    """Return a definition that refers to another table where it referred to the one."""
    return definition.replace(f"REFERENCES {quote(table)} (", f"REFERENCES {quote(other)} (")


def column_dropped(retired: Retired, table: str, column: str, place: str) -> Retired:
    """Return the object after the column that it belongs to went into an archive."""
    is_its = retired.kind is Kind.VALUES and (retired.table, retired.name) == (table, column)
    return replace(retired, name=place) if is_its else retired


def column_revived(retired: Retired, table: str, column: str, place: str) -> Retired:
    """Return the object after the column that it belongs to came back from its archive."""
    is_its = retired.kind is Kind.VALUES and (retired.table, retired.name) == (table, place)
    return replace(retired, name=column) if is_its else retired


def column_definition(sql: str, column: str, quote: Quote) -> str:
    """Return a column's definition without its own name, which a check has in it."""
    return sql.replace(quote(column), quote("__column_name__"))
