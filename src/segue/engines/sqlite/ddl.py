"""What a hand-written statement does to a table's shape, as far as it takes something away or calls it otherwise."""

from __future__ import annotations

import re
from dataclasses import dataclass

_SPACE = r"(?:\s|--[^\n]*\n|/\*.*?\*/)"
_NAME = r"""(?:"(?:[^"]|"")+"|\[[^\]]+\]|`[^`]+`|[^\s"'`\[\]();,.]+)"""
_TABLE = rf"(?:main\s*\.\s*)?(?P<table>{_NAME})"
_STATEMENT = re.compile(
    rf"^{_SPACE}*(?:DROP{_SPACE}+TABLE{_SPACE}+(?:IF{_SPACE}+EXISTS{_SPACE}+)?{_TABLE}"
    rf"|ALTER{_SPACE}+TABLE{_SPACE}+{_TABLE.replace('<table>', '<altered>')}{_SPACE}+(?P<what>.*))",
    re.IGNORECASE | re.DOTALL,
)
_DROP_COLUMN = re.compile(rf"^DROP{_SPACE}+(?:COLUMN{_SPACE}+)?(?P<column>{_NAME})", re.IGNORECASE | re.DOTALL)
_RENAME = re.compile(
    rf"^RENAME{_SPACE}+(?:(?:COLUMN{_SPACE}+)?(?P<column>{_NAME}){_SPACE}+)?TO{_SPACE}+(?P<to>{_NAME})",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True, kw_only=True)
class Reshaping:
    """A table that a statement drops, renames, or alters otherwise: a column's name, and what it is renamed to."""

    table: str
    drops_table: bool = False
    drops_column: str = ""
    renames_column: str = ""
    to: str = ""


def reshaping(sql: str) -> Reshaping | None:
    """Return what a statement does to a table's shape; None when it drops and alters none."""
    found = _STATEMENT.match(sql)
    if found is None:
        return None
    if found["table"]:
        return Reshaping(table=_bare(found["table"]), drops_table=True)
    table = _bare(found["altered"])
    if drop := _DROP_COLUMN.match(found["what"]):
        return Reshaping(table=table, drops_column=_bare(drop["column"]))
    if rename := _RENAME.match(found["what"]):
        return Reshaping(table=table, renames_column=_bare(rename["column"] or ""), to=_bare(rename["to"]))
    return Reshaping(table=table)


def _bare(name: str) -> str:
    """Return a name without its quotes: https://www.sqlite.org/lang_keywords.html"""
    if name.startswith('"'):
        return name[1:-1].replace('""', '"')
    return name[1:-1] if name.startswith(("[", "`")) else name
