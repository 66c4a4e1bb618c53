"""What goes in and out as JSON."""

from typing import Any

from rest_framework import serializers

from music.models import AnalyticsEvent, Playlist, PlaylistSong, Song, User
from music.playlists import MAX_SONGS

from .fields import BatchField, IdField, PropertiesField

MAX_EVENTS = 500


class SongSerializer(serializers.ModelSerializer):
    class Meta:
        model = Song
        fields = [
            "id",
            "title",
            "artist",
            "album",
            "language",
            "genre",
            "duration_seconds",
            "audio_url",
            "cover_url",
            "play_count",
            "released_on",
        ]


class PreferencesSerializer(serializers.ModelSerializer):
    class Meta:
        model = User
        fields = ["preferred_language", "audio_quality", "theme_preference"]


class PlaylistSerializer(serializers.ModelSerializer):
    owner = serializers.CharField(source="user.username", read_only=True)
    song_count = serializers.IntegerField(read_only=True, default=0)

    class Meta:
        model = Playlist
        fields = [
            "id",
            "title",
            "description",
            "is_public",
            "owner",
            "song_count",
            "created_at",
            "updated_at",
        ]


class PlaylistSongSerializer(serializers.ModelSerializer):
    song = SongSerializer(read_only=True)

    class Meta:
        model = PlaylistSong
        fields = ["position", "added_at", "song"]


class AddSongSerializer(serializers.Serializer):
    song = IdField()
    position = serializers.IntegerField(min_value=0, required=False)

    def validate_song(self, song_id: int) -> int:
        if not Song.objects.filter(pk=song_id).exists():
            raise serializers.ValidationError(f"Song {song_id} does not exist.")
        return song_id


class SongOrderSerializer(serializers.Serializer):
    songs = BatchField(child=IdField(), max_items=MAX_SONGS)


class EventSerializer(serializers.ModelSerializer):
    song = IdField(source="song_id", required=False, allow_null=True)
    properties = PropertiesField(required=False)

    class Meta:
        model = AnalyticsEvent
        fields = ["event_type", "session_id", "song", "properties"]


class EventBatchSerializer(serializers.Serializer):
    """All events of a batch are stored, or none."""

    events = BatchField(child=EventSerializer(), allow_empty=False, max_items=MAX_EVENTS)

    def validate_events(self, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        named = {event["song_id"] for event in events if event.get("song_id")}
        known = set(Song.objects.filter(pk__in=named).values_list("pk", flat=True)) if named else set()
        errors = {
            str(index): {"song": [f"Song {event['song_id']} does not exist."]}
            for index, event in enumerate(events)
            if event.get("song_id") and event["song_id"] not in known
        }
        if errors:
            raise serializers.ValidationError(errors)
        return events
