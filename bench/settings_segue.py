"""VILLEN in production with Segue, as the code of the version that BENCH_MIGRATIONS names (all versions without)."""

import os

from core.settings.production import *  # noqa: F403

if "BENCH_MIGRATIONS" in os.environ:
    MIGRATION_MODULES = {"music": os.environ["BENCH_MIGRATIONS"]}
