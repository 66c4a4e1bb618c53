"""The order of a playlist's songs. Every change of it goes through here, under a lock on the playlist.

Positions count from 0 without gaps, except where a song has left the catalogue altogether.
"""

from collections.abc import Sequence

from django.db import transaction
from django.db.models import F, Max

from .models import Playlist, PlaylistSong

MAX_SONGS = 1_000


class PlaylistError(Exception):
    """A change that the playlist's order cannot take; the message is for the listener."""


@transaction.atomic
def add_song(playlist: Playlist, song_id: int, position: int | None = None) -> PlaylistSong:
    """Put an existing song at ``position``, moving later songs down; at the end without a position."""
    _lock(playlist)
    entries = playlist.entries.all()
    last = entries.aggregate(last=Max("position"))["last"]
    end = 0 if last is None else last + 1
    if entries.filter(song_id=song_id).exists():
        raise PlaylistError(f"Song {song_id} is in this playlist already.")
    if entries.count() >= MAX_SONGS:
        raise PlaylistError(f"A playlist holds at most {MAX_SONGS:,} songs.")
    if position is None:
        position = end
    if position > end:
        raise PlaylistError(f"Position {position} is beyond the playlist's end, which is {end}.")

    entries.filter(position__gte=position).update(position=F("position") + 1)
    entry = playlist.entries.create(song_id=song_id, position=position)
    _touch(playlist)
    return entry


@transaction.atomic
def remove_song(playlist: Playlist, song_id: int) -> None:
    """Take a song out and move later songs up."""
    _lock(playlist)
    entry = playlist.entries.filter(song_id=song_id).first()
    if entry is None:
        raise PlaylistError(f"Song {song_id} is not in this playlist.")

    entry.delete()
    playlist.entries.filter(position__gt=entry.position).update(position=F("position") - 1)
    _touch(playlist)


@transaction.atomic
def reorder(playlist: Playlist, song_ids: Sequence[int]) -> None:
    """Bring the playlist's songs into the given order, which must name each of them once."""
    _lock(playlist)
    entries = {entry.song_id: entry for entry in playlist.entries.all()}
    if len(song_ids) != len(entries) or set(song_ids) != entries.keys():
        raise PlaylistError(f"The order must name each of the playlist's {len(entries)} songs exactly once.")

    moved = []
    for position, song_id in enumerate(song_ids):
        entry = entries[song_id]
        if entry.position != position:
            entry.position = position
            moved.append(entry)
    PlaylistSong.objects.bulk_update(moved, ["position"], batch_size=200)
    _touch(playlist)


def _lock(playlist: Playlist) -> None:
    """Make other changes of this order wait until the transaction ends. SQLite has one writer anyway."""
    if Playlist.objects.select_for_update().filter(pk=playlist.pk).first() is None:
        raise PlaylistError("This playlist has just been deleted.")


def _touch(playlist: Playlist) -> None:
    playlist.save(update_fields=["updated_at"])
