"""One PostgreSQL server for all tests; a new database, and a project of its own, for each that asks."""

from __future__ import annotations

import gc
import os
import shutil
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
# Hundreds of child processes start here: each would compile everything anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

import django
import psycopg
import pytest

django.setup()

from segue.engines.postgresql import PostgreSQL, canary  # noqa: E402
from segue.engines.postgresql.server import Server  # noqa: E402
from segue.stages import finalize  # noqa: E402
from tests.project import Project  # noqa: E402

# A test may write a migration twice within a second, and Python would keep the first one's code.
sys.dont_write_bytecode = True
# Each worker's server takes some 300 MB; a container's 64 MB of shared memory are too few.
ROOM_BYTES = 4 * 2**30


def pytest_collection_finish() -> None:
    """Leave what is there by now, and stays, out of every later search for garbage."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def unwatched(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the canary's processes out but where a test is about them: they change nothing and take half a second."""
    if "watched" not in request.keywords:
        monkeypatch.setattr(PostgreSQL, "canary", lambda engine, _: canary.watching(engine.connect, ()))
        # Whoever is connected in these tests stays connected: one look shows the same as two seconds of looking.
        monkeypatch.setattr(finalize, "WATCHED", timedelta(0))


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A throw-away PostgreSQL; it need not survive the machine, so it lies in memory and does not wait for the disk."""
    unsafe = {"fsync": "off", "full_page_writes": "off", "wal_init_zero": "off", "max_wal_size": "128MB"}
    with Server.temporary(settings={**unsafe, "max_connections": "60"}, inside=_memory()) as running:
        # Whoever connects to a database first has its catalog read; what is found so is copied with a template.
        psycopg.connect(running.url("template1")).close()
        yield running


def _memory() -> Path | None:
    """The file system in memory, where there is one with room; to make and drop a database's 300 files costs little."""
    shared = Path("/dev/shm")
    roomy = shared.is_dir() and os.access(shared, os.W_OK) and shutil.disk_usage(shared).free > ROOM_BYTES
    return shared if roomy else None


@pytest.fixture
def project(server: Server, tmp_path: Path) -> Iterator[Project]:
    """An app "shop" without migrations, on two empty databases: one for Segue, one for stock Django."""
    with Project.on(server, tmp_path) as made:
        yield made
