"""The Django app: every connection of the application says which migrations its code has, and hears of aliases."""

from __future__ import annotations

from functools import cache
from typing import Any

from django.apps import AppConfig
from django.db.backends.signals import connection_created

from segue.core.errors import UsageError

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
    _require_psycopg_3(connection)
    from segue import alias

    own = str(connection.settings_dict.get("OPTIONS", {}).get("application_name", ""))
    kept = own.encode()[: _MAX_NAME_BYTES - len(_suffix())].decode(errors="ignore")
    tag = f"{kept}{_suffix()}".strip()
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT set_config('application_name', %s, false), {alias.PUBLISHED}", [tag])
        alias.attach(connection, cursor.fetchone()[1])


def _require_psycopg_3(connection: Any) -> None:
    """Refuse psycopg2, which Django takes without a word where psycopg 3 cannot be imported."""
    from django.db.backends.postgresql.psycopg_any import is_psycopg3

    if not is_psycopg3:
        connection.close()  # It is made already, and the next statement would go through it.
        raise UsageError(
            f'Database "{connection.alias}" is reached through psycopg2, because psycopg 3 cannot be imported; '
            "Segue works with psycopg 3 only.",
            next_command='pip install "psycopg[binary]>=3.2"',
        )
