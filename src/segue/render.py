"""Values to text and to JSON. No effect, no engine, no Django."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from segue.core.change import Irreversible
from segue.core.evidence import Blocked, OldCode, Timing
from segue.core.plan import Direction, Phase, Plan, Step, Target
from segue.core.run import Run, State
from segue.core.values import to_json

SCHEMA_VERSION = 1
_MOST_NAMES = 4


def target_line(target: Target) -> str:
    """The target in a few words: alias, engine, version, database."""
    return f"{target.alias}: {target.name} on {target.vendor} {target.version}"


# Plan


def plan_lines(plan: Plan, *, sql: bool = False) -> list[str]:
    """A plan as a table that a person reads, its statements under each step when asked for."""
    lines = [target_line(plan.target)]
    if not plan.migrations:
        return [*lines, "Nothing to do: every migration is applied."]
    verb = "unapply" if plan.direction is Direction.BACKWARD else "apply"
    steps = plan.steps
    lines.append(
        f"{_count(len(plan.migrations), 'migration')} to {verb}, {_count(len(steps), 'step')}, plan {plan.hash}"
    )
    if plan.whole:
        return [*lines, plan.whole, *_whole_lines(plan)]
    width = max((len(step.title) for step in steps), default=0)
    for migration in plan.migrations:
        how = "  (one transaction, as stock Django runs it)" if migration.whole and migration.steps else ""
        lines += ["", f"{migration.label}{how}"]
        if not migration.steps:
            lines.append("  no change to the database")
        for step in migration.steps:
            lines.append(f"  {step.phase:<9} {step.title:<{width}}  {_locks(step)}".rstrip())
            if step.note:
                lines.append(f"  {'':<9} {step.note}")
            if sql:
                lines += [f"  {'':<9}   {statement};" for statement in step.forward.statements]
    return [*lines, "", *_plan_summary(plan)]


def _whole_lines(plan: Plan) -> list[str]:
    lines = []
    for migration in plan.migrations:
        lines += ["", migration.label, *(f"  {step.title}" for step in migration.steps)]
    return lines


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _locks(step: Step) -> str:
    if step.opaque:
        return "locks unknown: it is the migration's own code"
    if not step.forward.locks:
        return "no lock on a table in use"
    text = ", ".join(f"{lock.mode} on {lock.table}" for lock in step.forward.locks)
    if step.online:
        return text
    stops = max((lock.mode.stops for lock in step.forward.locks), key=len)
    return f"{text}, as stock Django: {stops} wait until it is done"


def _plan_summary(plan: Plan) -> list[str]:
    later = [step for step in plan.steps if step.phase is Phase.CONTRACT]
    stock = [step for step in plan.steps if not step.online]
    lines = []
    if later:
        lines.append(f"Phase contract ({_count(len(later), 'step')}) waits for segue finalize, when old code is gone.")
    if stock:
        lines.append(f"Not online yet, and run as stock Django runs it: {_count(len(stock), 'step')}.")
    fixed = [s for s in plan.steps if isinstance(s.undo, Irreversible) and s.phase is not Phase.CONTRACT]
    if not fixed:
        lines.append("segue rollback takes all of it back until then, and nothing is lost.")
    return lines


def plan_json(plan: Plan) -> dict[str, Any]:
    """A plan as JSON."""
    return {"schema_version": SCHEMA_VERSION, "hash": plan.hash, **to_json(plan)}


# Release


def release_lines(run: Run) -> list[str]:
    """A release in a few lines: its state, what was measured, and the next command."""
    verb = "unapplied" if run.direction is Direction.BACKWARD else "applied"
    did = f" It {verb} {_names(run.migrations)}." if run.migrations else ""
    back = f" It takes release {run.rolls_back} back." if run.rolls_back else ""
    lines = [f"Release {run.release} is {run.state}.{did}{back}"]
    lines += [_blocked_line(blocked) for blocked in run.blocked]
    if not run.blocked and run.tables and run.state is not State.FAILED:
        lines.append("Waiting that it caused: unknown, no table was measured.")
    if run.state is State.OPEN:
        left = _count(len(run.steps_left), "step")
        back = "segue rollback" if run.direction is Direction.FORWARD else "segue apply, which brings it all back"
        lines.append(
            f"Old and new code both run. Next: segue finalize, when old code is gone ({left} to go); or {back}."
        )
    return lines


def _names(keys: Sequence[tuple[str, str]]) -> str:
    names = [".".join(key) for key in keys[:_MOST_NAMES]]
    return ", ".join(names) + (f" and {len(keys) - _MOST_NAMES} more" if len(keys) > _MOST_NAMES else "")


def _blocked_line(blocked: Blocked) -> str:
    return (
        f"{blocked.table}: readers blocked {blocked.readers_seconds:.2f} s, writers {blocked.writers_seconds:.2f} s, "
        f"longest wait {blocked.longest_ms:.0f} ms (measured, {blocked.probes} probes)"
    )


def release_json(run: Run, timings: Sequence[Timing], seconds: float) -> dict[str, Any]:
    """A release and what its steps took, as JSON."""
    return {
        "schema_version": SCHEMA_VERSION,
        "release": run.release,
        "state": run.state.value,
        "direction": run.direction.value,
        "migrations": [".".join(key) for key in run.migrations],
        "seconds": round(seconds, 3),
        "steps": to_json(tuple(timings)),
        "blocked": to_json(run.blocked),
        "steps_left": [step.title for step in run.steps_left],
    }


def releases_json(runs: Sequence[Run], timings: Sequence[Timing], seconds: float) -> dict[str, Any]:
    """Several releases that one command ended: the newest, and every one's state and measurements."""
    every = [{"release": r.release, "state": r.state.value, "blocked": to_json(r.blocked)} for r in runs]
    return {**release_json(runs[-1], timings, seconds), "releases": every}


def nothing_json() -> dict[str, Any]:
    """What a command prints that had nothing to do."""
    return {"schema_version": SCHEMA_VERSION, "release": None, "state": "nothing to do", "seconds": 0.0,
            "steps": [], "blocked": []}  # fmt: skip


def timing_line(timing: Timing) -> str:
    """One step that is done, for the person who watches."""
    waited = ""
    if timing.waited_seconds >= 0.1:
        waited = f", of which {timing.waited_seconds:.1f} s for its locks in {timing.attempts} attempts"
    return f"{timing.title}  {timing.seconds:.2f} s{waited}"


# Status


def status_lines(status: Any) -> list[str]:
    """Where a target stands, what waits, and the next command."""
    lines = [
        target_line(status.target),
        f"{status.applied} migrations applied, {len(status.unapplied)} to apply",
    ]
    lines += [f"  {name}" for name in status.unapplied]
    if status.interrupted:
        run = status.interrupted
        lines.append(f"Release {run.release} is {run.state}, begun {run.started_at[:19]} UTC by {run.by}.")
        lines.append(
            "If no run is going on, it was interrupted. Next: segue apply goes on, segue rollback takes it back."
        )
    for waiting in status.open:
        lines += release_lines(waiting.run)
        lines += [f"  {step.title}" for step in waiting.run.steps_left]
        lines += old_code_lines(waiting.old_code)
    if not status.open and not status.interrupted and status.last:
        lines.append(f"Last release: {status.last.release}, {status.last.state}.")
    if status.retired:
        lines.append(f"Kept, though retired: {_count(len(status.retired), 'object')}:")
        lines += [f"  {r.kind} {r.table if r.kind == 'table' else f'{r.table}.{r.name}'}" for r in status.retired]
    if status.quarantined:
        lines.append(
            f"In quarantine: {_count(status.quarantined, 'row')}: "
            "SELECT * FROM segue_quarantine WHERE settled_at IS NULL."
        )
    return lines


def old_code_lines(found: OldCode) -> list[str]:
    """Who stands against finalizing."""
    if found.is_gone:
        return ["No connection of old code is seen."]
    return [
        *(f'  pid {c.pid} "{c.application}" since {c.since[:19]}: old code' for c in found.old),
        *(f'  pid {c.pid} "{c.application}" since {c.since[:19]}: its code cannot be told' for c in found.unknown),
    ]


def status_json(status: Any) -> dict[str, Any]:
    """Where a target stands, as JSON."""
    return {
        "schema_version": SCHEMA_VERSION,
        "target": to_json(status.target),
        "applied": status.applied,
        "unapplied": list(status.unapplied),
        "interrupted": status.interrupted.release if status.interrupted else None,
        "open": [
            {
                "release": waiting.run.release,
                "migrations": [".".join(key) for key in waiting.run.migrations],
                "steps_left": [step.title for step in waiting.run.steps_left],
                "old_code": to_json(waiting.old_code),
            }
            for waiting in status.open
        ],
        "last": {"release": status.last.release, "state": status.last.state.value} if status.last else None,
        "retired": to_json(status.retired),
        "quarantined": status.quarantined,
    }


def joined(lines: Iterable[str]) -> str:
    """Lines as one text."""
    return "\n".join(lines)
