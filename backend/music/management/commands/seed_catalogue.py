"""``manage.py seed_catalogue``: fills a database with production-like users and songs."""

import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DEFAULT_DB_ALIAS, IntegrityError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from music.models import Song, User
from music.seeding.load import Table, find_table, load, refresh_statistics
from music.seeding.rows import ColumnMaker, batches, column_names, song_columns, user_columns


class Command(BaseCommand):
    help = (
        "Adds users and songs that look like production's. Works at every migration state from "
        "music 0001_initial on, and may be run again to add more. Nobody can log in as a seeded user."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--users", type=int, default=0, metavar="N", help="how many users to add")
        parser.add_argument("--songs", type=int, default=0, metavar="N", help="how many songs to add")
        parser.add_argument(
            "--database",
            default=DEFAULT_DB_ALIAS,
            metavar="ALIAS",
            help="the database to fill (default: %(default)s)",
        )
        parser.add_argument(
            "--seed",
            type=int,
            default=0,
            metavar="S",
            help="the same seed gives the same rows (default: %(default)s)",
        )

    def handle(self, *, users: int, songs: int, database: str, seed: int, **_options: Any) -> None:
        _check_counts(users=users, songs=songs)
        if database not in connections:
            raise CommandError(f"There is no database '{database}'. Known: {', '.join(sorted(connections))}.")
        connection = connections[database]

        started = time.perf_counter()
        # Both tables or neither: a run that fails leaves nothing behind.
        with transaction.atomic(using=database):
            filled = [
                _fill(connection, User._meta.db_table, user_columns, users, seed=seed),
                _fill(connection, Song._meta.db_table, song_columns, songs, seed=seed),
            ]
        for table in filled:
            refresh_statistics(connection, table)

        elapsed_seconds = time.perf_counter() - started
        self.stdout.write(f"Added {users:,} users and {songs:,} songs to '{database}' in {elapsed_seconds:.1f} s.")


def _check_counts(**counts: int) -> None:
    for option, count in counts.items():
        if count < 0:
            raise CommandError(f"--{option} must not be negative, but is {count}.")
    if not any(counts.values()):
        raise CommandError("Nothing to add: give --users, --songs or both.")


def _fill(connection: BaseDatabaseWrapper, name: str, make_columns: ColumnMaker, count: int, *, seed: int) -> Table:
    """Add ``count`` rows to the table ``name``.

    Serials continue after the highest id. No seeded row's serial exceeds its id, so another run never
    repeats a username that an earlier one gave.
    """
    table = find_table(connection, name, column_names(make_columns))
    if table is None:
        raise CommandError(
            f"'{connection.alias}' has no table {name}. "
            f"Run: python manage.py migrate music --database={connection.alias}"
        )
    rows = batches(make_columns, table.columns, count, first_serial=table.last_id + 1, seed=seed)
    try:
        load(connection, table, rows)
    except IntegrityError as error:
        cause = str(error).splitlines()[0]
        raise CommandError(
            f"Nothing was added: a row of {name} clashes with an existing one ({cause}). Choose another --seed."
        ) from error
    return table
