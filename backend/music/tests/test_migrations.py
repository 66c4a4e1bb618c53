"""The schema's way from 1.0.0 to 1.3 and back."""

from io import StringIO

from django.core.management import call_command
from django.db import connection
from django.test import TestCase
from django.test.utils import CaptureQueriesContext

from music.models import Song, User

from .cases import MigratingTestCase, make_song

PREFERENCES = {"preferred_language", "audio_quality", "theme_preference"}


def columns_of(table: str) -> set[str]:
    with connection.cursor() as cursor:
        return {column.name for column in connection.introspection.get_table_description(cursor, table)}


def indexes_of(table: str) -> set[str]:
    with connection.cursor() as cursor:
        return set(connection.introspection.get_constraints(cursor, table))


class MigrationTests(MigratingTestCase):
    def test_migration_0001(self) -> None:
        """Test that migration 0001 applies correctly"""
        self.migrate_music("0001_initial")

        tables = connection.introspection.table_names()
        self.assertIn("music_song", tables)
        self.assertIn("music_user", tables)
        self.assertNotIn("music_playlist", tables)
        self.assertFalse(PREFERENCES & columns_of("music_user"))

    def test_migration_0002_gives_existing_users_the_defaults(self) -> None:
        self.migrate_music("0001_initial")
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO music_user (username, password, first_name, last_name, email,"
                " is_superuser, is_staff, is_active, date_joined)"
                " VALUES ('asha', '', '', '', '', '0', '0', '1', '2024-01-01 00:00:00')"
            )

        self.migrate_music("0002_user_preferences")

        with connection.cursor() as cursor:
            cursor.execute("SELECT preferred_language, audio_quality, theme_preference FROM music_user")
            self.assertEqual(cursor.fetchall(), [("en", "192", "dark")])
        self.assertIn("user_lang_idx", indexes_of("music_user"))

    def test_songs_and_users_survive_the_way_to_0001_and_forward_again(self) -> None:
        song, user = make_song("सफ़र"), User.objects.create(username="asha")

        self.migrate_music("0001_initial")
        self.migrate_music("0004_analytics")

        self.assertEqual(Song.objects.get(), song)
        self.assertEqual(User.objects.get(), user)
        self.assertIn("playlist_user_public_idx", indexes_of("music_playlist"))
        self.assertLessEqual({"event_timestamp_user_idx", "event_type_idx"}, indexes_of("music_analyticsevent"))


class ModelTests(TestCase):
    def test_the_migrations_say_all_that_the_models_say(self) -> None:
        output = StringIO()

        call_command("makemigrations", "music", check=True, dry_run=True, stdout=output)

        self.assertEqual(output.getvalue(), "No changes detected in app 'music'\n")

    def test_songs_of_a_language_are_counted_quickly(self) -> None:
        make_song(language="hindi")

        with CaptureQueriesContext(connection) as queries:
            Song.objects.filter(language="hindi").count()

        self.assertLess(float(queries[0]["time"]), 0.1)
