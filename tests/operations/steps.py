"""Functions that migrations of the tests run; they stand in a module because a migration file imports them."""

from __future__ import annotations

from typing import Any


def nothing(apps: Any, schema_editor: Any) -> None:
    """Do nothing, backwards."""


def translate_titles(apps: Any, schema_editor: Any) -> None:
    """Change every book."""
    apps.get_model("shop", "Book").objects.using(schema_editor.connection.alias).update(title="translated")


def restore_titles(apps: Any, schema_editor: Any) -> None:
    """Undo translate_titles."""
    apps.get_model("shop", "Book").objects.using(schema_editor.connection.alias).update(title="Godaan")


def fail(apps: Any, schema_editor: Any) -> None:
    """Change every book and fail then."""
    translate_titles(apps, schema_editor)
    raise RuntimeError("the translator is ill")
