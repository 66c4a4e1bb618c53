"""The sieve: copy the rows that a table takes, and tell of each that it does not take.

SQLite undoes one failing statement and keeps the transaction (https://www.sqlite.org/lang_conflict.html), so a copy
that fails is tried again in halves, down to the single row. The row that was written first stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.db import IntegrityError

from segue.engines.sqlite.archive import Archives

_COPY = "segue_rows"


@dataclass(frozen=True, kw_only=True)
class Misfit:
    """A row of the table `source` that another table does not take, and SQLite's reason.

    `where` is SQL that is true of this row alone, with `params`, where the table is called `r`.
    """

    source: str
    where: str
    params: tuple[Any, ...]
    reason: str


Mend = Callable[[Misfit, Callable[[], bool]], bool]


def copy(archives: Archives, insert: str, source: str, mend: Mend) -> list[Misfit]:
    """Run an INSERT that selects from `source` and has no WHERE nor placeholders; return the rows that stay out.

    `mend` may change a row that was not taken, and tries it again with the function that it gets.
    """
    address = archives.address(source)
    found = f"SELECT {', '.join(address)} FROM {archives.quote(source)} ORDER BY {', '.join(address)}"
    rows = archives.rows(found)
    row, marks = _row(archives.quote(source), address), f"({', '.join(['%s'] * len(address))})"
    row, insert = row.replace("%", "%%"), insert.replace("%", "%%")

    def attempt(first: int, last: int) -> list[Misfit]:
        where = f"{row} >= {marks} AND {row} <= {marks}"
        try:
            archives.execute(f"{insert} WHERE {where}", [*rows[first], *rows[last]])
        except IntegrityError as error:
            if first < last:
                middle = (first + last) // 2
                return attempt(first, middle) + attempt(middle + 1, last)
            where = f"{_row('r', address)} = {marks}"
            return [Misfit(source=source, where=where, params=rows[first], reason=str(error))]
        return []

    def again(misfit: Misfit) -> bool:
        try:
            archives.execute(f"{insert} WHERE {row} = {marks}", misfit.params)
        except IntegrityError:
            return False
        return True

    left = attempt(0, len(rows) - 1) if rows else []
    return [misfit for misfit in left if not mend(misfit, partial(again, misfit))]


def leave(_: Misfit, __: Callable[[], bool]) -> bool:
    """Mend nothing."""
    return False


@contextmanager
def emptied(archives: Archives, table: str) -> Iterator[Callable[[], list[Misfit]]]:
    """Empty a table for the block; what is yielded fills it again and returns the rows that it takes no longer.

    They can be read from their source until the block ends.
    """
    names = archives.names(archives.columns(table))
    source, quoted = archives.quote(_COPY), archives.quote(table)
    order = ", ".join(archives.address(table))
    archives.execute(f"CREATE TEMP TABLE {source} AS SELECT {names} FROM {quoted} ORDER BY {order}")
    archives.execute(f"DELETE FROM {quoted}")

    def refill() -> list[Misfit]:
        return copy(archives, f"INSERT INTO {quoted} ({names}) SELECT {names} FROM {source}", _COPY, leave)

    yield refill
    archives.execute(f"DROP TABLE temp.{source}")


def _row(table: str, address: Sequence[str]) -> str:
    return f"({', '.join(f'{table}.{column}' for column in address)})"
