"""The benchmarks' PostgreSQL: one throw-away server, a seeded database, and copies of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

import psycopg
from psycopg import sql

from bench.project import USER_TABLE
from segue.core.errors import SegueError
from segue.engines.postgresql.server import Server

# Everything else is PostgreSQL's default, durability included. The write-ahead log has room for a trial, so
# that no checkpoint falls into one contender's measurement and not into another's.
SERVER_SETTINGS = {"shared_buffers": "1GB", "max_wal_size": "8GB", "checkpoint_timeout": "1h", "max_connections": "50"}
GONE_SECONDS = 15.0
POLL_SECONDS = 0.05


class BenchError(SegueError):
    """A measurement cannot go on."""


def start_server() -> AbstractContextManager[Server]:
    """Start a server in a new folder, which goes with it when the context is left."""
    return Server.temporary(settings=SERVER_SETTINGS)


def copy_database(server: Server, source: str, name: str) -> None:
    """Make database `name` a copy of `source`, in which nobody may be, and have it all on disk."""
    server.drop_database(name)
    with psycopg.connect(server.url(), autocommit=True) as connection:
        copy = "CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY"
        connection.execute(sql.SQL(copy).format(sql.Identifier(name), sql.Identifier(source)))
        connection.execute("CHECKPOINT")


def server_version(server: Server) -> str:
    """The server's version, as it says."""
    with psycopg.connect(server.url()) as connection:
        return connection.info.parameter_status("server_version") or "unknown"


def wait_until_gone(url: str, application: str) -> None:
    """Wait until no connection of an application is left; raises BenchError after 15 s."""
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND starts_with(application_name, %s)"
    )
    deadline = time.monotonic() + GONE_SECONDS
    with psycopg.connect(url, autocommit=True) as connection:
        while (row := connection.execute(query, [application]).fetchone()) and row[0]:
            if time.monotonic() > deadline:
                raise BenchError(f"{row[0]} connections of {application} were still there after {GONE_SECONDS:g} s.")
            time.sleep(POLL_SECONDS)


@contextmanager
def long_reader(url: str, *, seconds: float) -> Iterator[None]:
    """Hold ACCESS SHARE on the user table, and a snapshot, as a report that takes `seconds` does.

    Entering returns once the lock is held. Leaving ends the report early if it still runs.
    """
    with psycopg.connect(url, application_name="report") as connection:
        connection.execute(f"SELECT count(*) FROM (SELECT FROM {USER_TABLE} LIMIT 1) AS first")
        reading = threading.Thread(target=_read_on, args=[connection, seconds])
        reading.start()
        try:
            yield
        finally:
            connection.cancel_safe()
            reading.join()


def _read_on(connection: psycopg.Connection, seconds: float) -> None:
    with suppress(psycopg.errors.QueryCanceled):  # nobody needs the lock any more
        connection.execute("SELECT pg_sleep(%s)", [seconds])
    connection.rollback()
