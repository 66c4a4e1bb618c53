"""Before a command: refuse what would make others wait for longer than is allowed, naming how long it would be."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from segue import render
from segue.core.change import Act, Irreversible, Work
from segue.core.errors import BlocksTooLong
from segue.core.evidence import Prediction
from segue.core.plan import Phase, Plan, Step
from segue.core.run import Run
from segue.history import Key
from segue.session import Session


def require_for_plan(session: Session, plan: Plan) -> None:
    """Raise BlocksTooLong for what the plan carries out now; what waits for finalize is judged then."""
    now = (step for step in plan.steps if step.phase is not Phase.CONTRACT)
    _require(session, [(step.title, step.blocks) for step in now if step.blocks])


def require_for_finalize(session: Session, runs: Iterable[Run]) -> None:
    """Raise BlocksTooLong for the steps that wait, as their tables are now."""
    _require(
        session, [found for run in runs for step in run.steps_left for found in _found(session, step, step.forward)]
    )


def require_for_way_back(session: Session, run: Run, keys: Sequence[Key] | None = None) -> None:
    """Raise BlocksTooLong for what taking the release back, or those migrations of it, does.

    A step without an undo of its own is taken for as much work back as forth.
    """
    found: list[tuple[str, Prediction]] = []
    for key, steps in run.done:
        for step in steps if keys is None or key in keys else ():
            acts = (step.forward,) if isinstance(step.undo, Irreversible) else step.undo
            found += [each for act in acts for each in _found(session, step, act)]
    _require(session, [(f"take back: {title}", prediction) for title, prediction in found])


def _found(session: Session, step: Step, act: Act) -> list[tuple[str, Prediction]]:
    prediction = session.engine.predict(act) if act.work is not Work.CATALOG else None
    return [(step.title, prediction)] if prediction else []


def _require(session: Session, found: Sequence[tuple[str, Prediction]]) -> None:
    allowed = session.allow_blocking
    too_long = [(title, prediction) for title, prediction in found if prediction.seconds > allowed.total_seconds()]
    if not too_long:
        return
    lines = [
        f"  {title}: {prediction.rows:,} rows of {prediction.table}, predicted {render.duration(prediction.seconds)}"
        for title, prediction in too_long
    ]
    wanted = render.allowance(max(prediction.seconds for _, prediction in too_long))
    raise BlocksTooLong(
        f"Others would have to wait for longer than the {render.duration(allowed.total_seconds())} that are allowed:\n"
        + "\n".join(lines)
        + "\nNothing was done.",
        next_command=f"{session.command} --allow-blocking {wanted}, when that may be",
    )
