"""One runner at a time: a file lock beside the database, because SQLite has no advisory locks.

The operating system lets go of the lock when its process ends, however it ends. The file itself stays: whoever
deleted it could delete another run's, and both would then believe that they hold the database.
"""

from __future__ import annotations

import getpass
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from filelock import FileLock, Timeout

from segue.core.errors import SegueError, TargetHeld
from segue.engines.base import Say

_POLL_SECONDS = 0.2


@contextmanager
def sole_runner(database: Path, wait: timedelta, say: Say) -> Iterator[Callable[[], bool]]:
    """Hold the database for the block, polling for up to `wait`.

    Yields a question: is it still held? Raises TargetHeld, naming the holder.
    """
    path = database.with_name(f"{database.name}-segue.lock")
    # Between threads of one process the lock is a lock too: flock belongs to the open file, not to the process.
    lock = FileLock(path, thread_local=False)
    _until_held(lock, path, wait, say)
    try:
        path.write_text(_me(), encoding="utf-8")
        held = path.stat()
        yield lambda: path.exists() and os.path.samestat(held, path.stat())
    finally:
        if path.exists():
            path.write_text("", encoding="utf-8")
        lock.release()


def _until_held(lock: FileLock, path: Path, wait: timedelta, say: Say) -> None:
    began = time.monotonic()
    told = False
    while not _try(lock):
        if time.monotonic() - began > wait.total_seconds():
            raise TargetHeld(
                f"Another run holds this database: {_holder(path)}.",
                next_command="wait for it (segue status shows it), or end it in its own terminal",
            )
        if not told:
            say(f"another run holds this database: {_holder(path)}; waiting up to {wait.total_seconds():.0f} s")
            told = True
        time.sleep(_POLL_SECONDS)


def _try(lock: FileLock) -> bool:
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return False
    except OSError as error:
        raise SegueError(
            f"The lock file {lock.lock_file} cannot be written: {error.strerror}.",
            next_command="let this user write to the database's folder, where SQLite writes its journal too",
        ) from error
    return True


def _holder(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8") or "a run that is just beginning or ending"
    except OSError:
        return "a run that cannot be named"  # Windows keeps a locked file from readers; waiting works all the same.


def _me() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "unknown"  # A container's user may have no name; the host still tells where to look.
    return f"pid {os.getpid()}, {user}@{socket.gethostname()}, since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
