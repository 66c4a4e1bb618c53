"""Archives: what is left of a retired object, its rows as a stream, and how to drop it once they lie in the store.

Owns what a row looks like in an archive: PostgreSQL's own COPY text. The same rows have the same fingerprint,
whether the server computes it from the table or this module from what was read back from the store.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from io import BytesIO
from typing import Any

from django.db import transaction

from segue.core.archive import ArchivedColumn, Contents, Fingerprint, Manifest
from segue.core.change import Act, Kind, Retired
from segue.core.purge import Remains
from segue.engines.postgresql.acts import retire
from segue.engines.postgresql.archives import description
from segue.engines.postgresql.archives.description import AS_TEXT
from segue.engines.postgresql.catalog import BURIED_COLUMN
from segue.engines.postgresql.qualified import beside

_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_MEANT = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}


class Archivist:
    """Everything that purge asks of PostgreSQL, on the connection that holds the target."""

    def __init__(self, connection: Any, translated: Callable[[], AbstractContextManager[None]]) -> None:
        self._connection = connection
        self._translated = translated
        self._quote: Callable[[str], str] = connection.ops.quote_name

    def _rows(self, sql: str, params: list[Any] | None = None) -> list[Any]:
        with self._translated(), self._connection.cursor() as cursor:
            cursor.execute(sql, params)
            rows: list[Any] = cursor.fetchall()
        return rows

    def _literal(self, text: str) -> str:
        return "'" + text.replace("'", "''") + "'"

    def _ask(self, sql: str, retired: Retired) -> list[Any]:
        return self._rows(sql, [self._name(retired), _name_in_table(retired)])

    # What is there

    def look(self, retired: Retired) -> Remains | None:
        """Return what is left of the object; None when it is not where it was retired. Reads the catalog only."""
        if retired.kind not in description.REMAINS:
            return None  # A constraint that is retired was never made; only the journal has it.
        rows = self._ask(description.REMAINS[retired.kind], retired)
        if not rows:
            return None
        derived, freed_bytes = rows[0]
        hindrances = [row[0] for row in self._ask(description.HINDRANCES[retired.kind], retired)]
        if retired.kind is Kind.COLUMN and not derived and not self._ask(description.PRIMARY_KEY, retired):
            hindrances.append(f"{retired.table} has no primary key, by which a value could find its row again")
        return Remains(freed_bytes=freed_bytes, has_values=not derived, hindrances=tuple(hindrances))

    def measure(self, retired: Retired, remains: Remains) -> Remains:
        """Add how many values there are and what they take; reads every row."""
        if not remains.has_values:
            return remains
        if retired.kind is Kind.TABLE:
            sums = f"count(*), pg_table_size({self._literal(self._name(retired))}::regclass)"
        else:
            column = self._quote(_name_in_table(retired))
            sums = f"count({column}), coalesce(sum(pg_column_size({column})), 0)::bigint"
        ((count, size),) = self._rows(f"SELECT {sums} FROM {self._name(retired)}")
        return replace(remains, rows=count, bytes=size)

    def _name(self, retired: Retired) -> str:
        """What the object is, or lies in, as SQL."""
        if retired.kind is Kind.TABLE and retired.place:
            return f"{self._quote(retired.place)}.{self._quote(retired.table)}"
        return self._quote(retired.table)

    # Into the archive

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let the block see one state of the database, values written in one way, and no row hidden by a policy."""
        with self._translated(), transaction.atomic(using=self._connection.alias):
            with self._connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
                cursor.execute(f"{AS_TEXT}; SET LOCAL row_security = off")
            yield

    def contents(self, retired: Retired) -> Contents:
        """Return what an archive of the object holds and how it is made again."""
        ((table_id,),) = self._rows("SELECT %s::regclass::oid::bigint", [self._name(retired)])
        if retired.kind is Kind.TABLE:
            return Contents(
                of=retired,
                columns=tuple(ArchivedColumn(name=n, type=t) for n, t in self._ask(description.COLUMNS, retired)),
                making=tuple(row[0] for row in self._ask(description.MAKING, retired)),
                finishing=tuple(row[0] for row in self._ask(description.FINISHING, retired)),
                indexes=tuple(row[0] for row in self._ask(description.INDEXES, retired)),
                table_id=table_id,
            )
        key = [ArchivedColumn(name=n, type=t) for n, t in self._ask(description.PRIMARY_KEY, retired)]
        ((type_, default, comment),) = self._ask(description.VALUE, retired)
        value = ArchivedColumn(name=_name_in_table(retired), type=type_, default=default, comment=comment)
        return Contents(of=retired, columns=(*key, value), key=tuple(k.name for k in key), table_id=table_id)

    def fingerprint(self, contents: Contents) -> Fingerprint:
        """Return the fingerprint of the rows as the server has them; reads every row."""
        ((rows, hash_),) = self._rows(f"SELECT {self._sums(contents)} {self._selection(contents)}")
        return Fingerprint(rows=rows, hash=hash_)

    def _sums(self, contents: Contents) -> str:
        """The row count and the sum of hashes as SQL: what `fingerprint_of` computes from the rows themselves.

        concat() writes a value as COPY does, which a cast to text does not for every type.
        """
        names = [self._quote(column.name) for column in contents.columns]
        text = " || ".join(f"concat(num_nonnulls({name}), {name}, E'\\t')" for name in names)
        hashed = f"('x' || encode(substr(sha256(convert_to({text}, 'UTF8')), 1, 8), 'hex'))::bit(64)::bigint"
        return f"count(*), coalesce(sum({hashed}), 0)::text"

    def _selection(self, contents: Contents) -> str:
        if contents.of.kind is Kind.TABLE:
            return f"FROM {self._name(contents.of)}"
        # IS NOT NULL would also leave out a composite value that has a NULL in it.
        return f"FROM {self._name(contents.of)} WHERE num_nonnulls({self._quote(contents.columns[-1].name)}) = 1"

    def copy(self, contents: Contents, write: Callable[[bytes], None]) -> None:
        """Hand the rows out one by one, each with its newline."""
        columns = ", ".join(self._quote(column.name) for column in contents.columns)
        with self._translated():
            copy_out(self._connection, f"COPY (SELECT {columns} {self._selection(contents)}) TO STDOUT", write)

    def fingerprint_of(self, parts: Iterable[bytes]) -> Fingerprint:
        """Return the fingerprint of archived rows."""
        rows, sum_ = 0, 0
        for part in parts:
            for line in BytesIO(part):
                rows += 1
                sum_ += _row_hash(line[:-1])
        return Fingerprint(rows=rows, hash=str(sum_))

    # Away

    def bury(self, retired: Retired, grave: str) -> Act:
        """Free the name of an object that still lies under it, so that nobody can use what is being archived."""
        bury = retire.bury_table if retired.kind is Kind.TABLE else retire.bury_column
        return bury(retired, grave, self._quote)

    def drop(self, retired: Retired, archived: Manifest | None) -> Act:
        """Drop the object; a table only if it still holds what was archived, because nobody waits for the proof."""
        kept = (self._kept(retired, archived.key),) if archived else ()
        if retired.kind is Kind.INDEX:
            statement = f"DROP INDEX CONCURRENTLY IF EXISTS {self._quote(beside(retired.table, retired.name))}"
            locks = retire.weak(retired.table)
            return Act(statements=(statement,), locks=locks, transactional=False, purges=(retired,))
        if retired.kind is Kind.COLUMN:
            alter = f"ALTER TABLE {self._name(retired)}"
            statements: tuple[str, ...] = (f"{alter} DROP COLUMN {self._quote(_name_in_table(retired))}",)
        else:
            statements = (*self._unchanged(archived), *drop_table(retired, self._quote))
        locks = retire.exclusive(self._name(retired) if retired.kind is Kind.TABLE else retired.table)
        return Act(statements=statements, locks=locks, purges=(retired,), retires=kept)

    def _kept(self, retired: Retired, key: str) -> Retired:
        """What the journal keeps of it: a column comes back under a name that nothing can have taken meanwhile."""
        if retired.kind is Kind.TABLE:
            return replace(retired, archive=key)
        prefix = f"{BURIED_COLUMN}{hashlib.sha256(key.encode()).hexdigest()[:12]}_"
        return replace(retired, place=retire.label(prefix, retired.name), archive=key)

    def _unchanged(self, archived: Manifest | None) -> tuple[str, ...]:
        if archived is None:
            return ()
        contents = archived.contents
        is_as = f"(SELECT ROW({self._sums(contents)})::text {self._selection(contents)})"
        was = f"ROW({archived.fingerprint.rows}, '{archived.fingerprint.hash}'::text)::text"
        message = self._literal(f"{contents.of.table} has changed since it was archived")
        raised = f"RAISE EXCEPTION USING MESSAGE = {message}"
        check = f"DO $segue$ BEGIN IF {is_as} <> {was} THEN {raised}; END IF; END $segue$"
        return (AS_TEXT, check)


def drop_table(retired: Retired, quote: Callable[[str], str]) -> tuple[str, ...]:
    """Return the statements that drop a buried table, and the schema that it lay in if nothing else does."""
    return (
        f"DROP TABLE IF EXISTS {quote(retired.place)}.{quote(retired.table)}",
        retire.drop_grave(retired.place, quote),
    )


def _name_in_table(retired: Retired) -> str:
    return retired.place or retired.name if retired.kind is Kind.COLUMN else retired.name


def _row_hash(line: bytes) -> int:
    text = b"".join(b"0\t" if field == b"\\N" else b"1" + _unescaped(field) + b"\t" for field in line.split(b"\t"))
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big", signed=True)


def _unescaped(field: bytes) -> bytes:
    if b"\\" not in field:
        return field
    return _ESCAPED.sub(lambda match: _MEANT.get(match[1], match[1]), field)


def copy_out(connection: Any, sql: str, write: Callable[[bytes], None]) -> None:
    """Run COPY … TO STDOUT; each call of `write` gets one row."""
    with connection.cursor() as cursor, connection.wrap_database_errors, cursor.cursor.copy(sql) as copy:
        for row in copy:
            write(bytes(row))
