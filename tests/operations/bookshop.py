"""The models that the operation tests begin with, and short ways to ask what became of their rows."""

from __future__ import annotations

import json
import sys
from typing import Any

from django.conf import settings
from django.db import migrations, models
from django.db.migrations.operations.base import Operation
from django.db.migrations.writer import MigrationWriter

from segue import pipeline
from segue.core.plan import Plan
from tests.project import Project

AUTHOR = migrations.CreateModel(
    "Author", [("id", models.BigAutoField(primary_key=True)), ("name", models.CharField(max_length=50))]
)
BOOK = migrations.CreateModel(
    "Book",
    [
        ("id", models.BigAutoField(primary_key=True)),
        ("title", models.CharField(max_length=50)),
        ("author", models.ForeignKey("shop.author", models.CASCADE)),
        ("editor", models.ForeignKey("shop.author", models.SET_NULL, null=True, related_name="+")),
        ("pages", models.IntegerField()),
        ("language", models.CharField(max_length=10, default="en")),
    ],
)
RAW_BOOK = "INSERT INTO shop_book (title, author_id, pages, language) VALUES (%s, 1, 10, 'en')"


def open_shop(project: Project) -> None:
    """Bring both databases to a first migration with one author and one book in each."""
    project.live(project.migration(AUTHOR, BOOK))
    for alias in ("default", "stock"):
        project.sql("INSERT INTO shop_author (name) VALUES ('Premchand')", alias=alias)
        project.sql(RAW_BOOK, ["Godaan"], alias=alias)


def assert_ends_as_stock(project: Project) -> None:
    """Finalize, migrate the other database with stock Django, and compare the two schemas."""
    project.finalize()
    project.stock()
    assert project.differences() == []


def quarantined(project: Project) -> list[tuple[str, str, dict[str, Any]]]:
    """Return table, reason and image of every row in quarantine, oldest first."""
    rows = project.sql('SELECT "table", "reason", "row"::text FROM segue_quarantine ORDER BY id')
    return [(table, reason, json.loads(row)) for table, reason, row in rows]


def column_names(project: Project, table: str) -> list[str]:
    """Return the names of a table's columns in alphabetical order, the buried ones too."""
    rows = project.sql(
        "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped "
        "ORDER BY attname",
        [f'"{table}"'],
    )
    return [name for (name,) in rows]


def plan(project: Project) -> Plan:
    """segue plan shop."""
    return pipeline.plan(project.session(), "shop")


def edit(project: Project, name: str, *operations: Operation) -> None:
    """Change a migration file that is not applied, as a developer does between two attempts."""
    package = settings.MIGRATION_MODULES["shop"]
    migration = sys.modules[f"{package}.{name}"].Migration(name, "shop")
    migration.operations = [*operations]
    del sys.modules[f"{package}.{name}"]
    project.write(name, MigrationWriter(migration).as_string())
