"""The admin site. Large tables are reached by search and raw ids, never by a drop-down of all rows."""

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.db.models import QuerySet
from django.http import HttpRequest

from .models import AnalyticsEvent, Playlist, PlaylistSong, Song, User


@admin.register(User)
class UserAdmin(DjangoUserAdmin):
    fieldsets = (
        *DjangoUserAdmin.fieldsets,
        ("Preferences", {"fields": ("preferred_language", "audio_quality", "theme_preference")}),
    )
    list_display = (*DjangoUserAdmin.list_display, "preferred_language", "date_joined")
    list_filter = (*DjangoUserAdmin.list_filter, "preferred_language")
    show_full_result_count = False


@admin.register(Song)
class SongAdmin(admin.ModelAdmin):
    list_display = ("title", "artist", "album", "language", "genre", "play_count", "released_on")
    list_filter = ("language",)
    search_fields = ("title", "artist", "album")
    ordering = ("-id",)
    readonly_fields = ("play_count", "created_at", "updated_at")
    show_full_result_count = False


class PlaylistSongInline(admin.TabularInline):
    model = PlaylistSong
    autocomplete_fields = ("song",)
    ordering = ("position", "id")
    extra = 0


@admin.register(Playlist)
class PlaylistAdmin(admin.ModelAdmin):
    list_display = ("title", "user", "is_public", "song_count", "updated_at")
    list_filter = ("is_public",)
    list_select_related = ("user",)
    search_fields = ("title", "user__username")
    autocomplete_fields = ("user",)
    ordering = ("-id",)
    readonly_fields = ("created_at", "updated_at")
    inlines = (PlaylistSongInline,)
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Playlist]:
        return super().get_queryset(request).with_song_count()

    @admin.display(description="songs")
    def song_count(self, playlist: Playlist) -> int:
        return playlist.song_count


@admin.register(AnalyticsEvent)
class AnalyticsEventAdmin(admin.ModelAdmin):
    """Events are what clients observed: to be read and, on request, deleted, but not rewritten."""

    list_display = ("timestamp", "event_type", "user", "song", "session_id")
    list_select_related = ("user", "song")
    # Whole values: an index finds the type. A filter would first read every row for the list of types.
    search_fields = ("=event_type",)
    date_hierarchy = "timestamp"
    ordering = ("-timestamp", "-id")
    show_full_result_count = False

    def has_add_permission(self, _request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, _request: HttpRequest, _event: AnalyticsEvent | None = None) -> bool:
        return False
