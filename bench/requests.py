"""What the clients of VILLEN 1.0 and of 1.1 ask for, through the ORM: each writes, or each reads.

A client that did both would have its reads wait behind its own blocked writes, and no read would show whether
readers are blocked.
"""

from __future__ import annotations

from typing import Any

from django.db.migrations.loader import MigrationLoader

from bench.project import APP, MIGRATIONS, RELEASES, Kind, Version
from segue.demo.workload import Notes, Request, Share, Villen10, Workload, updated


class Villen11(Workload):
    """VILLEN 1.1: listeners have preferences, and every request that touches a listener names them."""

    def sign_up_with_preferences(self, notes: Notes) -> None:
        """Insert a listener who chose everything."""
        self.sign_up(notes, preferred_language="hi", audio_quality="320", theme_preference=self.unique("theme"))

    def change_preferences(self, notes: Notes) -> None:
        """Load a listener and save the three preferences."""
        fields = ("preferred_language", "audio_quality", "theme_preference")
        user = self.user.objects.get(pk=next(self.user_ids))
        user.preferred_language, user.audio_quality, user.theme_preference = "hi", "128", self.unique("theme")
        notes.append(updated(user, *fields))
        user.save(update_fields=fields)

    def read_listener(self, _: Notes) -> Any:
        """Load one listener, with preferences."""
        return self.user.objects.get(pk=next(self.user_ids))


def requests_of(version: Version, kind: Kind, share: Share) -> tuple[Request, ...]:
    """The requests that a client makes in turn, with the models as of the version's last migration."""
    models: Any = MigrationLoader(None).project_state([(APP, MIGRATIONS[version][-1])]).apps
    release = RELEASES[version]
    if version == "old":
        old = Villen10(models, share, version=release)
        writes: tuple[Request, ...] = (old.rename_listener, old.sign_up, old.count_play, old.publish_song)
        return writes if kind == "write" else (old.read_listener, old.find_songs, old.read_song)
    new = Villen11(models, share, version=release)
    writes = (new.change_preferences, new.sign_up_with_preferences)
    return writes if kind == "write" else (new.read_listener, new.find_songs)
