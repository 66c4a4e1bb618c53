"""Who may change what."""

from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from music.models import Playlist


class IsPlaylistOwnerOrReads(BasePermission):
    """Everyone who sees a playlist may read it; its owner alone may change it.

    Who sees it is the queryset's matter: a private playlist of somebody else is not found (404), while
    a public one is found and refused (403).
    """

    message = "Only the owner of a playlist may change it."

    def has_object_permission(self, request: Request, _view: APIView, playlist: Playlist) -> bool:
        return request.method in SAFE_METHODS or playlist.user_id == request.user.pk
