"""A command in a process that is not forked: the store's library has threads, which a forked child would lack.

Owns how the process makes the test's project its own: its databases, its migrations and its store.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connections

from segue import cli
from segue.engines import process
from segue.engines.postgresql import PostgreSQL, canary
from tests.faults import child
from tests.faults.child import Ended, Strike

_ROOT = Path(__file__).parents[2]
# Django must be ready before anything that is imported here is.
_BEGIN = """
import json, sys
import django
from django.conf import settings
given = json.loads(sys.argv[1])
settings.MIGRATION_MODULES = given["modules"]
settings.SEGUE = given["segue"]
for alias, place in given["databases"].items():
    settings.DATABASES[alias].update(place)
django.setup()
from tests.faults import spawned
sys.exit(spawned.be_the_command(given))
"""


def run(store: Path, *arguments: str, strike: Strike | None = None, file_bytes: int | None = None) -> Ended:
    """Run `segue arguments…` on the test's project with a store, in which a file may have so many bytes."""
    connections.close_all()
    given = {
        "arguments": arguments,
        "strike": None if strike is None else [strike.event, strike.when, strike.of],
        "file_bytes": file_bytes,
        "segue": {"STORE": f"file://{store}", "LOCK_DEADLINE": "20s", "RUNNER_WAIT": "20s"},
        "path": [p for p in sys.path if p],
        "modules": settings.MIGRATION_MODULES,
        "databases": {alias: _place(connections[alias].settings_dict) for alias in connections},
    }
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", "PYTHONPATH": os.pathsep.join(given["path"])}
    argv = [sys.executable, "-c", _BEGIN, json.dumps(given)]
    ended = process.run(argv, env=env, cwd=_ROOT, timeout=child.PATIENCE_SECONDS, check=False)
    signalled = ended.status < 0
    return Ended(
        status=None if signalled else ended.status,
        signal=-ended.status if signalled else None,
        output=ended.stdout + ended.stderr,
    )


def _place(database: dict[str, Any]) -> dict[str, Any]:
    return {key: database[key] for key in ("NAME", "PORT")}


def be_the_command(given: dict[str, Any]) -> int:
    """Call Segue's command line as `run` wants it."""
    PostgreSQL.canary = lambda engine, _: canary.watching(engine.connect, ())  # type: ignore[method-assign]
    if given["file_bytes"] is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (given["file_bytes"],) * 2)
    if given["strike"] is not None:
        event, when, of = given["strike"]
        child._arm(Strike(event=event, when=when, of=of))
    return cli.main(given["arguments"])
