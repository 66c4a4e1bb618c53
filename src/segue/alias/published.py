"""What a database publishes of its aliases, and which of them are for this process's code."""

from __future__ import annotations

import json
import logging
from functools import cache
from typing import Any

from segue.core.change import Alias

# SQL for what `segue.engines.postgresql.acts.alias` publishes; NULL where nothing is open or Segue never ran.
PUBLISHED = "obj_description(to_regclass('segue_alias'), 'pg_class')"

logger = logging.getLogger("segue.alias")


def ask(connection: Any) -> tuple[str | None, bool]:
    """Return what is published, and whether the transaction's snapshot may hide a newer state of it.

    Through the driver's own cursor: nobody who counts the application's queries should meet this one.
    """
    with connection.wrap_database_errors, connection.connection.cursor() as cursor:
        cursor.execute(f"SELECT {PUBLISHED}, current_setting('transaction_isolation') <> 'read committed'")
        published, is_old = cursor.fetchone()
        return published, is_old


def concerning(published: str | None) -> list[Alias]:
    """Return the aliases that are for this process's code, in the order in which they were opened."""
    return [
        Alias(table=told["table"], column=told["column"], place=told["place"])
        for told in _read(published)
        if ((told["app"], told["migration"]) in installed()) != told["backwards"]
    ]


def _read(published: str | None) -> list[dict[str, Any]]:
    try:
        told: list[dict[str, Any]] = json.loads(published) if published else []
    except ValueError:
        # Most tables have no alias, and an application that cannot connect has none at all.
        logger.error("The comment on table segue_alias is not Segue's: %s. No alias is known.", published)
        return []
    return told


@cache
def installed() -> frozenset[tuple[str, str]]:
    """Return the migrations of this process's code, which cannot change while it runs."""
    from segue.history import installed_migrations  # what it imports is not needed where no alias is open

    return frozenset(installed_migrations())
