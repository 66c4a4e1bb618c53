"""Rows before and after a migration's own code: how they are kept, and how they are as they were again.

A value goes back only where nobody has changed it since; what goes back is remembered in turn for the next apply.
Every function runs in its caller's transaction.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from segue.engines.sqlite import memory, orphans
from segue.engines.sqlite.archive import Archives, alike, same
from segue.engines.sqlite.watch import WAS_THERE, Watched

# An archive's columns are the key, whether the row was and is there, and each column as it was and as it is now. A
# row that was set aside neither is nor is not there.
IS_THERE = "segue_is_there"
WAS, NOW = "segue_was ", "segue_now "
# What a column is called in an archive.
PREFIXES = ("", WAS, NOW)


def keep(archives: Archives, watched: Watched, *, every_row: bool) -> str | None:
    """Archive the rows that the code has changed, or every row of the table; None when there is none."""
    quote = archives.quote
    table, log, key = quote(watched.table), f"temp.{watched.log}", [quote(c) for c in watched.key]
    place = archives.make(
        [*watched.key, WAS_THERE, IS_THERE, *(prefix + c for prefix in (WAS, NOW) for c in watched.columns)],
        watched.key,
    )
    own, images = [f"+l.{k}" for k in watched.keys], [f"+l.{watched.image(c)}" for c in watched.columns]
    now = [f"+t.{quote(c)}" for c in watched.columns]
    changed = " OR ".join(f"NOT {same(f'l.{watched.image(c)}', f't.{quote(c)}')}" for c in watched.columns)
    of_row = alike("t", key, "l", watched.keys)
    insert = f"INSERT INTO {quote(place)} SELECT"
    archives.execute(
        f"{insert} {', '.join([*own, f'l.{WAS_THERE}', '1', *images, *now])} "
        f"FROM {log} l JOIN {table} t ON {of_row} WHERE NOT l.{WAS_THERE} OR {changed}"
    )
    archives.execute(
        f"{insert} {', '.join([*own, '1', '0', *images, *(['NULL'] * len(now))])} "
        f"FROM {log} l WHERE l.{WAS_THERE} AND NOT EXISTS (SELECT 1 FROM {table} t WHERE {of_row})"
    )
    if every_row:
        archived = f"SELECT 1 FROM {quote(place)} r WHERE {alike('r', key, 't', key)}"
        archives.execute(
            f"{insert} {', '.join([*(f'+t.{k}' for k in key), '1', '1', *now, *now])} "
            f"FROM {table} t WHERE NOT EXISTS ({archived})"
        )
    if archives.has_rows(place):
        return place
    archives.drop(place)
    return None


@dataclass(frozen=True, kw_only=True)
class Overlay:
    """The images of an archive, to be laid over a table after code has run that was watched.

    What the code of the other direction had made of a row, and nobody has changed until this code ran, is what it
    had been.
    """

    archives: Archives
    watched: Watched
    place: str

    def lay(self) -> list[dict[str, Any]]:
        """Lay the images over the table; return the rows that it did not take."""
        if set(self.watched.key) - set(self.archives.columns(self.place)):
            return []
        for column in self._columns:
            self._update(column)
        self._delete()
        return self._insert()

    def set_aside(self) -> None:
        """Delete the rows that nobody has changed since; they come back when the images are laid."""
        place = self._quote(self.place)
        unchanged = " AND ".join(same(f"a.{self._quote(NOW + c)}", f"t.{self._quote(c)}") for c in self._columns)
        of_row = f"({', '.join(self._key)}) IN (SELECT {', '.join(f'+a.{k}' for k in self._key)}"
        self.archives.execute(
            f"UPDATE {place} SET {IS_THERE} = NULL WHERE {of_row} {self._rows} WHERE a.{WAS_THERE} AND a.{IS_THERE} "
            f"AND {unchanged})"
        )
        self.archives.execute(
            f"DELETE FROM {self._quote(self.watched.table)} WHERE {of_row} FROM {place} a WHERE a.{IS_THERE} IS NULL)"
        )

    @property
    def _columns(self) -> list[str]:
        """The columns that the table still has."""
        archived = self.archives.columns(self.place)
        return [c for c in self.watched.columns if WAS + c in archived]

    def _before(self, column: str) -> str:
        """Return the SQL of what a column was before this code ran, in a row of `l` and `t`."""
        return f"CASE WHEN l.{WAS_THERE} IS NULL THEN t.{self._quote(column)} ELSE l.{self.watched.image(column)} END"

    def _quote(self, column: str) -> str:
        return str(self.archives.quote(column))

    @property
    def _key(self) -> list[str]:
        return [self._quote(c) for c in self.watched.key]

    @property
    def _rows(self) -> str:
        """The FROM of the archive's rows `a`, the rows `t` that are there, and the images `l` of those touched."""
        return (
            f"FROM {self._quote(self.place)} a LEFT JOIN {self._quote(self.watched.table)} t "
            f"ON {alike('t', self._key, 'a', self._key)} LEFT JOIN temp.{self.watched.log} l "
            f"ON {alike('l', self.watched.keys, 'a', self._key)}"
        )

    @property
    def _of_row(self) -> str:
        return f"({', '.join(self._key)}) IN (SELECT {', '.join(f'+a.{k}' for k in self._key)} {self._rows} WHERE"

    def _update(self, column: str) -> None:
        was, now = (f"a.{self._quote(prefix + column)}" for prefix in (WAS, NOW))
        table, quoted = self._quote(self.watched.table), self._quote(column)
        value = f"SELECT {was} FROM {self._quote(self.place)} a WHERE {alike('a', self._key, table, self._key)}"
        self.archives.execute(
            f"UPDATE OR IGNORE {table} SET {quoted} = ({value}) WHERE {self._of_row} a.{WAS_THERE} AND a.{IS_THERE} "
            f"AND ifnull(l.{WAS_THERE}, 1) AND {same(now, self._before(column))})"
        )

    def _delete(self) -> None:
        """Delete the rows that the other code had made, if they are as it had left them."""
        as_left = " AND ".join(same(f"a.{self._quote(NOW + c)}", self._before(c)) for c in self._columns)
        self.archives.execute(
            f"DELETE FROM {self._quote(self.watched.table)} WHERE {self._of_row} NOT a.{WAS_THERE} AND a.{IS_THERE} "
            f"AND ifnull(l.{WAS_THERE}, 1) AND {as_left})"
        )

    def _insert(self) -> list[dict[str, Any]]:
        """Put back the rows that the other code had deleted, in place of those that this code has made of them."""
        columns, table = self._columns, self._quote(self.watched.table)
        absent = f"(a.{IS_THERE} IS NULL OR (a.{WAS_THERE} AND NOT a.{IS_THERE} AND NOT ifnull(l.{WAS_THERE}, 0)))"
        was = ", ".join(f"+a.{self._quote(WAS + c)}" for c in columns)
        wanted = [
            dict(zip(columns, row, strict=True))
            for row in self.archives.rows(f"SELECT {was} {self._rows} WHERE {absent}")
        ]
        doubles = self._doubles(wanted)
        for made, _ in doubles:
            self.archives.execute(f"DELETE FROM {table} WHERE {self._is_row}", made)
        refused = [row for row in wanted if not self._put(row)]
        if len(self.watched.key) == 1:
            pairs = [(made[0], wanted[0]) for made, wanted in doubles]
            for child, column in orphans.referring(self.archives, self.watched.table, self.watched.key[0]):
                memory.follow(self.archives, child, column, pairs)
        return refused

    @property
    def _is_row(self) -> str:
        return " AND ".join(f"{key} = %s" for key in self._key)

    def _put(self, row: dict[str, Any]) -> bool:
        """Insert a row, or write over the one that this code has made with its key; whether it is there now."""
        table, values = self._quote(self.watched.table), [*row.values()]
        key = [row[c] for c in self.watched.key]
        is_there = f"SELECT 1 FROM {table} WHERE {self._is_row}"
        if self.archives.rows(is_there, key):
            sets = ", ".join(f"{self._quote(c)} = %s" for c in row)
            return self.archives.execute(f"UPDATE OR IGNORE {table} SET {sets} WHERE {self._is_row}", values + key) > 0
        marks = ", ".join(["%s"] * len(values))
        self.archives.execute(f"INSERT OR IGNORE INTO {table} ({self.archives.names(row)}) VALUES ({marks})", values)
        return bool(self.archives.rows(is_there, key))

    def _doubles(self, wanted: list[dict[str, Any]]) -> list[tuple[list[Any], list[Any]]]:
        """Return the keys of rows that this code has made again under another number, each with the one they had.

        They are alike in everything but the key, and the dates and times at which they were made; or in what is
        unique.
        """
        key = self.watched.key
        known = f"SELECT 1 FROM {self._quote(self.place)} a WHERE {alike('a', self._key, 't', self._key)}"
        columns = self._columns
        made = [
            dict(zip(columns, row, strict=True))
            for row in self.archives.rows(
                f"SELECT {', '.join(f'+t.{self._quote(c)}' for c in columns)} "
                f"FROM temp.{self.watched.log} l JOIN {self._quote(self.watched.table)} t "
                f"ON {alike('t', self._key, 'l', self.watched.keys)} "
                f"WHERE NOT l.{WAS_THERE} AND NOT EXISTS ({known}) ORDER BY {', '.join(f't.{k}' for k in self._key)}"
            )
        ]
        pairs = []
        for by in self._recognised_by():
            for one, other in _paired(made, wanted, by):
                made.remove(one)
                wanted = [row for row in wanted if row is not other]
                pairs.append(([one[c] for c in key], [other[c] for c in key]))
        return pairs

    def _recognised_by(self) -> list[list[str]]:
        """Return the groups of columns by which a row is known to be another made again, the surest first."""
        table = self._quote(self.watched.table)
        info = self.archives.rows(f"PRAGMA table_info({table})")
        times = {name for _, name, declared, *_ in info if declared in ("datetime", "date", "time")}
        groups = [[c for c in self._columns if c not in {*self.watched.key, *times}]]
        for _, name, is_unique, _, is_partial in self.archives.rows(f"PRAGMA index_list({table})"):
            if is_unique and not is_partial:
                columns = [row[2] for row in self.archives.rows(f"PRAGMA index_info({self._quote(name)})")]
                groups.append([c for c in columns if c is not None and c not in self.watched.key])
        return [columns for columns in groups if columns]


def bring_back(archives: Archives, place: str, table: str, columns: Sequence[str], values: Sequence[Any]) -> bool:
    """Put a row back that the way back has deleted, by what another row refers to; whether there is one."""
    quote = archives.quote
    archived = [c.removeprefix(WAS) for c in archives.columns(place) if c.startswith(WAS)]
    stored = [c for c in archives.columns(table) if c in archived]
    if set(columns) - set(stored):
        return False
    is_it = " AND ".join([WAS_THERE, f"NOT {IS_THERE}", *(f"{quote(WAS + c)} = %s" for c in columns)])
    was = ", ".join(quote(WAS + c) for c in stored)
    rows = f"SELECT {was} FROM {quote(place)} WHERE {is_it}"
    if not archives.execute(f"INSERT OR IGNORE INTO {quote(table)} ({archives.names(stored)}) {rows}", values):
        return False
    now = ", ".join(f"{quote(NOW + c)} = {quote(WAS + c)}" for c in archived)
    archives.execute(f"UPDATE {quote(place)} SET {IS_THERE} = 1, {now} WHERE {is_it}", values)
    return True


def _paired(
    made: list[dict[str, Any]], wanted: list[dict[str, Any]], by: list[str]
) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return the rows that have the same values in some columns, none of them twice."""
    found: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in made:
        found[tuple(row[c] for c in by)].append(row)
    return [(again.pop(0), row) for row in wanted if (again := found.get(tuple(row[c] for c in by)))]
