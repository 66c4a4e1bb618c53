"""A command in a process that no thread was ever started in: a forked child would lack those of the store's library.

Owns the process that such commands are forked from, which has imported everything and begun nothing, and how each
makes the test's project its own: its databases, its migrations and its store.
"""

from __future__ import annotations

import json
import os
import resource
import select
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Self

from django.conf import settings
from django.db import connections

from segue import cli
from segue.engines import process
from segue.engines.postgresql import PostgreSQL, canary
from tests.faults import child
from tests.faults.child import CRASHED, PATIENCE_SECONDS, Ended, Strike

_ROOT = Path(__file__).parents[2]
# Django must be ready before anything that is imported here is.
_BEGIN = "import django; django.setup(); from tests.faults import spawned; spawned.fork_commands()"


class Spawner:
    """The process that commands are forked from."""

    def __init__(self, running: process.Child) -> None:
        self._running = running

    @classmethod
    @contextmanager
    def started(cls) -> Iterator[Self]:
        """Start it for the block."""
        path = os.pathsep.join(p for p in sys.path if p)
        env = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", "PYTHONPATH": path}
        argv = [sys.executable, "-c", _BEGIN]
        running = process.spawn(argv, env=env, cwd=_ROOT, stdin=process.PIPE, stdout=process.PIPE)
        try:
            yield cls(running)
        finally:
            _pipe(running.stdin).close()  # which ends it
            process.reap(running, patience=PATIENCE_SECONDS)
            _pipe(running.stdout).close()

    def run(self, store: Path, *arguments: str, strike: Strike | None = None, file_bytes: int | None = None) -> Ended:
        """Run `segue arguments…` on the test's project with a store, in which a file may have so many bytes."""
        connections.close_all()
        with tempfile.NamedTemporaryFile(prefix="segue-command-") as log:
            given = {
                "arguments": arguments,
                "strike": None if strike is None else [strike.event, strike.when, strike.of],
                "file_bytes": file_bytes,
                "segue": {"STORE": f"file://{store}", "LOCK_DEADLINE": "20s", "RUNNER_WAIT": "20s"},
                "path": [p for p in sys.path if p],
                "modules": settings.MIGRATION_MODULES,
                "databases": {alias: _place(connections[alias].settings_dict) for alias in connections},
                "log": log.name,
            }
            waited = self._waited_for(given)
            output = Path(log.name).read_text(encoding="utf-8")
        if os.WIFSIGNALED(waited):
            return Ended(status=None, signal=os.WTERMSIG(waited), output=output)
        return Ended(status=os.WEXITSTATUS(waited), signal=None, output=output)

    def _waited_for(self, given: dict[str, Any]) -> int:
        """Have a command forked; return what its parent was told at its end."""
        asked, told = _pipe(self._running.stdin), _pipe(self._running.stdout)
        asked.write(json.dumps(given).encode() + b"\n")
        asked.flush()
        ready, _, _ = select.select([told], [], [], PATIENCE_SECONDS)
        if not ready:
            process.end(self._running, patience=0)  # the command with it: nobody may take its answer for another's
            raise AssertionError(f"the command did not end:\n{Path(given['log']).read_text(encoding='utf-8')}")
        return int(told.readline())


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream


def _place(database: dict[str, Any]) -> dict[str, Any]:
    return {key: database[key] for key in ("NAME", "PORT")}


def fork_commands() -> None:
    """Fork a command for each line that is read, and say how it ended; until there are no more."""
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            _be_the_command(json.loads(line))
        print(os.waitpid(pid, 0)[1], flush=True)


def _be_the_command(given: dict[str, Any]) -> None:
    """Call Segue's command line as `Spawner.run` wants it, and end."""
    status = CRASHED
    try:
        log = os.open(given["log"], os.O_WRONLY | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        sys.path[:] = given["path"]
        settings.MIGRATION_MODULES, settings.SEGUE = given["modules"], given["segue"]
        for alias, place in given["databases"].items():
            connections[alias].settings_dict.update(place)
        PostgreSQL.canary = lambda engine, _: canary.watching(engine.connect, ())  # type: ignore[method-assign]
        if given["file_bytes"] is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (given["file_bytes"],) * 2)
        if given["strike"] is not None:
            event, when, of = given["strike"]
            child._arm(Strike(event=event, when=when, of=of))
        status = cli.main(given["arguments"])
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
