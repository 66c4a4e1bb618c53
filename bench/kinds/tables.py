"""What the trials of `bench kinds` add up to, a table for each kind, and the goals. Measures nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from bench import host
from bench.kinds.changes import CHANGES
from bench.kinds.goals import goals
from bench.project import VERSIONS
from bench.tables import NOTHING, Grid, spread, words

Trials: TypeAlias = Sequence[Mapping[str, Any]]
Summary: TypeAlias = Mapping[str, Any]
COMMANDS = ("migrate", "rollback", "migrate again", "finalize")
# Failures are counted from when the schema changes until it changes the next time.
SPANS = {
    "deploy": ("migrate", "joining", "both"),
    "rollback": ("rollback", "rolled back"),
    "again": ("migrate again", "both again", "finalize", "finalized"),
}


def summarize_trials(trials: Trials) -> list[dict[str, Any]]:
    """One entry for each kind and contender, in the order in which they first took part."""
    groups = dict.fromkeys((trial["kind"], trial["contender"]) for trial in trials)
    return [
        {
            "kind": kind,
            "contender": contender,
            **_summary([one for one in trials if (one["kind"], one["contender"]) == (kind, contender)]),
        }
        for kind, contender in groups
    ]


def _summary(trials: Trials) -> dict[str, Any]:
    return {
        "runs": len(trials),
        "outcomes": dict(Counter(trial["outcome"] for trial in trials)),
        "reasons": sorted({reason for trial in trials if (reason := trial["reason"] or trial["alone"].get("reason"))}),
        "alone": {
            "itself": spread(trial["alone"].get("forth", {}).get("itself") for trial in trials),
            "backfill": spread(trial["alone"].get("forth", {}).get("backfill") for trial in trials),
            "back": spread(trial["alone"].get("back", {}).get("until_old_code") for trial in trials),
            "wal_bytes": spread(trial["alone"].get("wal_bytes") for trial in trials),
            "growth": spread(trial["alone"].get("growth") for trial in trials),
        },
        "tokens": next((trial["alone"]["tokens"] for trial in trials if "tokens" in trial["alone"]), None),
        "commands": {title: _command(trials, title) for title in COMMANDS},
        "stalls_ms": {
            phase: {kind: spread(_stalls(trials, phase, kind)) for kind in ("write", "read")}
            for phase in ("calm", *COMMANDS)
        },
        "p99_ms": {phase: spread(_p99(trials, phase)) for phase in ("calm", "migrate")},
        "failed": {span: {version: _failed(trials, span, version) for version in VERSIONS} for span in SPANS},
        "lost": {when: _lost(trials, when) for when in ("rolled back", "migrated again")},
    }


def _command(trials: Trials, title: str) -> dict[str, Any]:
    done = [trial["commands"][title] for trial in trials if title in trial["commands"]]
    names = ("seconds", "itself", "backfill", "until_old_code", "attempts")
    return {name: spread(one.get(name) for one in done) for name in names}


def _stalls(trials: Trials, phase: str, kind: str) -> Iterator[float]:
    """Of each trial, the longest that a request of either version took that was due in a phase."""
    for trial in trials:
        measured = trial["phases"].get(phase, {})
        longest = [measured[version][kind]["max_ms"] for version in VERSIONS if measured.get(version, {}).get(kind)]
        if longest:
            yield max(longest)


def _p99(trials: Trials, phase: str) -> Iterator[float]:
    for trial in trials:
        found = trial["phases"].get(phase, {}).get("old", {}).get("write")
        if found:
            yield found["p99_ms"]


def _failed(trials: Trials, span: str, version: str) -> dict[str, Any] | None:
    """Failed requests of a version in some phases, of how many, and the commonest error; None where none was due."""
    phases = SPANS[span]
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


def _lost(trials: Trials, when: str) -> dict[str, Any] | None:
    found = [trial["values"][when] for trial in trials if when in trial["values"]]
    if not found:
        return None
    return {
        "lost": spread(sum(one[version]["lost"] for version in VERSIONS) for one in found),
        "compared": spread(sum(one[version]["compared"] for version in VERSIONS) for one in found),
        "example": next((e for one in found for version in VERSIONS for e in one[version]["examples"]), None),
    }


def grids(report: Mapping[str, Any]) -> Iterator[Grid]:
    """One table for each kind, a column for each contender; then the goals."""
    summary = report["summary"]
    for kind in dict.fromkeys(entry["kind"] for entry in summary):
        entries = [entry for entry in summary if entry["kind"] == kind]
        rows = [[label, *(cell(entry) for entry in entries)] for label, cell in ROWS]
        yield Grid(
            title=f"{kind}: {CHANGES[kind].title}, {report['options']['rows']:,} rows",
            columns=["", *(entry["contender"] for entry in entries)],
            rows=[row for row in rows if set(row[1:]) != {NOTHING}],
            notes=list(_notes(entries)),
        )
    loads = [trial["load"] for trial in report["trials"]]
    yield Grid(
        title="The goals, held against Segue's medians",
        columns=["goal", "holds for", "DOES NOT HOLD for"],
        rows=[[goal.claim, goal.holding, goal.failing] for goal in goals(summary)],
        notes=[
            f"Median (least-most) of the runs; {report['options']['rate']:g} requests/s. Load average when the trials "
            f"began: {min(loads):.1f} to {max(loads):.1f}. {host.line(report['host'])}"
        ],
    )


def _notes(entries: Sequence[Summary]) -> Iterator[str]:
    """What the numbers cannot say: why a contender ended early, and the errors that its clients got."""
    for entry in entries:
        for reason in entry["reasons"]:
            yield f"{entry['contender']}: {reason}"
        for span, versions in entry["failed"].items():
            for version, found in versions.items():
                if found and found["error"]:
                    yield f"{entry['contender']}, {version} version, {span}: {found['error']}"
        for when, found in entry["lost"].items():
            if found and found["example"]:
                yield f"{entry['contender']}, lost when {when}: {found['example']}"


def _outcome(entry: Summary) -> str:
    return ", ".join(f"{outcome} {count} of {entry['runs']}" for outcome, count in entry["outcomes"].items())


def _alone(key: str, unit: str, *, digits: int = 2, scale: float = 1.0) -> Callable[[Summary], str]:
    def cell(entry: Summary) -> str:
        found = entry["alone"][key]
        scaled = {name: value * scale for name, value in found.items()} if found else None
        return words(scaled, unit=unit, digits=digits)

    return cell


def _tokens(entry: Summary) -> str:
    found = entry["tokens"]
    return f"{found['distinct']:,} of {found['filled']:,}" if found else NOTHING


def _stall(phase: str, kind: str) -> Callable[[Summary], str]:
    return lambda entry: words(entry["stalls_ms"][phase][kind], unit="ms")


def _took(title: str, key: str) -> Callable[[Summary], str]:
    return lambda entry: words(entry["commands"][title][key], unit="s", digits=2)


def _failures(span: str, version: str) -> Callable[[Summary], str]:
    def cell(entry: Summary) -> str:
        found = entry["failed"][span][version]
        return f"{words(found['failed'])} of {found['requests']['median']:,.0f}" if found else NOTHING

    return cell


def _losses(when: str) -> Callable[[Summary], str]:
    def cell(entry: Summary) -> str:
        found = entry["lost"][when]
        return f"{words(found['lost'])} of {found['compared']['median']:,.0f}" if found else NOTHING

    return cell


ROWS: tuple[tuple[str, Callable[[Summary], str]], ...] = (
    ("outcome", _outcome),
    ("alone: the migration itself", _alone("itself", "s")),
    ("alone: rollback, until old code can run", _alone("back", "s")),
    ("alone: WAL", _alone("wal_bytes", "MB", digits=1, scale=1e-6)),
    ("alone: size of the tables after, to before", _alone("growth", "")),
    ("alone: distinct values in the new column", _tokens),
    ("calm: longest write stall", _stall("calm", "write")),
    ("calm: p99 of writes", lambda entry: words(entry["p99_ms"]["calm"], unit="ms", digits=1)),
    ("migrate: longest write stall", _stall("migrate", "write")),
    ("migrate: longest read stall", _stall("migrate", "read")),
    ("migrate: p99 of writes", lambda entry: words(entry["p99_ms"]["migrate"], unit="ms", digits=1)),
    ("migrate: whole command", _took("migrate", "seconds")),
    ("migrate: the migration itself", _took("migrate", "itself")),
    ("migrate: of that, backfill", _took("migrate", "backfill")),
    ("migrate: attempts", lambda entry: words(entry["commands"]["migrate"]["attempts"])),
    ("deploy: failed transactions of the old version", _failures("deploy", "old")),
    ("deploy: failed transactions of the new version", _failures("deploy", "new")),
    ("rollback: longest write stall", _stall("rollback", "write")),
    ("rollback: longest read stall", _stall("rollback", "read")),
    ("rollback: until old code can run", _took("rollback", "until_old_code")),
    ("rollback: whole command", _took("rollback", "seconds")),
    ("rollback: failed transactions of the old version", _failures("rollback", "old")),
    ("rollback: failed transactions of the new version", _failures("rollback", "new")),
    ("values lost after the rollback", _losses("rolled back")),
    ("migrate again: longest write stall", _stall("migrate again", "write")),
    ("migrate again: the migration itself", _took("migrate again", "itself")),
    ("finalize: longest write stall", _stall("finalize", "write")),
    ("finalize: whole command", _took("finalize", "seconds")),
    ("again, finalize: failed transactions of the old version", _failures("again", "old")),
    ("again, finalize: failed transactions of the new version", _failures("again", "new")),
    ("values lost after migrating again", _losses("migrated again")),
)
