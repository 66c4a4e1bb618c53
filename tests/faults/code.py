"""What the migrations of the killed shop do by their own code; a migration file imports it."""

from __future__ import annotations

import os
import signal
from typing import Any

from django.db import models, transaction
from django.db.models import F, Value
from django.db.models.functions import Concat


def _field(model: Any, name: str, field: Any) -> Any:
    field.set_attributes_from_name(name)
    field.model = model
    return field


def _fields(model: Any) -> list[Any]:
    return [
        _field(model, "language", models.CharField(max_length=10, default="en")),
        _field(model, "note", models.TextField(null=True)),
    ]


def _readers(apps: Any, schema_editor: Any) -> Any:
    return apps.get_model("shop", "Reader").objects.using(schema_editor.connection.alias)


def add_columns_and_index(apps: Any, schema_editor: Any) -> None:
    """Change the schema, nothing else."""
    book = apps.get_model("shop", "Book")
    for field in _fields(book):
        schema_editor.add_field(book, field)
    schema_editor.add_index(book, models.Index(fields=["title"], name="book_title"))


def also_add_a_reader(apps: Any, schema_editor: Any) -> None:
    """Write between changes of the schema; it may be done twice."""
    book = apps.get_model("shop", "Book")
    language, note = _fields(book)
    schema_editor.add_field(book, language)
    _readers(apps, schema_editor).get_or_create(id=7001, defaults={"name": "by the migration"})
    schema_editor.add_field(book, note)
    schema_editor.add_index(book, models.Index(fields=["title"], name="book_title"))


def also_remove_the_reader(apps: Any, schema_editor: Any) -> None:
    """Undo also_add_a_reader."""
    book = apps.get_model("shop", "Book")
    language, note = _fields(book)
    schema_editor.remove_index(book, models.Index(fields=["title"], name="book_title"))
    schema_editor.remove_field(book, note)
    _readers(apps, schema_editor).filter(id=7001).delete()
    schema_editor.remove_field(book, language)


# Where `mark_titles` ends its own process: after so many batches; None for nowhere.
dies_after: int | None = None


def mark_titles(apps: Any, schema_editor: Any) -> None:
    """Write in batches what must not be written twice, make a reader and take one away."""
    alias = schema_editor.connection.alias
    books = apps.get_model("shop", "Book").objects.using(alias)
    for batch in range(3):
        with transaction.atomic(using=alias):
            books.filter(id__range=(batch * 100 + 1, batch * 100 + 100)).update(title=Concat(F("title"), Value("+")))
        if dies_after == batch:
            os.kill(os.getpid(), signal.SIGKILL)
    _readers(apps, schema_editor).create(name="by the migration")
    _readers(apps, schema_editor).filter(id=300).delete()
