"""Another team's long transaction: it holds a row and a table that the migration needs."""

from __future__ import annotations

import threading
from typing import Self

import psycopg

from segue.demo.fleet import SHARES
from segue.demo.project import StoryError

TABLE = "music_user"


class LongTransaction:
    """Writes one listener that no client updates, reads, waits and commits; a context manager.

    Entering returns once the row is held, under ROW EXCLUSIVE on the table. Leaving waits for the commit.
    """

    def __init__(self, url: str, *, seconds: float) -> None:
        """Nothing is held yet."""
        self._url = url
        self._seconds = seconds
        self._settled = threading.Event()
        self._leave = threading.Event()
        self._thread = threading.Thread(target=self._hold)
        self._error: psycopg.Error | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        self._settled.wait()
        self._check()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._leave.set()
        self._thread.join()
        if kind is None:
            self._check()

    def _check(self) -> None:
        if self._error is not None:
            raise StoryError(f"The long transaction failed: {self._error}") from self._error

    def _hold(self) -> None:
        try:
            with psycopg.connect(self._url, application_name="nightly report") as connection:
                connection.execute(
                    f"UPDATE {TABLE} SET last_login = now()"
                    f" WHERE id = (SELECT id FROM {TABLE} WHERE mod(id, %s) = %s ORDER BY id LIMIT 1)",
                    [SHARES, SHARES - 1],
                )
                self._settled.set()
                connection.execute(f"SELECT count(*) FROM {TABLE} WHERE is_staff")
                self._leave.wait(self._seconds)
        except psycopg.Error as error:  # told to whoever leaves the context, in its own thread
            self._error = error
        finally:
            self._settled.set()
