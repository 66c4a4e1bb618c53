"""The way back: values and rows out of their archives.

Every function runs in its caller's transaction, with foreign keys not enforced until it ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from segue.engines.sqlite.archive import VALUE, Archives, alike
from segue.engines.sqlite.quarantine import Quarantine

# The temporary table of the values that rows get in a new column.
VALUES = "temp.segue_values"


@dataclass(frozen=True, kw_only=True)
class NewColumn:
    """A column that is about to be added, and the values that its table's rows get in it.

    They are in a temporary table, by the columns that tell the rows apart.
    """

    table: str
    address: tuple[str, ...]

    def own_value(self, archives: Archives) -> str:
        """Return the query of a row's own value."""
        keys = alike("v", _numbered(self.address), archives.quote(self.table), self.address)
        return f"SELECT v.value FROM {VALUES} v WHERE {keys}"

    def value_or(self, archives: Archives, default: str) -> str:
        """Return the SQL of a row's value: its own, or the default for a row that has none."""
        own = self.own_value(archives)
        return f"CASE WHEN EXISTS ({own}) THEN ({own}) ELSE {default} END"


def values(
    archives: Archives, table: str, place: str | None, rest: Sequence[str], own: Callable[[], Any] | None
) -> NewColumn:
    """Prepare the values of a new column: the archived ones by the rest of a row, and `own` for each other row."""
    address = archives.address(table)
    numbered = _numbered(address)
    archives.execute(f"CREATE TABLE {VALUES} ({', '.join(numbered)}, value, PRIMARY KEY ({', '.join(numbered)}))")
    of_row = ", ".join(f"+t.{part}" for part in address)
    if place is not None:
        quoted = [archives.quote(c) for c in rest]
        archives.execute(
            f"INSERT OR IGNORE INTO {VALUES} SELECT {of_row}, +r.{VALUE} FROM {archives.quote(table)} t "
            f"JOIN {archives.quote(place)} r ON {alike('r', quoted, 't', quoted)}"
        )
    new = NewColumn(table=table, address=address)
    if own is not None:
        fill(archives, new, own)
    return new


def fill(archives: Archives, new: NewColumn, own: Callable[[], Any]) -> None:
    """Prepare a value of its own for each row that has none."""
    table, marks = archives.quote(new.table), ", ".join(["%s"] * len(new.address))
    of_row = ", ".join(f"+{table}.{part}" for part in new.address)
    without = f"SELECT {of_row} FROM {table} WHERE NOT EXISTS ({new.own_value(archives)}) ORDER BY {of_row}"
    for row in archives.rows(without):
        archives.execute(f"INSERT INTO {VALUES} VALUES ({marks}, %s)", [*row, own()])


def missing(archives: Archives, new: NewColumn) -> int:
    """Return how many rows of the table have no value of their own."""
    rows = f"SELECT count(*) FROM {archives.quote(new.table)} WHERE NOT EXISTS ({new.own_value(archives)})"
    return int(archives.rows(rows)[0][0])


def forget(archives: Archives) -> None:
    """Forget the prepared values."""
    archives.execute(f"DROP TABLE {VALUES}")


def put_back(archives: Archives, table: str, column: str, place: str, key: Sequence[str]) -> None:
    """Write the archived values over what the column has."""
    quoted, keys = archives.quote(table), [archives.quote(c) for c in key]
    of_row = f"FROM {archives.quote(place)} r WHERE {alike('r', keys, quoted, keys)}"
    archives.execute(
        f"UPDATE OR IGNORE {quoted} SET {archives.quote(column)} = (SELECT r.{VALUE} {of_row}) "
        f"WHERE EXISTS (SELECT 1 {of_row})"
    )


def settle(
    archives: Archives, quarantine: Quarantine, table: str, column: str, place: str, rest: Sequence[str] | None
) -> None:
    """Drop a column's archive, once the values that did not get back into the column are in quarantine.

    `rest` is the rows' key, None where the column itself is that.
    """
    quote, value = archives.quote, f"r.{VALUE}"
    columns = {**{name: name for name in archives.columns(place) if name != VALUE}, column: VALUE}
    archived, row = f"FROM {quote(place)} r WHERE", f"SELECT 1 FROM {quote(table)} t WHERE"
    gone = f"the row of {table} that had this {column} is gone"
    if rest is None:
        quarantine.put(table, columns, f"{archived} NOT EXISTS ({row} t.{quote(column)} = +{value})", gone)
    else:
        names = [quote(name) for name in rest]
        row = f"{row} {alike('t', names, 'r', names)}"
        quarantine.put(table, columns, f"{archived} NOT EXISTS ({row})", gone)
        left_out = f"{archived} EXISTS ({row}) AND NOT EXISTS ({row} AND {value} IS +t.{quote(column)})"
        quarantine.put(table, columns, left_out, "the column could not take it")
    archives.drop(place)


def put_back_table(archives: Archives, quarantine: Quarantine, place: str, table: str, columns: Sequence[str]) -> None:
    """Fill a table that has just been made from its archive, and drop the archive.

    What its maker has filled it with gives way to rows of the same keys. What the table had in columns that it has
    no more goes into quarantine.
    """
    names, archived = archives.names(columns), archives.columns(place)
    rows = f"SELECT {names} FROM {archives.quote(place)}"
    archives.execute(f"INSERT OR REPLACE INTO {archives.quote(table)} ({names}) {rows}")
    archives.raise_sequence(table, archives.sequence(place))
    unknown = [column for column in archived if column not in columns]
    if unknown:
        has_any = " OR ".join(f"r.{archives.quote(column)} IS NOT NULL" for column in unknown)
        rest = f"FROM {archives.quote(place)} r WHERE {has_any}"
        quarantine.put(table, {c: c for c in archived}, rest, f"{table} has no column {', '.join(unknown)} any more")
    archives.drop(place)


def _numbered(address: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"k{number}" for number, _ in enumerate(address))
