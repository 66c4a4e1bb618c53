"""The Django app: every connection of the application says which migrations its code has, and hears of aliases."""

from __future__ import annotations

from functools import cache
from typing import Any

from django.apps import AppConfig
from django.db.backends.signals import connection_created

_MAX_NAME_BYTES = 63


class SegueConfig(AppConfig):
    """Tags PostgreSQL connections as they are made, and lets them say names as their database does."""

    name = "segue"
    verbose_name = "Segue"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """See to every connection that is made from now on."""
        from segue import alias

        alias.listen_before_compiling()
        connection_created.connect(_introduce, dispatch_uid="segue.connection")


@cache
def _suffix() -> str:
    """The release tag of this process's code, which cannot change while it runs."""
    from segue.history import installed_migrations, release_tag

    return f" segue:{release_tag(installed_migrations())}"


def _introduce(connection: Any, **_: Any) -> None:
    """Append the release tag to application_name, keeping what fits of the project's own name, and hear of aliases.

    Both are one round trip. Any role may do it, in a read-only session too, whether Segue has ever run here or not.
    """
    if connection.vendor != "postgresql":
        return
    from segue import alias

    own = str(connection.settings_dict.get("OPTIONS", {}).get("application_name", ""))
    kept = own.encode()[: _MAX_NAME_BYTES - len(_suffix())].decode(errors="ignore")
    tag = f"{kept}{_suffix()}".strip()
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT set_config('application_name', %s, false), {alias.PUBLISHED}", [tag])
        alias.attach(connection, cursor.fetchone()[1])
