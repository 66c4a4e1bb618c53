"""carry_out() and undo() one step.

Owns the order of journal and effect: a step inside a transaction commits with its journal row; a step outside
one is announced before and probed after, so that whoever comes after a crash knows where to go on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from django.db import transaction

from segue.core.change import Act, Irreversible
from segue.core.errors import StepFailed
from segue.core.event import EventKind
from segue.core.evidence import Timing
from segue.core.plan import Step
from segue.engines.base import Waited
from segue.session import Session


def carry_out(session: Session, release: str, step: Step) -> None:
    """Do one step and journal it, settling first what a crash left of it.

    Holds the step's locks only for its own transaction. Raises StepFailed when it cannot be done.
    """
    began, began_at = time.monotonic(), time.time()

    def done(waited: Waited) -> None:
        timing = Timing(
            id=step.id,
            title=step.title,
            phase=step.phase,
            seconds=round(time.monotonic() - began, 4),
            attempts=waited.attempts,
            waited_seconds=round(waited.seconds, 4),
            began_at=began_at,
        )
        session.journal.append(release, EventKind.STEP_DONE, step=step, timing=timing)

        def committed() -> None:
            session.timed(replace(timing, seconds=round(time.monotonic() - began, 4)))

        transaction.on_commit(committed, using=session.engine.connection.alias)

    if step.forward.transactional or _must_run(session, release, step):
        session.engine.carry_out(step.forward, then=done, say=session.say)
    else:
        done(Waited(attempts=0))


def _must_run(session: Session, release: str, step: Step) -> bool:
    """Announce a step outside a transaction, or settle the one that was announced before a crash."""
    found = session.engine.probe(step) if step.probe else "absent"
    run = session.journal.run(release)
    announced = run.work.intended if run.work else run.intended
    if announced is None or announced.id != step.id:
        if found != "absent":
            raise StepFailed(f"{step.title}: the name is taken already by something that this release did not make.")
        session.journal.append(release, EventKind.STEP_INTENDED, step=step)
        return True
    if found == "broken":
        session.say(f"{step.title}: removing what an interrupted run left")
        session.engine.carry_out(Act(statements=step.clean, transactional=False), then=_nothing, say=session.say)
    return found != "done"


def _nothing(_: Waited) -> None:
    """What was cleaned away is not journaled: the step itself will be."""


def undo(session: Session, release: str, step: Step, acts_left: int | None = None) -> None:
    """Undo a step, act by act; each act commits with its journal row.

    `acts_left` is where an interrupted undo stopped. Raises StepFailed for a step that is irreversible.
    """
    if isinstance(step.undo, Irreversible):
        raise StepFailed(f"{step.title} cannot be undone: {step.undo.reason}.")
    began, began_at = time.monotonic(), time.time()
    total = len(step.undo)
    first = total - (total if acts_left is None else acts_left)
    waited: list[Waited] = []
    for number in range(first, total):
        note = _undone(session, release, step, step.undo[number], total - number - 1, waited)
        session.engine.carry_out(step.undo[number], then=note, say=session.say)
    if total == 0:
        session.journal.append(release, EventKind.ACT_UNDONE, id=step.id, act=Act(), acts_left=0)
        return
    session.timed(
        Timing(
            id=f"{step.id}:undo",
            title=f"take back: {step.title}",
            phase=step.phase,
            seconds=round(time.monotonic() - began, 4),
            attempts=sum(w.attempts for w in waited),
            waited_seconds=round(sum(w.seconds for w in waited), 4),
            began_at=began_at,
        )
    )


def _undone(
    session: Session, release: str, step: Step, act: Act, left: int, seen: list[Waited]
) -> Callable[[Waited], None]:
    def journal(waited: Waited) -> None:
        seen.append(waited)
        session.journal.append(release, EventKind.ACT_UNDONE, id=step.id, act=act, acts_left=left)

    return journal


def settle_intended(session: Session, step: Step) -> None:
    """Remove what is left of a step outside a transaction that was announced and never done."""
    if step.probe and session.engine.probe(step) != "absent":
        session.engine.carry_out(Act(statements=step.clean, transactional=False), then=_nothing, say=session.say)
