"""Django's own settings for its tests, but for the databases; the environment says where those are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from test_sqlite import *


def _database(alias: str) -> dict[str, Any]:
    if port := os.environ.get("SEGUE_SUITES_PORT"):
        server = {"ENGINE": "django.db.backends.postgresql", "USER": "postgres", "HOST": "127.0.0.1", "PORT": port}
        return {**server, "NAME": alias}
    # A file and not memory, because what lies in memory cannot be put back by copying.
    file = Path(os.environ["TMPDIR"]) / f"{alias}.sqlite3"
    return {"ENGINE": "django.db.backends.sqlite3", "NAME": file, "TEST": {"NAME": str(file)}}


DATABASES = {alias: _database(alias) for alias in ("default", "other")}
TEST_RUNNER = "tests.django_suites.runner.Runner"
STOCK = "SEGUE_SUITES_STOCK" in os.environ
