"""`python -m bench kinds`: every kind of schema change, forth and back, by each contender, under traffic."""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg

from bench import host
from bench.database import BenchError, copy_database, start_server
from bench.kinds.changes import CHANGES
from bench.kinds.seed import seed
from bench.kinds.site import CONTENDERS, Shop
from bench.kinds.tables import grids, summarize_trials
from bench.kinds.trial import Pace, Trial, alone
from bench.kinds.way import Way
from segue.core.errors import SegueError
from segue.engines.postgresql.server import Server

SEEDED, TRIAL = "seeded", "trial"
FEWEST_ROWS = 1_000

__all__ = ["add_arguments", "grids", "measure"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this benchmark."""
    say = parser.add_argument
    say("--rows", type=int, default=1_000_000, help="songs (default: %(default)s)")
    say("--runs", type=int, default=3, help="trials of each contender with each kind (default: %(default)s)")
    say("--rate", type=float, default=400.0, help="requests per second of all clients together (default: %(default)s)")
    say("--kinds", nargs="+", choices=list(CHANGES), default=list(CHANGES), help="default: all")
    say("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS), help="default: all")
    say("--phase-seconds", type=float, default=6.0, help="length of a phase without a command (default: %(default)s)")
    say("--timeout-seconds", type=float, default=900.0, help="patience with a command (default: %(default)s)")


def measure(options: argparse.Namespace, say: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """Yield the report after each trial, each time with one more; contenders take turns with each kind.

    Raises BenchError when no trial can begin.
    """
    if options.rows < FEWEST_ROWS:
        raise BenchError(f"{options.rows} rows are too few for the clients; give --rows {FEWEST_ROWS} or more.")
    chosen = [contender for contender in CONTENDERS if contender in options.contenders]
    turns = [
        (run, change, contender)
        for run in range(1, options.runs + 1)
        for change in options.kinds
        for contender in chosen
    ]
    trials: list[dict[str, Any]] = []
    settings = {name: value for name, value in vars(options).items() if name not in {"command", "format", "out"}}
    with tempfile.TemporaryDirectory(prefix="segue-bench-") as name, start_server() as server:
        report = {"benchmark": "kinds", "options": settings, "host": host.describe(server), "trials": trials}
        say(f"seed {options.rows:,} songs")
        _seed(server, Path(name), options)
        for number, (run, change, contender) in enumerate(turns, start=1):

            def tell(phase: str, title: str = f"{number}/{len(turns)} {change}, {contender}") -> None:
                say(f"{title}: {phase}")

            folder = Path(name) / f"trial-{number}"
            folder.mkdir()
            shop = Shop(contender=contender, change=change, url=server.url(TRIAL), folder=folder)
            shop.write_versions()
            load = os.getloadavg()[0]
            found = _try(server, shop, options, tell)
            trials.append({"run": run, "kind": change, "contender": contender, "load": round(load, 2), **found})
            yield {**report, "summary": summarize_trials(trials)}


def _seed(server: Server, folder: Path, options: argparse.Namespace) -> None:
    """Make the database that every trial copies: the first migration as stock Django makes it, and its rows."""
    server.create_database(SEEDED)
    shop = Shop(contender="stock", change="index", url=server.url(SEEDED), folder=folder)
    shop.write_versions()
    Way(shop, timeout_seconds=options.timeout_seconds).go("seed", "back")
    seed(shop.url, options.rows)


def _try(server: Server, shop: Shop, options: argparse.Namespace, say: Callable[[str], None]) -> dict[str, Any]:
    """One trial; one that cannot begin is a failed one."""
    pace = Pace(**{name: getattr(options, name) for name in Pace.__dataclass_fields__})
    nothing = {"commands": {}, "phases": {}, "values": {}}
    try:
        say("alone")
        copy_database(server, SEEDED, TRIAL)
        by_itself = alone(shop, pace)
        if shop.contender == "bare":
            return {**nothing, "outcome": by_itself["outcome"], "reason": by_itself["reason"], "alone": by_itself}
        copy_database(server, SEEDED, TRIAL)
        found = Trial(shop, pace, say=say).run()
        server.drop_database(TRIAL)
    except (SegueError, psycopg.Error, OSError) as error:
        return {**nothing, "outcome": "failed", "reason": str(error), "alone": {}}
    return {**found, "alone": by_itself}
