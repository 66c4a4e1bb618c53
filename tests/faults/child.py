"""Segue's command line in a process of its own, which strikes itself at an exact event of the journal.

Owns the fork and its end. A forked child ends by os._exit or by a signal, so it never runs the tests' own teardown.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from django.db import connections, transaction

from segue import cli
from segue.core.event import EventKind
from segue.journal import Journal
from segue.storage import ObjectStorage

CRASHED = 99
PATIENCE_SECONDS = 40


@dataclass(frozen=True, kw_only=True)
class Strike:
    """What hits the command, and when: at its nth event, before that is committed or right after.

    Or at the nth object that it writes to the store.
    """

    event: int
    when: Literal["before", "after"]
    signal: signal.Signals = signal.SIGKILL
    of: Literal["event", "object"] = "event"

    def __str__(self) -> str:
        return f"{self.signal.name} {self.when} {self.of} {self.event}"


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a command ended: its exit status or the signal that killed it, and all that it printed."""

    status: int | None
    signal: int | None
    output: str


class Command:
    """One running command; `wait` must be called, which reaps it."""

    running: ClassVar[list[Command]] = []

    def __init__(self, pid: int, log: Path) -> None:
        self.pid = pid
        self._log = log
        self.running.append(self)

    @property
    def output(self) -> str:
        """What it has printed so far, results and progress."""
        return self._log.read_text(encoding="utf-8")

    def wait_until_it_says(self, text: str) -> None:
        """Wait until a text stands in its output."""
        _until(lambda: text in self.output, lambda: f"the command never said {text!r}:\n{self.output}")

    def wait_until_stopped(self) -> None:
        """Wait until it has stopped itself with SIGSTOP."""
        _until(
            lambda: os.WIFSTOPPED(os.waitpid(self.pid, os.WNOHANG | os.WUNTRACED)[1]),
            lambda: f"the command never stopped:\n{self.output}",
        )

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def wait(self) -> Ended:
        """Wait for its end, reap it and remove its log."""
        status: list[int] = []

        def ended() -> bool:
            pid, how = os.waitpid(self.pid, os.WNOHANG)
            status.extend([how] * (pid != 0))
            return pid != 0

        _until(ended, lambda: f"the command did not end:\n{self.output}")
        output = self.output
        self._forget()
        if os.WIFSIGNALED(status[0]):
            return Ended(status=None, signal=os.WTERMSIG(status[0]), output=output)
        return Ended(status=os.WEXITSTATUS(status[0]), signal=None, output=output)

    def _forget(self) -> None:
        self.running.remove(self)
        self._log.unlink()


def end_all() -> None:
    """Kill what a failed test has left running, or standing still."""
    for command in list(Command.running):
        os.kill(command.pid, signal.SIGKILL)
        os.waitpid(command.pid, 0)
        command._forget()


def start(*arguments: str, strike: Strike | None = None) -> Command:
    """Start `segue arguments…` and return at once.

    Django's connections are closed first: a forked child would go on with this process's own sessions.
    """
    connections.close_all()
    descriptor, log = tempfile.mkstemp(prefix="segue-command-")
    pid = os.fork()
    if pid == 0:
        _be_the_command(arguments, strike, descriptor)
    os.close(descriptor)
    return Command(pid, Path(log))


def run(*arguments: str, strike: Strike | None = None) -> Ended:
    """Run `segue arguments…` to its end."""
    return start(*arguments, strike=strike).wait()


def _be_the_command(arguments: Sequence[str], strike: Strike | None, output: int) -> None:
    status = CRASHED
    try:
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if strike is not None:
            _arm(strike)
        status = cli.main(arguments)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _arm(strike: Strike) -> None:
    """Wrap the journal in this process, which ends soon: nothing need be put back."""
    if strike.of == "object":
        _arm_store(strike)
        return
    append = Journal.append
    numbers = itertools.count(1)

    def hit() -> None:
        os.kill(os.getpid(), strike.signal)

    def struck(journal: Journal, release: str, kind: EventKind, **data: Any) -> None:
        connection: Any = journal._connection
        if next(numbers) != strike.event:
            return append(journal, release, kind, **data)
        in_transaction = connection.in_atomic_block
        if strike.when == "before" and not in_transaction:
            hit()
        append(journal, release, kind, **data)
        if strike.when == "before" and in_transaction:
            hit()
        elif strike.when == "after" and in_transaction:
            transaction.on_commit(hit, using=connection.alias)
        elif strike.when == "after":
            hit()
        return None

    Journal.append = struck  # type: ignore[method-assign]


def _arm_store(strike: Strike) -> None:
    write = ObjectStorage.write
    numbers = itertools.count(1)

    def struck(store: ObjectStorage, key: str, data: bytes) -> None:
        mine = next(numbers) == strike.event
        if mine and strike.when == "before":
            os.kill(os.getpid(), strike.signal)
        write(store, key, data)
        if mine:
            os.kill(os.getpid(), strike.signal)

    ObjectStorage.write = struck  # type: ignore[method-assign]


def _until(happened: Callable[[], bool], otherwise: Callable[[], str]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not happened():
        assert time.monotonic() < deadline, otherwise()
        time.sleep(0.01)
