"""VILLEN on django-pg-zero-downtime-migrations, which carries out what it holds for unsafe, too.

Idempotent, because the benchmark runs a migration again after a lock timeout, and that is its README's way to.
"""

from bench.settings_zdm import *  # noqa: F403

ZERO_DOWNTIME_MIGRATIONS_RAISE_FOR_UNSAFE = False
ZERO_DOWNTIME_MIGRATIONS_IDEMPOTENT_SQL = True
