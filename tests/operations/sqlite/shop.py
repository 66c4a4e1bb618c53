"""A project for one test: the app "shop", whose migrations the test writes, on an SQLite file of its own."""

from __future__ import annotations

import importlib
import itertools
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from django.db import connections
from django.db.migrations import Migration
from django.db.migrations.operations.base import Operation
from django.db.migrations.writer import MigrationWriter
from django.test.utils import override_settings

from segue import pipeline
from segue.core.run import Run
from segue.session import Session, open_session

ALIAS = "sqlite"
_SETTINGS = """\
INSTALLED_APPS = ["segue", "tests.shop"]
USE_TZ = True
MIGRATION_MODULES = {{"shop": "{package}"}}
DATABASES = {{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": r"{database}"}}}}
SEGUE = {{"RUNNER_WAIT": "500ms"}}
"""
_numbers = itertools.count(1)


class Shop:
    """Migrations on disk, Segue on them, and the database as SQLite itself sees it."""

    def __init__(self, folder: Path, package: str) -> None:
        self.database = folder / "shop.sqlite3"
        self._folder = folder
        self._package = package
        self._names: list[str] = []

    @classmethod
    @contextmanager
    def on(cls, folder: Path) -> Iterator[Self]:
        """Make the project in a folder; its database is the alias "sqlite" for as long."""
        package = f"generated_sqlite_{next(_numbers)}"
        (folder / package).mkdir()
        (folder / package / "__init__.py").touch()
        made = cls(folder, package)
        settings = _SETTINGS.format(package=package, database=made.database)
        (folder / f"{package}_settings.py").write_text(settings, encoding="utf-8")
        database = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(made.database)}
        connections.settings[ALIAS] = connections.configure_settings({"default": {}, ALIAS: database})[ALIAS]
        sys.path.insert(0, str(folder))
        try:
            with override_settings(MIGRATION_MODULES={"shop": package}, SEGUE={"RUNNER_WAIT": "500ms"}):
                yield made
        finally:
            sys.path.remove(str(folder))
            connections[ALIAS].close()
            del connections[ALIAS], connections.settings[ALIAS]

    def migration(self, *operations: Operation, atomic: bool = True) -> None:
        """Write the next migration file; they are called 0001_step, 0002_step, …"""
        dependencies = [("shop", self._names[-1])] if self._names else []
        content = {"operations": list(operations), "dependencies": dependencies}
        migration = type("Migration", (Migration,), content)(f"{len(self._names) + 1:04}_step", "shop")
        text = MigrationWriter(migration).as_string()
        if not atomic:
            head = "class Migration(migrations.Migration):\n"
            text = text.replace(head, f"{head}    atomic = False\n")
        (self._folder / self._package / f"{migration.name}.py").write_text(text, encoding="utf-8")
        self._names.append(migration.name)
        importlib.invalidate_caches()

    # Segue

    def session(self) -> Session:
        """Return a new session, as a new command would have."""
        return open_session(ALIAS)

    def apply(self, to: str | None = None) -> Run | None:
        """segue apply shop [to], forwards or backwards."""
        return pipeline.apply(self.session(), "shop", to)

    def rollback(self) -> Run:
        """segue rollback."""
        return pipeline.rollback(self.session())

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command in a process of its own."""
        settings = f"{self._package}_settings"
        return subprocess.run(
            [sys.executable, "-m", "segue", *arguments, "--settings", settings],
            capture_output=True,
            text=True,
            cwd=self._folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            check=False,
        )

    # SQLite

    def rows(self, query: str) -> list[Any]:
        """Return a query's rows as SQLite stores them, past Django and its connection."""
        connection = sqlite3.connect(self.database)
        try:
            return connection.execute(query).fetchall()
        finally:
            connection.close()

    def write(self, *statements: str, parameters: Sequence[Any] = (), checked: bool = True) -> None:
        """Run statements as the application would, with foreign keys enforced, and commit."""
        connection = sqlite3.connect(self.database)
        try:
            connection.execute(f"PRAGMA foreign_keys = {'ON' if checked else 'OFF'}")
            with connection:
                for statement in statements:
                    connection.execute(statement, parameters)
        finally:
            connection.close()

    def tables(self) -> list[str]:
        """Return the names of the tables that migrations made, and of archives."""
        names = self.rows("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
        return [name for (name,) in names if name.startswith(("shop_", "segue_archive"))]

    def quarantined(self) -> list[tuple[str, str, str]]:
        """Return table, reason and row of what is in quarantine."""
        return self.rows('SELECT "table", reason, "row" FROM segue_quarantine ORDER BY id')


def die_once(*_: Any) -> None:
    """Kill the process that runs this migration, the first time."""
    trace = Path("died")
    if not trace.exists():
        trace.touch()
        os.kill(os.getpid(), signal.SIGKILL)
