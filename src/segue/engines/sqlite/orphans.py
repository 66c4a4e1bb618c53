"""Orphans: rows whose foreign key points at nothing, found before a migration commits.

SQLite enforces foreign keys in no schema change (https://www.sqlite.org/lang_altertable.html#otheralter), so every
one of them is looked at here, row by row. Every function runs in its caller's transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from segue.core.errors import StepFailed
from segue.engines.sqlite.archive import Archives

# So many are listed of each foreign key; the rest is counted.
_LISTED = 50


@dataclass(frozen=True, kw_only=True)
class ForeignKey:
    """A foreign key of the database; its table's own `key` says which row is meant."""

    table: str
    columns: tuple[str, ...]
    parent: str
    parent_columns: tuple[str, ...]
    key: tuple[str, ...]
    nullable: bool

    @property
    def name(self) -> str:
        """The columns that refer, as table.column."""
        return f"{self.table}.{', '.join(self.columns)}"

    @property
    def target(self) -> str:
        """The columns that are referred to, as table.column."""
        return f"{self.parent}.{', '.join(self.parent_columns)}"


@dataclass(frozen=True, kw_only=True)
class Orphan:
    """A row, by its key, and what its foreign key points at in vain."""

    of: ForeignKey
    key: tuple[Any, ...]
    values: tuple[Any, ...]

    def __str__(self) -> str:
        row = ", ".join(f"{name} {value!r}" for name, value in zip(self.of.key, self.key, strict=True))
        refers = " and ".join(f"{c} is {v!r}" for c, v in zip(self.of.columns, self.values, strict=True))
        return f"{self.of.table}, {row}: {refers}, and {self.of.target} has no such value"

    @property
    def own(self) -> dict[str, Any]:
        """The row's key by its columns."""
        return dict(zip(self.of.key, self.key, strict=True))


def violated(archives: Archives) -> list[ForeignKey]:
    """Return every foreign key that does not hold for some row."""
    found = archives.rows('SELECT DISTINCT "table", fkid FROM pragma_foreign_key_check')
    return [_foreign_key(archives, str(table), int(number)) for table, number in sorted(found)]


def _foreign_key(archives: Archives, table: str, number: int) -> ForeignKey:
    parts = [row for row in archives.rows(f"PRAGMA foreign_key_list({archives.quote(table)})") if row[0] == number]
    parts.sort(key=lambda row: row[1])
    parent = str(parts[0][2])
    info = {row[1]: row for row in archives.rows(f"PRAGMA table_info({archives.quote(table)})")}
    columns = tuple(str(row[3]) for row in parts)
    named = tuple(str(row[4]) for row in parts if row[4] is not None)
    return ForeignKey(
        table=table,
        columns=columns,
        parent=parent,
        parent_columns=named or archives.key(parent),
        key=archives.key(table) or archives.address(table),
        nullable=not any(info[c][3] or info[c][5] for c in columns if c in info),
    )


def referring(archives: Archives, parent: str, column: str) -> list[tuple[str, str]]:
    """Return the columns, each with its table, that refer to one column of a table by a foreign key."""
    found = []
    for (table,) in archives.rows("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name"):
        for row in archives.rows(f"PRAGMA foreign_key_list({archives.quote(table)})"):
            _, _, to, own, theirs, *_ = row
            if to.lower() == parent.lower() and (theirs or archives.key(parent)[0]) == column:
                found.append((str(table), str(own)))
    return found


def where(archives: Archives, key: ForeignKey) -> str:
    """Return the SQL of whether a row `r` of the key's table is an orphan."""
    quote = archives.quote
    some = " AND ".join(f"r.{quote(c)} IS NOT NULL" for c in key.columns)
    if not archives.columns(key.parent):
        return some
    # The unary plus lets the parent's affinity and collation decide, as they do for SQLite's own check.
    pairs = zip(key.parent_columns, key.columns, strict=True)
    is_same = " AND ".join(f"p.{quote(theirs)} = +r.{quote(mine)}" for theirs, mine in pairs)
    return f"{some} AND NOT EXISTS (SELECT 1 FROM {quote(key.parent)} p WHERE {is_same})"


def row(archives: Archives, key: ForeignKey) -> str:
    """Return the SQL that is true of one row `r`, with its key as the parameters."""
    return " AND ".join(f"{name} = %s" for name in _own(archives, key))


def _own(archives: Archives, key: ForeignKey) -> list[str]:
    columns = archives.columns(key.table)
    return [f"r.{archives.quote(c) if c in columns else c}" for c in key.key]


def orphans(archives: Archives, key: ForeignKey) -> list[Orphan]:
    """Return the rows for which the foreign key does not hold, in the order of their keys."""
    quote = archives.quote
    own = _own(archives, key)
    wanted = [f"+{name}" for name in (*own, *(f"r.{quote(c)}" for c in key.columns))]
    rows = archives.rows(
        f"SELECT {', '.join(wanted)} FROM {quote(key.table)} AS r WHERE {where(archives, key)} "
        f"ORDER BY {', '.join(own)}"
    )
    cut = len(key.key)
    return [Orphan(of=key, key=row[:cut], values=row[cut:]) for row in rows]


def require_none(found: Iterable[tuple[ForeignKey, Sequence[Orphan]]]) -> None:
    """Raise StepFailed, with a line for each orphan, when there are any."""
    found = [(key, rows) for key, rows in found if rows]
    if not found:
        return
    total = sum(len(rows) for _, rows in found)
    lines = [f"Foreign keys do not hold for {total} row{'s' if total != 1 else ''}:"]
    for key, rows in found:
        lines += [f"  {row}" for row in rows[:_LISTED]]
        if len(rows) > _LISTED:
            lines.append(f"  and {len(rows) - _LISTED} more of {key.name}")
    raise StepFailed("\n".join(lines))
