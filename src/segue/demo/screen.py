"""The story's progress on stderr: one live table on a terminal, plain lines anywhere else."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from segue.demo.record import Entry


@dataclass(kw_only=True)
class SceneRow:
    """One line of the table: a scene that runs or has run."""

    title: str
    started_at: float
    ended_at: float | None = None
    has_failed: bool = False
    requests: int = 0
    failed: int = 0
    slowest_ms: float = 0.0

    @property
    def seconds(self) -> float:
        """How long it took, or has taken so far."""
        return (self.ended_at or time.monotonic()) - self.started_at


class Screen:
    """What a person sees while the demo runs; a context manager that leaves the terminal as it was."""

    def __init__(self, console: Console) -> None:
        """Draws on the console if it is a terminal, and writes lines to it otherwise."""
        self._console = console
        self._rows: list[SceneRow] = []
        self._said = ""
        self._live = Live(console=console, get_renderable=self._draw, transient=True) if _draws(console) else None

    @contextmanager
    def scene(self, title: str) -> Iterator[None]:
        """Show that a scene runs, and how long it took once it has ended."""
        row = SceneRow(title=title, started_at=time.monotonic())
        self._rows.append(row)
        self._said = ""
        if self._live is None:
            self._console.print(f"{title} ...", highlight=False)
        try:
            yield
        except BaseException:
            row.has_failed = True
            raise
        finally:
            row.ended_at = time.monotonic()
            if self._live is None:
                self._console.print(f"  {row.seconds:.1f} s, {_traffic(row)}", highlight=False)

    def say(self, line: str) -> None:
        """Show the last line of what a command says about its progress."""
        self._said = line

    def count(self, entries: Iterable[Entry]) -> None:
        """Add requests to the scene that runs."""
        if not self._rows:
            return
        row = self._rows[-1]
        for entry in entries:
            row.requests += 1
            row.failed += entry.failure is not None
            row.slowest_ms = max(row.slowest_ms, entry.latency_ms)

    def __enter__(self) -> Screen:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
            self._console.print(self._table())

    def _draw(self) -> Group:
        return Group(self._table(), Text(self._said, style="dim", overflow="ellipsis", no_wrap=True))

    def _table(self) -> Table:
        table = Table(title="VILLEN Music goes from 1.0.0 to 1.3 and back, live", title_justify="left")
        table.add_column("")
        table.add_column("Scene", ratio=1)
        for heading in ("Seconds", "Requests", "Failed", "Slowest"):
            table.add_column(heading, justify="right")
        for row in self._rows:
            slowest = f"{row.slowest_ms:,.0f} ms" if row.requests else ""
            failed = Text(f"{row.failed:,}", style="bold red" if row.failed else "")
            requests = f"{row.requests:,}"
            table.add_row(_mark(row), row.title, f"{row.seconds:.1f}", requests, failed, slowest)
        return table


def _draws(console: Console) -> bool:
    return console.is_terminal and not console.is_dumb_terminal


def _mark(row: SceneRow) -> str:
    if row.has_failed:
        return "✗"
    return "▸" if row.ended_at is None else "✓"


def _traffic(row: SceneRow) -> str:
    if not row.requests:
        return "no traffic"
    return f"{row.requests:,} requests, {row.failed:,} failed, slowest {row.slowest_ms:,.0f} ms"
