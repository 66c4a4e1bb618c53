"""The requests of VILLEN 1.0.0 and of VILLEN 1.3, through the ORM.

Each client updates only rows of its own share, so that the last value of every cell is well defined. A
request notes what it writes as it goes; the note becomes an acknowledgment when the request returns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count, cycle
from typing import Any, TypeAlias

from django.db import transaction
from django.db.models.functions import Mod

from segue.demo.record import Row

OWNED_ROWS = 400
PAGE = 20
EVENTS_A_REQUEST = 20
SONGS_A_PLAYLIST = 5
LANGUAGES = ("hindi", "english", "punjabi", "tamil", "telugu", "bengali", "marathi")
EVENT_TYPES = ("play", "pause", "skip", "like")

# The models of a historical state are made while running and have no static type.
Models: TypeAlias = Any
Notes: TypeAlias = list[Row]
Request: TypeAlias = Callable[[Notes], object]


@dataclass(frozen=True, kw_only=True)
class Share:
    """The rows that one client may update: those whose id leaves `number` when divided by `parts`."""

    number: int
    parts: int

    def ids(self, model: Models) -> list[int]:
        """The lowest ids of this share."""
        mine = model.objects.annotate(part=Mod("pk", self.parts)).filter(part=self.number)
        return list(mine.order_by("pk").values_list("pk", flat=True)[:OWNED_ROWS])


class Workload:
    """What both versions have in common: listeners, songs, and a number that makes values unique."""

    def __init__(self, models: Models, share: Share, *, version: str) -> None:
        self.models = models
        self.user = models.get_model("music", "User")
        self.song = models.get_model("music", "Song")
        self.version = version
        self.share = share
        self.numbers = count(1)
        self.user_ids = cycle(share.ids(self.user))
        self.song_ids = cycle(share.ids(self.song))
        self.languages = cycle(LANGUAGES)

    def requests(self) -> tuple[Request, ...]:
        """The requests that a client makes in turn."""
        raise NotImplementedError

    def unique(self, word: str) -> str:
        """A value that no other request of the run writes."""
        return f"{word}-{self.version}-{self.share.number}-{next(self.numbers)}"

    def sign_up(self, notes: Notes, **preferences: str) -> None:
        """Insert a listener, with every field that this version knows."""
        name = self.unique("listener")
        user = self.user.objects.create(
            username=name, email=f"{name}@example.org", first_name=name, password="!", **preferences
        )
        notes.append(inserted(user, "username", "email", "first_name", *preferences))

    def find_songs(self, _: Notes) -> list[Any]:
        """Look songs up by language."""
        return list(self.song.objects.filter(language=next(self.languages))[:PAGE])


class Villen10(Workload):
    """VILLEN 1.0.0: listeners and songs. It knows neither preferences nor playlists nor events."""

    def requests(self) -> tuple[Request, ...]:
        """Half of them write."""
        return (
            self.find_songs,
            self.rename_listener,
            self.read_listener,
            self.sign_up,
            self.read_song,
            self.count_play,
            self.find_songs,
            self.publish_song,
        )

    def rename_listener(self, notes: Notes) -> None:
        """Load a listener and save it whole, as a form would."""
        user = self.user.objects.get(pk=next(self.user_ids))
        user.first_name, user.last_name = self.unique("first"), self.unique("last")
        notes.append(updated(user, "first_name", "last_name"))
        user.save()

    def read_listener(self, _: Notes) -> Any:
        """Load one listener."""
        return self.user.objects.get(pk=next(self.user_ids))

    def read_song(self, _: Notes) -> Any:
        """Load one song."""
        return self.song.objects.get(pk=next(self.song_ids))

    def count_play(self, notes: Notes) -> None:
        """Set a song's number of plays."""
        song = self.song.objects.only("play_count").get(pk=next(self.song_ids))
        song.play_count += 1
        notes.append(updated(song, "play_count"))
        song.save(update_fields=["play_count"])

    def publish_song(self, notes: Notes) -> None:
        """Insert a song."""
        title = self.unique("song")
        url = f"https://audio.example.org/{title}"
        language = next(self.languages)
        song = self.song.objects.create(
            title=title, artist="VILLEN", language=language, duration_seconds=180, audio_url=url
        )
        notes.append(inserted(song, "title", "artist", "language", "duration_seconds", "audio_url"))


class Villen13(Workload):
    """VILLEN 1.3: preferences, playlists and analytics on top of 1.0.0's tables."""

    def __init__(self, models: Models, share: Share, *, version: str) -> None:
        super().__init__(models, share, version=version)
        self.playlist = models.get_model("music", "Playlist")
        self.playlist_song = models.get_model("music", "PlaylistSong")
        self.event = models.get_model("music", "AnalyticsEvent")

    def requests(self) -> tuple[Request, ...]:
        """Half of them write."""
        return (
            self.find_songs,
            self.make_playlist,
            self.find_listeners,
            self.change_preferences,
            self.read_playlists,
            self.ingest_events,
            self.read_events,
            self.sign_up_with_preferences,
        )

    def sign_up_with_preferences(self, notes: Notes) -> None:
        """Insert a listener who chose everything."""
        theme = self.unique("theme")
        self.sign_up(notes, preferred_language="hi", audio_quality="320", theme_preference=theme)

    def change_preferences(self, notes: Notes) -> None:
        """Save all three preferences of a listener."""
        fields = ("preferred_language", "audio_quality", "theme_preference")
        user = self.user.objects.get(pk=next(self.user_ids))
        user.preferred_language, user.audio_quality = "hi", "128"
        user.theme_preference = self.unique("theme")
        notes.append(updated(user, *fields))
        user.save(update_fields=fields)

    def find_listeners(self, _: Notes) -> list[Any]:
        """Look listeners up by the new, indexed preference."""
        return list(self.user.objects.filter(preferred_language="hi")[:PAGE])

    def make_playlist(self, notes: Notes) -> None:
        """Insert a playlist and its songs, in order."""
        songs = sorted({next(self.song_ids) for _ in range(SONGS_A_PLAYLIST)})
        with transaction.atomic():
            playlist = self.playlist.objects.create(
                user_id=next(self.user_ids), title=self.unique("playlist"), is_public=True
            )
            entries = self.playlist_song.objects.bulk_create(
                self.playlist_song(playlist=playlist, song_id=song, position=position)
                for position, song in enumerate(songs)
            )
        notes.append(inserted(playlist, "user", "title", "is_public"))
        notes.extend(inserted(entry, "playlist", "song", "position") for entry in entries)

    def read_playlists(self, _: Notes) -> list[Any]:
        """Load the newest playlists with their songs."""
        return list(self.playlist.objects.order_by("-pk").prefetch_related("songs")[:5])

    def ingest_events(self, notes: Notes) -> None:
        """Insert a batch of events with one statement."""
        session = self.unique("session")
        events = self.event.objects.bulk_create(
            self.event(
                user_id=next(self.user_ids),
                song_id=next(self.song_ids),
                event_type=EVENT_TYPES[number % len(EVENT_TYPES)],
                session_id=session,
                properties={"batch": session, "number": number},
            )
            for number in range(EVENTS_A_REQUEST)
        )
        written = ("user", "song", "event_type", "session_id", "properties")
        notes.extend(inserted(event, *written) for event in events)

    def read_events(self, _: Notes) -> list[Any]:
        """Load the newest events of one type."""
        newest = self.event.objects.filter(event_type="play").order_by("-timestamp")
        return list(newest.select_related("user")[:PAGE])


def inserted(instance: Any, *names: str) -> Row:
    """A row that an INSERT made, with some of its fields."""
    return _row(instance, names, is_new=True)


def updated(instance: Any, *names: str) -> Row:
    """A row that was there, with the fields that an UPDATE sets."""
    return _row(instance, names, is_new=False)


def _row(instance: Any, names: Sequence[str], *, is_new: bool) -> Row:
    fields = [instance._meta.get_field(name) for name in names]
    values = {field.column: field.value_from_object(instance) for field in fields}
    return Row(table=instance._meta.db_table, pk=instance.pk, values=values, is_new=is_new)
