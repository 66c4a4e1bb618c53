"""`python -m bench seed`: how long `manage.py seed_catalogue` takes to fill an empty VILLEN."""

from __future__ import annotations

import argparse
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bench import host
from bench.commands import run_or_raise
from bench.database import copy_database, start_server
from bench.project import STOCK, Site
from bench.tables import Grid, spread, words

EMPTY = "empty"
FILLED = "filled"
TIMEOUT_SECONDS = 1800.0
OWN_TIME = re.compile(r" in (\d+\.\d+) s\.")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this benchmark."""
    parser.add_argument("--users", type=int, default=1_000_000, help="default: %(default)s")
    parser.add_argument("--songs", type=int, default=1_000_000, help="default: %(default)s")
    parser.add_argument("--runs", type=int, default=3, help="default: %(default)s")


def measure(options: argparse.Namespace, say: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """Yield the report after each run, each in a database of its own at VILLEN's newest migration."""
    counts = {"users": options.users, "songs": options.songs}
    runs: list[dict[str, float | None]] = []
    with tempfile.TemporaryDirectory(prefix="segue-bench-") as name, start_server() as server:
        report = {"benchmark": "seed", "options": {**counts, "runs": options.runs}, "host": host.describe(server)}
        server.create_database(EMPTY)
        site = Site(contender=STOCK, url=server.url(EMPTY), folder=Path(name))
        run_or_raise(site, "migrate", "--no-input", version=None, timeout_seconds=TIMEOUT_SECONDS)
        arguments = ["seed_catalogue", "--users", str(options.users), "--songs", str(options.songs)]
        for number in range(options.runs):
            say(f"run {number + 1}/{options.runs}")
            copy_database(server, EMPTY, FILLED)
            filled = Site(contender=STOCK, url=server.url(FILLED), folder=Path(name))
            done = run_or_raise(filled, *arguments, version=None, timeout_seconds=TIMEOUT_SECONDS)
            own = OWN_TIME.search(done.stdout)
            runs.append({"seconds": done.seconds, "own_seconds": float(own[1]) if own else None})
            yield {**report, "runs": runs, "summary": _summary(runs, sum(counts.values()))}


def _summary(runs: list[dict[str, float | None]], rows: int) -> dict[str, Any]:
    return {
        "seconds": spread(run["seconds"] for run in runs),
        "own_seconds": spread(run["own_seconds"] for run in runs),
        "rows_per_second": spread(rows / run["seconds"] for run in runs if run["seconds"]),
    }


def grids(report: Mapping[str, Any]) -> Iterator[Grid]:
    """One table with one row."""
    options, summary = report["options"], report["summary"]
    yield Grid(
        title="manage.py seed_catalogue",
        columns=["users and songs", "whole command", "by its own account", "rows/s"],
        rows=[
            [
                f"{options['users']:,} and {options['songs']:,}",
                words(summary["seconds"], unit="s", digits=1),
                words(summary["own_seconds"], unit="s", digits=1),
                words(summary["rows_per_second"]),
            ]
        ],
        notes=[f"Median (least-most) of {len(report['runs'])} runs. {host.line(report['host'])}"],
    )
