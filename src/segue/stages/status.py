"""segue status: where the target stands, what is open, what lies retired or in quarantine."""

from __future__ import annotations

from dataclasses import dataclass

from segue.core.change import Retired
from segue.core.evidence import OldCode
from segue.core.plan import Target
from segue.core.run import UNDER_WAY, Run, State
from segue.session import Session


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """An open release, and who stands against finalizing it."""

    run: Run
    old_code: OldCode


@dataclass(frozen=True, kw_only=True)
class Status:
    """Where a target stands; `unapplied` are migrations as app.name, in the order of the plan.

    `behind` are releases that are rolled back, but for what their new code still needs.
    """

    target: Target
    applied: int
    unapplied: tuple[str, ...]
    interrupted: Run | None
    open: tuple[Waiting, ...]
    behind: tuple[Run, ...]
    last: Run | None
    retired: tuple[Retired, ...]
    archived: tuple[Retired, ...]
    quarantined: int


def status(session: Session) -> Status:
    """Return where the target stands; reads only, and holds nothing."""
    loader = session.migrator.loader
    runs = session.journal.runs()
    cemetery = session.journal.cemetery()
    return Status(
        target=session.engine.target(),
        applied=len(loader.applied_migrations),
        unapplied=tuple(
            f"{m.app_label}.{m.name}" for m, _ in session.migrator.migration_plan(loader.graph.leaf_nodes())
        ),
        interrupted=next((run for run in reversed(runs) if run.state in UNDER_WAY), None),
        open=tuple(Waiting(run=r, old_code=session.old_code(r)) for r in runs if r.state is State.OPEN),
        behind=tuple(session.journal.runs_behind()),
        last=runs[-1] if runs else None,
        retired=tuple(retired for retired in cemetery.all() if retired.table),
        archived=cemetery.archived(),
        quarantined=session.journal.quarantined(),
    )
