"""Values to text and to JSON. No effect, no engine, no Django."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

from segue.core.change import Irreversible, Kind
from segue.core.evidence import Blocked, OldCode, Timing
from segue.core.plan import Direction, Phase, Plan, Step, Target
from segue.core.purge import Due, Kept, Purge, Survey, spoken
from segue.core.quarantine import Group, Line, Settled, reasons
from segue.core.run import Run, State
from segue.core.values import to_json

SCHEMA_VERSION = 1
_MOST_NAMES = 4
# Below it a prediction is mostly what the machine does besides.
_HARDLY_SECONDS = 0.05
_ALLOWANCE = 1.2


def target_line(target: Target) -> str:
    """The target in a few words: alias, engine, version, database."""
    return f"{target.alias}: {target.name} on {target.vendor} {target.version}"


# Plan


def plan_lines(plan: Plan, *, sql: bool = False, allowed: timedelta | None = None) -> list[str]:
    """A plan as a table that a person reads, its statements under each step when asked for.

    `allowed` is how long others may wait for what has no online form.
    """
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
                lines += [f"  {'':<9}   {statement};" for statement in _statements(step)]
    return [*lines, "", *_plan_summary(plan, allowed)]


def _whole_lines(plan: Plan) -> list[str]:
    lines = []
    for migration in plan.migrations:
        lines += ["", migration.label, *(f"  {step.title}" for step in migration.steps)]
    return lines


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _statements(step: Step) -> tuple[str, ...]:
    filled = step.forward.backfill
    if filled is None:
        return step.forward.statements
    return (f"UPDATE {filled.table} SET {filled.assignments} WHERE {filled.where}",)


def _locks(step: Step) -> str:
    if step.opaque:
        return "locks unknown: it is the migration's own code"
    if step.forward.backfill is not None:
        return f"in batches, each of which holds rows of {step.forward.backfill.table} for about a tenth of a second"
    if not step.forward.locks:
        return "no lock on a table in use"
    text = ", ".join(f"{lock.mode} on {lock.table}" for lock in step.forward.locks)
    if step.online:
        return text
    stops = max((lock.mode.stops for lock in step.forward.locks), key=len)
    return f"{text}, as stock Django: {stops} wait until it is done{_predicted(step)}"


def _predicted(step: Step) -> str:
    if step.blocks is None:
        return ""
    if step.blocks.seconds < _HARDLY_SECONDS:
        return f", predicted less than {duration(_HARDLY_SECONDS)}"
    return f", predicted {duration(step.blocks.seconds)} for {_count(step.blocks.rows, 'row')}"


def duration(seconds: float) -> str:
    """A duration for a person, with no more digits than a prediction has."""
    if seconds < 1:
        return f"{max(1, round(seconds * 1000))} ms"
    return f"{seconds:.1f} s" if seconds < 60 else f"{seconds / 60:.1f} min"


def allowance(seconds: float) -> str:
    """What to give --allow-blocking for something that is predicted to take so long, and may take a little more."""
    wanted = seconds * _ALLOWANCE
    if wanted < 1:
        return f"{math.ceil(wanted * 10)}00ms"
    return f"{math.ceil(wanted)}s" if wanted < 120 else f"{math.ceil(wanted / 60)}min"


def _plan_summary(plan: Plan, allowed: timedelta | None) -> list[str]:
    later = [step for step in plan.steps if step.phase is Phase.CONTRACT]
    stock = [step for step in plan.steps if not step.online]
    lines = []
    if later:
        lines.append(f"Phase contract ({_count(len(later), 'step')}) waits for segue finalize, when old code is gone.")
    if stock:
        lines.append(f"Not online yet, and run as stock Django runs it: {_count(len(stock), 'step')}.")
    longest = max((step.blocks.seconds for step in plan.steps if step.blocks), default=0.0)
    if allowed is not None and longest > allowed.total_seconds():
        lines.append(
            f"Others would wait for {duration(longest)}, and {duration(allowed.total_seconds())} are allowed: it is "
            f"refused without --allow-blocking {allowance(longest)}."
        )
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
    if run.state is State.ROLLED_BACK and run.rolled_back_in_seconds is not None:
        lines.append(f"What old code needs was back after {run.rolled_back_in_seconds:.2f} s.")
    if run.waits_for_new_code:
        left = _count(len(run.background), "step")
        lines.append(
            f"Its new code is still connected, and goes on working: {left} will wait. Next: segue finalize, when new "
            "code is gone."
        )
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
        "rolled_back_in_seconds": run.rolled_back_in_seconds,
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
    for run in status.behind:
        lines += release_lines(run)
    if not status.open and not status.interrupted and not status.behind and status.last:
        lines.append(f"Last release: {status.last.release}, {status.last.state}.")
    if status.retired:
        lines.append(f"Kept, though retired: {_count(len(status.retired), 'object')}:")
        lines += [f"  {spoken(r)}" for r in status.retired]
    if status.archived:
        lines.append(f"Purged, with its values in the store: {_count(len(status.archived), 'object')}:")
        lines += [f"  {spoken(r)}: {r.archive}" for r in status.archived]
    if status.quarantined:
        lines.append(f"In quarantine: {_count(status.quarantined, 'row')}. Next: segue quarantine, which lists them.")
    return lines


# Purge


def survey_lines(survey: Survey) -> list[str]:
    """What a purge would drop, how large it is, and what it would leave."""
    if not (survey.due or survey.held or survey.kept):
        return ["Nothing to do: nothing is retired."]
    lines = [f"{_count(len(survey.due), 'object')} would be archived and dropped{':' if survey.due else '.'}"]
    lines += [f"  {spoken(due.retired)}  {_remains(due)}" for due in survey.due]
    lines += _kept_lines("would be held back", survey.held)
    lines += _kept_lines("would stay", survey.kept)
    due_bytes = sum(due.remains.bytes for due in survey.due)
    freed_bytes = sum(due.remains.freed_bytes for due in survey.due)
    if survey.due:
        lines.append(
            f"To archive: {_size(due_bytes)} before compression. The database gets {_size(freed_bytes)} back at once."
        )
    return lines


def _remains(due: Due) -> str:
    remains = due.remains
    if not remains.has_values:
        return f"{_size(remains.freed_bytes)}, without values of its own"
    what = "row" if due.retired.kind is Kind.TABLE else "value"
    text = f"{remains.rows:,} {what}{'' if remains.rows == 1 else 's'}, {_size(remains.bytes)}"
    later = "" if due.retired.kind is Kind.TABLE else ", whose room is free as rows are written anew"
    return f"{text}{later}; retired by release {due.release} on {due.since[:10]}"


def _kept_lines(how: str, kept: Sequence[Kept]) -> list[str]:
    if not kept:
        return []
    return [f"{_count(len(kept), 'object')} {how}:", *(f"  {spoken(k.retired)}: {k.reason}" for k in kept)]


def purge_lines(purge: Purge) -> list[str]:
    """What a purge did."""
    lines = []
    for one in purge.purged:
        rows = f"{one.rows:,} in {_size(one.archive_bytes)}: {one.archive}" if one.archive else "without values"
        lines.append(f"  {spoken(one.retired)}  {rows}")
    freed = _size(sum(one.freed_bytes for one in purge.purged))
    archived = _size(sum(one.archive_bytes for one in purge.purged))
    if purge.purged:
        counted = _count(len(purge.purged), "object")
        lines.insert(0, f"Purged {counted}; archived {archived} in {purge.store}, freed {freed}:")
    elif not purge.held and not purge.postponed:
        lines.append("Nothing to do: nothing was retired long enough ago.")
    lines += _kept_lines("held back", purge.held)
    lines += _kept_lines("left for later", purge.postponed)
    lines += _kept_lines("not due yet", purge.kept)
    return [*lines, *(_blocked_line(blocked) for blocked in purge.blocked)]


def survey_json(survey: Survey) -> dict[str, Any]:
    """What a purge would find, as JSON."""
    return {"schema_version": SCHEMA_VERSION, **to_json(survey)}


def purge_json(purge: Purge, timings: Sequence[Timing], seconds: float) -> dict[str, Any]:
    """What a purge did, as JSON."""
    return {
        "schema_version": SCHEMA_VERSION,
        **to_json(purge),
        "seconds": round(seconds, 3),
        "steps": to_json(tuple(timings)),
    }


# Quarantine


def quarantine_lines(groups: Sequence[Group]) -> list[str]:
    """What waits in quarantine, in groups, each with the command that settles it."""
    if not groups:
        return ["Nothing waits in quarantine."]
    lines = [f"{_count(sum(group.count for group in groups), 'row')} in quarantine:"]
    for group in groups:
        more = f" and {group.count - len(group.samples):,} more" if group.count > len(group.samples) else ""
        does = f", which {group.trouble.put_right}" if group.trouble else ", once you have seen to it"
        lines += [
            "",
            f"{group.reason}  ({_count(group.count, 'row')}, release {group.release})",
            f"  {'; '.join(group.samples)}{more}",
            f"  {group.command}{does}",
        ]
    return [*lines, "", "An image stays in segue_quarantine, settled or not; --keep settles without a change."]


def quarantine_json(groups: Sequence[Group]) -> dict[str, Any]:
    """What waits in quarantine, as JSON."""
    return {
        "schema_version": SCHEMA_VERSION,
        "groups": [{**to_json(group), "command": group.command} for group in groups],
    }


def chosen_lines(lines: Sequence[Line], how: str) -> list[str]:
    """What would be settled."""
    counted: dict[str, int] = {}
    for line in lines:
        counted[line.reason] = counted.get(line.reason, 0) + 1
    return [
        f"{_count(len(lines), 'row')} would be settled with --{how}:",
        *(f"  {reason}  ({_count(count, 'row')})" for reason, count in counted.items()),
    ]


def settled_lines(settled: Settled) -> list[str]:
    """What was settled, and why the rest was not."""
    lines = [f"Settled {_count(len(settled.settled), 'row')}."]
    for reason, ids in reasons(settled.left).items():
        shown = ", ".join(str(id_) for id_ in ids[:_MOST_NAMES])
        more = f" and {len(ids) - _MOST_NAMES} more" if len(ids) > _MOST_NAMES else ""
        lines.append(f"  not {shown}{more}: {reason}")
    return lines


def settled_json(settled: Settled) -> dict[str, Any]:
    """What was settled, as JSON."""
    return {
        "schema_version": SCHEMA_VERSION,
        "settled": [line.id for line in settled.settled],
        "left": [{"id": line.id, "table": line.table, "reason": reason} for line, reason in settled.left],
    }


def _size(count: int) -> str:
    """Return bytes as a person reads them: 512 B, 41 kB, 1.2 GB."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 10 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


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
        "behind": [
            {"release": run.release, "steps_left": [step.title for step in run.background]} for run in status.behind
        ],
        "last": {"release": status.last.release, "state": status.last.state.value} if status.last else None,
        "retired": to_json(status.retired),
        "archived": to_json(status.archived),
        "quarantined": status.quarantined,
    }


def joined(lines: Iterable[str]) -> str:
    """Lines as one text."""
    return "\n".join(lines)
