"""`python -m bench noop`: what `manage.py migrate` costs with nothing to do, with Segue and without."""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bench import host
from bench.commands import run_or_raise
from bench.database import start_server
from bench.project import BACKEND, SEGUE, STOCK, Site, manage
from bench.tables import Grid, spread, words
from segue.engines import process

DATABASE = "noop"
CLAIMED_RATIO = 1.10
TIMEOUT_SECONDS = 120.0
WARM_UPS = 2
CONTENDERS = (STOCK, SEGUE)
MEASURES = ("cpu_seconds", "seconds")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this benchmark."""
    parser.add_argument("--runs", type=int, default=15, help="pairs of commands (default: %(default)s)")


def measure(options: argparse.Namespace, say: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """Yield the report after each pair; every second pair begins with the other contender."""
    pairs: list[dict[str, dict[str, float]]] = []
    with tempfile.TemporaryDirectory(prefix="segue-bench-") as name, start_server() as server:
        report = {"benchmark": "noop", "options": {"runs": options.runs}, "host": host.describe(server)}
        server.create_database(DATABASE)
        url = server.url(DATABASE)
        sites = [Site(contender=contender, url=url, folder=Path(name)) for contender in CONTENDERS]
        say("bring a database to its newest migration with Segue, so that it has its journal")
        run_or_raise(sites[-1], "migrate", "--no-input", version=None, timeout_seconds=TIMEOUT_SECONDS)
        for _ in range(WARM_UPS):
            _pair(sites)
        for number in range(options.runs):
            say(f"pair {number + 1}/{options.runs}")
            pairs.append(_pair(sites if number % 2 == 0 else sites[::-1]))
            yield {**report, "pairs": pairs, "summary": _summary(pairs)}


def _pair(sites: list[Site]) -> dict[str, dict[str, float]]:
    return {site.contender.name: _cost(site) for site in sites}


def _cost(site: Site) -> dict[str, float]:
    """The wall seconds of one command that does nothing, and its process's user and system CPU seconds."""
    before, started_at = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    process.run(manage("migrate", "--no-input"), env=site.environment(None), cwd=BACKEND, timeout=TIMEOUT_SECONDS)
    seconds, after = time.monotonic() - started_at, resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "cpu_seconds": after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime,
        "seconds": seconds,
    }


def _summary(pairs: list[dict[str, dict[str, float]]]) -> dict[str, Any]:
    return {
        measured: {
            **{one.name: spread(pair[one.name][measured] for pair in pairs) for one in CONTENDERS},
            "ratio": spread(pair[SEGUE.name][measured] / pair[STOCK.name][measured] for pair in pairs),
        }
        for measured in MEASURES
    }


def grids(report: Mapping[str, Any]) -> Iterator[Grid]:
    """One table, with the ratio within a pair as its last column."""
    summary = report["summary"]
    titles = {"cpu_seconds": "CPU, user and system", "seconds": "from outside"}
    rows = [
        [
            titles[measured],
            *(words(summary[measured][one.name], unit="s", digits=3) for one in CONTENDERS),
            words(summary[measured]["ratio"], digits=3),
        ]
        for measured in MEASURES
    ]
    ratio = summary["cpu_seconds"]["ratio"]["median"]
    verdict = "holds" if ratio <= CLAIMED_RATIO else "DOES NOT HOLD"
    yield Grid(
        title="manage.py migrate with nothing to do",
        columns=["", *(contender.name for contender in CONTENDERS), "ratio in a pair"],
        rows=rows,
        notes=[
            f"Claim: at most {CLAIMED_RATIO:.2f} times stock's CPU time; measured {ratio:.3f}: it {verdict}.",
            f"Median (least-most) of {len(report['pairs'])} pairs. {host.line(report['host'])}",
        ],
    )
