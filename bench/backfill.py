"""`python -m bench backfill`: a column filled in Segue's batches and by one UPDATE, under writers and by itself."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psycopg

from bench import host
from bench.commands import run_or_raise
from bench.database import BenchError, copy_database, start_server
from bench.project import BACKEND, SEGUE, SONG_TABLE, Site
from bench.tables import Grid, Spread, spread, words
from segue.demo.latency import Window, summarize
from segue.demo.record import Entry, RecordReader
from segue.engines import process
from segue.engines.postgresql.server import Server

SEEDED, TRIAL = "seeded", "trial"
# A row's title, the way to fill, and whether others write meanwhile.
CONTENDERS = {
    "one UPDATE, nobody else": ("update", False),
    "one UPDATE": ("update", True),
    "segue": ("segue", True),
}
CLAIMED_SHARE, CLAIMED_P99_RATIO, CLAIMED_BATCH_MS = 0.5, 2.0, 150.0
MEASURES = ("rows_per_second", "calm_p99_ms", "p99_ms", "p99_ratio", "max_ms", "longest_batch_ms", "wal_bytes_a_row")
SETTLE_SECONDS = 2.0
START_SECONDS = 30.0
POLL_SECONDS = 0.1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this benchmark."""
    say = parser.add_argument
    say("--songs", type=int, default=1_000_000, help="rows to fill (default: %(default)s)")
    say("--runs", type=int, default=3, help="trials of each contender (default: %(default)s)")
    say("--rate", type=float, default=400.0, help="writes per second of all connections (default: %(default)s)")
    say("--connections", type=int, default=20, help="who share them (default: %(default)s)")
    say("--calm-seconds", type=float, default=10.0, help="how long to write before (default: %(default)s)")
    say("--timeout-seconds", type=float, default=1800.0, help="patience with a fill (default: %(default)s)")


def measure(options: argparse.Namespace, say: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """Yield the report after each trial; contenders take turns, each on a new copy of one database."""
    trials: list[dict[str, Any]] = []
    settings = {key: value for key, value in vars(options).items() if key not in {"command", "format", "out"}}
    with tempfile.TemporaryDirectory(prefix="segue-bench-") as name, start_server() as server:
        report = {"benchmark": "backfill", "options": settings, "host": host.describe(server), "trials": trials}
        site = Site(contender=SEGUE, url=server.url(TRIAL), folder=Path(name))
        say(f"seed {options.songs:,} songs")
        _seed(server, site.folder, options)
        for run in range(1, options.runs + 1):
            for title, (way, has_writers) in CONTENDERS.items():
                say(f"run {run}/{options.runs}: {title}")
                copy_database(server, SEEDED, TRIAL)
                found = _trial(site, way, options, has_writers=has_writers)
                trials.append({"run": run, "contender": title, **found})
                yield {**report, "summary": _summary(trials)}


def _seed(server: Server, folder: Path, options: argparse.Namespace) -> None:
    server.create_database(SEEDED)
    site = Site(contender=SEGUE, url=server.url(SEEDED), folder=folder)
    limit = options.timeout_seconds
    run_or_raise(site, "migrate", "--no-input", version=None, timeout_seconds=limit)
    run_or_raise(site, "seed_catalogue", "--songs", str(options.songs), version=None, timeout_seconds=limit)
    with psycopg.connect(site.url, autocommit=True) as connection:
        connection.execute(f"ALTER TABLE {SONG_TABLE} ADD COLUMN length_ms bigint")
        connection.execute(f"VACUUM ANALYZE {SONG_TABLE}")


def _trial(site: Site, way: str, options: argparse.Namespace, *, has_writers: bool) -> dict[str, Any]:
    if not has_writers:
        return {**_fill(site, way, options), "calm": None, "meanwhile": None}
    with _writers(site, options) as look:
        time.sleep(SETTLE_SECONDS)
        calm_at = time.monotonic()
        time.sleep(options.calm_seconds)
        calm_until = time.monotonic()
        filled = _fill(site, way, options)
        time.sleep(SETTLE_SECONDS)  # what was due meanwhile and has waited is answered now
        entries = look()
    windows = {"calm": (calm_at, calm_until), "meanwhile": (filled["began_at"], filled["ended_at"])}
    latencies = {
        name: summarize(entries, Window(name=name, started_at=start, ended_at=end))
        for name, (start, end) in windows.items()
    }
    return {**filled, **{name: asdict(found) if found else None for name, found in latencies.items()}}


def _fill(site: Site, way: str, options: argparse.Namespace) -> dict[str, Any]:
    """Fill the column in a process of its own; return what that says of itself."""
    done = process.run(
        [sys.executable, "-m", "bench.fill", "--way", way],
        env=site.environment(None),
        cwd=BACKEND,
        timeout=options.timeout_seconds,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return {**found, "rows": options.songs, "seconds": found["ended_at"] - found["began_at"]}


@contextmanager
def _writers(site: Site, options: argparse.Namespace) -> Iterator[Callable[[], Sequence[Entry]]]:
    """Let others write for the block; yields a function that returns what they have recorded so far."""
    record, stderr = site.folder / "listeners.jsonl", site.folder / "listeners.err"
    record.unlink(missing_ok=True)
    reader, entries = RecordReader(record), list[Entry]()
    arguments = ["--url", site.url, "--songs", str(options.songs), "--connections", str(options.connections)]
    arguments += ["--rate", str(options.rate), "--record", str(record)]
    with stderr.open("wb") as err:
        child = process.spawn(
            [sys.executable, "-m", "bench.listeners", *arguments],
            env=site.environment(None),
            cwd=BACKEND,
            stdin=process.PIPE,
            stderr=err,
        )

    def look() -> Sequence[Entry]:
        if child.poll() is not None:
            said = process.tail(stderr.read_text(errors="replace"), lines=3)
            raise BenchError(f"The writers ended with status {child.returncode}: {said}")
        entries.extend(reader.new_entries())
        return entries

    try:
        deadline = time.monotonic() + START_SECONDS
        while not look():
            if time.monotonic() > deadline:
                raise BenchError(f"The writers wrote nothing within {START_SECONDS:g} s.")
            time.sleep(POLL_SECONDS)
        yield look
    finally:
        if child.stdin:
            child.stdin.close()
        process.reap(child, patience=START_SECONDS)


def _summary(trials: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Spread | None]]:
    values = {title: [_values(t) for t in trials if t["contender"] == title] for title in CONTENDERS}
    found = {title: {name: spread(one[name] for one in ones) for name in MEASURES} for title, ones in values.items()}
    for title, ones in values.items():
        pace = [
            one["rows_per_second"] / base["rows_per_second"]
            for one, base in zip(ones, values["one UPDATE, nobody else"], strict=False)
        ]
        found[title]["share"] = spread(pace)
    return found


def _values(trial: Mapping[str, Any]) -> dict[str, float | None]:
    calm, meanwhile = trial["calm"] or {}, trial["meanwhile"] or {}
    p99, calm_p99 = meanwhile.get("p99_ms"), calm.get("p99_ms")
    return {
        "rows_per_second": trial["rows"] / trial["seconds"],
        "calm_p99_ms": calm_p99,
        "p99_ms": p99,
        "p99_ratio": p99 / calm_p99 if p99 and calm_p99 else None,
        "max_ms": meanwhile.get("max_ms"),
        "longest_batch_ms": trial["longest_batch_ms"],
        "wal_bytes_a_row": trial["wal_bytes"] / trial["rows"],
    }


def grids(report: Mapping[str, Any]) -> Iterator[Grid]:
    """One table, one row a contender."""
    options, summary = report["options"], report["summary"]
    rows = [
        [
            title,
            words(found["rows_per_second"]),
            words(found["share"], digits=2),
            words(found["calm_p99_ms"]),
            words(found["p99_ms"]),
            words(found["p99_ratio"], digits=1),
            words(found["max_ms"]),
            words(found["longest_batch_ms"]),
            words(found["wal_bytes_a_row"]),
        ]
        for title, found in summary.items()
    ]
    runs = len({trial["run"] for trial in report["trials"]})
    failed = sum((trial["meanwhile"] or {}).get("failed", 0) for trial in report["trials"])
    yield Grid(
        title=f"A column of {options['songs']:,} songs is filled while {options['rate']:g} writes a second go on",
        columns=[
            "",
            "rows/s",
            "of one UPDATE by itself",
            "p99 before, ms",
            "p99 meanwhile, ms",
            "times",
            "longest write, ms",
            "longest batch, ms",
            "WAL bytes a row",
        ],
        rows=rows,
        notes=[
            *_verdicts(summary["segue"]),
            f"Writes that failed: {failed}.",
            f"Median (least-most) of {runs} runs. {host.line(report['host'])}",
        ],
    )


def _verdicts(found: Mapping[str, Spread | None]) -> Iterator[str]:
    share, ratio, batch = found["share"], found["p99_ratio"], found["longest_batch_ms"]
    if share is None or ratio is None or batch is None:
        return
    yield _verdict(
        f"at least {CLAIMED_SHARE:.0%} of one UPDATE's rows/s",
        share["median"] >= CLAIMED_SHARE,
        f"{share['median']:.0%}",
    )
    yield _verdict(
        f"p99 at most {CLAIMED_P99_RATIO:g} times the calm one",
        ratio["median"] <= CLAIMED_P99_RATIO,
        f"{ratio['median']:.1f}",
    )
    yield _verdict(
        f"no batch over {CLAIMED_BATCH_MS:g} ms", batch["median"] <= CLAIMED_BATCH_MS, f"{batch['median']:.0f} ms"
    )


def _verdict(claim: str, holds: bool, measured: str) -> str:
    return f"Claim: {claim}; measured {measured}: it {'holds' if holds else 'DOES NOT HOLD'}."
