"""The clients of both versions: starts them, watches them, stops them, and holds what they recorded."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from segue.demo.project import RELEASES, VERSIONS, Side, StoryError, Version
from segue.demo.record import Entry, RecordReader
from segue.engines import process

CLIENTS_A_VERSION = 2
# One share of the rows more than there are clients: the long transaction's, which no client updates.
SHARES = CLIENTS_A_VERSION * len(VERSIONS) + 1
REQUESTS_A_SECOND = 30.0
START_SECONDS = 30.0
STOP_SECONDS = 15.0
POLL_SECONDS = 0.1


@dataclass(kw_only=True)
class Client:
    """One client's process and what is known of its record so far."""

    version: Version
    child: process.Child
    reader: RecordReader
    stderr: Path
    entries: list[Entry] = field(default_factory=list)
    is_stopping: bool = False

    @property
    def has_died(self) -> bool:
        """Has it ended by itself?"""
        return not self.is_stopping and self.child.poll() is not None


class Fleet:
    """All clients of one side; a context manager that leaves no process behind."""

    def __init__(self, side: Side, *, on_traffic: Callable[[list[Entry]], None]) -> None:
        """Nothing runs yet; `on_traffic` gets the entries that each look at the records finds."""
        self._side = side
        self._on_traffic = on_traffic
        self.clients: list[Client] = []

    def start(self, version: Version) -> None:
        """Start the clients of a version and wait until each has made its first request."""
        started = [self._spawn(version, number) for number in range(CLIENTS_A_VERSION)]
        self.clients.extend(started)
        deadline = time.monotonic() + START_SECONDS
        while not all(client.entries for client in started):
            if time.monotonic() > deadline:
                said = process.tail(started[0].stderr.read_text(errors="replace"))
                raise StoryError(f"No request of {RELEASES[version]} within {START_SECONDS:g} s. {said}")
            self.watch(POLL_SECONDS)

    def watch(self, seconds: float) -> None:
        """Let the clients work for a while; raises StoryError as soon as one of them ends."""
        deadline = time.monotonic() + seconds
        while True:
            self.look()
            left = deadline - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(POLL_SECONDS, left))

    def look(self) -> None:
        """Read what the clients recorded since the last look; raises StoryError when one of them ended."""
        self._read()
        for client in self.clients:
            if client.has_died:
                said = process.tail(client.stderr.read_text(errors="replace"))
                status = client.child.returncode
                raise StoryError(f"A client of {RELEASES[client.version]} ended with status {status}: {said}")

    def stop(self, *versions: Version) -> None:
        """Let the clients of these versions finish the request that they are at, then leave."""
        leaving = [client for client in self.clients if client.version in versions and not client.is_stopping]
        for client in leaving:
            client.is_stopping = True
            if client.child.stdin:
                client.child.stdin.close()
        deadline = time.monotonic() + STOP_SECONDS
        for client in leaving:
            process.reap(client.child, patience=max(0.1, deadline - time.monotonic()))
        self._read()

    def entries(self, version: Version) -> list[Entry]:
        """Every entry of a version's clients that has been read."""
        return [entry for client in self.clients if client.version == version for entry in client.entries]

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop(*VERSIONS)

    def _read(self) -> None:
        fresh: list[Entry] = []
        for client in self.clients:
            news = list(client.reader.new_entries())
            client.entries.extend(news)
            fresh.extend(news)
        self._on_traffic(fresh)

    def _spawn(self, version: Version, number: int) -> Client:
        share = VERSIONS.index(version) * CLIENTS_A_VERSION + number
        record, stderr = (self._side.folder / f"client-{version}-{number}.{kind}" for kind in ("jsonl", "err"))
        options = ["--version", version, "--number", str(share), "--parts", str(SHARES)]
        options += ["--rate", str(REQUESTS_A_SECOND), "--record", str(record)]
        argv = [sys.executable, "-m", "segue.demo.clients", *options]
        env = self._side.environment(version)
        with stderr.open("wb") as err:
            child = process.spawn(argv, env=env, cwd=self._side.project, stdin=process.PIPE, stderr=err)
        return Client(version=version, child=child, reader=RecordReader(record), stderr=stderr)
