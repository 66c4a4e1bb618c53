"""One contender's commands: forth, back and finalize, each with what it took by its own account."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import psycopg

from bench.commands import Done, run_command
from bench.kinds.site import MIGRATIONS, Shop
from bench.trial import GAVE_UP, MOST_ATTEMPTS, REFUSED, TrialEnded, error_line

# The journal's events of the newest command: its steps, and when old code could run again.
_STEPS = "SELECT id, data FROM segue_event WHERE id > %s AND kind = 'step done' ORDER BY id"
_BACK = "SELECT data FROM segue_event WHERE id > %s AND kind = 'old code runs' ORDER BY id DESC LIMIT 1"
_TOOK = "SELECT extract(epoch FROM max(at) - min(at)) FROM segue_event WHERE id > %s"

LOOK_SECONDS = 0.5


class Way:
    """How one contender takes the shop forth, back and to an end."""

    def __init__(self, shop: Shop, *, timeout_seconds: float, look: Callable[[], None] = lambda: None) -> None:
        """`look` is called several times a second while a command runs."""
        self._shop = shop
        self._timeout_seconds = timeout_seconds
        self._watched_at = 0.0
        self._look_now = look

    @property
    def finalizes(self) -> bool:
        """Whether a release has an end of its own."""
        return self._shop.contender in {"segue", "expert"}

    def go(self, title: str, way: str) -> dict[str, Any]:
        """Go forth, back or to the end (contract); again where it gave up waiting; raises TrialEnded otherwise."""
        started_at, last_event = time.monotonic(), self._last_event()
        for attempt in range(1, MOST_ATTEMPTS + 1):
            done = run_command(
                self._argv(way),
                env=self._shop.environment("new"),
                cwd=self._shop.folder,
                folder=self._shop.folder,
                timeout_seconds=self._timeout_seconds,
                look=self._look,
            )
            if done.status == 0:
                return {
                    "seconds": time.monotonic() - started_at,
                    "attempts": attempt,
                    **self._account(done, last_event),
                }
            if not any(text in done.stderr for text in GAVE_UP):
                break
        raise TrialEnded("refused" if REFUSED in done.stderr else "failed", f"{title}: {error_line(done)}")

    def _argv(self, way: str) -> list[str]:
        if self._shop.contender == "expert":
            by_hand = [sys.executable, "-m", "bench.kinds.by_hand", "--change", self._shop.change]
            return [*by_hand, "--way", way, "--url", self._shop.url]
        django = [sys.executable, "-m", "django"]
        if way == "contract":
            return [*django, "segue", "finalize", "--no-input"]
        migration = MIGRATIONS["new" if way == "forth" else "old"]
        return [*django, "migrate", "shop", migration, "--no-input", "--verbosity", "2"]

    def _account(self, done: Done, last_event: int) -> dict[str, Any]:
        """The command's own account: seconds of the work itself, of them backfilling, and until old code could run."""
        if self._shop.contender == "expert":
            said = json.loads(done.stdout)
            return {"itself": said["seconds"], "backfill": said["fill_seconds"], "until_old_code": said["seconds"]}
        if self._shop.contender != "segue":
            itself = done.migration_seconds
            return {"itself": itself, "backfill": 0.0, "until_old_code": itself}
        with psycopg.connect(self._shop.url) as connection:
            done_steps = [data for _, data in connection.execute(_STEPS, [last_event])]
            told = connection.execute(_BACK, [last_event]).fetchone()
            took = connection.execute(_TOOK, [last_event]).fetchone()
        assert took is not None
        # What a rolled back release had left as new code needs it is taken over, which is no work.
        steps = [data for data in done_steps if "timing" in data]
        return {
            "itself": float(took[0] or 0),
            "backfill": sum(s["timing"]["seconds"] for s in steps if s["step"]["forward"].get("backfill")),
            "until_old_code": told[0].get("seconds") if told else None,
            "steps": [{key: s["timing"][key] for key in ("title", "phase", "seconds")} for s in steps],
        }

    def _look(self) -> None:
        """Look at the clients, though not so often that it takes the cores from them."""
        if time.monotonic() - self._watched_at > LOOK_SECONDS:
            self._watched_at = time.monotonic()
            self._look_now()

    def _last_event(self) -> int:
        if self._shop.contender != "segue":
            return 0
        with psycopg.connect(self._shop.url) as connection:
            there = connection.execute("SELECT to_regclass('segue_event') IS NOT NULL").fetchone()
            if not there or not there[0]:
                return 0
            row = connection.execute("SELECT coalesce(max(id), 0) FROM segue_event").fetchone()
            return int(row[0]) if row else 0
