"""Any order of changes, rollbacks, finalizes and purges: what is there has every value that it ever had."""

from __future__ import annotations

import importlib
import random
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import migrations, models
from django.db.migrations.recorder import MigrationRecorder
from django.test import override_settings

from segue import pipeline
from segue.core.errors import UsageError
from tests.operations.bookshop import open_shop
from tests.project import Project

COLUMNS = ("isbn", "motto")
COMMANDS = ("change", "change", "write", "write", "row", "finalize", "purge", "purge", "rollback")


@pytest.fixture(autouse=True)
def store(tmp_path: Path) -> Iterator[None]:
    """A folder that is the project's store."""
    with override_settings(SEGUE={"STORE": f"file://{tmp_path}/store", "LOCK_DEADLINE": "5s", "RUNNER_WAIT": "1s"}):
        yield


class Walk:
    """A random walk over one project; `values` is what each column and the shelves must hold."""

    def __init__(self, project: Project, seed: int) -> None:
        self.project = project
        self.random = random.Random(seed)
        self.did: list[str] = []
        self.values: dict[str, dict[int, Any]] = {name: {} for name in (*COLUMNS, "shelf")}
        open_shop(project)

    @property
    def there(self) -> set[str]:
        """Which of the columns and the shelves the applied migrations have."""
        applied = {n for a, n in MigrationRecorder(self.project.session().engine.connection).applied_migrations()
                   if a == "shop"}  # fmt: skip
        last = max(applied)
        fields = {field.name for field in self.project.model("Book", at=last)._meta.fields}
        try:
            self.project.model("Shelf", at=last)
        except LookupError:
            return fields & set(COLUMNS)
        return fields & set(COLUMNS) | {"shelf"}

    def step(self) -> None:
        """Do one random thing and look at everything."""
        command = self.random.choice(COMMANDS)
        self.did.append(command)
        getattr(self, f"_{command}")()
        self._check()

    def _change(self) -> None:
        name = self.random.choice((*COLUMNS, "shelf"))
        self.did[-1] = f"change {name}"
        there = name in self.there
        if name == "shelf":
            fields = [("id", models.BigAutoField(primary_key=True)), ("label", models.TextField())]
            operation: Any = migrations.DeleteModel("Shelf") if there else migrations.CreateModel("Shelf", fields)
        elif there:
            operation = migrations.RemoveField("book", name)
        else:
            operation = migrations.AddField("book", name, models.TextField(null=True))
        self.project.migration(operation)
        self.project.apply()

    def _write(self) -> None:
        text = f"{len(self.did)} \\ \t '\n"
        for name in self.there - {"shelf"}:
            for (key,) in self.project.sql("SELECT id FROM shop_book WHERE id %% 3 <> %s", [self.random.randrange(3)]):
                value = None if self.random.random() < 0.2 else f"{name} {key} {text}"
                self.project.sql(f"UPDATE shop_book SET {name} = %s WHERE id = %s", [value, key])
                self.values[name][key] = value
        if "shelf" in self.there:
            ((key,),) = self.project.sql("INSERT INTO shop_shelf (label) VALUES (%s) RETURNING id", [text])
            assert key not in self.values["shelf"]
            self.values["shelf"][key] = text

    def _row(self) -> None:
        if self.random.random() < 0.3:
            rows = self.project.sql("DELETE FROM shop_book WHERE id = (SELECT min(id) FROM shop_book) RETURNING id")
            for (key,) in rows:
                for name in COLUMNS:
                    self.values[name].pop(key, None)
        self.project.sql("INSERT INTO shop_book (title, author_id, pages, language) VALUES ('new', 1, 1, 'en')")

    def _finalize(self) -> None:
        self.project.finalize()

    def _purge(self) -> None:
        result = pipeline.purge(self.project.session(), timedelta(0))
        assert (result.held, result.postponed) == ((), ())
        self.did[-1] = f"purge {[(p.retired.name, p.rows) for p in result.purged]}"

    def _rollback(self) -> None:
        try:
            run = self.project.rollback()
        except UsageError:
            return
        self.did[-1] = f"rollback, {run.state}"
        self._check()
        if self.random.random() < 0.5:
            self.did[-1] += ", apply"
            self.project.apply()
            return
        # The developer gives the migration up; what it had added stays retired.
        applied = {n for _, n in MigrationRecorder(self.project.session().engine.connection).applied_migrations()}
        for name in [n for n in self.project._names if n not in applied]:
            self.project._names.remove(name)
            (self.project._folder / f"{name}.py").unlink()
        importlib.invalidate_caches()

    def _check(self) -> None:
        keys = [key for (key,) in self.project.sql("SELECT id FROM shop_book ORDER BY id")]
        for name in self.there - {"shelf"}:
            found = dict(self.project.sql(f"SELECT id, {name} FROM shop_book"))
            assert found == {key: self.values[name].get(key) for key in keys}, [*self.did, name]
        if "shelf" in self.there:
            assert dict(self.project.sql("SELECT id, label FROM shop_shelf")) == self.values["shelf"], self.did


def test_no_order_of_commands_loses_a_value(project: Project) -> None:
    walk = Walk(project, seed=1)

    for _ in range(14):
        walk.step()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 15))
def test_no_long_order_of_commands_loses_a_value(project: Project, seed: int) -> None:
    walk = Walk(project, seed)

    for _ in range(40):
        walk.step()
