"""The URL map: admin, API, health probes."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("api/", include("music.api.urls")),
    path("health/", include("music.health_urls")),
]
