"""The statements that open and close an alias; `segue.alias` is the application's side of it.

The table `segue_alias` is the record. Its comment holds the same as JSON, because a comment can be read in one
query together with other things, by every role, whether the table exists or not: each new connection of the
application reads it.
"""

from __future__ import annotations

from collections.abc import Callable

from segue.core.change import Alias

Quote = Callable[[str], str]

_PUBLISH = (
    "EXECUTE format('COMMENT ON TABLE \"segue_alias\" IS %L', (SELECT json_agg(json_build_object("
    "'table', table_name, 'column', column_name, 'place', place, 'app', app, 'migration', migration, "
    "'backwards', backwards) ORDER BY id)::text FROM \"segue_alias\"))"
)


def opened(alias: Alias, *, release: str, app: str, migration: str, literal: Quote, backwards: bool = False) -> str:
    """Return the statement that opens an alias for code that has the migration; backwards, for code without it.

    It belongs to the transaction that makes the place. Of two aliases of one name the later holds.
    """
    values = (alias.table, alias.column, alias.place, app, migration, release)
    return _block(
        'INSERT INTO "segue_alias" '
        '("table_name", "column_name", "place", "app", "migration", "release", "backwards") '
        f"VALUES ({', '.join(literal(value) for value in values)}, {str(backwards).lower()})"
    )


def closed(alias: Alias, *, literal: Quote) -> str:
    """Return the statement that closes an alias.

    It belongs to the transaction in which the place disappears: after finalize new code finds the thing under
    its own name, and only a statement that fails tells it to look again. So nothing else may be called by the
    place afterwards.
    """
    return _block(
        f'DELETE FROM "segue_alias" WHERE "table_name" = {literal(alias.table)} '
        f'AND "column_name" = {literal(alias.column)} AND "place" = {literal(alias.place)}'
    )


def _block(change: str) -> str:
    return f"DO $segue$ BEGIN {change}; {_PUBLISH}; END $segue$"
