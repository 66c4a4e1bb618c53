"""Turns what was measured into the demo's answer: one JSON-able dict a side, and the promises it broke.

What was not measured is None here, `null` in JSON and "unknown" in the table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from segue.demo.latency import summarize
from segue.demo.project import RELEASES, VERSIONS, Version
from segue.demo.record import Entry
from segue.demo.story import Told

SCHEMA_VERSION = 1
EXAMPLES = 10
NOTABLE_WAIT_MS = 100


def side_report(told: Told) -> dict[str, Any]:
    """Everything that one side's story showed."""
    compared = told.comparison
    differences = told.schema_differences
    return {
        "failed_requests": {version: len(_failures(told, version)) for version in VERSIONS},
        "failures": _failure_counts(told),
        "requests": {version: len(told.entries[version]) for version in VERSIONS},
        "values_compared": compared and compared.compared,
        "values_lost": None if compared is None else len(compared.lost),
        "lost_examples": [] if compared is None else list(compared.lost[:EXAMPLES]),
        "returned": None if told.returned is None else [asdict(kind) for kind in told.returned],
        "longest_wait_ms": longest_wait_ms(told),
        "apply_seconds": _own_seconds(told, "apply"),
        "rollback_seconds": _own_seconds(told, "rollback"),
        "second_apply_seconds": _own_seconds(told, "apply again"),
        "finalize_seconds": _own_seconds(told, "finalize"),
        "wall_seconds": {title: run.seconds for title, run in told.commands.items()},
        "schema_equal": None if differences is None else not differences,
        "schema_differences": [] if differences is None else list(differences),
        "steps": list(_steps(told)),
        "blocked": list(_blocked(told)),
        "latency": _latencies(told),
        "broken_promises": list(broken_promises(told)),
        "notes": list(notes(told)),
    }


def broken_promises(told: Told) -> Iterator[str]:
    """A sentence for each promise that did not hold. Latencies are none: the machine has a part in them."""
    if told.ended_by is not None:
        yield f"The story ended early. {told.ended_by}"
    for version in VERSIONS:
        failures = Counter(entry.failure for entry in _failures(told, version))
        for failure, _ in failures.most_common(1):
            yield f"Failed requests of {RELEASES[version]}: {failures.total():,}, most often with {failure}"
    for kind in told.returned or ():
        if kind.found < kind.acknowledged:
            yield f"Only {kind.found:,} of {kind.acknowledged:,} {kind.kind} came back with the second apply."
    if told.comparison is not None and told.comparison.lost:
        lost, compared = len(told.comparison.lost), told.comparison.compared
        yield f"{lost:,} of {compared:,} acknowledged values are lost, such as {told.comparison.lost[0]}."
    if told.schema_differences:
        number, first = len(told.schema_differences), told.schema_differences[0]
        yield f"Differences from stock Django's schema: {number}, first: {first}"


def notes(told: Told) -> Iterator[str]:
    """A sentence for each figure that is worth a look but breaks no promise."""
    longest = longest_wait_ms(told)
    if longest is not None and longest > NOTABLE_WAIT_MS:
        yield f"Some session waited {longest:,.0f} ms for a lock; more than {NOTABLE_WAIT_MS} ms is unusual."


def longest_wait_ms(told: Told) -> float | None:
    """The longest time that any command kept another session waiting, as its lock canary measured it."""
    measured = [table["longest_ms"] for table in _blocked(told) if table.get("longest_ms") is not None]
    return max(measured, default=None)


def _failures(told: Told, version: Version) -> list[Entry]:
    return [entry for entry in told.entries[version] if entry.failure is not None]


def _failure_counts(told: Told) -> list[dict[str, Any]]:
    counted = Counter((version, entry.failure) for version in VERSIONS for entry in _failures(told, version))
    return [
        {"version": RELEASES[version], "error": error, "count": number}
        for (version, error), number in counted.most_common()
    ]


def _own_seconds(told: Told, title: str) -> float | None:
    """How long a command says that it worked; its interpreter's start is in `wall_seconds` only."""
    run = told.commands.get(title)
    return run.answer.get("seconds") if run and run.answer else None


def _steps(told: Told) -> Iterator[dict[str, Any]]:
    """Every step of every command, with the longest wait that it imposed where the command tells it."""
    for title, run in told.commands.items():
        for step in (run.answer or {}).get("steps", ()):
            yield {"command": title, **step, "longest_ms": step.get("longest_ms")}


def _blocked(told: Told) -> Iterator[dict[str, Any]]:
    """What the lock canary of every command saw, a table at a time."""
    for title, run in told.commands.items():
        for table in (run.answer or {}).get("blocked", ()):
            yield {"command": title, **table}


def _latencies(told: Told) -> dict[str, dict[str, Any]]:
    """Both versions' latencies in every scene; a version that made no request in one has None."""
    summaries: dict[str, dict[str, Any]] = {}
    for window in told.windows:
        found = {version: summarize(told.entries[version], window) for version in VERSIONS}
        summaries[window.name] = {version: latency and asdict(latency) for version, latency in found.items()}
    return summaries
