"""Functions that migrations of the tests run; they stand in a module because a migration file imports them."""

from __future__ import annotations

from typing import Any

from django.db import models


def nothing(apps: Any, schema_editor: Any) -> None:
    """Do nothing, backwards."""


def odd_hstore() -> dict[str, str | None]:
    """A default that is hard to quote."""
    return {'it\'s "a"': "b\\c", "none": None}


def seven() -> int:
    """A default that only Python knows."""
    return 7


def translate_titles(apps: Any, schema_editor: Any) -> None:
    """Change every book."""
    apps.get_model("shop", "Book").objects.using(schema_editor.connection.alias).update(title="translated")


def restore_titles(apps: Any, schema_editor: Any) -> None:
    """Undo translate_titles."""
    apps.get_model("shop", "Book").objects.using(schema_editor.connection.alias).update(title="Godaan")


def fill_books(apps: Any, schema_editor: Any) -> None:
    """Make a book, with a tag."""
    tag = apps.get_model("shop", "Tag").objects.first()
    book, _ = apps.get_model("shop", "Book").objects.get_or_create(code="by-code", defaults={"pages": 8, "tag": tag})
    book.tags.add(tag)


def fail(apps: Any, schema_editor: Any) -> None:
    """Change every book and fail then."""
    translate_titles(apps, schema_editor)
    raise RuntimeError("the translator is ill")


def fail_again(apps: Any, schema_editor: Any) -> None:
    """Fail, whatever models there are."""
    raise RuntimeError("the translator is still ill")


class OddConstraint(models.BaseConstraint):
    """A constraint of a project's own, which writes its SQL itself."""

    def __init__(self, *, name: str) -> None:
        super().__init__(name=name)

    def constraint_sql(self, model: Any, schema_editor: Any) -> str:
        """Say it inside a CREATE TABLE."""
        return f"CONSTRAINT {schema_editor.quote_name(self.name)} CHECK (length(title) > 1)"

    def create_sql(self, model: Any, schema_editor: Any) -> str:
        """Say it for a table that is there."""
        table = schema_editor.quote_name(model._meta.db_table)
        return f"ALTER TABLE {table} ADD {self.constraint_sql(model, schema_editor)}"

    def remove_sql(self, model: Any, schema_editor: Any) -> str:
        """Take it away."""
        table = schema_editor.quote_name(model._meta.db_table)
        return f"ALTER TABLE {table} DROP CONSTRAINT {schema_editor.quote_name(self.name)}"
