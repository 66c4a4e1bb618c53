"""The API's endpoints. Everyone must be authenticated, by token or session, except to obtain a token."""

from typing import Any

from django.db.models import QuerySet
from django_filters.rest_framework import DjangoFilterBackend
from rest_framework import generics, status, viewsets
from rest_framework.authtoken.views import ObtainAuthToken
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.filters import SearchFilter
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.throttling import AnonRateThrottle
from rest_framework.views import APIView

from music import playlists
from music.models import AnalyticsEvent, Playlist, Song, User

from .filters import PlaylistFilter, SongFilter
from .pagination import NewestFirst, PlaylistOrder
from .permissions import IsPlaylistOwnerOrReads
from .serializers import (
    AddSongSerializer,
    EventBatchSerializer,
    PlaylistSerializer,
    PlaylistSongSerializer,
    PreferencesSerializer,
    SongOrderSerializer,
    SongSerializer,
)

# No id has more digits; a longer number matches no URL instead of overflowing in the query.
ID_PATTERN = r"\d{1,18}"


class TokenView(ObtainAuthToken):
    """POST a username and password, get the user's token. Throttled, since it takes guesses."""

    throttle_classes = (AnonRateThrottle,)


class SongViewSet(viewsets.ReadOnlyModelViewSet):
    """The catalogue: ``?language=hindi`` and ``?search=`` words of title, artist or album.

    A search reads songs from the newest on until its page is full, so that words which no song has
    cost a scan of the table.
    """

    queryset = Song.objects.all()
    serializer_class = SongSerializer
    pagination_class = NewestFirst
    filter_backends = (DjangoFilterBackend, SearchFilter)
    filterset_class = SongFilter
    search_fields = ("title", "artist", "album")
    lookup_value_regex = ID_PATTERN


class PreferencesView(generics.RetrieveUpdateAPIView):
    """The preferences of whoever asks; nobody else's can be named."""

    serializer_class = PreferencesSerializer
    http_method_names = ("get", "patch", "head", "options")

    def get_object(self) -> User:
        return self.request.user


class PlaylistViewSet(viewsets.ModelViewSet):
    """Playlists: one's own, and everybody's public ones.

    A private playlist is not found by anybody but its owner. A public one is read by everyone who is
    authenticated and changed by its owner alone. Staff have no more rights here; the admin is their place.
    """

    serializer_class = PlaylistSerializer
    pagination_class = NewestFirst
    permission_classes = (IsAuthenticated, IsPlaylistOwnerOrReads)
    filter_backends = (DjangoFilterBackend,)
    filterset_class = PlaylistFilter
    lookup_value_regex = ID_PATTERN

    def get_queryset(self) -> QuerySet[Playlist]:
        return Playlist.objects.visible_to(self.request.user).with_song_count().select_related("user")

    def perform_create(self, serializer: BaseSerializer) -> None:
        serializer.save(user=self.request.user)

    @action(detail=True, filterset_class=None, pagination_class=PlaylistOrder)
    def songs(self, _request: Request, **_url: Any) -> Response:
        """GET: the playlist's songs in their order."""
        entries = self.get_object().entries.select_related("song")
        page = self.paginate_queryset(entries)
        return self.get_paginated_response(PlaylistSongSerializer(page, many=True).data)

    @songs.mapping.post
    def add_song(self, request: Request, **_url: Any) -> Response:
        """POST ``{"song": id, "position": 0}``: insert there, or without a position at the end."""
        playlist = self.get_object()
        serializer = AddSongSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        wanted = serializer.validated_data
        try:
            entry = playlists.add_song(playlist, wanted["song"], wanted.get("position"))
        except playlists.PlaylistError as error:
            raise ValidationError({"detail": str(error)}) from error
        return Response(PlaylistSongSerializer(entry).data, status=status.HTTP_201_CREATED)

    @action(detail=True, methods=["delete"], url_path=rf"songs/(?P<song_id>{ID_PATTERN})")
    def remove_song(self, _request: Request, song_id: str, **_url: Any) -> Response:
        """DELETE: take the song out of the playlist."""
        try:
            playlists.remove_song(self.get_object(), int(song_id))
        except playlists.PlaylistError as error:
            raise NotFound(str(error)) from error
        return Response(status=status.HTTP_204_NO_CONTENT)

    @action(detail=True, methods=["put"])
    def order(self, request: Request, **_url: Any) -> Response:
        """PUT ``{"songs": [ids]}``: all of the playlist's songs, in their new order."""
        playlist = self.get_object()
        serializer = SongOrderSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        try:
            playlists.reorder(playlist, serializer.validated_data["songs"])
        except playlists.PlaylistError as error:
            raise ValidationError({"songs": [str(error)]}) from error
        return Response(status=status.HTTP_204_NO_CONTENT)


class EventBatchView(APIView):
    """POST ``{"events": [...]}``: store up to ``MAX_EVENTS`` events of the caller, all or none."""

    def post(self, request: Request) -> Response:
        serializer = EventBatchSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        stored = AnalyticsEvent.objects.bulk_create(
            AnalyticsEvent(user=request.user, **event) for event in serializer.validated_data["events"]
        )
        return Response({"stored": len(stored)}, status=status.HTTP_201_CREATED)
