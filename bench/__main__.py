"""`python -m bench`: one subcommand for each claim. Owns the options, the output and the end by Ctrl-C.

Results go to stdout, progress to stderr. Exit status: 0 measured, 1 could not be measured, 2 usage, 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

from bench import backfill, migrate, noop, seed
from bench.kinds import command as kinds
from bench.tables import print_text, to_markdown
from segue.core.errors import SegueError
from segue.demo.performance import one_interrupt

BENCHMARKS: dict[str, ModuleType] = {
    "backfill": backfill,
    "kinds": kinds,
    "migrate": migrate,
    "noop": noop,
    "seed": seed,
}
INTERRUPTED = 130


def main() -> int:
    """Measure, then print the last report; after Ctrl-C that of what was finished."""
    options = _parser().parse_args()
    benchmark = BENCHMARKS[options.command]
    report: dict[str, Any] | None = None
    status, started_at = 0, time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - started_at:7.1f} s  {text}", file=sys.stderr, flush=True)

    try:
        with one_interrupt(), closing(benchmark.measure(options, say)) as reports:
            for report in reports:
                _save(report, options.out)
    except KeyboardInterrupt:
        print("Interrupted; nothing is left running.", file=sys.stderr)
        status = INTERRUPTED
    except SegueError as error:
        print(f"bench {options.command}: {error}", file=sys.stderr)
        status = 1
    if report is not None:
        _print(benchmark, report, options.format)
    elif status == 0:
        print(f"bench {options.command}: nothing was measured; give --runs 1 or more.", file=sys.stderr)
        status = 1
    return status


def _save(report: dict[str, Any], path: Path | None) -> None:
    """Write the report whole, or leave the one before it."""
    if path is not None:
        unfinished = path.with_name(f"{path.name}.part")
        unfinished.write_text(json.dumps(report, indent=2) + "\n")
        unfinished.replace(path)


def _print(benchmark: ModuleType, report: dict[str, Any], form: str) -> None:
    if form == "json":
        print(json.dumps(report, indent=2))
    elif form == "markdown":
        print(to_markdown(benchmark.grids(report)))
    else:
        print_text(benchmark.grids(report))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure what the README claims.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="BENCHMARK")
    for name, benchmark in BENCHMARKS.items():
        text = (benchmark.__doc__ or "").partition(": ")[2]
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--format", choices=("text", "json", "markdown"), default="text")
        command.add_argument("--out", type=Path, metavar="PATH", help="write the JSON report there, too")
        benchmark.add_arguments(command)
    return parser


if __name__ == "__main__":
    sys.exit(main())
