"""The names that PostgreSQL itself gives to what belongs to a column, so that one built beside it ends as stock's.

See makeObjectName and ChooseRelationName in PostgreSQL's src/backend/commands/indexcmds.c. Builds names only.
"""

from __future__ import annotations

from itertools import count

from segue.engines.postgresql.acts import retire
from segue.engines.postgresql.catalog import Catalog
from segue.engines.postgresql.qualified import relation_of

_MAX_NAME_BYTES = 63


def implicit_name(
    catalog: Catalog, table: str, column: str, label: str, *, final: str = "", freed: frozenset[str] = frozenset()
) -> str:
    """Return the name that an unnamed constraint or a column's sequence gets once the `freed` ones are gone.

    `label` is "key", "check", "seq" or "pkey"; a primary key's name has no column in it. `final` is the column's
    name in the end, if it is called otherwise now. What an interrupted run has made of it already does not count.
    """
    parts = [catalog.relation_name(table), *([final or column] if label != "pkey" else [])]
    names = (object_name(parts, f"{label}{number or ''}") for number in count())
    by_relation = label != "check"
    return next(
        n for n in names if n in freed or not catalog.is_taken(table, n, besides=column, by_relation=by_relation)
    )


def not_null_names(table: str, column: str) -> tuple[str, ...]:
    """Return the names for a column's NOT NULL in the order in which PostgreSQL 18 tries them."""
    parts = [retire.shorten(relation_of(table)), column]
    return tuple(object_name(parts, f"not_null{number or ''}") for number in range(10))


def object_name(parts: list[str], label: str) -> str:
    """Return parts and label joined by "_" within 63 bytes: the longest part gives way, a byte at a time."""
    encoded = [part.encode() for part in parts]
    lengths = [len(part) for part in encoded]
    room = _MAX_NAME_BYTES - len(label.encode()) - len(parts)
    while sum(lengths) > room:
        # Of two equally long parts the later one: PostgreSQL shortens the first only when it is longer.
        longest = max(range(len(lengths)), key=lambda n: (lengths[n], n))
        lengths[longest] -= 1
    clipped = [part[:length].decode(errors="ignore") for part, length in zip(encoded, lengths, strict=True)]
    return "_".join([*clipped, label])
