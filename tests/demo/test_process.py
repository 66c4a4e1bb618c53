"""Child processes: what comes back, what an error says, and that nothing is left running."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from segue.engines import process


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_a_program_gets_its_input_and_gives_its_output() -> None:
    done = process.run(python("print(input().upper())"), input="song")

    assert (done.status, done.stdout, done.stderr) == (0, "SONG\n", "")


def test_a_failure_shows_the_end_of_what_the_program_said() -> None:
    with pytest.raises(process.ProcessError) as raised:
        process.run(python("raise SystemExit('\\n'.join(str(line) for line in range(100)))"))

    assert "ended with status 1:\n80\n81" in str(raised.value)


def test_a_failure_that_is_not_checked_is_a_status() -> None:
    assert process.run(python("raise SystemExit(3)"), check=False).status == 3


def test_a_missing_program_is_named() -> None:
    with pytest.raises(process.ProcessError, match="no-such-program could not start"):
        process.run(["no-such-program"])


def test_a_program_that_takes_too_long_goes_with_its_own_children(tmp_path: Path) -> None:
    alive = tmp_path / "alive"
    grandchild = f"import time, pathlib\nwhile True: pathlib.Path({str(alive)!r}).touch(); time.sleep(0.01)"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {grandchild!r}])"

    with pytest.raises(process.ProcessError, match=r"was still running after 0\.5 s"):
        process.run(python(child), timeout=0.5)

    alive.unlink(missing_ok=True)
    time.sleep(0.2)
    assert not alive.exists()


def test_a_child_that_ignores_the_signal_is_killed() -> None:
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    child = process.spawn(python(stubborn), stdout=process.PIPE)
    assert child.stdout is not None
    with child.stdout:
        child.stdout.readline()

        assert process.end(child, patience=0.1) == -9
