"""What a migration's own code does to rows: the first image of each row that it touches, by temporary triggers.

A table whose shape the code changes is not watched from then on. Every method runs in its caller's transaction.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256

from segue.engines.sqlite.archive import Archives

# What is Segue's and SQLite's own, and Django's record of what it has applied.
_NOT_THE_CODE_S = ("segue_", "sqlite_")
_RECORD = "django_migrations"
WAS_THERE = "segue_was_there"


@dataclass(frozen=True, kw_only=True)
class Watched:
    """A table that is watched, and the temporary table of its rows' first images, by their keys.

    An image has the key as k0, k1, …, whether the row was there, and its columns as c0, c1, …
    """

    table: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    log: str

    @property
    def keys(self) -> tuple[str, ...]:
        """The image's names for the key."""
        return tuple(f"k{number}" for number, _ in enumerate(self.key))

    def image(self, column: str) -> str:
        """Return the image's name for a column."""
        return f"c{self.columns.index(column)}"


class Watch:
    """The tables of one database while code of a migration runs."""

    def __init__(self, archives: Archives) -> None:
        self._archives = archives
        self._watched: dict[str, Watched] = {}

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch, for the block, every table that has a key; what was seen can be read until `forget`."""
        # An INSERT OR REPLACE deletes without a word otherwise: https://www.sqlite.org/lang_createtrigger.html
        ((recursive,),) = self._archives.rows("PRAGMA recursive_triggers")
        self._archives.execute("PRAGMA recursive_triggers = ON")
        try:
            self._begin()
            yield
            for watched in self._watched.values():
                self._stop(watched)
        finally:
            self._archives.set_pragma("recursive_triggers", recursive)

    def _begin(self) -> None:
        for number, table in enumerate(self._tables()):
            if key := self._archives.key(table):
                columns = self._archives.columns(table)
                watched = Watched(table=table, key=key, columns=columns, log=f"segue_log_{number}")
                self._watched[table.lower()] = watched
                self._watch(watched)

    def _tables(self) -> Iterator[str]:
        found = self._archives.rows("SELECT name, sql FROM sqlite_master WHERE type = 'table' ORDER BY name")
        virtual = [name for name, sql in found if sql and sql.upper().startswith("CREATE VIRTUAL")]
        for name, _ in found:
            of_virtual = any(name == one or name.startswith(f"{one}_") for one in virtual)
            if not name.startswith(_NOT_THE_CODE_S) and name != _RECORD and not of_virtual:
                yield name

    def _watch(self, watched: Watched) -> None:
        images = [watched.image(column) for column in watched.columns]
        keys = ", ".join(watched.keys)
        self._archives.execute(
            f"CREATE TEMP TABLE {watched.log} ({keys}, {WAS_THERE}, {', '.join(images)}, PRIMARY KEY ({keys}))"
        )
        new, old = (self._note(watched, row, was_there=row == "OLD") for row in ("NEW", "OLD"))
        for event, body in {"INSERT": new, "DELETE": old, "UPDATE": f"{old} {new}"}.items():
            self._archives.execute(
                f"CREATE TEMP TRIGGER {watched.log}_{event.lower()} AFTER {event} "
                f"ON main.{self._archives.quote(watched.table)} BEGIN {body} END"
            )

    def _note(self, watched: Watched, row: str, *, was_there: bool) -> str:
        """Return the statement that keeps a row's image, unless there is one."""
        quote = self._archives.quote
        key = [f"+{row}.{quote(column)}" for column in watched.key]
        values = [f"+{row}.{quote(column)}" if was_there else "NULL" for column in watched.columns]
        known = " AND ".join(f"{mine} = {theirs}" for mine, theirs in zip(watched.keys, key, strict=True))
        return (
            f"INSERT INTO {watched.log} SELECT {', '.join([*key, str(int(was_there)), *values])} "
            f"WHERE NOT EXISTS (SELECT 1 FROM {watched.log} WHERE {known});"
        )

    def look_away(self, table: str) -> None:
        """Watch a table no longer, and forget what was seen of it."""
        watched = self._watched.pop(table.lower(), None)
        if watched is not None:
            self._stop(watched)
            self._archives.execute(f"DROP TABLE temp.{watched.log}")

    def _stop(self, watched: Watched) -> None:
        for event in ("insert", "delete", "update"):
            self._archives.execute(f"DROP TRIGGER IF EXISTS temp.{watched.log}_{event}")

    def seen(self, table: str) -> Watched | None:
        """Return a table that is watched."""
        return self._watched.get(table.lower())

    def touched(self) -> Sequence[Watched]:
        """Return the tables of which some row was touched."""
        return [w for w in self._watched.values() if self._archives.has_rows(w.log)]

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Watch again, after a failure, what was watched before the block: the database itself was rolled back."""
        before = dict(self._watched)
        try:
            yield
        except BaseException:
            self._watched = before
            raise

    def digest(self) -> str:
        """Return what changes with any value of any table that is watched."""
        found = sha256()
        for watched in self._watched.values():
            values = " || ',' || ".join(f"quote({self._archives.quote(c)})" for c in watched.columns)
            order = self._archives.names(watched.key)
            found.update(watched.table.encode())
            for (row,) in self._archives.rows(
                f"SELECT {values} FROM {self._archives.quote(watched.table)} ORDER BY {order}"
            ):
                found.update(row.encode())
        return found.hexdigest()

    def forget(self) -> None:
        """Forget what was seen."""
        for watched in self._watched.values():
            self._archives.execute(f"DROP TABLE temp.{watched.log}")
        self._watched.clear()
