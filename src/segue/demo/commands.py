"""Runs one command of one side as a child process, and reads what it answered."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segue.demo.project import Side, StoryError, Version
from segue.engines import process

POLL_SECONDS = 0.1
READ_BACK_BYTES = 4096


@dataclass(frozen=True, kw_only=True)
class CommandRun:
    """A command that succeeded: its time from outside in seconds, and its JSON answer if it gave one."""

    seconds: float
    answer: dict[str, Any] | None


def run_command(
    side: Side,
    argv: Sequence[str],
    *,
    title: str,
    while_waiting: Callable[[str], None],
    version: Version = "new",
) -> CommandRun:
    """Run a command of a version's code in the project's folder.

    `while_waiting` is called several times a second with the last line of the command's progress.
    Raises StoryError with the end of its output when its status is not 0.
    """
    stdout, stderr = (side.folder / f"{title.replace(' ', '-')}.{kind}" for kind in ("out", "err"))
    started_at = time.monotonic()
    with stdout.open("wb") as out, stderr.open("wb") as err:
        child = process.spawn(argv, env=side.environment(version), cwd=side.project, stdout=out, stderr=err)
    try:
        while child.poll() is None:
            while_waiting(_last_line(stderr))
            time.sleep(POLL_SECONDS)
    finally:
        status = process.end(child, ask=signal.SIGINT)
    seconds = time.monotonic() - started_at
    if status != 0:
        said = stderr.read_text(errors="replace") or stdout.read_text(errors="replace")
        raise StoryError(f"{title} ({side.name}) ended with status {status}: {process.tail(said)}")
    return CommandRun(seconds=seconds, answer=_answer(stdout.read_text(errors="replace")))


def _answer(printed: str) -> dict[str, Any] | None:
    with suppress(json.JSONDecodeError):  # stock migrate answers in words, and the story needs none of them
        answer = json.loads(printed)
        return answer if isinstance(answer, dict) else None
    return None


def _last_line(path: Path) -> str:
    with path.open("rb") as lines:
        lines.seek(max(0, path.stat().st_size - READ_BACK_BYTES))
        said = lines.read().decode(errors="replace").rstrip()
    return said.splitlines()[-1] if said else ""
