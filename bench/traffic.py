"""The clients of both versions: starts them, watches them, stops them, and holds what they recorded."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from bench.database import BenchError
from bench.project import BACKEND, VERSIONS, Kind, Site, Version
from segue.demo.record import Entry, RecordReader
from segue.engines import process

# Who works: two writers and a reader of the old version, a writer and a reader of the new one.
CLIENTS: tuple[tuple[Version, Kind], ...] = (
    ("old", "write"),
    ("old", "write"),
    ("old", "read"),
    ("new", "write"),
    ("new", "read"),
)
START_SECONDS = 60.0
STOP_SECONDS = 15.0
POLL_SECONDS = 0.1


@dataclass(frozen=True, kw_only=True)
class Member:
    """Who is to work: the version of its code, what it asks for, and the process that it is.

    The record's path is appended to its arguments. One that `is_relieved` leaves as the new version takes over.
    """

    version: Version
    kind: Kind
    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path
    is_relieved: bool = False


@dataclass(kw_only=True)
class Client:
    """One client's process and what is known of its record so far."""

    member: Member
    child: process.Child
    reader: RecordReader
    stderr: Path
    entries: list[Entry] = field(default_factory=list)
    is_stopping: bool = False


class Traffic:
    """All clients of one trial; a context manager that leaves no process behind."""

    def __init__(self, members: Sequence[Member], folder: Path) -> None:
        """Nothing runs yet; the records and the errors of all go into `folder`."""
        self._members = members
        self._folder = folder
        self.clients: list[Client] = []

    def start(self, version: Version) -> None:
        """Start the clients of a version and wait until each has made its first request."""
        known = len(self.clients)
        for number, member in enumerate(self._members):
            if member.version == version:
                self.clients.append(self._spawn(number, member))
        started = self.clients[known:]
        deadline = time.monotonic() + START_SECONDS
        while not all(client.entries for client in started):
            if time.monotonic() > deadline:
                raise BenchError(f"A client of the {version} version made no request within {START_SECONDS:g} s.")
            self.watch(POLL_SECONDS)

    def watch(self, seconds: float) -> None:
        """Let the clients work for a while; raises BenchError as soon as one of them ends."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            time.sleep(min(POLL_SECONDS, left))
            self.look()

    def look(self) -> None:
        """Read what was recorded since the last look; raises BenchError when a client ended by itself."""
        self._read()
        for client in self.clients:
            if not client.is_stopping and client.child.poll() is not None:
                said = process.tail(client.stderr.read_text(errors="replace"), lines=3)
                status = client.child.returncode
                raise BenchError(f"A client of the {client.member.version} version ended with status {status}: {said}")

    def stop(self, *versions: Version) -> None:
        """Let the clients of these versions finish the request that they are at, then leave."""
        self._stop([client for client in self.clients if client.member.version in versions])

    def relieve(self) -> None:
        """Let those leave that the new version has taken over from."""
        self._stop([client for client in self.clients if client.member.is_relieved])

    def _stop(self, clients: Sequence[Client]) -> None:
        leaving = [client for client in clients if not client.is_stopping]
        for client in leaving:
            client.is_stopping = True
            if client.child.stdin:
                client.child.stdin.close()
        deadline = time.monotonic() + STOP_SECONDS
        for client in leaving:
            process.reap(client.child, patience=max(0.1, deadline - time.monotonic()))
        self._read()

    def entries(self, version: Version, kind: Kind | None = None) -> list[Entry]:
        """What the clients of a version, and of a kind if given, have recorded so far."""
        chosen = [
            client for client in self.clients if client.member.version == version and kind in (None, client.member.kind)
        ]
        return [entry for client in chosen for entry in client.entries]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop(*VERSIONS)

    def _read(self) -> None:
        for client in self.clients:
            client.entries.extend(client.reader.new_entries())

    def _spawn(self, number: int, member: Member) -> Client:
        record, stderr = (self._folder / f"client-{number}.{suffix}" for suffix in ("jsonl", "err"))
        record.unlink(missing_ok=True)
        with stderr.open("wb") as err:
            child = process.spawn(
                [*member.argv, "--record", str(record)],
                env=member.env,
                cwd=member.cwd,
                stdin=process.PIPE,
                stderr=err,
            )
        return Client(member=member, child=child, reader=RecordReader(record), stderr=stderr)


def crew(site: Site, *, rate: float) -> list[Member]:
    """VILLEN's clients, who share `rate` requests per second."""
    return [
        Member(
            version=version,
            kind=kind,
            argv=[
                *(sys.executable, "-m", "bench.client", "--version", version, "--kind", kind),
                *("--number", str(number), "--parts", str(len(CLIENTS)), "--rate", str(rate / len(CLIENTS))),
            ],
            env=site.environment(version),
            cwd=BACKEND,
        )
        for number, (version, kind) in enumerate(CLIENTS)
    ]
