"""Fills the shop with rows, in SQL: a song for each that is asked for, half as many reviews and sales, albums."""

from __future__ import annotations

import psycopg

from bench.kinds.changes import TABLES
from bench.kinds.site import albums_of

# A fifth of all songs have no mood. The factor spreads the references over the whole table.
_ROWS = (
    "INSERT INTO shop_album (title) SELECT 'album ' || n FROM generate_series(1, {albums}) AS n",
    "INSERT INTO shop_song (title, isrc, seconds, plays, mood, note, album_id)"
    " SELECT 'song number ' || n, 'S' || n, n % 600, n % 5000, CASE WHEN n % 5 <> 0 THEN 'mood ' || n % 7 END,"
    " 'a note about song ' || n, 1 + n % {albums} FROM generate_series(1, {songs}) AS n",
    "INSERT INTO shop_review (song_id, stars) SELECT 1 + n * 7919 % {songs}, n % 6 FROM"
    " generate_series(1::bigint, {songs} / 2) AS n",
    "INSERT INTO shop_sale (song_id, cents) SELECT 1 + n * 7907 % {songs}, n % 999 FROM"
    " generate_series(1::bigint, {songs} / 2) AS n",
)


def seed(url: str, songs: int) -> None:
    """Fill the empty tables of the shop's first migration."""
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in _ROWS:
            connection.execute(statement.format(songs=songs, albums=albums_of(songs)))
        connection.execute(f"VACUUM (ANALYZE, FREEZE) {', '.join(TABLES)}")
