"""The only place where a child process begins.

Owns the call, its time limit and the words of its failure. Never uses a shell, and knows nothing of what it
runs; a secret belongs in `env`, which no message shows, never in `argv`, which every message does.
"""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeAlias

from segue.core.errors import SegueError

TAIL_LINES = 20
PIPE = subprocess.PIPE
DISCARD = subprocess.DEVNULL
Stream: TypeAlias = int | IO[bytes] | None
Child: TypeAlias = subprocess.Popen[bytes]


@dataclass(frozen=True, kw_only=True)
class Owner:
    """The system user that a child runs as; None keeps the caller's, and only root may choose another."""

    uid: int | None = None
    gid: int | None = None

    @property
    def extra_groups(self) -> list[int] | None:
        """No further groups for a chosen user: it must not inherit root's."""
        return None if self.uid is None else []

    def take(self, path: Path) -> None:
        """Hand a file or a folder (not what is in it) over to this user."""
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)


SAME_USER = Owner()
# PostgreSQL refuses to run as root. This user exists on every Unix, so none has to be made.
UNPRIVILEGED_USER = "nobody"


@dataclass(frozen=True, kw_only=True)
class Completed:
    """What a finished child process left behind."""

    argv: tuple[str, ...]
    status: int
    stdout: str
    stderr: str


class ProcessError(SegueError):
    """A child process could not start, ran too long or ended with a status other than 0."""


def run(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    input: str | None = None,
    timeout: float | None = None,
    owner: Owner = SAME_USER,
    check: bool = True,
) -> Completed:
    """Run a program to its end and return its output; `timeout` is in seconds.

    Raises ProcessError with the tail of stderr when the program is missing, is still running after `timeout`
    (it is killed first) or, with `check`, ends with a status other than 0.
    """
    child = spawn(
        argv,
        env=env,
        cwd=cwd,
        stdin=subprocess.DEVNULL if input is None else PIPE,
        stdout=PIPE,
        stderr=PIPE,
        owner=owner,
    )
    try:
        printed = child.communicate(None if input is None else input.encode(), timeout)
    except BaseException as error:
        _kill(child)
        child.communicate()  # once nobody holds the pipes any more, its own children have gone, too
        if isinstance(error, subprocess.TimeoutExpired):
            raise ProcessError(f"{_shown(argv)} was still running after {timeout:g} s") from error
        raise
    stdout, stderr = (stream.decode(errors="replace") for stream in printed)
    if check and child.returncode != 0:
        said = tail(stderr or stdout)
        raise ProcessError(f"{_shown(argv)} ended with status {child.returncode}:\n{said}")
    return Completed(argv=tuple(argv), status=child.returncode, stdout=stdout, stderr=stderr)


def spawn(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: Stream = subprocess.DEVNULL,
    stdout: Stream = None,
    stderr: Stream = None,
    owner: Owner = SAME_USER,
) -> Child:
    """Start a program and return at once; the caller must stop and reap it.

    The child gets a session of its own, so that Ctrl-C in a terminal reaches the caller alone, which then
    stops its children in the right order. Raises ProcessError when the program cannot start.
    """
    try:
        return subprocess.Popen(
            list(argv),
            env=None if env is None else dict(env),
            cwd=cwd,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
            user=owner.uid,
            group=owner.gid,
            extra_groups=owner.extra_groups,
        )
    except OSError as error:
        raise ProcessError(f"{argv[0]} could not start: {error}") from error


def end(child: Child, *, ask: int = signal.SIGTERM, patience: float = 10) -> int:
    """Ask a child with a signal to end, and reap it; return its status."""
    if child.poll() is None:
        child.send_signal(ask)
    return reap(child, patience=patience)


def reap(child: Child, *, patience: float) -> int:
    """Wait for a child that was told to end, and kill its whole session after `patience` seconds."""
    try:
        return child.wait(patience)
    except subprocess.TimeoutExpired:
        _kill(child)
        return child.wait()


def _kill(child: Child) -> None:
    """Kill a child's whole session unless the child has been reaped: then its number may be another's."""
    if child.poll() is None:
        with suppress(ProcessLookupError):  # it ended between the question and here, which is what we want
            os.killpg(child.pid, signal.SIGKILL)


def unprivileged() -> Owner:
    """Whom a program that refuses to run as root should run as: the caller, unless the caller is root."""
    if os.geteuid() != 0:
        return SAME_USER
    entry = pwd.getpwnam(UNPRIVILEGED_USER)
    return Owner(uid=entry.pw_uid, gid=entry.pw_gid)


def tail(text: str, *, lines: int = TAIL_LINES) -> str:
    """The last lines of a program's output, where its error usually stands."""
    return "\n".join(text.rstrip().splitlines()[-lines:])


def _shown(argv: Sequence[str]) -> str:
    return " ".join([Path(argv[0]).name, *argv[1:]])
