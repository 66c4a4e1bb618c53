"""Counts, right after the second apply, what 1.3 had written before it and what is there again."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg

from segue.demo.ledger import Rows, has_all, read

TABLES = {
    "playlists": "music_playlist",
    "playlist songs": "music_playlistsong",
    "events": "music_analyticsevent",
}
PREFERENCE = "theme_preference"
PREFERENCE_DEFAULT = "dark"


@dataclass(frozen=True, kw_only=True)
class Returned:
    """Rows of one kind: acknowledged to 1.3 before the second apply, and found after it."""

    kind: str
    acknowledged: int
    found: int


def count_returned(connection: psycopg.Connection, written: Rows) -> tuple[Returned, ...]:
    """Count 1.3's rows in the tables, while its clients go on writing."""
    kinds = [_count(connection, kind, table, written) for kind, table in TABLES.items()]
    return (_count_preferences(connection, written), *kinds)


def _count(connection: psycopg.Connection, kind: str, table: str, written: Rows) -> Returned:
    """Count a table's rows that hold every acknowledged value; no client changes such a row."""
    expected = {key: cells for key, cells in written.items() if key[0] == table}
    found = read(connection, expected)
    there = sum(has_all(found.get(key, {}), cells) for key, cells in expected.items())
    return Returned(kind=kind, acknowledged=len(expected), found=there)


def _count_preferences(connection: psycopg.Connection, written: Rows) -> Returned:
    """Count the listeners whose preference is not the default.

    The clients never write the default, but may have changed a preference once more by now.
    """
    expected = {key: {PREFERENCE: cells[PREFERENCE]} for key, cells in written.items() if PREFERENCE in cells}
    found = read(connection, expected)
    there = sum(found.get(key, {}).get(PREFERENCE, PREFERENCE_DEFAULT) != PREFERENCE_DEFAULT for key in expected)
    return Returned(kind="preferences", acknowledged=len(expected), found=there)
