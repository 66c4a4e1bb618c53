"""What a table of images looks like, and how it is told which table's rows it has.

A table's images lie in one table, by the numbers of the columns, which no rename changes: `was_3` is the third column
before a statement and `now_3` after it, `key_1` the first one where it is the primary key. Reads the catalog only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from segue.engines.postgresql.acts import retire
from segue.engines.postgresql.qualified import qualified

SCHEMA = "segue_images_"
NUMBER, WHAT, STATE, EDITED = "segue_nr", "segue_op", "segue_state", "segue_edited"

_COLUMNS = """
SELECT a.attnum, a.attname::text, format_type(coalesce(nullif(t.typbasetype, 0), a.atttypid),
           CASE WHEN t.typbasetype = 0 THEN a.atttypmod ELSE t.typtypmod END),
       CASE WHEN a.attcollation <> t.typcollation THEN (
           SELECT format(' COLLATE %%I.%%I', n.nspname, c.collname)
           FROM pg_collation c JOIN pg_namespace n ON n.oid = c.collnamespace WHERE c.oid = a.attcollation) ELSE '' END,
       a.attidentity = 'a', coalesce(a.attnum = ANY(k.indkey), false)
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_index k ON k.indrelid = a.attrelid AND k.indisprimary
WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
ORDER BY a.attnum
"""
_NAME = """
SELECT n.nspname::text, c.relname::text, pg_table_is_visible(c.oid)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = %s AND c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
"""
_KEYS_ONTO = """
SELECT format('%%I.%%I', n.nspname, c.relname), c.oid::bigint,
       ARRAY(SELECT a.attname::text FROM unnest(f.conkey) WITH ORDINALITY u(nr, place)
             JOIN pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = u.nr ORDER BY u.place),
       ARRAY(SELECT a.attname::text FROM unnest(f.confkey) WITH ORDINALITY u(nr, place)
             JOIN pg_attribute a ON a.attrelid = f.confrelid AND a.attnum = u.nr ORDER BY u.place),
       f.condeferrable
FROM pg_constraint f JOIN pg_class c ON c.oid = f.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE f.contype = 'f' AND f.conparentid = 0 AND f.confrelid = %s
ORDER BY f.oid
"""
_KEYS_FROM = """
SELECT format('%%I.%%I', n.nspname, c.relname),
       ARRAY(SELECT a.attname::text FROM unnest(f.conkey) WITH ORDINALITY u(nr, place)
             JOIN pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = u.nr ORDER BY u.place),
       ARRAY(SELECT a.attname::text FROM unnest(f.confkey) WITH ORDINALITY u(nr, place)
             JOIN pg_attribute a ON a.attrelid = f.confrelid AND a.attnum = u.nr ORDER BY u.place),
       pg_get_constraintdef(f.oid), f.confrelid::bigint
FROM pg_constraint f JOIN pg_class c ON c.oid = f.confrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE f.contype = 'f' AND f.conparentid = 0 AND f.conrelid = %s
ORDER BY f.oid
"""
_IMAGES = """
SELECT c.relname::text, obj_description(c.oid, 'pg_class'),
       ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relkind = 'r' ORDER BY c.oid DESC
"""


class Ask(Protocol):
    """Runs a query; without parameters a % in it is no placeholder."""

    def __call__(self, sql: str, params: Sequence[Any] | None = None) -> list[Any]:
        """Return its rows."""


Quote = Callable[[str], str]


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a table, by its number and by the name that it has now."""

    number: int
    name: str
    type: str
    collation: str
    is_fixed: bool
    is_key: bool


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table whose rows have images; `name` is what Django calls it."""

    id: int
    name: str
    columns: tuple[Column, ...]

    @property
    def key(self) -> tuple[Column, ...]:
        """The columns of the primary key."""
        return tuple(column for column in self.columns if column.is_key)

    @property
    def others(self) -> tuple[Column, ...]:
        """The columns that an UPDATE may set and that do not name the row."""
        return tuple(column for column in self.columns if not column.is_key and not column.is_fixed)


@dataclass(frozen=True, kw_only=True)
class Key:
    """A foreign key between two tables: the other one as SQL, its columns and this one's."""

    other: str
    other_id: int
    others: tuple[str, ...]
    own: tuple[str, ...]
    definition: str = ""
    deferrable: bool = True


@dataclass(frozen=True, kw_only=True)
class Images:
    """The images of one table's rows: where they lie, and which columns the way back leaves alone.

    `spared` are columns that the release itself has made: old code does not know them. A table that is `new` is spared
    whole.
    """

    place: str
    name: str
    table: Table
    spared: frozenset[int] = field(default_factory=frozenset)
    new: bool = False

    @property
    def sql(self) -> str:
        """The table of images, as Django's quoting leaves it."""
        return qualified(self.place, self.name)


def place_of(release: str, operation: str) -> str:
    """Return the schema that the images of one run of an operation lie in."""
    return f"{SCHEMA}{release}_{hashlib.sha256(operation.encode()).hexdigest()[:6]}"


def describe(ask: Ask, table_id: int) -> Table | None:
    """Return a table as it is now; None for one that cannot have images: a view, or one that is gone."""
    found = ask(_NAME, [table_id])
    if not found:
        return None
    schema, name, visible = found[0]
    columns = tuple(
        Column(number=number, name=name, type=type_, collation=collation, is_fixed=is_fixed, is_key=is_key)
        for number, name, type_, collation, is_fixed, is_key in ask(_COLUMNS, [table_id])
    )
    return Table(id=table_id, name=name if visible else qualified(schema, name), columns=columns)


def index(images: Images) -> str:
    """Return the statement that makes the index by which the images of one row are found, unless it is there."""
    keys = ", ".join(f"key_{column.number}" for column in images.table.key)
    return f"CREATE INDEX IF NOT EXISTS segue_by_key ON {images.sql} ({keys}, {NUMBER})"


def comment(images: Images) -> str:
    """Return what a table of images says of itself."""
    return json.dumps({"of": images.table.id, "spared": sorted(images.spared), "new": images.new})


def found(ask: Ask, place: str) -> list[Images]:
    """Return the images that lie in a schema and whose tables are still there, the last begun first."""
    every = []
    for name, said, known in ask(_IMAGES, [place]):
        data = json.loads(said)
        table = describe(ask, data["of"])
        if table is not None and table.key:
            # A column that is younger than the images is one that the code has made.
            table = replace(table, columns=tuple(c for c in table.columns if f"was_{c.number}" in known))
            every.append(Images(place=place, name=name, table=table, spared=frozenset(data["spared"]), new=data["new"]))
    return every


def named(place: str, table: Table, spared: frozenset[int], *, new: bool) -> Images:
    """Return where the images of a table's rows are to lie."""
    plain = table.name.replace('"', "").replace(".", "_")
    return Images(place=place, name=retire.label("images_of_", plain), table=table, spared=spared, new=new)


def keys_onto(ask: Ask, table: Table) -> list[Key]:
    """Return the foreign keys of other tables, and of itself, onto a table."""
    return [
        Key(other=other, other_id=id_, others=tuple(columns), own=tuple(own), deferrable=deferrable)
        for other, id_, columns, own, deferrable in ask(_KEYS_ONTO, [table.id])
    ]


def keys_from(ask: Ask, table: Table) -> list[Key]:
    """Return the foreign keys of a table."""
    return [
        Key(other=other, other_id=id_, others=tuple(others), own=tuple(own), definition=definition)
        for other, own, others, definition, id_ in ask(_KEYS_FROM, [table.id])
    ]
