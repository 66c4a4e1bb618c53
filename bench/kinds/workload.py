"""The shop's requests: the same for both versions, as far as the kind of change lets them be.

A client writes rows of its own share only, chosen at random from the whole table, so that the last value of every
cell is well defined and a backfill's batches are met wherever they are.
"""

from __future__ import annotations

import random
from itertools import count
from typing import Any

from django.apps import apps

from bench.kinds.changes import Change
from bench.kinds.statements import Statements
from bench.project import Kind, Version
from segue.demo.record import Row
from segue.demo.workload import Notes, Request, Share

TEN = 10


class Shop:
    """What one client of one version asks for."""

    def __init__(self, change: Change, version: Version, share: Share, *, songs: int, albums: int) -> None:
        self._change = change
        self._is_new = version == "new"
        self._mark = f"{version[0]}{share.number}"
        self._share = share
        self._songs, self._albums = songs, albums
        self._numbers = count(1)
        self._chance = random.Random(self._mark)
        self.song, self.album, self.review, self.sale = (
            Statements(apps.get_model("shop", change.models.get(name, name) if self._is_new else name))
            for name in ("Song", "Album", "Review", "Sale")
        )

    def requests(self, kind: Kind) -> tuple[Request, ...]:
        """What a client of a kind asks for, in turn."""
        if kind == "read":
            return self.read_song, self.read_songs, self.read_review
        return self.edit_song, self.count_plays, self.publish, self.sell, self.edit_album, self.rate

    def edit_song(self, notes: Notes) -> None:
        """Load a song and save it whole, as a form does."""
        pk, values = self._own(self._songs), self._values(next(self._numbers))
        loaded = self.song.get(pk)
        notes.append(_row(self.song, pk, values, is_new=False))
        self.song.update(pk, {**loaded, **values})

    def count_plays(self, notes: Notes) -> None:
        """Set one column of a song with one statement."""
        pk, values = self._own(self._songs), {"plays": next(self._numbers)}
        notes.append(_row(self.song, pk, values, is_new=False))
        self.song.update(pk, values)

    def publish(self, notes: Notes) -> None:
        """Insert a song."""
        number = next(self._numbers)
        pk, values = self.song.create({**self._values(number), "isrc": f"{self._mark}-{number}"})
        notes.append(_row(self.song, pk, values, is_new=True))

    def rate(self, notes: Notes) -> None:
        """Insert a review of a song."""
        pk, values = self.review.create({"song_id": self._own(self._songs), "stars": next(self._numbers)})
        notes.append(_row(self.review, pk, values, is_new=True))

    def sell(self, notes: Notes) -> None:
        """Insert a sale of a song."""
        pk, values = self.sale.create({"song_id": self._own(self._songs), "cents": next(self._numbers)})
        notes.append(_row(self.sale, pk, values, is_new=True))

    def edit_album(self, notes: Notes) -> None:
        """Give an album another title."""
        pk, values = self._own(self._albums), {"title": f"album {self._mark}-{next(self._numbers)}"}
        notes.append(_row(self.album, pk, values, is_new=False))
        self.album.update(pk, values)

    def read_song(self, _: Notes) -> Any:
        """Load one song."""
        return self.song.get(self._any(self._songs))

    def read_songs(self, _: Notes) -> Any:
        """Load ten songs."""
        return self.song.among([self._any(self._songs) for _ in range(TEN)])

    def read_review(self, _: Notes) -> Any:
        """Load a review with its song."""
        return self.review.with_related("song", self._any(self._songs // 2))

    def _values(self, number: int) -> dict[str, Any]:
        """A song's values by attribute, as this version has them."""
        values: dict[str, Any] = {
            "title": f"song {self._mark}-{number}",
            "seconds": number % 600,
            "plays": number,
            "mood": None if number % 5 == 0 else f"mood {number % 7}",
            "note": f"note {self._mark}-{number}",
            "album": self._any(self._albums),
        }
        if not self._is_new:
            return values
        if self._change.is_mood_required:
            values["mood"] = values["mood"] or "new"
        kept = {name: value for name, value in values.items() if name not in self._change.removed}
        renamed = {self._change.attributes.get(name, name): value for name, value in kept.items()}
        return {**renamed, **self._change.added}

    def _own(self, most: int) -> int:
        """Any row of this client's share."""
        return self._chance.randrange(most // self._share.parts) * self._share.parts + self._share.number + 1

    def _any(self, most: int) -> int:
        return self._chance.randint(1, most)


def _row(statements: Statements, pk: int, values: dict[str, Any], *, is_new: bool) -> Row:
    return Row(table=statements.table, pk=pk, values=statements.cells(values), is_new=is_new)
