"""What an alteration made of a column's values, and what they were; the other way round, they are that again.

A value goes back only where nobody has changed it since: where the row still has what the alteration had made of
it. Only values that the alteration changed are remembered. Every function runs in its caller's transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from segue.core.change import Kind, Retired
from segue.engines.sqlite.archive import Archives, alike, same

# An archive's columns beside the key that rows have after the alteration.
WAS, BECAME = "segue_was", "segue_became"
_BEFORE, _BACK, _MOVED = "segue_before", "segue_back", "segue_moved"
Moved = dict[str, list[tuple[object, object]]]


@dataclass(frozen=True, kw_only=True)
class Altered:
    """A column before and after its alteration; `inverse` is the one that it takes back, if it does.

    `new_type` is what the column is declared as, so that a key's new value can be foretold.
    """

    old: str
    new: str
    new_type: str
    definition: str
    is_referenced: bool
    inverse: Retired | None


class Memory:
    """The values of a table's columns while they are altered; the key is the rows', as it is called before."""

    def __init__(self, archives: Archives, table: str, key: Sequence[str], altered: Sequence[Altered]) -> None:
        self._archives = archives
        self.table = table
        self.altered = altered
        self._key = key
        names = {one.old: one.new for one in altered}
        self._new_key = tuple(names.get(column, column) for column in key)
        self._old = [f"o{number}" for number, _ in enumerate(key)]
        self._new = [f"n{number}" for number, _ in enumerate(key)]

    def begin(self) -> None:
        """Remember every row's values, before the alteration."""
        archives = self._archives
        types = {one.old: one.new_type for one in self.altered}
        new = [f"{name} {types.get(column, '')}" for name, column in zip(self._new, self._key, strict=True)]
        values = [f"v{number}" for number, _ in enumerate(self.altered)]
        key = f"PRIMARY KEY ({', '.join(self._old)})"
        archives.execute(f"CREATE TEMP TABLE {_BEFORE} ({', '.join([*self._old, *new, *values, key])})")
        archives.execute(f"CREATE INDEX temp.segue_before_new ON {_BEFORE} ({', '.join(self._new)})")
        plain = [f"+{archives.quote(column)}" for column in (*self._key, *self._key, *(a.old for a in self.altered))]
        archives.execute(f"INSERT INTO temp.{_BEFORE} SELECT {', '.join(plain)} FROM {archives.quote(self.table)}")

    def forget(self, where: str, params: Sequence[Any]) -> None:
        """Forget rows `r` of the table, which are left out of the alteration; it must not have happened yet."""
        archives = self._archives
        key = ", ".join(f"+r.{archives.quote(column)}" for column in self._key)
        rows = f"SELECT {key} FROM {archives.quote(self.table)} AS r WHERE {where}"
        archives.execute(f"DELETE FROM temp.{_BEFORE} WHERE ({', '.join(self._old)}) IN ({rows})", params)

    def put_back(self) -> tuple[Moved, list[dict[str, Any]]]:
        """Give each value back that an earlier alteration had changed; call it after the alteration.

        Returns, for each column that others refer to, what it had been made and what it is now; and the values that
        their columns did not take, with their rows' keys.
        """
        moved: Moved = {}
        refused: list[dict[str, Any]] = []
        for number, one in enumerate(self.altered):
            if one.inverse is None:
                continue
            self._prepare(one, one.inverse, f"v{number}")
            refused += self._update(one)
            if one.is_referenced:
                changed = self._archives.rows(f"SELECT +made, +was FROM temp.{_BACK} WHERE NOT {same('was', 'made')}")
                moved[one.new] = [(made, was) for made, was in changed]
            self._archives.execute(f"DROP TABLE temp.{_BACK}")
        return moved, refused

    def _prepare(self, one: Altered, inverse: Retired, value: str) -> None:
        """Find the rows that still have what the earlier alteration had made of them."""
        archives, quote, names = self._archives, self._archives.quote, ", ".join(self._new)
        archived = [quote(c) for c in archives.columns(inverse.place) if c not in (WAS, BECAME)]
        new_key = [quote(c) for c in self._new_key]
        archives.execute(f"CREATE TEMP TABLE {_BACK} ({names}, was, made, PRIMARY KEY ({names}))")
        archives.execute(
            f"INSERT INTO temp.{_BACK} SELECT {', '.join(f'+b.{n}' for n in self._new)}, a.{WAS}, +t.{quote(one.new)} "
            f"FROM {quote(inverse.place)} a JOIN temp.{_BEFORE} b ON {alike('b', self._old, 'a', archived)} "
            f"JOIN {quote(self.table)} t ON {alike('t', new_key, 'b', self._new)} "
            f"WHERE {same(f'a.{BECAME}', f'b.{value}')}"
        )

    def _update(self, one: Altered) -> list[dict[str, Any]]:
        """Write the values that were; return those that the column did not take."""
        archives, quote = self._archives, self._archives.quote
        table, column = quote(self.table), quote(one.new)
        new_key = [quote(c) for c in self._new_key]
        of_row = f"FROM temp.{_BACK} r WHERE {alike('r', self._new, table, new_key)}"
        archives.execute(
            f"UPDATE OR IGNORE {table} SET {column} = (SELECT r.was {of_row}) WHERE EXISTS (SELECT 1 {of_row})"
        )
        columns = ", ".join([*(f"+r.{name}" for name in self._new), "+r.was"])
        left = archives.rows(
            f"SELECT {columns} FROM temp.{_BACK} r JOIN {table} t ON {alike('t', new_key, 'r', self._new)} "
            f"WHERE NOT {same('r.was', f't.{column}')}"
        )
        if one.new in self._new_key:
            # What has got its value back is found by that from now on.
            name = self._new[self._new_key.index(one.new)]
            of_row = f"FROM temp.{_BACK} r WHERE {alike('r', self._new, _BEFORE, self._new)}"
            there = f"SELECT 1 FROM {table} t WHERE t.{column} = +r.was"
            archives.execute(
                f"UPDATE temp.{_BEFORE} SET {name} = (SELECT r.was {of_row}) "
                f"WHERE EXISTS (SELECT 1 {of_row} AND EXISTS ({there}))"
            )
        return [dict(zip((*self._new_key, one.new), row, strict=True)) for row in left]

    def end(self) -> list[Retired]:
        """Archive what the alteration changed; return the archives."""
        archives, quote = self._archives, self._archives.quote
        made: list[Retired] = []
        new_key = [quote(c) for c in self._new_key]
        for number, one in enumerate(self.altered):
            column, value = f"t.{quote(one.new)}", f"b.v{number}"
            changed = (
                f"FROM temp.{_BEFORE} b JOIN {quote(self.table)} t ON {alike('t', new_key, 'b', self._new)} "
                f"WHERE NOT {same(value, column)}"
            )
            if archives.rows(f"SELECT 1 {changed} LIMIT 1"):
                place = archives.make((*self._new_key, WAS, BECAME), self._new_key)
                key = ", ".join(f"+b.{name}" for name in self._new)
                archives.execute(f"INSERT INTO {quote(place)} SELECT {key}, +{value}, +{column} {changed}")
                made.append(
                    Retired(kind=Kind.VALUES, table=self.table, name=one.new, definition=one.definition, place=place)
                )
        archives.execute(f"DROP TABLE temp.{_BEFORE}")
        return made


def follow(archives: Archives, table: str, column: str, pairs: Iterable[tuple[object, object]]) -> None:
    """Let a column that refers to another have the values that the other has got back."""
    name, quoted = archives.quote(table), archives.quote(column)
    archives.execute(f"CREATE TEMP TABLE {_MOVED} (made PRIMARY KEY, was)")
    for pair in pairs:
        archives.execute(f"INSERT INTO temp.{_MOVED} VALUES (%s, %s)", pair)
    was = f"SELECT was FROM temp.{_MOVED} WHERE made = +{name}.{quoted}"
    archives.execute(f"UPDATE {name} SET {quoted} = ({was}) WHERE EXISTS ({was})")
    archives.execute(f"DROP TABLE temp.{_MOVED}")
