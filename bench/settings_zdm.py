"""VILLEN on django-pg-zero-downtime-migrations, with what its README calls the most safe settings."""

from bench.settings_stock import *  # noqa: F403
from bench.settings_stock import DATABASES as _STOCK

DATABASES = {
    alias: {**database, "ENGINE": "django_zero_downtime_migrations.backends.postgres"}
    for alias, database in _STOCK.items()
}
ZERO_DOWNTIME_MIGRATIONS_LOCK_TIMEOUT = "2s"
ZERO_DOWNTIME_MIGRATIONS_STATEMENT_TIMEOUT = "2s"
ZERO_DOWNTIME_MIGRATIONS_FLEXIBLE_STATEMENT_TIMEOUT = True
ZERO_DOWNTIME_MIGRATIONS_RAISE_FOR_UNSAFE = True
