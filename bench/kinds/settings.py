"""The shop's settings: the contender and the version's migrations come from the environment."""

import os
from urllib.parse import urlsplit

_CONTENDER = os.environ["BENCH_CONTENDER"]
_URL = urlsplit(os.environ["BENCH_URL"])
_ENGINE = (
    "django_zero_downtime_migrations.backends.postgres" if _CONTENDER == "zdm" else "django.db.backends.postgresql"
)

SECRET_KEY = "of a database that is thrown away"
USE_TZ = True
INSTALLED_APPS = [*(["segue"] if _CONTENDER == "segue" else []), "bench.kinds.shop"]
MIGRATION_MODULES = {"shop": os.environ["BENCH_MIGRATIONS"]}
DATABASES = {
    "default": {
        "ENGINE": _ENGINE,
        "NAME": _URL.path.lstrip("/"),
        "USER": _URL.username,
        "HOST": _URL.hostname,
        "PORT": str(_URL.port),
        "OPTIONS": {"application_name": os.environ["BENCH_APPLICATION"]},
    }
}
SEGUE = {"STORE": os.environ["BENCH_STORE"]}
# What bench.settings_zdm_lax says, and why, goes for the shop, too.
ZERO_DOWNTIME_MIGRATIONS_LOCK_TIMEOUT = "2s"
ZERO_DOWNTIME_MIGRATIONS_STATEMENT_TIMEOUT = "2s"
ZERO_DOWNTIME_MIGRATIONS_FLEXIBLE_STATEMENT_TIMEOUT = True
ZERO_DOWNTIME_MIGRATIONS_RAISE_FOR_UNSAFE = False
ZERO_DOWNTIME_MIGRATIONS_IDEMPOTENT_SQL = True
