"""The probes of a load balancer."""

import logging

from django.db import connection
from django.db.utils import ConnectionHandler
from django.test import SimpleTestCase, TestCase

from music.health import why_not_ready

from .cases import MigratingTestCase


class LiveTests(SimpleTestCase):
    def test_a_live_process_answers_over_plain_http_without_asking_a_database(self) -> None:
        response = self.client.get("/health/live")

        self.assertEqual((response.status_code, response.json()), (200, {"status": "ok"}))
        self.assertIn("no-store", response["Cache-Control"])


class ReadyTests(TestCase):
    def test_a_migrated_database_is_ready(self) -> None:
        response = self.client.get("/health/ready")

        self.assertEqual((response.status_code, response.json()), (200, {"status": "ok"}))

    def test_a_database_that_does_not_answer_leaks_nothing_but_to_the_log(self) -> None:
        nowhere = {"ENGINE": "django.db.backends.sqlite3", "NAME": "/nowhere/secret-host.sqlite3"}
        unreachable = ConnectionHandler({"default": nowhere})["default"]

        with self.assertLogs("music.health", logging.ERROR) as log:
            reason = why_not_ready(unreachable)

        self.assertEqual(reason, "The database does not answer.")
        self.assertIn("unable to open database file", log.output[0])

    def test_a_database_that_answers_and_is_migrated_lacks_nothing(self) -> None:
        self.assertIsNone(why_not_ready(connection))


class UnmigratedTests(MigratingTestCase):
    def test_unapplied_migrations_make_it_unready(self) -> None:
        self.migrate_music("0003_playlists")

        with self.assertLogs("music.health", logging.WARNING) as log:
            response = self.client.get("/health/ready")

        self.assertEqual(response.status_code, 503)
        self.assertEqual(response.json(), {"status": "unavailable", "reason": "Migrations are not applied."})
        self.assertEqual(log.output, ["WARNING:music.health:Unapplied migrations: music.0004_analytics"])
