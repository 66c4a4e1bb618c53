"""Runs one `manage.py` command to its end and says how long it took and what it printed."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.database import BenchError
from bench.project import BACKEND, Site, Version, manage
from segue.engines import process

POLL_SECONDS = 0.02
# What `migrate --verbosity 2` prints when a migration is done, however much it prints before that.
MIGRATION_TIME = re.compile(r"pplying \w+\.\w+\.\.\..*? OK \((\d+\.\d+)s\)", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Done:
    """A command that ended by itself: its seconds from outside, and its words."""

    status: int
    seconds: float
    stdout: str
    stderr: str

    @property
    def migration_seconds(self) -> float | None:
        """How long the migration took by the command's own account; None where it does not say."""
        found = MIGRATION_TIME.search(self.stdout)
        return float(found[1]) if found else None

    @property
    def last_line(self) -> str:
        """The last thing it said, where an error usually stands."""
        lines = (self.stderr.strip() or self.stdout.strip() or "it said nothing").splitlines()
        return lines[-1].strip()


def run_manage(
    site: Site,
    arguments: Sequence[str],
    *,
    version: Version | None,
    timeout_seconds: float,
    look: Callable[[], None] = lambda: None,
) -> Done:
    """Run `manage.py` with a version's code, as `run_command` does."""
    return run_command(
        manage(*arguments),
        env=site.environment(version),
        cwd=BACKEND,
        folder=site.folder,
        timeout_seconds=timeout_seconds,
        look=look,
    )


def run_command(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    folder: Path,
    timeout_seconds: float,
    look: Callable[[], None] = lambda: None,
) -> Done:
    """Run a command whose words go through files in `folder`, calling `look` several times a second.

    Raises BenchError when it is still running after `timeout_seconds`; it is ended first, as it is when `look`
    raises.
    """
    out, err = folder / "command.out", folder / "command.err"
    started_at = time.monotonic()
    with out.open("wb") as stdout, err.open("wb") as stderr:
        child = process.spawn(argv, env=env, cwd=cwd, stdout=stdout, stderr=stderr)
    try:
        while child.poll() is None:
            if time.monotonic() - started_at > timeout_seconds:
                raise BenchError(f"{' '.join(argv[1:])} did not end within {timeout_seconds:g} s.")
            look()
            time.sleep(POLL_SECONDS)
    finally:
        status = process.end(child, ask=signal.SIGINT)
    return Done(
        status=status,
        seconds=time.monotonic() - started_at,
        stdout=_text(out),
        stderr=_text(err),
    )


def run_or_raise(site: Site, *arguments: str, version: Version | None, timeout_seconds: float) -> Done:
    """Run a command that a measurement depends on; raises BenchError when its status is not 0."""
    done = run_manage(site, arguments, version=version, timeout_seconds=timeout_seconds)
    if done.status != 0:
        raise BenchError(f"manage.py {' '.join(arguments)} ended with status {done.status}: {done.last_line}")
    return done


def _text(path: Path) -> str:
    return path.read_text(errors="replace")
