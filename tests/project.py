"""A Django project for one test: an app "shop" whose migrations the test writes, on databases of its own."""

from __future__ import annotations

import importlib
import itertools
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import psycopg
from django.db import connections
from django.db.migrations import Migration
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations.base import Operation
from django.db.migrations.writer import MigrationWriter
from django.test.utils import override_settings

from segue import pipeline
from segue.core.run import Run
from segue.engines.postgresql import catalog
from segue.engines.postgresql.server import Server
from segue.session import Session, open_session

_numbers = itertools.count(1)


class Project:
    """Migrations on disk, the database "default" that Segue migrates and "stock" that Django does.

    The second is made when somebody first connects to it: many tests never look at it.
    """

    def __init__(self, server: Server, folder: Path, package: str) -> None:
        self.server = server
        self.said: list[str] = []
        self._folder = folder
        self._package = package
        self._names: list[str] = []
        self._stock_begins_at = ""

    @classmethod
    @contextmanager
    def on(cls, server: Server, tmp_path: Path) -> Iterator[Self]:
        """Make the project and its databases; drop both afterwards."""
        number = next(_numbers)
        package = f"generated_{number}"
        folder = tmp_path / package
        folder.mkdir()
        (folder / "__init__.py").touch()
        sys.path.insert(0, str(tmp_path))
        databases = {"default": f"segue_{number}", "stock": f"stock_{number}"}
        server.create_database(databases["default"])
        for alias, name in databases.items():
            connections[alias].settings_dict.update(NAME=name, PORT=str(server.port))
        made = cls(server, folder, package)
        connections["stock"].connect = made._make_stock  # type: ignore[method-assign]
        with override_settings(MIGRATION_MODULES={"shop": package}):
            try:
                yield made
            finally:
                vars(connections["stock"]).pop("connect", None)
                for alias in databases:
                    connections[alias].close()
                server.drop_database(*databases.values())
                sys.path.remove(str(tmp_path))

    # Migrations

    def migration(self, *operations: Operation, atomic: bool = True) -> str:
        """Write the next migration file; return its name."""
        name = f"{len(self._names) + 1:04}_step"
        migration = Migration(name, "shop")
        migration.operations = list(operations)
        migration.dependencies = [("shop", self._names[-1])] if self._names else []
        text = MigrationWriter(migration).as_string()
        if not atomic:
            text = text.replace(
                "class Migration(migrations.Migration):",
                "class Migration(migrations.Migration):\n    atomic = False",
            )
        return self.write(name, text)

    def write(self, name: str, text: str) -> str:
        """Write a migration file as it is."""
        (self._folder / f"{name}.py").write_text(text, encoding="utf-8")
        self._names.append(name)
        importlib.invalidate_caches()
        return name

    def model(self, name: str, at: str | None = None) -> Any:
        """Return the model of the app "shop" as the state after a migration has it; the last one by default."""
        state = MigrationLoader(None).project_state([("shop", at or self._names[-1])])
        return state.apps.get_model("shop", name)

    # Segue

    def session(self) -> Session:
        """Return a new session on "default", as a new command would have."""
        return open_session("default", say=self.said.append)

    def apply(self, to: str | None = None) -> Run | None:
        """segue apply shop [to]."""
        return pipeline.apply(self.session(), "shop", to)

    def rollback(self) -> Run:
        """segue rollback."""
        return pipeline.rollback(self.session())

    def finalize(self, *, old_code_gone: bool = True) -> list[Run]:
        """segue finalize --old-code-gone."""
        return pipeline.finalize(self.session(), old_code_gone=old_code_gone)

    def live(self, to: str) -> None:
        """Bring both databases to a migration; from then on "default" is a database in use."""
        self.apply(to)
        if "connect" in vars(connections["stock"]):
            self._stock_begins_at = to
        else:
            self.stock(to)

    # Stock, and SQL

    def _make_stock(self) -> None:
        """Make the other database, and bring it to where the test has it by now; connect to it."""
        connection = connections["stock"]
        del connection.connect  # the class's own is behind it
        self.server.create_database(str(connection.settings_dict["NAME"]))
        connection.connect()
        if self._stock_begins_at:
            self.stock(self._stock_begins_at)

    def stock(self, to: str | None = None) -> None:
        """Migrate the other database with stock Django."""
        if to is not None:
            connections["stock"].ensure_connection()  # It may be a way back from where the test has it.
        self._stock_begins_at = ""
        executor = MigrationExecutor(connections["stock"])
        executor.migrate([("shop", to or self._names[-1])])

    def differences(self) -> list[str]:
        """Return how the schema of "default" differs from the one that stock Django made."""
        return catalog.differences(connections["default"], connections["stock"])

    def sql(self, statement: str, params: Sequence[Any] | None = None, *, alias: str = "default") -> list[Any]:
        """Run one statement on a database; return its rows, if it has any."""
        with connections[alias].cursor() as cursor:
            cursor.execute(statement, params)
            return cursor.fetchall() if cursor.description else []

    def connect(self, application: str = "test") -> psycopg.Connection[Any]:
        """Return a session of its own on "default", as a client of the application has."""
        name = str(connections["default"].settings_dict["NAME"])
        return psycopg.connect(self.server.url(name), application_name=application)
