"""A primary key that comes back: its rows are recognised by what else they hold, for nothing else is left of them.

Runs in its caller's transaction.
"""

from __future__ import annotations

from collections.abc import Sequence

from segue.engines.sqlite.archive import VALUE, Archives


def recognise(archives: Archives, table: str, place: str, candidates: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Return the columns by which the archive's rows are found in the table again.

    The first of the candidates that tells all rows apart in both; otherwise all that both have, and rows that
    are equal in all of them are as good as each other.
    """
    common = [c for c in archives.columns(table) if c in archives.columns(place)]
    for columns in candidates:
        if set(columns) <= set(common) and all(_tells_apart(archives, t, columns) for t in (table, place)):
            return tuple(columns)
    return tuple(common)


def _tells_apart(archives: Archives, table: str, columns: Sequence[str]) -> bool:
    names = archives.names(columns)
    nulls = " OR ".join(f"{archives.quote(c)} IS NULL" for c in columns)
    many = f"SELECT 1 FROM {archives.quote(table)} GROUP BY {names} HAVING count(*) > 1 OR {nulls} LIMIT 1"
    return not archives.rows(many)


def pair(archives: Archives, table: str, place: str, by: Sequence[str], into: str) -> None:
    """Write the archived keys into `into`, by the address of the rows that they belong to."""
    (address,) = archives.address(table)
    theirs = f"SELECT {address} AS a, {_counted(archives, by, address)} FROM {archives.quote(table)}"
    ours = f"SELECT {VALUE} AS v, {_counted(archives, by, 'rowid')} FROM {archives.quote(place)}"
    columns = [f"c{number}" for number, _ in enumerate(by)]
    alike = " AND ".join(f"r.{column} IS t.{column}" for column in (*columns, "n"))
    archives.execute(f"INSERT INTO {into} SELECT t.a, r.v FROM ({ours}) r JOIN ({theirs}) t ON {alike}")


def number_the_rest(archives: Archives, table: str, place: str, into: str) -> None:
    """Give every other row a number that no archived row has."""
    (address,) = archives.address(table)
    last = archives.rows(f"SELECT max(max({VALUE}), 0) FROM {archives.quote(place)}")[0][0] or 0
    last = max(int(last), archives.sequence(place) or 0)
    archives.execute(
        f"INSERT INTO {into} SELECT {address}, {last} + row_number() OVER (ORDER BY {address}) "
        f"FROM {archives.quote(table)} WHERE {address} NOT IN (SELECT k0 FROM {into})"
    )


def _counted(archives: Archives, by: Sequence[str], address: str) -> str:
    """Return the SQL of the columns, and of a number among the rows that are equal in all of them."""
    columns = [f"+{archives.quote(column)} AS c{number}" for number, column in enumerate(by)]
    names = archives.names(by)
    partition = f"PARTITION BY {names} " if by else ""
    return ", ".join([*columns, f"row_number() OVER ({partition}ORDER BY {address}) AS n"])
