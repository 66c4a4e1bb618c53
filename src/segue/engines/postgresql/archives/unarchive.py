"""The way back out of an archive: an object that purge has dropped lies again where it had been buried.

Nobody sees it there, so it may take its time; reviving it afterwards is the same as if it had never been dropped.
A table comes back whole in one transaction. A column is loaded beside its table and then filled in batches.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from segue.core.archive import Manifest
from segue.core.change import Act, Backfill, Kind, Load, Retired
from segue.core.errors import ArchiveDamaged, StepFailed, StoreFailed, UsageError
from segue.core.plan import Phase
from segue.engines.base import Say
from segue.engines.postgresql.acts import retire
from segue.engines.postgresql.archives.archive import drop_table
from segue.engines.postgresql.archives.description import AS_TEXT

Quote = Callable[[str], str]

_KEY, _VALUE = "segue_key_", "segue_value"


class Archives(Protocol):
    """What is asked of the store."""

    url: str

    def manifest(self, key: str) -> Manifest:
        """Return the manifest of an archive that must be there. Raises ArchiveDamaged, StoreFailed."""

    def rows(self, manifest: Manifest) -> Iterator[bytes]:
        """Yield the rows in pieces, each proved. Raises ArchiveDamaged, StoreFailed."""


def manifest(archived: Retired, archives: Archives | None) -> Manifest:
    """Return what the archive of an object says of itself. Raises UsageError without a store, ArchiveDamaged."""
    if archives is None:
        name = archived.table if archived.kind is Kind.TABLE else f"{archived.table}.{archived.name}"
        raise UsageError(
            f'The values of {name} were purged and lie in {archived.archive}, but SEGUE["STORE"] is not set.',
            next_command="set it to the store that they were purged into, then the same command again",
        )
    return archives.manifest(archived.archive)


def steps(archived: Retired, manifest: Manifest, literal: Quote, quote: Quote) -> Iterator[dict[str, Any]]:
    """Yield what brings the object back, as the keywords of steps; the journal's note of it goes with its revival."""
    if archived.kind is Kind.TABLE:
        yield _table(archived, manifest, quote)
        return
    beside = quote(f"segue_archive_{hashlib.sha256(manifest.key.encode()).hexdigest()[:16]}")
    yield _room(archived, manifest, literal, quote)
    yield _loaded(archived, manifest, beside)
    yield _filled(archived, manifest, beside, quote)
    yield {
        "slug": f"loaded {archived.table}.{archived.name}",
        "title": f"drop the loaded copy of {archived.table}.{archived.name}",
        "forward": Act(statements=(f"DROP TABLE {beside}",)),
        "undo": (),
        "phase": Phase.BACKFILL,
    }


def _table(archived: Retired, manifest: Manifest, quote: Quote) -> dict[str, Any]:
    contents = manifest.contents
    return {
        "slug": f"unarchive table {archived.table}",
        "title": f"bring table {archived.table} back from its archive",
        "forward": Act(
            statements=(f"CREATE SCHEMA IF NOT EXISTS {quote(archived.place)}", *contents.making),
            load=Load(
                archive=manifest.key,
                table=f"{quote(archived.place)}.{quote(archived.table)}",
                columns=tuple(column.name for column in contents.columns),
                finishing=contents.finishing,
            ),
        ),
        "undo": (Act(statements=drop_table(archived, quote)),),
        "note": f"{manifest.fingerprint.rows:,} rows, {manifest.key}",
    }


def _room(archived: Retired, manifest: Manifest, literal: Quote, quote: Quote) -> dict[str, Any]:
    """The column as it was, without values: its default is for rows that are written from now on."""
    value = manifest.contents.columns[-1]
    alter, column = f"ALTER TABLE {quote(archived.table)}", quote(archived.place)
    statements = [f"{alter} ADD COLUMN {column} {value.type}"]
    statements += [f"{alter} ALTER COLUMN {column} SET DEFAULT {value.default}"] if value.default else []
    comment = f"COMMENT ON COLUMN {quote(archived.table)}.{column} IS {literal(value.comment)}"
    statements += [comment] if value.comment else []
    locks = retire.exclusive(archived.table)
    return {
        "slug": f"unarchive column {archived.table}.{archived.name}",
        "title": f"make room for {archived.table}.{archived.name}, which lies in its archive",
        "forward": Act(statements=tuple(statements), locks=locks),
        "undo": (Act(statements=(f"{alter} DROP COLUMN IF EXISTS {column}",), locks=locks),),
    }


def _loaded(archived: Retired, manifest: Manifest, beside: str) -> dict[str, Any]:
    *keys, value = manifest.contents.columns
    names = tuple(f"{_KEY}{number}" for number in range(1, len(keys) + 1))
    columns = ", ".join(f"{name} {key.type}" for name, key in zip(names, keys, strict=True))
    made = f"CREATE TABLE {beside} ({columns}, {_VALUE} {value.type}, PRIMARY KEY ({', '.join(names)}))"
    return {
        "slug": f"load {archived.table}.{archived.name}",
        "title": f"load {archived.table}.{archived.name} from its archive",
        "forward": Act(
            statements=(made,),
            load=Load(
                archive=manifest.key,
                table=beside,
                columns=(*names, _VALUE),
                finishing=(f"ANALYZE {beside}",),
                of=archived.table,
                key=tuple(key.name for key in keys),
            ),
        ),
        "undo": (Act(statements=(f"DROP TABLE IF EXISTS {beside}",)),),
        "note": f"{manifest.fingerprint.rows:,} values, {manifest.key}",
    }


def _filled(archived: Retired, manifest: Manifest, beside: str, quote: Quote) -> dict[str, Any]:
    """Every row gets its archived value.

    The names are bare, because a backfill may go through partitions, where the table's own name means nothing; what
    was loaded has names of its own. A query for a value, unlike EXISTS, is never answered by hashing the whole archive.
    """
    keys = enumerate(manifest.contents.key, 1)
    same = " AND ".join(f"{_KEY}{number} = {quote(name)}" for number, name in keys)
    value = f"(SELECT {_VALUE} FROM {beside} WHERE {same})"
    column = quote(archived.place)
    where = f"num_nonnulls({column}) = 0 AND num_nonnulls({value}) = 1"
    work = Backfill(table=archived.table, assignments=f"{column} = {value}", where=where)
    return {
        "slug": f"fill {archived.table}.{archived.name} from its archive",
        "title": f"fill {archived.table}.{archived.name} with its archived values",
        "forward": Act(backfill=work),
        "undo": (),
        "phase": Phase.BACKFILL,
    }


def load(connection: Any, act: Act, archives: Archives | None, say: Say) -> None:
    """Run an act with a load in the caller's transaction. Raises StepFailed for an archive that cannot be used."""
    assert act.load is not None
    work, quote = act.load, connection.ops.quote_name
    try:
        if archives is None:
            raise StepFailed(f"{work.archive} cannot be loaded: SEGUE has no STORE.")
        manifest = archives.manifest(work.archive)
        columns = ", ".join(quote(column) for column in work.columns)
        with connection.cursor() as cursor:
            for statement in (AS_TEXT, *act.statements):
                cursor.execute(statement)
        rows = copy_in(
            connection, f"COPY {quote(work.table)} ({columns}) FROM STDIN", _told(archives, manifest, work, say)
        )
    except (ArchiveDamaged, StoreFailed) as error:
        raise StepFailed(error.message) from error
    if rows != manifest.fingerprint.rows:
        raise StepFailed(f"{work.archive} has {manifest.fingerprint.rows:,} rows, of which {rows:,} could be loaded.")
    with connection.cursor() as cursor:
        for statement in work.finishing:
            cursor.execute(statement)
        if work.of:
            _say_who_is_gone(cursor, work, rows, quote, say)


def _told(archives: Archives, manifest: Manifest, work: Load, say: Say) -> Iterator[bytes]:
    for number, rows in enumerate(archives.rows(manifest), 1):
        yield rows
        if len(manifest.parts) > 1:
            say(f"load {work.archive}: part {number} of {len(manifest.parts)}")


def _say_who_is_gone(cursor: Any, work: Load, rows: int, quote: Quote, say: Say) -> None:
    same = " AND ".join(
        f"a.{quote(mine)} = t.{quote(theirs)}" for mine, theirs in zip(work.columns, work.key, strict=False)
    )
    cursor.execute(
        f"SELECT count(*) FROM {quote(work.table)} a WHERE NOT EXISTS (SELECT FROM {quote(work.of)} t WHERE {same})"
    )
    gone = cursor.fetchall()[0][0]
    if gone:
        say(
            f"{gone:,} of {rows:,} archived values belong to rows of {work.of} that are gone; {work.archive} keeps them"
        )


def copy_in(connection: Any, sql: str, parts: Iterator[bytes]) -> int:
    """Run COPY … FROM STDIN with these rows; return how many the server took."""
    with connection.cursor() as cursor, connection.wrap_database_errors:
        with cursor.cursor.copy(sql) as copy:
            for part in parts:
                copy.write(part)
        return int(cursor.cursor.rowcount)
