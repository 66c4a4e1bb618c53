"""segue plan: what a release would do, step by step, without doing it.

Translates every migration exactly as a run would, and lets nothing reach the database but reads.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace

from django.db.migrations import Migration
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState

from segue import carrier as carrying
from segue.core.change import Act, Irreversible
from segue.core.plan import PLANNED, Direction, Phase, Plan, PlannedMigration, Step
from segue.history import MigrationPlan
from segue.operations import Move, opaque_step, walk
from segue.session import Session

_CAPTURED = "its locks are unknown; what it changes in rows is kept for the way back, so its writes take longer"
_PUT_BACK = "in batches, each value that nobody has changed since"


def plan(session: Session, migrations: MigrationPlan) -> Plan:
    """Return what carrying out these migrations would do to the target as it is now."""
    backwards = bool(migrations) and migrations[0][1]
    fresh = session.fresh
    carrier = _PlanCarrier(session, fresh=fresh)
    if migrations:
        _rehearse_states(session, migrations, carrier, backwards=backwards)
    return Plan(
        target=session.engine.target(),
        direction=Direction.BACKWARD if backwards else Direction.FORWARD,
        migrations=tuple(carrier.planned),
        whole=_whole(session, fresh),
    )


def _whole(session: Session, fresh: bool) -> str:
    if not session.engine.online:
        return "Each migration is one transaction; what it drops is archived first. Others who write wait for it."
    return "The database is fresh: each migration is one transaction, as stock Django runs it." if fresh else ""


def _rehearse_states(session: Session, migrations: MigrationPlan, carrier: _PlanCarrier, *, backwards: bool) -> None:
    """Walk the migrations as Django would, with its own state keeping, recording nothing."""
    migrator = session.migrator.beside(carrier)
    full_plan = migrator.migration_plan(migrator.loader.graph.leaf_nodes(), clean_start=True)
    if backwards:
        migrator._migrate_all_backwards(migrations, full_plan, fake=False)
    else:
        state = migrator._create_project_state(with_applied_migrations=True)
        migrator._migrate_all_forwards(state, migrations, full_plan, fake=False, fake_initial=False)


class _PlanCarrier:
    """A carrier that only notes what would be done."""

    def __init__(self, session: Session, *, fresh: bool) -> None:
        self._session = session
        self._fresh = fresh
        # What an interrupted run has done of a migration is translated again from its first step.
        unfinished = session.journal.under_way()
        before = unfinished.release if unfinished else ""
        self._cemetery = deepcopy(session.journal.cemetery(before_work_of=before))
        for act in _still_to_be_undone(session):
            self._cemetery.follow(act)
        self._new_tables: set[str] = set()
        # What is open is taken back from its journal, which has seen to it that there is a way.
        self._open = {key: steps for run in session.journal.open_runs() for key, steps in run.done}
        self.planned: list[PlannedMigration] = []

    def forward(self, migration: Migration, state: ProjectState) -> ProjectState:
        """Note what applying the migration would do; return the state after it."""
        return self._note(migration, state, backwards=False)

    def backward(self, migration: Migration, state: ProjectState) -> ProjectState:
        """Note what unapplying the migration would do; `state` is the one before it."""
        return self._note(migration, state, backwards=True)

    def _note(self, migration: Migration, state: ProjectState, *, backwards: bool) -> ProjectState:
        steps: list[Step] = []

        def opaque(move: Move) -> None:
            steps.append(self._opaque(move))

        whole = carrying.runs_whole(self._session, migration, fresh=self._fresh)
        if whole and (self._fresh or not self._session.engine.online):
            described = [
                _as_described(migration, index, op, backwards) for index, op in enumerate(migration.operations)
            ]
            steps += reversed(described) if backwards else described
            for _ in walk(migration, state, backwards=backwards):
                pass  # The walk itself moves the state on.
        else:
            editor = self._session.engine.step_editor(
                emit=steps.append,
                prefix="",
                release=PLANNED,
                cemetery=self._cemetery,
                new_tables=self._new_tables,
            )
            carrying.translate(
                editor,
                migration,
                state,
                backwards=backwards,
                opaque=opaque,
                is_undone=lambda operation: operation.reversible or (migration.app_label, migration.name) in self._open,
            )
        self.planned.append(
            PlannedMigration(app=migration.app_label, name=migration.name, steps=tuple(steps), whole=whole)
        )
        return state

    def _opaque(self, move: Move) -> Step:
        step = opaque_step(move)
        forth = opaque_step(move.reverse()).id
        done = self._open.get((move.migration.app_label, move.migration.name), ())
        if move.backwards and any(one.id == forth and one.undo == () for one in done):
            title = f"put back what {move.operation.describe()} changed"
            return replace(step, title=title, undo=(), online=True, opaque=False, note=_PUT_BACK)
        return replace(step, note=_CAPTURED) if self._session.captures else step


def _still_to_be_undone(session: Session) -> Iterator[Act]:
    """What rolled back releases have left for when new code is gone: nothing is carried out before that is."""
    for step in (step for run in session.journal.runs_behind() for step in run.background):
        if not isinstance(step.undo, Irreversible):
            yield from step.undo


def _as_described(migration: Migration, index: int, operation: Operation, backwards: bool) -> Step:
    title = operation.describe()
    return Step(
        id=f"{migration.app_label}.{migration.name}:{'back' if backwards else 'forth'}:{index}:whole",
        title=f"undo: {title}" if backwards else title,
        phase=Phase.EXPAND,
        forward=Act(),
        undo=Irreversible(reason="the migration is one transaction"),
        online=False,
    )
