"""What test cases share: API clients, songs at hand, databases brought back, processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.test import TransactionTestCase, override_settings
from rest_framework.test import APITestCase

from music.models import Song, User

BACKEND = Path(__file__).resolve().parents[2]


# The hardened settings send plain HTTP elsewhere; the API is what is tested here.
@override_settings(SECURE_SSL_REDIRECT=False)
class ApiTestCase(APITestCase):
    """``self.client`` speaks for ``self.asha``; ``self.ben`` is somebody else."""

    asha: User
    ben: User

    @classmethod
    def setUpTestData(cls) -> None:
        cls.asha = User.objects.create(username="asha")
        cls.ben = User.objects.create(username="ben")

    def setUp(self) -> None:
        self.client.force_authenticate(self.asha)


class MigratingTestCase(TransactionTestCase):
    """Moves the real schema, and brings it back to the newest state afterwards."""

    def migrate_music(self, name: str) -> None:
        self.addCleanup(_migrate_to_newest)
        MigrationExecutor(connection).migrate([("music", name)])


def _migrate_to_newest() -> None:
    executor = MigrationExecutor(connection)
    executor.migrate(executor.loader.graph.leaf_nodes())


def make_song(title: str = "Chaiyya Chaiyya", language: str = "hindi", artist: str = "Sukhwinder Singh") -> Song:
    return Song.objects.create(
        title=title,
        artist=artist,
        language=language,
        duration_seconds=240,
        audio_url="https://cdn.villen.example/audio/1.m4a",
    )


def run_python(*arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python in ``backend/``, with this process's import path and none of its other environment."""
    path = os.pathsep.join(filter(None, sys.path))
    return subprocess.run(
        [sys.executable, *arguments],
        input=stdin,
        cwd=BACKEND,
        env={"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUTF8": "1", **environment},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
