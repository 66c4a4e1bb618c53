"""The app's configuration."""

from django.apps import AppConfig


class MusicConfig(AppConfig):
    name = "music"
    verbose_name = "VILLEN Music"
