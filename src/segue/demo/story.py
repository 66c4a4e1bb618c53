"""The story: VILLEN Music goes from 1.0.0 to 1.3 and back and forth again, while both versions work.

Owns the order of the scenes and what is measured in each; how it is told belongs to report.py and tables.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import psycopg

from segue.demo.blocker import LongTransaction
from segue.demo.commands import CommandRun, run_command
from segue.demo.fleet import STOP_SECONDS, Fleet
from segue.demo.latency import Window
from segue.demo.ledger import Comparison, Ledger, acknowledged, compare, read
from segue.demo.project import APPLICATION_NAMES, VERSIONS, Side, StoryError, Version
from segue.demo.record import Entry
from segue.demo.returned import Returned, count_returned
from segue.demo.screen import Screen

LONG_TRANSACTION_SECONDS = 5.0
SCENES = {
    "calm": "calm: 1.0.0 alone",
    "apply": "apply 1.3; another session's transaction is open for 5 s",
    "both": "1.0.0 and 1.3 work side by side",
    "rollback": "roll back",
    "rolled back": "rolled back; both still work",
    "apply again": "apply 1.3 again",
    "both again": "both work side by side again",
    "finalize": "1.0.0 leaves; finalize",
    "after": "1.3 alone",
}
CHECK = "compare every acknowledged value"

FindDifferences: TypeAlias = Callable[[psycopg.Connection], list[str]]


@dataclass(frozen=True, kw_only=True)
class Told:
    """What was measured on one side; what the story did not reach is absent or None."""

    side: Side
    windows: tuple[Window, ...]
    entries: Mapping[Version, Sequence[Entry]]
    commands: Mapping[str, CommandRun]
    returned: tuple[Returned, ...] | None
    comparison: Comparison | None
    schema_differences: tuple[str, ...] | None
    ended_by: str | None


class Story:
    """One telling, on one side."""

    def __init__(self, side: Side, *, scene_seconds: float, screen: Screen) -> None:
        """Each scene that only watches the clients lasts `scene_seconds`."""
        self._side = side
        self._scene_seconds = scene_seconds
        self._screen = screen
        self._fleet = Fleet(side, on_traffic=screen.count)
        self._windows: list[Window] = []
        self._commands: dict[str, CommandRun] = {}
        self._returned: tuple[Returned, ...] | None = None
        self._comparison: Comparison | None = None
        self._schema_differences: tuple[str, ...] | None = None

    def tell(self, find_differences: FindDifferences | None) -> Told:
        """Play all scenes, or as many as go well, and stop every client.

        `find_differences` compares the finished schema with stock Django's; without it that stays unknown.
        """
        ended_by = None
        with self._fleet:
            try:
                self._play()
                self._check(find_differences)
            except StoryError as error:
                ended_by = str(error)
        return Told(
            side=self._side,
            windows=tuple(self._windows),
            entries={version: self._fleet.entries(version) for version in VERSIONS},
            commands=dict(self._commands),
            returned=self._returned,
            comparison=self._comparison,
            schema_differences=self._schema_differences,
            ended_by=ended_by,
        )

    def _play(self) -> None:
        fleet, seconds = self._fleet, self._scene_seconds
        fleet.start("old")
        with self._scene("calm"):
            fleet.watch(seconds)
        with LongTransaction(self._side.url, seconds=LONG_TRANSACTION_SECONDS), self._scene("apply"):
            self._run("apply", self._forward())
        with self._scene("both"):
            fleet.start("new")
            fleet.watch(seconds)
        with self._scene("rollback"):
            self._run("rollback", self._backward())
        with self._scene("rolled back"):
            fleet.watch(seconds)
        with self._scene("apply again"):
            written = self._ledger("new")
            self._run("apply again", self._forward())
            self._returned = self._count_returned(written)
        with self._scene("both again"):
            fleet.watch(seconds)
        with self._scene("finalize"):
            fleet.stop("old")
            self._wait_until_gone("old")
            if self._side.has_segue:
                self._run("finalize", self._side.segue("finalize"))
        with self._scene("after"):
            fleet.watch(seconds / 2)
        fleet.stop("new")

    def _check(self, find_differences: FindDifferences | None) -> None:
        """Compare every acknowledged value, then the schema."""
        with self._screen.scene(self._title(CHECK)), self._connect() as connection:
            ledger = self._ledger(*VERSIONS)
            self._comparison = compare(ledger, read(connection, ledger.rows))
            if find_differences is not None:
                self._schema_differences = tuple(find_differences(connection))

    @contextmanager
    def _scene(self, name: str) -> Iterator[None]:
        started_at = time.monotonic()
        with self._screen.scene(self._title(SCENES[name])):
            yield
        self._windows.append(Window(name=name, started_at=started_at, ended_at=time.monotonic()))

    def _title(self, title: str) -> str:
        return title if self._side.has_segue else f"stock Django: {title}"

    def _run(self, title: str, argv: Sequence[str]) -> None:
        def look(said: str) -> None:
            self._screen.say(said)
            self._fleet.look()

        self._commands[title] = run_command(self._side, argv, title=title, while_waiting=look)

    def _forward(self) -> list[str]:
        stock = self._side.manage("migrate", "--no-input", "--skip-checks")
        return self._side.segue("apply") if self._side.has_segue else stock

    def _backward(self) -> list[str]:
        stock = self._side.manage("migrate", "music", "0001_initial", "--no-input", "--skip-checks")
        return self._side.segue("rollback") if self._side.has_segue else stock

    def _ledger(self, *versions: Version) -> Ledger:
        """What these versions' clients have had acknowledged so far."""
        return acknowledged(entry for version in versions for entry in self._fleet.entries(version))

    def _count_returned(self, written: Ledger) -> tuple[Returned, ...]:
        with self._connect() as connection:
            return count_returned(connection, written.rows)

    def _wait_until_gone(self, version: Version) -> None:
        """Wait until the server knows no connection of a version any more."""
        deadline = time.monotonic() + STOP_SECONDS
        query = (
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND starts_with(application_name, %s)"
        )
        with self._connect() as connection:
            while (row := connection.execute(query, [APPLICATION_NAMES[version]]).fetchone()) and row[0]:
                if time.monotonic() > deadline:
                    raise StoryError(f"{row[0]} connections of {APPLICATION_NAMES[version]} did not end.")
                self._fleet.watch(0.1)

    @contextmanager
    def _connect(self) -> Iterator[psycopg.Connection]:
        """The demo's own session; what goes wrong in it ends the story, as a client's death would."""
        try:
            with psycopg.connect(self._side.url, autocommit=True, application_name="segue demo") as connection:
                yield connection
        except psycopg.Error as error:
            raise StoryError(f"The demo could not look into the database: {error}") from error
