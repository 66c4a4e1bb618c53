"""What the verification says and how it exits, in a shell of its own and on this test database."""

import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import skipUnless

from django.db import IntegrityError, connection, transaction
from django.db.models import Index
from django.test import SimpleTestCase, TransactionTestCase

from music.models import AnalyticsEvent, Song
from music.seeding.load import find_table, refresh_statistics
from music.verification import BIG_TABLE_ROWS, report

from .cases import BACKEND, MigratingTestCase, make_song, run_python

SCRIPT = BACKEND / "verify_migration.py"
SETTINGS = """
from core.settings.development import *
DATABASES = {{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": {name!r}}}}}
"""


def verify() -> tuple[int, list[str]]:
    lines: list[str] = []
    status = report(connection, lines.append)
    return status, lines


class ScriptTests(SimpleTestCase):
    """``manage.py shell < verify_migration.py``, in a process of its own, on a database file of its own."""

    def setUp(self) -> None:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.settings_file = Path(folder.name, "verified_settings.py")
        database = str(Path(folder.name, "villen.sqlite3"))
        self.settings_file.write_text(SETTINGS.format(name=database), encoding="utf-8")

    def manage(self, command: str, *options: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        chosen = ("--settings=verified_settings", f"--pythonpath={self.settings_file.parent}")
        return run_python("manage.py", command, *chosen, *options, stdin=stdin)

    def test_a_migrated_database_exits_with_0(self) -> None:
        migrated = self.manage("migrate", "--verbosity=0")
        verified = self.manage("shell", stdin=SCRIPT.read_text(encoding="utf-8"))

        self.assertEqual((migrated.returncode, verified.returncode), (0, 0), migrated.stderr + verified.stderr)
        self.assertEqual(verified.stdout.splitlines()[-1], "Verified 'default' (sqlite): 6 checks, 0 failed.")

    def test_an_unmigrated_database_exits_with_1(self) -> None:
        verified = self.manage("shell", stdin=SCRIPT.read_text(encoding="utf-8"))

        self.assertEqual(verified.returncode, 1, verified.stderr)
        self.assertEqual(verified.stdout.splitlines()[-1], "Verified 'default' (sqlite): 6 checks, 2 failed.")


class ReportTests(TransactionTestCase):
    def test_a_line_per_check_and_a_summary(self) -> None:
        status, lines = verify()

        self.assertEqual(status, 0)
        self.assertEqual(
            [line.split(":")[0] for line in lines],
            [
                "ok    migrations",
                "ok    tables",
                "ok    indexes",
                "ok    index validity",
                "ok    foreign keys",
                "ok    hindi query",
                f"Verified 'default' ({connection.vendor})",
            ],
        )

    def test_a_missing_index_fails(self) -> None:
        index = next(one for one in AnalyticsEvent._meta.indexes if one.name == "event_type_idx")
        with connection.schema_editor() as editor:
            editor.remove_index(AnalyticsEvent, index)
        self.addCleanup(self._add_index, index)

        status, lines = verify()

        self.assertEqual(status, 1)
        self.assertEqual(lines[2], "FAIL  indexes: music_analyticsevent lacks event_type_idx")

    @staticmethod
    def _add_index(index: Index) -> None:
        with connection.schema_editor() as editor:
            editor.add_index(AnalyticsEvent, index)

    def test_orphans_fail(self) -> None:
        AnalyticsEvent.objects.create(event_type="play", session_id="s-1")

        # Django's foreign keys are checked at commit, so an orphan can live until then.
        with transaction.atomic():
            AnalyticsEvent.objects.update(song_id=999)
            status, lines = verify()
            transaction.set_rollback(True)

        self.assertEqual(status, 1)
        self.assertEqual(lines[4], "FAIL  foreign keys: 1 rows point at nothing by music_analyticsevent.song_id")

    def test_a_big_table_is_looked_up_by_its_index(self) -> None:
        Song.objects.bulk_create(
            Song(
                title=f"Song {number}",
                artist="A",
                language="tamil" if number % 3 else "hindi",
                duration_seconds=200,
                audio_url=f"https://cdn.villen.example/audio/{number}.m4a",
            )
            for number in range(BIG_TABLE_ROWS)
        )
        refresh_statistics(connection, find_table(connection, "music_song", ["title"]))

        status, lines = verify()

        self.assertEqual(status, 0)
        self.assertRegex(lines[5], r"\Aok    hindi query: uses music_song_language_\w+\Z")

    @skipUnless(connection.vendor == "postgresql", "only PostgreSQL has invalid indexes")
    def test_an_invalid_index_fails(self) -> None:
        make_song("Same"), make_song("Same")
        with connection.cursor() as cursor, self.assertRaises(IntegrityError):
            cursor.execute("CREATE UNIQUE INDEX CONCURRENTLY song_title_once ON music_song (title)")
        self.addCleanup(self._execute, "DROP INDEX song_title_once")

        status, lines = verify()

        self.assertEqual(status, 1)
        self.assertEqual(lines[3], "FAIL  index validity: song_title_once is INVALID")

    @staticmethod
    def _execute(statement: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(statement)


class PartlyMigratedTests(MigratingTestCase):
    def test_what_is_missing_is_named_and_the_rest_skipped(self) -> None:
        self.migrate_music("0003_playlists")

        status, lines = verify()

        self.assertEqual(status, 1)
        self.assertEqual(
            lines,
            [
                "FAIL  migrations: 1 not applied (music.0004_analytics);"
                " Run: python manage.py migrate --database=default",
                "FAIL  tables: music_analyticsevent is missing",
                "skip  indexes: tables are incomplete",
                "skip  index validity: tables are incomplete",
                "skip  foreign keys: tables are incomplete",
                "skip  hindi query: tables are incomplete",
                f"Verified 'default' ({connection.vendor}): 6 checks, 2 failed.",
            ],
        )
