"""Where the API's endpoints are."""

from django.urls import include, path
from rest_framework.routers import SimpleRouter

from . import views

router = SimpleRouter()
router.register("songs", views.SongViewSet, basename="song")
router.register("playlists", views.PlaylistViewSet, basename="playlist")

urlpatterns = [
    path("token/", views.TokenView.as_view(), name="token"),
    path("me/preferences/", views.PreferencesView.as_view(), name="preferences"),
    path("events/", views.EventBatchView.as_view(), name="events"),
    path("", include(router.urls)),
]
