"""Filling a database with production-like rows."""

from collections import Counter
from io import StringIO
from typing import Any

from django.core.management import CommandError, call_command
from django.db import connection
from django.test import TransactionTestCase

from music.models import Song, User
from music.seeding.rows import batches, song_columns, user_columns

from .cases import MigratingTestCase, make_song


def seed(**options: Any) -> str:
    output = StringIO()
    call_command("seed_catalogue", stdout=output, **options)
    return output.getvalue()


class SeedTests(MigratingTestCase):
    def test_it_adds_as_many_as_asked_and_says_so(self) -> None:
        output = seed(users=30, songs=20)

        self.assertRegex(output, r"\AAdded 30 users and 20 songs to 'default' in \d+\.\d s\.\n\Z")
        self.assertEqual((User.objects.count(), Song.objects.count()), (30, 20))

    def test_ids_go_on_after_it(self) -> None:
        seed(users=30, songs=20)

        user, song = User.objects.create(username="asha"), make_song()

        self.assertEqual(user.pk, User.objects.order_by("-pk")[0].pk)
        self.assertEqual(song.pk, Song.objects.order_by("-pk")[0].pk)

    def test_it_may_run_again_with_the_same_seed(self) -> None:
        seed(users=30, seed=7)
        seed(users=30, seed=7)

        self.assertEqual(User.objects.values("username").distinct().count(), 60)

    def test_rows_pass_the_models_validation(self) -> None:
        seed(users=50, songs=50)

        for row in (*User.objects.all(), *Song.objects.all()):
            row.full_clean()

    def test_nobody_can_log_in_as_a_seeded_user(self) -> None:
        seed(users=1)

        self.assertFalse(User.objects.get().has_usable_password())

    def test_it_fills_version_1_0_too(self) -> None:
        self.migrate_music("0001_initial")

        seed(users=30, songs=20)

        with connection.cursor() as cursor:
            cursor.execute("SELECT COUNT(*) FROM music_user")
            self.assertEqual(cursor.fetchone(), (30,))

    def test_a_taken_username_leaves_everything_as_it_was(self) -> None:
        taken = User.objects.create(username="placeholder")
        upcoming = next(batches(user_columns, ["username"], 2, first_serial=taken.pk + 1, seed=0))
        User.objects.update(username=upcoming[1][0])
        cause = {
            "sqlite": "UNIQUE constraint failed: music_user.username",
            "postgresql": 'duplicate key value violates unique constraint "music_user_username_key"',
        }[connection.vendor]

        with self.assertRaises(CommandError) as caught:
            seed(users=2, songs=5)

        self.assertEqual(
            str(caught.exception),
            f"Nothing was added: a row of music_user clashes with an existing one ({cause}). Choose another --seed.",
        )
        self.assertEqual((User.objects.count(), Song.objects.count()), (1, 0))

    def test_bad_input_is_refused(self) -> None:
        cases = [
            ({"users": -1}, "--users must not be negative, but is -1."),
            ({"users": 1, "songs": -5}, "--songs must not be negative, but is -5."),
            ({}, "Nothing to add: give --users, --songs or both."),
        ]
        for options, message in cases:
            with self.assertRaises(CommandError) as caught:
                seed(**options)

            self.assertEqual(str(caught.exception), message)

    def test_an_unknown_database_is_refused(self) -> None:
        with self.assertRaises(CommandError) as caught:
            seed(users=1, database="nowhere")

        self.assertRegex(str(caught.exception), r"\AThere is no database 'nowhere'\. Known: default\b.*\.\Z")


class RowTests(TransactionTestCase):
    def test_the_same_seed_gives_the_same_rows_and_another_gives_others(self) -> None:
        def titles(seed: int) -> list[Any]:
            return list(batches(song_columns, ["title", "artist"], 50, first_serial=1, seed=seed))

        self.assertEqual(titles(1), titles(1))
        self.assertNotEqual(titles(1), titles(2))

    def test_languages_and_plays_are_skewed_as_in_production(self) -> None:
        seed(songs=5_000)

        languages = Counter(Song.objects.values_list("language", flat=True))
        plays = sorted(Song.objects.values_list("play_count", flat=True), reverse=True)

        self.assertEqual([language for language, _ in languages.most_common(2)], ["hindi", "english"])
        self.assertGreater(sum(plays[:50]), sum(plays) / 2)
        self.assertTrue(Song.objects.filter(title__contains="दिल").exists())
