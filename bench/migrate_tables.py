"""What the trials of `bench migrate` add up to, and the tables that show it. Measures nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from bench import host
from bench.project import KINDS, RELEASES, VERSIONS
from bench.tables import NOTHING, Grid, spread, words

Trials: TypeAlias = Sequence[Mapping[str, Any]]
COMMANDS = ("migrate", "rollback", "migrate again", "finalize")
# Failures are counted from when the schema changes until it changes the next time.
DEPLOY, BACK = ("migrate", "joining", "both"), ("rollback", "rolled back")
ZDM = (
    "zdm is django-pg-zero-downtime-migrations with the settings that its README calls most safe; zdm-lax the same "
    "without RAISE_FOR_UNSAFE, and with IDEMPOTENT_SQL for its further attempts after a lock timeout."
)
SCENARIO_TITLES = {
    "traffic": "{users:,} users under traffic",
    "reader": "{users:,} users under traffic, and a {reader_seconds:g} s transaction reads the user table",
}


def summarize_trials(trials: Trials) -> list[dict[str, Any]]:
    """One entry for each scenario and contender, in the order in which they first took part."""
    groups = dict.fromkeys((trial["scenario"], trial["contender"]) for trial in trials)
    return [
        {
            "scenario": scenario,
            "contender": contender,
            **_summary([one for one in trials if (one["scenario"], one["contender"]) == (scenario, contender)]),
        }
        for scenario, contender in groups
    ]


def _summary(trials: Trials) -> dict[str, Any]:
    return {
        "runs": len(trials),
        "outcomes": dict(Counter(trial["outcome"] for trial in trials)),
        "reasons": sorted({trial["reason"] for trial in trials if trial["reason"]}),
        "commands": {title: _command(trials, title) for title in COMMANDS},
        "stalls_ms": {phase: {kind: spread(_stalls(trials, phase, kind)) for kind in KINDS} for phase in COMMANDS},
        "old_writes_ms": {
            phase: {key: spread(_latencies(trials, phase, key)) for key in ("p50_ms", "p99_ms")}
            for phase in ("calm", "migrate", "rollback")
        },
        "failed": {
            name: {version: _failed(trials, phases, version) for version in VERSIONS}
            for name, phases in (("deploy", DEPLOY), ("back", BACK))
        },
        "lost_values": {
            version: {
                key: spread(trial["values"].get(version, {}).get(key) for trial in trials)
                for key in ("lost", "compared")
            }
            for version in VERSIONS
        },
    }


def _command(trials: Trials, title: str) -> dict[str, Any]:
    """A command's times in seconds, over the trials in which it succeeded, and how often it was begun."""
    ran = [trial["commands"][title] for trial in trials if title in trial["commands"]]
    done = [one for one in ran if one["status"] == 0]
    return {
        "seconds": spread(one["seconds"] for one in done),
        "migration_seconds": spread(one["migration_seconds"] for one in done),
        "attempts": spread(one["attempts"] for one in ran),
    }


def _stalls(trials: Trials, phase: str, kind: str) -> Iterator[float]:
    """Of each trial, the longest that a request of either version took that was due in a phase."""
    for trial in trials:
        measured = trial["phases"].get(phase, {})
        longest = [measured[version][kind]["max_ms"] for version in VERSIONS if measured.get(version, {}).get(kind)]
        if longest:
            yield max(longest)


def _latencies(trials: Trials, phase: str, key: str) -> Iterator[float]:
    for trial in trials:
        found = trial["phases"].get(phase, {}).get("old", {}).get("write")
        if found:
            yield found[key]


def _failed(trials: Trials, phases: Iterable[str], version: str) -> dict[str, Any] | None:
    """Failed requests of a version in some phases, of how many, and the commonest error; None where none was due."""
    counted = [[trial["phases"][name][version] for name in phases if name in trial["phases"]] for trial in trials]
    requests = [sum(one["requests"] for one in found) for found in counted]
    if not any(requests):
        return None
    errors: Counter[str] = Counter()
    for found in counted:
        for one in found:
            errors.update(one["errors"])
    return {
        "failed": spread(sum(one["failed"] for one in found) for found in counted),
        "requests": spread(requests),
        "error": errors.most_common(1)[0][0] if errors else None,
    }


def grids(report: Mapping[str, Any]) -> Iterator[Grid]:
    """One table for each scenario, a column for each contender."""
    options = report["options"]
    scenarios = dict.fromkeys(entry["scenario"] for entry in report["summary"])
    for number, scenario in enumerate(scenarios, start=1):
        entries = [entry for entry in report["summary"] if entry["scenario"] == scenario]
        about = [f"Median (least-most) of the runs; {options['rate']:g} requests/s. {host.line(report['host'])}"]
        yield Grid(
            title=SCENARIO_TITLES[scenario].format(**options),
            columns=["", *(entry["contender"] for entry in entries)],
            rows=[[label, *(cell(entry) for entry in entries)] for label, cell in ROWS],
            notes=[*_notes(entries), *(about if number == len(scenarios) else ())],
        )


def _notes(entries: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What the numbers cannot say: who is who, why a contender ended early, and the errors that its clients got."""
    if any(entry["contender"].startswith("zdm") for entry in entries):
        yield ZDM
    for entry in entries:
        for reason in entry["reasons"]:
            yield f"{entry['contender']}: {reason}"
        for name, versions in entry["failed"].items():
            for version, found in versions.items():
                if found and found["error"]:
                    when = "deploy" if name == "deploy" else "rollback"
                    yield f"{entry['contender']}, {RELEASES[version]}, {when}: {found['error']}"


def _outcome(entry: Mapping[str, Any]) -> str:
    return ", ".join(f"{outcome} {count} of {entry['runs']}" for outcome, count in entry["outcomes"].items())


def _stall(phase: str, kind: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda entry: words(entry["stalls_ms"][phase][kind], unit="ms")


def _percentiles(phase: str) -> Callable[[Mapping[str, Any]], str]:
    def cell(entry: Mapping[str, Any]) -> str:
        p50, p99 = (entry["old_writes_ms"][phase][key] for key in ("p50_ms", "p99_ms"))
        return f"{p50['median']:,.1f} / {p99['median']:,.1f} ms" if p50 and p99 else NOTHING

    return cell


def _seconds(title: str, key: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda entry: words(entry["commands"][title][key], unit="s", digits=2)


def _failures(name: str, version: str) -> Callable[[Mapping[str, Any]], str]:
    def cell(entry: Mapping[str, Any]) -> str:
        found = entry["failed"][name][version]
        return f"{words(found['failed'])} of {found['requests']['median']:,.0f}" if found else NOTHING

    return cell


def _lost(version: str) -> Callable[[Mapping[str, Any]], str]:
    def cell(entry: Mapping[str, Any]) -> str:
        found = entry["lost_values"][version]
        return f"{words(found['lost'])} of {found['compared']['median']:,.0f}" if found["compared"] else NOTHING

    return cell


ROWS: tuple[tuple[str, Callable[[Mapping[str, Any]], str]], ...] = (
    ("outcome", _outcome),
    ("writes of 1.0, calm: p50 / p99", _percentiles("calm")),
    ("migrate 0002: longest write stall", _stall("migrate", "write")),
    ("migrate 0002: longest read stall", _stall("migrate", "read")),
    ("migrate 0002: writes of 1.0, p50 / p99", _percentiles("migrate")),
    ("migrate 0002: whole command", _seconds("migrate", "seconds")),
    ("migrate 0002: the migration itself", _seconds("migrate", "migration_seconds")),
    ("migrate 0002: attempts", lambda entry: words(entry["commands"]["migrate"]["attempts"])),
    ("deploy: failed transactions of 1.0", _failures("deploy", "old")),
    ("deploy: failed transactions of 1.1", _failures("deploy", "new")),
    ("rollback: longest write stall", _stall("rollback", "write")),
    ("rollback: longest read stall", _stall("rollback", "read")),
    ("rollback: whole command", _seconds("rollback", "seconds")),
    ("rollback: the migration itself", _seconds("rollback", "migration_seconds")),
    ("rollback: failed transactions of 1.0", _failures("back", "old")),
    ("rollback: failed transactions of 1.1", _failures("back", "new")),
    ("values of 1.1 lost, after 0002 again", _lost("new")),
    ("values of 1.0 lost, after 0002 again", _lost("old")),
    ("finalize: whole command", _seconds("finalize", "seconds")),
    ("finalize: longest write stall", _stall("finalize", "write")),
)
