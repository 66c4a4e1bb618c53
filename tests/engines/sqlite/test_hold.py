"""One runner at a time on an SQLite file, and what the engine says that it cannot do."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.db.backends.sqlite3.base import DatabaseWrapper

from segue.core.change import Act
from segue.core.errors import SegueError, StepFailed, TargetHeld
from segue.engines.sqlite import SQLite
from segue.engines.sqlite.locks import sole_runner

# A run in a process of its own: says that it holds the file, and keeps it until it is told or killed.
_OTHER_RUN = """
import sys
from datetime import timedelta
from pathlib import Path
from segue.engines.sqlite.locks import sole_runner

with sole_runner(Path(sys.argv[1]), timedelta(0), print):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """An SQLite file."""
    path = tmp_path / "db.sqlite3"
    sqlite3.connect(path).close()
    return path


@pytest.fixture
def other_run(database: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the file."""
    process = subprocess.Popen(
        [sys.executable, "-c", _OTHER_RUN, str(database)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def engine(name: str | Path, wait: timedelta = timedelta(0)) -> SQLite:
    """An engine on a connection of its own, which no alias shares."""
    settings = {"NAME": str(name), "OPTIONS": {}, "AUTOCOMMIT": True, "CONN_MAX_AGE": 0, "CONN_HEALTH_CHECKS": False}
    settings |= {"TIME_ZONE": None, "TEST": {"NAME": None}}
    return SQLite(DatabaseWrapper(settings, alias="own"), wait)


@pytest.fixture
def own(database: Path) -> Iterator[SQLite]:
    """An engine on the file."""
    made = engine(database)
    yield made
    made.connection.close()


def test_a_second_runner_is_told_who_holds_the_database(own: SQLite, other_run: subprocess.Popen[str]) -> None:
    with pytest.raises(TargetHeld) as caught, own.hold(print):
        pass

    assert re.fullmatch(
        rf"Another run holds this database: pid {other_run.pid}, \S+@\S+, since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d UTC\.",
        caught.value.message,
    )
    assert caught.value.next_command == "wait for it (segue status shows it), or end it in its own terminal"
    assert caught.value.exit_status == 6


def test_a_second_runner_says_once_that_it_waits_and_goes_on_when_the_first_ends(
    database: Path, other_run: subprocess.Popen[str]
) -> None:
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        assert other_run.stdin is not None
        other_run.stdin.close()

    with sole_runner(database, timedelta(seconds=30), say) as is_held:
        assert is_held()

    assert len(said) == 1
    assert re.fullmatch(
        rf"another run holds this database: pid {other_run.pid}, .+ UTC; waiting up to 30 s",
        said[0],
    )


def test_a_killed_runner_holds_nothing(database: Path, other_run: subprocess.Popen[str]) -> None:
    other_run.send_signal(signal.SIGKILL)
    other_run.wait()

    with sole_runner(database, timedelta(0), print) as is_held:
        assert is_held()


def test_threads_of_one_process_keep_each_other_out(database: Path) -> None:
    refused: list[str] = []

    def try_to_hold() -> None:
        try:
            with sole_runner(database, timedelta(0), lambda _: None):
                pass
        except TargetHeld as error:
            refused.append(error.message)

    with sole_runner(database, timedelta(0), print) as is_held:
        thread = threading.Thread(target=try_to_hold)
        thread.start()
        thread.join()
        assert is_held()

    assert len(refused) == 1
    assert refused[0].startswith(f"Another run holds this database: pid {os.getpid()}, ")


def test_a_lock_file_that_was_replaced_is_noticed(own: SQLite, database: Path) -> None:
    lock = database.with_name("db.sqlite3-segue.lock")

    with own.hold(print):
        own.check_held()
        lock.rename(database.with_name("elsewhere"))
        lock.touch()
        with pytest.raises(StepFailed) as caught:
            own.check_held()

    assert caught.value.message == (
        "The lock file beside the database was deleted or replaced, so another run could have begun."
    )


def test_a_database_in_memory_has_no_lock_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    in_memory = engine(":memory:")

    with in_memory.hold(print):
        in_memory.check_held()

    assert list(tmp_path.iterdir()) == []


def test_a_transaction_is_refused(own: SQLite) -> None:
    own.connection.set_autocommit(False)
    own.connection.in_atomic_block = True

    with pytest.raises(SegueError) as caught, own.hold(print):
        pass

    own.connection.in_atomic_block = False
    assert caught.value.message == (
        "Segue cannot migrate inside a transaction: SQLite lets go of its foreign keys only outside one."
    )


def test_a_lock_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "db-segue.lock").mkdir()

    with pytest.raises(SegueError) as caught, sole_runner(tmp_path / "db", timedelta(0), print):
        pass

    assert caught.value.message == (f"The lock file {tmp_path}/db-segue.lock cannot be written: Is a directory.")


def test_the_engine_has_no_steps(own: SQLite) -> None:
    asked = "SQLite runs every migration whole; it was asked for a step of its own: "

    with pytest.raises(TypeError, match=f"^{asked}DROP TABLE song$"):
        own.carry_out(Act(statements=("DROP TABLE song",)), then=lambda _: None, say=print)
    with own.canary(("song",)) as canary:
        assert canary.blocked() == ()
    assert own.connected() == ()
    assert own.target().vendor == "SQLite"
