"""`python -m bench migrate`: every contender's `manage.py migrate` on VILLEN's 0001 to 0002 and back, under traffic."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg

from bench import host
from bench.commands import run_or_raise
from bench.database import BenchError, copy_database, start_server
from bench.migrate_tables import grids, summarize_trials
from bench.project import APP, CONTENDERS, MIGRATIONS, STOCK, Contender, Site, write_versions
from bench.trial import Pace, Trial
from segue.core.errors import SegueError
from segue.engines.postgresql.server import Server

SEEDED = "seeded"
TRIAL = "trial"
FEWEST_USERS = 5_000
# A scenario's name, and whether a long reader holds the user table when migrate begins.
SCENARIOS = {"traffic": False, "reader": True}

__all__ = ["add_arguments", "grids", "measure"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this benchmark."""
    say = parser.add_argument
    say("--users", type=int, default=1_000_000, help="listeners, and as many songs (default: %(default)s)")
    say("--runs", type=int, default=3, help="trials of each contender in each scenario (default: %(default)s)")
    say("--rate", type=float, default=150.0, help="requests per second of all clients together (default: %(default)s)")
    names = [contender.name for contender in CONTENDERS]
    say("--contenders", nargs="+", choices=names, default=names, help="who takes part (default: all)")
    say("--scenarios", nargs="+", choices=list(SCENARIOS), default=list(SCENARIOS), help="default: all")
    say("--phase-seconds", type=float, default=6.0, help="length of a phase without a command (default: %(default)s)")
    say("--reader-seconds", type=float, default=20.0, help="how long the reader holds on (default: %(default)s)")
    say("--timeout-seconds", type=float, default=900.0, help="patience with a command (default: %(default)s)")


def measure(options: argparse.Namespace, say: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """Yield the report after each trial, each time with one more; contenders take turns.

    Raises BenchError when no trial can begin.
    """
    if options.users < FEWEST_USERS:
        raise BenchError(f"{options.users} users are too few for the clients; give --users {FEWEST_USERS} or more.")
    chosen = [contender for contender in CONTENDERS if contender.name in options.contenders]
    turns = [
        (run, scenario, contender)
        for run in range(1, options.runs + 1)
        for scenario in options.scenarios
        for contender in chosen
    ]
    trials: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="segue-bench-") as name, start_server() as server:
        report = {"benchmark": "migrate", "options": _plain(options), "host": host.describe(server), "trials": trials}
        folder = Path(name)
        write_versions(folder)
        say(f"seed {options.users:,} users and as many songs")
        _seed(server, folder, options)
        for number, (run, scenario, contender) in enumerate(turns, start=1):

            def tell(phase: str, title: str = f"{number}/{len(turns)} {scenario}, {contender.name}") -> None:
                say(f"{title}: {phase}")

            found = _try(server, folder, contender, options, has_reader=SCENARIOS[scenario], say=tell)
            trials.append({"run": run, "scenario": scenario, "contender": contender.name, **found})
            yield {**report, "summary": summarize_trials(trials)}


def _seed(server: Server, folder: Path, options: argparse.Namespace) -> None:
    """Make the database that every trial copies: 1.0's schema, as stock Django makes it, and its rows."""
    server.create_database(SEEDED)
    site = Site(contender=STOCK, url=server.url(SEEDED), folder=folder)
    limit, count = options.timeout_seconds, str(options.users)
    run_or_raise(site, "migrate", "--no-input", version="old", timeout_seconds=limit)
    run_or_raise(site, "seed_catalogue", "--users", count, "--songs", count, version="old", timeout_seconds=limit)
    with psycopg.connect(site.url, autocommit=True) as connection:
        applied = connection.execute("SELECT name FROM django_migrations WHERE app = %s", [APP]).fetchall()
    if applied != [(MIGRATIONS["old"][-1],)]:
        raise BenchError(f"The database should be at {MIGRATIONS['old'][-1]}, but has {applied}.")


def _try(
    server: Server,
    folder: Path,
    contender: Contender,
    options: argparse.Namespace,
    *,
    has_reader: bool,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """One trial; one that cannot begin is a failed one."""
    pace = Pace(**{name: getattr(options, name) for name in Pace.__dataclass_fields__})
    try:
        say("copy the database")
        copy_database(server, SEEDED, TRIAL)
        site = Site(contender=contender, url=server.url(TRIAL), folder=folder)
        found = Trial(site, pace, has_reader=has_reader, say=say).run()
        server.drop_database(TRIAL)
    except (SegueError, psycopg.Error, OSError) as error:
        return {"outcome": "failed", "reason": str(error), "commands": {}, "phases": {}, "values": {}}
    return found


def _plain(options: argparse.Namespace) -> dict[str, Any]:
    """The options as JSON values, without those that say nothing about the measurement."""
    return {name: value for name, value in vars(options).items() if name not in {"command", "format", "out"}}
