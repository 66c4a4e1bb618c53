"""What a change of a column's type asks of code that goes on with the other type.

Knows PostgreSQL's types by family: within one, Django code of either version reads and writes the same values.
https://www.postgresql.org/docs/current/datatype.html
"""

from __future__ import annotations

import re
from enum import Enum

_ALIASES = {"varchar": "character varying", "int": "integer", "int4": "integer", "int8": "bigint", "bool": "boolean"}
_ALIASES |= {"serial": "integer", "bigserial": "bigint", "smallserial": "smallint", "char": "character"}
_ALIASES |= {"timestamptz": "timestamp with time zone", "decimal": "numeric"}
_INTEGERS = ("smallint", "integer", "bigint")
_TEXTS = ("character varying", "text", "citext", "character")
_FAMILIES = (_INTEGERS, _TEXTS, ("numeric",), ("real", "double precision"), ("json", "jsonb"))


class Change(Enum):
    """What the new type means for old code."""

    SAME = "the type stays"
    WIDER = "old code can go on with it"
    NARROWER = "old code may write what it cannot hold"
    OTHER = "old code cannot work with it"


def change(old: str, new: str) -> Change:
    """Return what changing a column from one type to another means, collations left out."""
    if old == new:
        return Change.SAME
    if old.endswith("[]") and new.endswith("[]"):
        return change(old[:-2], new[:-2])
    (old_name, old_size), (new_name, new_size) = _parsed(old), _parsed(new)
    family = next((f for f in _FAMILIES if old_name in f and new_name in f), None)
    if family is None:
        return Change.SAME if (old_name, old_size) == (new_name, new_size) else Change.OTHER
    if family is _TEXTS:
        return _texts(old_name, old_size, new_name, new_size)
    if family == ("numeric",):
        return Change.WIDER if _digits_fit(old_size, new_size) else Change.NARROWER
    return Change.WIDER if family.index(new_name) >= family.index(old_name) else Change.NARROWER


def _parsed(type_: str) -> tuple[str, tuple[int, ...]]:
    match = re.fullmatch(r"([^()]+)(?:\(([\d\s,]+)\))?(.*)", type_.strip().lower())
    assert match is not None
    name = f"{match[1].strip()}{match[3]}"
    size = tuple(int(n) for n in match[2].split(",")) if match[2] else ()
    return _ALIASES.get(name, name), size


def _texts(old: str, old_size: tuple[int, ...], new: str, new_size: tuple[int, ...]) -> Change:
    """`citext` compares otherwise, which old code can live with; `character` pads, which it cannot."""
    if "character" in (old, new):
        return Change.SAME if (old, old_size) == (new, new_size) else Change.OTHER
    if not new_size:
        return Change.WIDER
    return Change.WIDER if old_size and new_size >= old_size else Change.NARROWER


def _digits_fit(old: tuple[int, ...], new: tuple[int, ...]) -> bool:
    if not new or not old:
        return not new
    (old_digits, old_scale), (new_digits, new_scale) = (*old, 0)[:2], (*new, 0)[:2]
    return new_scale >= old_scale and new_digits - new_scale >= old_digits - old_scale
