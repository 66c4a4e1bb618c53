"""Which query parameters narrow a list."""

from typing import ClassVar

import django_filters
from django.db.models import QuerySet

from music.models import Playlist, Song


class SongFilter(django_filters.FilterSet):
    class Meta:
        model = Song
        fields: ClassVar = ["language"]


class PlaylistFilter(django_filters.FilterSet):
    mine = django_filters.BooleanFilter(method="filter_mine", label="only my own, or only those of others")

    class Meta:
        model = Playlist
        fields: ClassVar = ["is_public"]

    def filter_mine(self, playlists: QuerySet[Playlist], _name: str, mine: bool) -> QuerySet[Playlist]:
        own = {"user": self.request.user}
        return playlists.filter(**own) if mine else playlists.exclude(**own)
