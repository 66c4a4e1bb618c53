"""A release's life as events, and the Run that they add up to.

The events are the only record; a Run is computed from them and stored nowhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from segue.core.change import Act
from segue.core.event import EventKind
from segue.core.evidence import Blocked
from segue.core.plan import Direction, Step
from segue.core.values import from_json


class State(StrEnum):
    """Where a release stands."""

    APPLYING = "applying"
    OPEN = "open"
    ROLLING_BACK = "rolling back"
    FINALIZING = "finalizing"
    FINALIZED = "finalized"
    ROLLED_BACK = "rolled back"
    FAILED = "failed"


UNDER_WAY = frozenset({State.APPLYING, State.ROLLING_BACK, State.FINALIZING})


@dataclass(frozen=True, kw_only=True)
class Event:
    """One line of the journal; `at` is ISO 8601 in UTC."""

    release: str
    kind: EventKind
    at: str
    data: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Work:
    """A migration that has begun and not ended: what is done of it, oldest first."""

    migration: tuple[str, str]
    backwards: bool
    steps: tuple[Step, ...] = ()
    intended: Step | None = None
    acts_left: Mapping[str, int] | None = None


@dataclass(frozen=True, kw_only=True)
class Run:
    """One release, as its events tell it.

    `migrations` are those in effect because of this release, in the order in which they were done; `done` are
    the steps of those that were done step by step. `deferred` are contract steps that wait for finalize, each
    with the migration that it belongs to. `rolls_back` names the finalized release that this one takes back;
    a `fresh` one made the database from nothing.
    """

    release: str
    state: State
    direction: Direction
    started_at: str
    by: str
    tag: str
    planned: tuple[tuple[str, str], ...]
    migrations: tuple[tuple[str, str], ...] = ()
    done: tuple[tuple[tuple[str, str], tuple[Step, ...]], ...] = ()
    work: Work | None = None
    deferred: tuple[tuple[tuple[str, str], Step], ...] = ()
    finalized_steps: frozenset[str] = frozenset()
    intended: Step | None = None
    tables: tuple[str, ...] = ()
    rolls_back: str = ""
    fresh: bool = False
    blocked: tuple[Blocked, ...] = ()
    error: str = ""

    @property
    def steps_left(self) -> tuple[Step, ...]:
        """The contract steps that finalize still has to carry out."""
        return tuple(step for _, step in self.deferred if step.id not in self.finalized_steps)


def replay(events: Iterable[Event]) -> Run:
    """Return what the events of one release add up to; the first must be its start."""
    run: Run | None = None
    for event in events:
        run = _start(event) if run is None else _FOLLOW[event.kind](run, event.data)
    if run is None:
        raise ValueError("a release without events")
    return run


def acts(events: Iterable[Event]) -> tuple[Act, ...]:
    """Return every act that the events of any releases report, in order: what the cemetery follows."""
    found: list[Act] = []
    for event in events:
        if event.kind is EventKind.STEP_DONE:
            found.append(from_json(Step, event.data["step"]).forward)
        elif event.kind is EventKind.ACT_UNDONE:
            found.append(from_json(Act, event.data["act"]))
    return tuple(found)


def _start(event: Event) -> Run:
    if event.kind is not EventKind.RELEASE_STARTED:
        raise ValueError(f"release {event.release} begins with {event.kind}")
    data = event.data
    return Run(
        release=event.release,
        state=State.APPLYING,
        direction=Direction(data["direction"]),
        started_at=event.at,
        by=data["by"],
        tag=data["tag"],
        planned=tuple((app, name) for app, name in data["migrations"]),
        tables=tuple(data["tables"]),
        rolls_back=data.get("rolls_back", ""),
        fresh=bool(data.get("fresh")),
    )


def _migration_started(run: Run, data: Mapping[str, Any]) -> Run:
    app, name = data["migration"]
    return replace(run, work=Work(migration=(app, name), backwards=data["backwards"]))


def _step_intended(run: Run, data: Mapping[str, Any]) -> Run:
    step = from_json(Step, data["step"])
    if run.work is None:
        return replace(run, intended=step)
    return replace(run, work=replace(run.work, intended=step))


def _step_done(run: Run, data: Mapping[str, Any]) -> Run:
    step = from_json(Step, data["step"])
    if run.work is None:
        return replace(run, finalized_steps=run.finalized_steps | {step.id}, intended=None)
    return replace(run, work=replace(run.work, steps=(*run.work.steps, step), intended=None))


def _step_deferred(run: Run, data: Mapping[str, Any]) -> Run:
    if run.work is None:
        raise ValueError(f"release {run.release} defers a step outside a migration")
    step = from_json(Step, data["step"])
    return replace(run, deferred=(*run.deferred, (run.work.migration, step)))


def _act_undone(run: Run, data: Mapping[str, Any]) -> Run:
    if run.work is None:
        raise ValueError(f"release {run.release} undoes an act outside a migration")
    left = {**(run.work.acts_left or {}), data["id"]: data["acts_left"]}
    steps = tuple(s for s in run.work.steps if s.id != data["id"] or data["acts_left"])
    return replace(run, work=replace(run.work, steps=steps, acts_left=left, intended=None))


def _migration_done(run: Run, data: Mapping[str, Any]) -> Run:
    """Applied by a forward release, unapplied by a backward one, or the reverse while rolling back."""
    key = (data["migration"][0], data["migration"][1])
    backwards = bool(data["backwards"])
    if backwards != (run.direction is Direction.BACKWARD):
        return _without(run, key)
    whole = bool(data.get("whole"))
    steps = () if whole or run.work is None else ((key, run.work.steps),)
    return replace(run, work=None, migrations=(*run.migrations, key), done=(*run.done, *steps))


def _migration_reopened(run: Run, data: Mapping[str, Any]) -> Run:
    """A migration that was done is in work again, to be taken back step by step."""
    key = (data["migration"][0], data["migration"][1])
    steps = dict(run.done)[key]
    return replace(run, work=Work(migration=key, backwards=run.direction is Direction.BACKWARD, steps=steps))


def _migration_undone(run: Run, data: Mapping[str, Any]) -> Run:
    """A migration was taken back: as if it had not begun; when it was being unapplied it is in effect as before."""
    key = (data["migration"][0], data["migration"][1])
    against = run.work is not None and run.work.backwards != (run.direction is Direction.BACKWARD)
    return replace(run, work=None) if against else _without(run, key)


def _without(run: Run, key: tuple[str, str]) -> Run:
    return replace(
        run,
        work=None,
        migrations=tuple(m for m in run.migrations if m != key),
        done=tuple((m, steps) for m, steps in run.done if m != key),
        deferred=tuple((m, step) for m, step in run.deferred if m != key),
    )


def _opened(run: Run, data: Mapping[str, Any]) -> Run:
    return replace(run, state=State.OPEN, blocked=_blocked(data), error=data.get("error", ""))


def _rollback_started(run: Run, data: Mapping[str, Any]) -> Run:
    return replace(run, state=State.ROLLING_BACK, planned=tuple((a, n) for a, n in data["migrations"]))


def _rolled_back(run: Run, data: Mapping[str, Any]) -> Run:
    return replace(run, state=State.ROLLED_BACK, blocked=_blocked(data), deferred=())


def _finalize_started(run: Run, _: Mapping[str, Any]) -> Run:
    return replace(run, state=State.FINALIZING)


def _finalized(run: Run, data: Mapping[str, Any]) -> Run:
    return replace(run, state=State.FINALIZED, intended=None, blocked=_blocked(data))


def _failed(run: Run, data: Mapping[str, Any]) -> Run:
    return replace(run, state=State.FAILED, error=data["error"], work=None, deferred=())


def _blocked(data: Mapping[str, Any]) -> tuple[Blocked, ...]:
    return tuple(from_json(Blocked, one) for one in data.get("blocked", ()))


_FOLLOW = {
    EventKind.MIGRATION_STARTED: _migration_started,
    EventKind.STEP_INTENDED: _step_intended,
    EventKind.STEP_DONE: _step_done,
    EventKind.STEP_DEFERRED: _step_deferred,
    EventKind.ACT_UNDONE: _act_undone,
    EventKind.MIGRATION_DONE: _migration_done,
    EventKind.MIGRATION_REOPENED: _migration_reopened,
    EventKind.MIGRATION_UNDONE: _migration_undone,
    EventKind.RELEASE_OPENED: _opened,
    EventKind.ROLLBACK_STARTED: _rollback_started,
    EventKind.RELEASE_ROLLED_BACK: _rolled_back,
    EventKind.FINALIZE_STARTED: _finalize_started,
    EventKind.RELEASE_FINALIZED: _finalized,
    EventKind.RELEASE_FAILED: _failed,
}
