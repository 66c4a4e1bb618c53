"""Reads settings from environment variables; every error names the variable to set."""

from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured

POSTGRESQL = "django.db.backends.postgresql"

env = environ.Env()


def is_set(variable: str) -> bool:
    return bool(env.ENVIRON.get(variable))


def required(variable: str) -> str:
    """The variable's value, verbatim.

    Unlike ``env()``, which takes a leading ``$`` for a reference to another variable: a generated
    SECRET_KEY or a password may begin with one.
    """
    if not is_set(variable):
        raise ImproperlyConfigured(f"Set the {variable} environment variable.")
    return env.ENVIRON[variable]


def postgresql_database(variable: str) -> dict[str, Any]:
    """One entry of DATABASES, from a ``postgresql://user:password@host:port/name`` URL."""
    database = env.db_url_config(required(variable))
    if database.get("ENGINE") != POSTGRESQL:
        raise ImproperlyConfigured(f"{variable} must be a postgresql:// URL.")
    database.setdefault("CONN_MAX_AGE", 60)
    database.setdefault("CONN_HEALTH_CHECKS", True)
    # Without it, a request waits for the kernel's connect timeout (minutes) when the host is gone.
    database.setdefault("OPTIONS", {}).setdefault("connect_timeout", 5)
    return database


def segue_settings() -> dict[str, Any]:
    """The SEGUE setting: STORE is given only when SEGUE_STORE is (file:///… or s3://…)."""
    return {"STORE": required("SEGUE_STORE")} if is_set("SEGUE_STORE") else {}
