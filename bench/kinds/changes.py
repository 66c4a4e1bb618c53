"""The kinds of change: what each is called, and how the two versions of the shop differ around it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.kinds import MOOD
from segue.demo.record import Row

SONGS, ALBUMS, REVIEWS, SALES = "shop_song", "shop_album", "shop_review", "shop_sale"
TABLES = (SONGS, ALBUMS, REVIEWS, SALES)


@dataclass(frozen=True, kw_only=True)
class Change:
    """One kind; what the new version calls the old one's: `attributes` and `columns` of songs, `tables`, `models`."""

    title: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    tables: Mapping[str, str] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)
    added: Mapping[str, Any] = field(default_factory=dict)
    removed: tuple[str, ...] = ()
    is_mood_required: bool = False
    makes_tokens: bool = False

    def in_new_words(self, row: Row) -> Row:
        """A row as the new version names it; what that does not have is left out."""
        columns = self.columns if row.table == SONGS else {}
        values = {columns.get(name, name): v for name, v in row.values.items() if name not in self.removed}
        if self.is_mood_required and "mood" in values and values["mood"] is None:
            values["mood"] = MOOD
        return Row(table=self.tables.get(row.table, row.table), pk=row.pk, values=values, is_new=row.is_new)

    def in_old_words(self, row: Row) -> Row:
        """A row as the old version names it; what that does not have is left out."""
        renamed = self.columns if row.table == SONGS else {}
        columns, tables = ({new: old for old, new in names.items()} for names in (renamed, self.tables))
        newer = {*self.added, *(["token"] if self.makes_tokens else [])}
        values = {columns.get(name, name): v for name, v in row.values.items() if name not in newer}
        return Row(table=tables.get(row.table, row.table), pk=row.pk, values=values, is_new=row.is_new)


CHANGES: Mapping[str, Change] = {
    "columns-and-index": Change(
        title="three columns with defaults, and an index",
        added={"language": "hi", "quality": 128, "is_explicit": True},
    ),
    "index": Change(title="an index"),
    "int-to-bigint": Change(title="a column from integer to bigint"),
    "not-null": Change(title="NULL forbidden in a column of which a fifth is NULL", is_mood_required=True),
    "foreign-key": Change(
        title="a column that becomes a foreign key, and a new foreign key",
        attributes={"album": "album_id"},
        added={"single_id": 1},
    ),
    "check-and-unique": Change(title="a check and a unique constraint"),
    "uuid-default": Change(title="a column with default=uuid4", makes_tokens=True),
    "uuid-unique": Change(title="a unique column with default=uuid4", makes_tokens=True),
    "rename-field": Change(title="a column renamed", attributes={"title": "name"}, columns={"title": "name"}),
    "rename-model": Change(title="a table renamed", tables={ALBUMS: "shop_record"}, models={"Album": "Record"}),
    "remove-field": Change(title="a column removed", removed=("note",)),
    "pk-to-bigint": Change(title="a primary key, and two foreign keys to it, from integer to bigint"),
}
