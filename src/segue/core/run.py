"""A release's life as events, and the Run that they add up to.

The events are the only record; a Run is computed from them and stored nowhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import Any

from segue.core.change import Act, Irreversible, Retired, moved
from segue.core.event import EventKind
from segue.core.evidence import Blocked
from segue.core.plan import Direction, Phase, Step
from segue.core.values import from_json


class State(StrEnum):
    """Where a release stands."""

    APPLYING = "applying"
    OPEN = "open"
    ROLLING_BACK = "rolling back"
    FINALIZING = "finalizing"
    FINALIZED = "finalized"
    PURGED = "purged"
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

    @cached_property
    def step(self) -> Step:
        """The step that the event is about, read once: the same events are added up again and again."""
        return from_json(Step, self.data["step"])

    @cached_property
    def act(self) -> Act:
        """The act that the event reports as undone."""
        return from_json(Act, self.data["act"])


@dataclass(frozen=True, kw_only=True)
class Filled:
    """How far a backfill has come: in the pass after `passes` whole ones, every block before `block` of `part`.

    A part is a partition, or the table itself. `rows` are those that were changed so far, in every pass.
    """

    part: str = ""
    block: int = 0
    rows: int = 0
    passes: int = 0


UNFILLED = Filled()


@dataclass(frozen=True, kw_only=True)
class Work:
    """A migration that has begun and not ended: what is done of it, oldest first.

    While it is taken back, `reversed_by` are the steps of operations' other directions that are done.
    """

    migration: tuple[str, str]
    backwards: bool
    steps: tuple[Step, ...] = ()
    intended: Step | None = None
    acts_left: Mapping[str, int] | None = None
    reversed_by: frozenset[str] = frozenset()

    @property
    def begun(self) -> tuple[Step, ...]:
        """The steps that may have left something: those that are done, and a backfill that was announced."""
        half = self.intended
        return (*self.steps, half) if half is not None and half.forward.backfill is not None else self.steps


@dataclass(frozen=True, kw_only=True)
class Run:
    """One release, as its events tell it.

    `migrations` are those in effect because of this release, in the order in which they were done; `done` are
    the steps of those that were done step by step. `deferred` are contract steps that wait for finalize, each
    with the migration that it belongs to. `rolls_back` names the finalized release that this one takes back;
    a `fresh` one made the database from nothing. `filling` is the backfill under way, by the id that it was
    begun under, and how far it is. `background` are steps of which old code needs nothing undone any more, newest
    first, each with the acts of its undo that are left; `rolled_back_in_seconds` is how long it took until then.
    `files` are digests of the migrations' files as they were when each began.
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
    filling: tuple[str, Filled] | None = None
    tables: tuple[str, ...] = ()
    rolls_back: str = ""
    fresh: bool = False
    blocked: tuple[Blocked, ...] = ()
    error: str = ""
    background: tuple[Step, ...] = ()
    rolled_back_in_seconds: float | None = None
    files: tuple[tuple[tuple[str, str], str], ...] = ()

    @property
    def waits_for_new_code(self) -> bool:
        """Whether the release is rolled back, but for what new code still needs."""
        return self.state is State.ROLLED_BACK and bool(self.background)

    @property
    def steps_left(self) -> tuple[Step, ...]:
        """The contract steps that finalize still has to carry out; those that give things their names come last."""
        left = (step for _, step in self.deferred if step.id not in self.finalized_steps)
        return tuple(sorted(left, key=lambda step: (bool(step.forward.renames), step.naming, step.last)))


def replay(events: Iterable[Event], run: Run | None = None) -> Run:
    """Return what the events of one release add up to, or add to the run so far; its first must be its start."""
    for event in events:
        run = _start(event) if run is None else _FOLLOW[event.kind](run, event)
    if run is None:
        raise ValueError("a release without events")
    return run


def acts(events: Iterable[Event]) -> tuple[Act, ...]:
    """Return every act that the events of any releases report, in order: what the cemetery follows."""
    found: list[Act] = []
    for event in events:
        if event.kind is EventKind.STEP_DONE:
            found.append(event.step.forward)
        elif event.kind is EventKind.ACT_UNDONE:
            found.append(event.act)
    return tuple(found)


@dataclass(frozen=True, kw_only=True)
class Grave:
    """A retired object that lies in the database, since when it lies as it does, and the releases that moved it.

    A release of the list that had revived it counts too: taking that release back retires it again.
    """

    retired: Retired
    since: str
    releases: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Graveyard:
    """Every retired object that lies in the database, oldest first, and the releases of what purge has dropped."""

    graves: tuple[Grave, ...] = ()
    purged: frozenset[str] = frozenset()


def graveyard(events: Iterable[Event]) -> Graveyard:
    """Return what the events of all releases leave retired."""
    found: list[Grave] = []
    purged: set[str] = set()
    movers: dict[tuple[Any, ...], tuple[str, ...]] = {}
    for event in events:
        for act in acts([event]):
            found = [replace(grave, retired=moved(grave.retired, act)) for grave in found] if act.renames else found
            for gone in (*act.revives, *act.purges):
                found = _without_first(found, gone)
                _moved_by(movers, gone, event.release)
            found += [
                Grave(retired=r, since=event.at, releases=_moved_by(movers, r, event.release)) for r in act.retires
            ]
            if event.data.get("step", {}).get("phase") == Phase.PURGE:
                purged |= {release for gone in act.purges for release in _moved_by(movers, gone, event.release)}
    return Graveyard(graves=tuple(g for g in found if not g.retired.archive), purged=frozenset(purged))


def _without_first(found: list[Grave], retired: Retired) -> list[Grave]:
    place = next((n for n, grave in enumerate(found) if grave.retired == retired), len(found))
    return [*found[:place], *found[place + 1 :]]


def _moved_by(movers: dict[tuple[Any, ...], tuple[str, ...]], retired: Retired, release: str) -> tuple[str, ...]:
    shape = (*retired.key, retired.definition)
    movers[shape] = tuple(dict.fromkeys([*movers.get(shape, ()), release]))
    return movers[shape]


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


def _migration_started(run: Run, event: Event) -> Run:
    app, name = event.data["migration"]
    work = Work(migration=(app, name), backwards=event.data["backwards"])
    return replace(run, work=work, filling=None, files=(*run.files, ((app, name), event.data.get("file", ""))))


def _step_intended(run: Run, event: Event) -> Run:
    step = event.step
    if run.work is None:
        return replace(run, intended=step)
    return replace(run, work=replace(run.work, intended=step))


def _backfill_progress(run: Run, event: Event) -> Run:
    return replace(run, filling=(event.data["id"], from_json(Filled, event.data["filled"])))


def _step_done(run: Run, event: Event) -> Run:
    step = event.step
    if run.work is None:
        return replace(run, finalized_steps=run.finalized_steps | {step.id}, intended=None, filling=None)
    return replace(run, work=replace(run.work, steps=(*run.work.steps, step), intended=None), filling=None)


def _step_deferred(run: Run, event: Event) -> Run:
    if run.work is None:
        raise ValueError(f"release {run.release} defers a step outside a migration")
    step = event.step
    return replace(run, deferred=(*run.deferred, (run.work.migration, step)))


def _act_undone(run: Run, event: Event) -> Run:
    if run.work is None:
        waiting = ((step, event.data["acts_left"] if step.id == event.data["id"] else None) for step in run.background)
        return replace(run, background=tuple(_left_of(step, left) for step, left in waiting if left != 0), filling=None)
    left = {**(run.work.acts_left or {}), event.data["id"]: event.data["acts_left"]}
    steps = tuple(s for s in run.work.steps if s.id != event.data["id"] or event.data["acts_left"])
    half = run.work.intended
    intended = half if half is not None and half.id == event.data["id"] and event.data["acts_left"] else None
    by = run.work.reversed_by | ({event.data["by"]} if "by" in event.data else frozenset())
    work = replace(run.work, steps=steps, acts_left=left, intended=intended, reversed_by=by)
    return replace(run, work=work, filling=None)


def _left_of(step: Step, acts_left: int | None) -> Step:
    """The step with what is left of its undo."""
    if acts_left is None or isinstance(step.undo, Irreversible):
        return step
    return replace(step, undo=step.undo[len(step.undo) - acts_left :])


def _migration_done(run: Run, event: Event) -> Run:
    """Applied by a forward release, unapplied by a backward one, or the reverse while rolling back."""
    key = (event.data["migration"][0], event.data["migration"][1])
    backwards = bool(event.data["backwards"])
    if backwards != (run.direction is Direction.BACKWARD):
        return _without(run, key)
    whole = bool(event.data.get("whole"))
    steps = () if whole or run.work is None else ((key, run.work.steps),)
    return replace(run, work=None, migrations=(*run.migrations, key), done=(*run.done, *steps))


def _migration_reopened(run: Run, event: Event) -> Run:
    """A migration that was done is in work again, to be taken back step by step."""
    key = (event.data["migration"][0], event.data["migration"][1])
    steps = dict(run.done)[key]
    work = Work(migration=key, backwards=run.direction is Direction.BACKWARD, steps=steps)
    return replace(run, work=work, filling=None)


def _migration_undone(run: Run, event: Event) -> Run:
    """A migration was taken back: as if it had not begun; when it was being unapplied it is in effect as before."""
    key = (event.data["migration"][0], event.data["migration"][1])
    against = run.work is not None and run.work.backwards != (run.direction is Direction.BACKWARD)
    if run.work is not None:
        left = run.work.acts_left or {}
        waiting = tuple(_left_of(step, left.get(step.id)) for step in reversed(run.work.begun))
        run = replace(run, background=(*run.background, *waiting))
    return replace(run, work=None) if against else _without(run, key)


def _without(run: Run, key: tuple[str, str]) -> Run:
    return replace(
        run,
        work=None,
        migrations=tuple(m for m in run.migrations if m != key),
        done=tuple((m, steps) for m, steps in run.done if m != key),
        deferred=tuple((m, step) for m, step in run.deferred if m != key),
    )


def _opened(run: Run, event: Event) -> Run:
    return replace(run, state=State.OPEN, blocked=_blocked(event.data), error=event.data.get("error", ""))


def _rollback_started(run: Run, event: Event) -> Run:
    planned = tuple((a, n) for a, n in event.data["migrations"])
    return replace(run, state=State.ROLLING_BACK, planned=planned, rolled_back_in_seconds=None)


def _old_code_runs(run: Run, event: Event) -> Run:
    """All is undone that old code needs undone; what is left of the way back only tightens again."""
    return replace(run, rolled_back_in_seconds=event.data["seconds"])


def _rolled_back(run: Run, event: Event) -> Run:
    return replace(run, state=State.ROLLED_BACK, blocked=_blocked(event.data), deferred=())


def _finalize_started(run: Run, _: Event) -> Run:
    return replace(run, state=State.FINALIZING)


def _finalized(run: Run, event: Event) -> Run:
    return replace(run, state=State.FINALIZED, intended=None, blocked=_blocked(event.data))


def _purge_ended(run: Run, event: Event) -> Run:
    """A finalized release of which nothing retired is left in the database is purged; any other stays what it is."""
    whole = run.state is State.FINALIZED and not event.data["left"]
    return replace(run, state=State.PURGED if whole else run.state, intended=None)


def _failed(run: Run, event: Event) -> Run:
    return replace(run, state=State.FAILED, error=event.data["error"], work=None, deferred=())


def _blocked(data: Mapping[str, Any]) -> tuple[Blocked, ...]:
    return tuple(from_json(Blocked, one) for one in data.get("blocked", ()))


_FOLLOW = {
    EventKind.MIGRATION_STARTED: _migration_started,
    EventKind.STEP_INTENDED: _step_intended,
    EventKind.BACKFILL_PROGRESS: _backfill_progress,
    EventKind.STEP_DONE: _step_done,
    EventKind.STEP_DEFERRED: _step_deferred,
    EventKind.ACT_UNDONE: _act_undone,
    EventKind.MIGRATION_DONE: _migration_done,
    EventKind.MIGRATION_REOPENED: _migration_reopened,
    EventKind.MIGRATION_UNDONE: _migration_undone,
    EventKind.RELEASE_OPENED: _opened,
    EventKind.ROLLBACK_STARTED: _rollback_started,
    EventKind.OLD_CODE_RUNS: _old_code_runs,
    EventKind.RELEASE_ROLLED_BACK: _rolled_back,
    EventKind.FINALIZE_STARTED: _finalize_started,
    EventKind.RELEASE_FINALIZED: _finalized,
    EventKind.RELEASE_FAILED: _failed,
    EventKind.PURGE_ENDED: _purge_ended,
}
