"""The catalogue's tables. Rules that span several rows (playlist order) live in playlists.py."""

from django.conf import settings
from django.contrib.auth.models import AbstractUser
from django.core.validators import URLValidator
from django.db import models
from django.db.models.functions import Coalesce

https_url = URLValidator(schemes=["https"])


class User(AbstractUser):
    """A listener. Staff and superusers are listeners too."""

    class PreferredLanguage(models.TextChoices):
        HINDI = "hi", "Hindi"
        ENGLISH = "en", "English"

    class AudioQuality(models.TextChoices):
        KBPS_128 = "128", "128 kbps"
        KBPS_192 = "192", "192 kbps"
        KBPS_320 = "320", "320 kbps"

    preferred_language = models.CharField(
        max_length=10, choices=PreferredLanguage.choices, default=PreferredLanguage.ENGLISH.value
    )
    audio_quality = models.CharField(max_length=10, choices=AudioQuality.choices, default=AudioQuality.KBPS_192.value)
    theme_preference = models.CharField(max_length=50, default="dark")

    class Meta(AbstractUser.Meta):
        indexes = [models.Index(fields=["preferred_language"], name="user_lang_idx")]


class Song(models.Model):
    """One recording of the catalogue. Audio and cover lie elsewhere; this row holds where."""

    class Language(models.TextChoices):
        HINDI = "hindi", "Hindi"
        ENGLISH = "english", "English"
        PUNJABI = "punjabi", "Punjabi"
        TAMIL = "tamil", "Tamil"
        TELUGU = "telugu", "Telugu"
        BENGALI = "bengali", "Bengali"
        MARATHI = "marathi", "Marathi"

    title = models.CharField(max_length=200)
    artist = models.CharField(max_length=200)
    album = models.CharField(max_length=200, blank=True)
    language = models.CharField(max_length=20, choices=Language.choices, db_index=True)
    genre = models.CharField(max_length=50, blank=True)
    duration_seconds = models.PositiveIntegerField()
    audio_url = models.CharField(max_length=500, validators=[https_url])
    cover_url = models.CharField(max_length=500, blank=True, validators=[https_url])
    play_count = models.PositiveBigIntegerField(default=0)
    released_on = models.DateField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return f"{self.title} — {self.artist}"


class PlaylistQuerySet(models.QuerySet["Playlist"]):
    def visible_to(self, user: User) -> "PlaylistQuerySet":
        """Public playlists, and the user's own private ones."""
        return self.filter(models.Q(is_public=True) | models.Q(user=user))

    def with_song_count(self) -> "PlaylistQuerySet":
        """Annotate ``song_count``; a subquery, so that only the rows of the page are counted."""
        entries = PlaylistSong.objects.filter(playlist=models.OuterRef("pk")).order_by()
        counts = entries.values("playlist").annotate(total=models.Count("pk")).values("total")
        zero = models.Value(0)
        return self.annotate(song_count=Coalesce(models.Subquery(counts), zero))


class Playlist(models.Model):
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    title = models.CharField(max_length=100)
    description = models.TextField(blank=True)
    songs = models.ManyToManyField(Song, through="PlaylistSong")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    is_public = models.BooleanField(default=False)

    objects = PlaylistQuerySet.as_manager()

    class Meta:
        indexes = [models.Index(fields=["user", "is_public"], name="playlist_user_public_idx")]

    def __str__(self) -> str:
        return self.title


class PlaylistSong(models.Model):
    """A song's place in a playlist.

    ``position`` counts from 0. It is not unique: shifting a run of entries with one UPDATE would trip
    over a unique index midway. playlists.py keeps the order, under a lock on the playlist.
    """

    playlist = models.ForeignKey(Playlist, on_delete=models.CASCADE, related_name="entries")
    song = models.ForeignKey(Song, on_delete=models.CASCADE, related_name="playlist_entries")
    position = models.PositiveIntegerField()
    added_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["position", "id"]
        indexes = [models.Index(fields=["playlist", "position"], name="playlist_position_idx")]
        constraints = [models.UniqueConstraint(fields=["playlist", "song"], name="playlist_song_once")]

    def __str__(self) -> str:
        return f"{self.position}: {self.song}"


class AnalyticsEvent(models.Model):
    """Something that a client observed. ``timestamp`` is when the server stored it."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, null=True)
    event_type = models.CharField(max_length=50)
    song = models.ForeignKey(Song, on_delete=models.SET_NULL, null=True)
    properties = models.JSONField(default=dict)
    timestamp = models.DateTimeField(auto_now_add=True)
    session_id = models.CharField(max_length=100)

    class Meta:
        indexes = [
            models.Index(fields=["timestamp", "user"], name="event_timestamp_user_idx"),
            models.Index(fields=["event_type"], name="event_type_idx"),
        ]

    def __str__(self) -> str:
        return f"{self.event_type} at {self.timestamp:%Y-%m-%d %H:%M:%S}"
