"""What hangs on a column: which indexes and constraints its twin needs too, and what a new type would do.

Asks PostgreSQL itself: an empty temporary copy of the table is altered in a transaction that is rolled back,
and its own deparser says what the definitions become. Nothing of the table is read, and nothing is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db import DatabaseError, transaction

_COPY = "segue_rehearsed"
# What a twin has, or the way back needs, is not carried over once more.
_OWN = "segue_"

_INDEXES = """
    SELECT c.relname, substr(pg_get_indexdef(i.indexrelid), strpos(pg_get_indexdef(i.indexrelid), ' USING ') + 1),
           pg_relation_filenode(i.indexrelid)
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = to_regclass(%s)::oid
    ORDER BY i.indexrelid
"""
_ORIGINALS = """
    SELECT c.relname, i.indisunique, i.indisvalid, coalesce(k.contype::text, ''), coalesce(k.conname, ''),
           CASE WHEN k.condeferrable THEN ' DEFERRABLE' ELSE '' END
           || CASE WHEN k.condeferred THEN ' INITIALLY DEFERRED' ELSE '' END
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    LEFT JOIN pg_constraint k ON k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x')
    WHERE i.indrelid = to_regclass(%s)::oid ORDER BY i.indexrelid
"""
_CHECKS = """
    SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE conrelid = to_regclass(%s)::oid AND contype = 'c'
"""
_HAS_COLUMN = "SELECT 1 FROM pg_attribute WHERE attrelid = to_regclass(%s)::oid AND attname = %s"
_BOUND = """
    SELECT pg_describe_object(d.classid, d.objid, d.objsubid) FROM pg_depend d
    JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
    LEFT JOIN pg_attrdef f ON d.classid = 'pg_attrdef'::regclass AND f.oid = d.objid
    LEFT JOIN pg_rewrite w ON d.classid = 'pg_rewrite'::regclass AND w.oid = d.objid
    WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = to_regclass(%s)::oid AND a.attname = %s
      AND (w.ev_class IS NULL OR w.ev_class IS DISTINCT FROM to_regclass(%s)::oid)
      AND (d.classid IN ('pg_rewrite'::regclass, 'pg_trigger'::regclass, 'pg_policy'::regclass,
                         'pg_publication_rel'::regclass, 'pg_statistic_ext'::regclass, 'pg_proc'::regclass)
           OR (d.classid = 'pg_attrdef'::regclass AND f.adnum <> a.attnum))
    ORDER BY 1
"""
# Logical replication finds a table's rows by this index, and it must not change under a subscriber.
_REPLICA_IDENTITY = """
    SELECT 'replica identity index ' || i.indexrelid::regclass FROM pg_index i
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
    WHERE i.indrelid = to_regclass(%s)::oid AND a.attname = %s AND i.indisreplident AND NOT i.indisprimary
"""


@dataclass(frozen=True, kw_only=True)
class Attached:
    """An index or constraint that holds a column; `definition` is what it is on the twin.

    `kind` is "" for a plain index, else PostgreSQL's letter of the constraint: p, u, x or c. The definition of
    an index begins with USING, that of a check is what ADD CONSTRAINT takes. `mark` tells what is
    made for one twin from what is made for another.
    """

    kind: str
    name: str
    definition: str
    unique: bool = False
    deferrable: str = ""
    mark: str = ""


@dataclass(frozen=True, kw_only=True)
class Rehearsed:
    """What giving a column another type would do; `bound` names what would stop it, `refused` why it cannot be."""

    rewrites: bool
    attached: tuple[Attached, ...] = ()
    bound: tuple[str, ...] = ()
    refused: str = ""


class _Over(Exception):
    """Rolls the rehearsal back."""


def rehearse(
    connection: Any,
    table: str,
    column: str,
    twin: str,
    *,
    retype: str = "",
    without: frozenset[str] = frozenset(),
    view: str = "",
) -> Rehearsed:
    """Return what hangs on the column, as it would be on `twin`, and whether `retype` rewrites the table or an index.

    `retype` is what follows ALTER TABLE; `without` are indexes and constraints that go first,
    `view` is Segue's own over the table. Takes ACCESS SHARE
    on the table for a moment.
    """
    quote = connection.ops.quote_name
    found: list[Rehearsed] = []
    try:
        with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
            found.append(_rehearsed(cursor, quote, table, column, twin, retype, without, view))
            raise _Over
    except _Over:
        return found[0]


def _rehearsed(
    cursor: Any, quote: Any, table: str, column: str, twin: str, retype: str, without: frozenset[str], view: str
) -> Rehearsed:
    def rows(sql: str, *params: Any) -> list[Any]:
        cursor.execute(sql, list(params))
        result: list[Any] = cursor.fetchall()
        return result

    copy = quote(_COPY)
    cursor.execute("SET LOCAL client_min_messages = error")
    # The copy of a sequence would have the bounds of the old type as if somebody had wanted them.
    like = f"LIKE {quote(table)} INCLUDING ALL EXCLUDING IDENTITY"
    cursor.execute(f"CREATE TEMPORARY TABLE {copy} ({like}) ON COMMIT DROP")
    if rows(_HAS_COLUMN, f"pg_temp.{copy}", twin):
        # The twin that lies there, from before or from an interrupted run, is not asked about.
        cursor.execute(f"ALTER TABLE {copy} RENAME COLUMN {quote(twin)} TO {quote(_COPY)}")
    originals = rows(_ORIGINALS, quote(table))
    before = rows(_INDEXES, f"pg_temp.{copy}")
    name_of = {made[0]: original[0] for original, made in zip(originals, before, strict=True)}
    checks_before = dict(rows(_CHECKS, f"pg_temp.{copy}"))
    gone = {made for made, original in name_of.items() if original in without}
    gone |= {made for (made, _, _), original in zip(before, originals, strict=True) if original[4] in without}
    _drop(cursor, copy, quote, gone, {name for name in checks_before if name in without}, dict(_constraints(rows)))
    filenode = "SELECT pg_relation_filenode(to_regclass(%s))"
    heap = rows(filenode, f"pg_temp.{copy}")
    if retype:
        try:
            cursor.execute("SAVEPOINT segue_retype")
            cursor.execute(f"ALTER TABLE {copy} {retype}")
        except DatabaseError as error:
            cursor.execute("ROLLBACK TO SAVEPOINT segue_retype")
            bound = _bound(rows, quote(table), column, quote(view))
            return Rehearsed(rewrites=True, bound=bound, refused=str(error).strip().splitlines()[0])
    after = {name: node for name, _, node in rows(_INDEXES, f"pg_temp.{copy}")}
    rewrites = rows(filenode, f"pg_temp.{copy}") != heap or any(
        after[name] != node for name, _, node in before if name in after
    )
    named = {name: definition for name, definition, _ in rows(_INDEXES, f"pg_temp.{copy}")}
    checks_named = dict(rows(_CHECKS, f"pg_temp.{copy}"))
    cursor.execute(f"ALTER TABLE {copy} RENAME COLUMN {quote(column)} TO {quote(twin)}")
    renamed = {name: definition for name, definition, _ in rows(_INDEXES, f"pg_temp.{copy}")}
    checks_renamed = dict(rows(_CHECKS, f"pg_temp.{copy}"))
    facts = {original[0]: original for original in originals}
    attached = [
        Attached(
            kind=facts[name_of[made]][3],
            name=name_of[made],
            definition=definition,
            unique=facts[name_of[made]][1],
            deferrable=facts[name_of[made]][5],
        )
        for made, definition in renamed.items()
        if definition != named[made] and facts[name_of[made]][2] and not name_of[made].startswith(_OWN)
    ]
    attached += [
        Attached(kind="c", name=name, definition=definition.removesuffix(" NOT VALID"))
        for name, definition in checks_renamed.items()
        if definition != checks_named[name] and not name.startswith(_OWN) and not name.endswith("_segue_not_null")
    ]
    bound = _bound(rows, quote(table), column, quote(view))
    return Rehearsed(rewrites=rewrites, attached=tuple(attached), bound=bound)


def _bound(rows: Any, table: str, column: str, view: str) -> tuple[str, ...]:
    """Return the names of what hangs on the column itself and cannot be given to a twin."""
    return tuple(row[0] for row in [*rows(_BOUND, table, column, view), *rows(_REPLICA_IDENTITY, table, column)])


def _constraints(rows: Any) -> list[Any]:
    found: list[Any] = rows(
        "SELECT c.relname, k.conname FROM pg_constraint k JOIN pg_class c ON c.oid = k.conindid "
        "WHERE k.conrelid = to_regclass(%s)::oid AND k.contype IN ('p', 'u', 'x')",
        f"pg_temp.{_COPY}",
    )
    return found


def _drop(cursor: Any, copy: str, quote: Any, indexes: set[str], checks: set[str], constraints: dict[str, str]) -> None:
    for name in indexes:
        if name in constraints:
            cursor.execute(f"ALTER TABLE {copy} DROP CONSTRAINT {quote(constraints[name])}")
        else:
            cursor.execute(f"DROP INDEX pg_temp.{quote(name)}")
    for name in checks:
        cursor.execute(f"ALTER TABLE {copy} DROP CONSTRAINT {quote(name)}")
