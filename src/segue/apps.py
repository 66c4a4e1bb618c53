"""The Django app: every connection of the application says which migrations its code has."""

from __future__ import annotations

from functools import cache
from typing import Any

from django.apps import AppConfig
from django.db.backends.signals import connection_created

_MAX_NAME_BYTES = 63


class SegueConfig(AppConfig):
    """Tags PostgreSQL connections as they are made."""

    name = "segue"
    verbose_name = "Segue"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Tag every connection that is made from now on."""
        connection_created.connect(_tag_connection, dispatch_uid="segue.release_tag")


@cache
def _suffix() -> str:
    """The release tag of this process's code, which cannot change while it runs."""
    from segue.history import installed_migrations, release_tag

    return f" segue:{release_tag(installed_migrations())}"


def _tag_connection(connection: Any, **_: Any) -> None:
    """Append the release tag to application_name, keeping what fits of the project's own name."""
    if connection.vendor != "postgresql":
        return
    own = str(connection.settings_dict.get("OPTIONS", {}).get("application_name", ""))
    kept = own.encode()[: _MAX_NAME_BYTES - len(_suffix())].decode(errors="ignore")
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('application_name', %s, false)", [f"{kept}{_suffix()}".strip()])
