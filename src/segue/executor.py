"""carry_out() and undo() one step.

Owns the order of journal and effect: a step inside a transaction commits with its journal row; a step outside
one is announced before and probed after, so that whoever comes after a crash knows where to go on. A backfill
is announced too, and goes on where the journal says that it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from itertools import takewhile

from django.db import transaction

from segue.core.change import Act, Irreversible
from segue.core.errors import LockNotTaken, StepFailed
from segue.core.event import EventKind
from segue.core.evidence import Timing
from segue.core.plan import Step
from segue.core.run import UNFILLED, Filled
from segue.engines.base import Waited
from segue.session import Session


def carry_out(session: Session, release: str, step: Step, *, undoes: str = "") -> None:
    """Do one step and journal it, settling first what a crash left of it; one that `undoes` others as their undo.

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
        if undoes:
            session.journal.append(
                release, EventKind.ACT_UNDONE, id=undoes, act=step.forward, acts_left=1, by=step.id, timing=timing
            )
        else:
            session.journal.append(release, EventKind.STEP_DONE, step=step, timing=timing)

        def committed() -> None:
            session.timed(replace(timing, seconds=round(time.monotonic() - began, 4)))

        transaction.on_commit(committed, using=session.engine.connection.alias)

    alone = step.forward.transactional and step.forward.backfill is None
    if alone or _must_run(session, release, step):
        _run(session, release, step.id, step.forward, done)
    else:
        done(Waited(attempts=0))


def _run(session: Session, release: str, id_: str, act: Act, then: Callable[[Waited], None]) -> None:
    """Carry an act out; a backfill from where it was under this id, noting in the journal how far it comes."""
    session.await_canary()
    if act.backfill is None:
        session.engine.carry_out(act, then=then, say=session.say)
        return

    def note(filled: Filled) -> None:
        session.journal.append(release, EventKind.BACKFILL_PROGRESS, id=id_, filled=filled)

    filling = session.journal.run(release).filling
    since = filling[1] if filling is not None and filling[0] == id_ else UNFILLED
    session.engine.carry_out(act, then=then, say=session.say, since=since, note=note)


def _must_run(session: Session, release: str, step: Step) -> bool:
    """Announce a step outside a transaction, or a backfill, or settle the one that was announced before a crash."""
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
        carry_out_unnoted(session, Act(statements=step.clean, transactional=False))
    return found != "done"


def _nothing(_: Waited) -> None:
    """What is not journaled: what was cleaned away, because the step itself will be."""


def undo(session: Session, release: str, step: Step, acts_left: int | None = None, *, sparing: bool = False) -> None:
    """Undo of a step what old code needs undone, act by act; each act commits with its journal row.

    Background acts, which come last, are left to `undo_in_background`, and so are those against new code, `sparing`
    it. `acts_left` is where an interrupted undo
    stopped. Raises StepFailed for a step that is irreversible.
    """
    if isinstance(step.undo, Irreversible):
        raise StepFailed(f"{step.title} cannot be undone: {step.undo.reason}.")
    if not step.undo:
        session.journal.append(release, EventKind.ACT_UNDONE, id=step.id, act=Act(), acts_left=0)
        return
    last = sum(1 for _ in takewhile(lambda a: a.background or (sparing and a.against_new_code), reversed(step.undo)))
    _undo_acts(session, release, step, step.undo[_first(step.undo, acts_left) : len(step.undo) - last], last)


def undo_in_background(session: Session, release: str, step: Step, *, sparing: bool = False) -> None:
    """Carry out what is left of a step's undo; while it goes on both versions of the code run.

    `sparing` new code, because the step is about to be done again, the names that it uses stay where they are, and
    what only tightens again is left.
    """
    assert not isinstance(step.undo, Irreversible)
    left = _tightening(step.undo) if sparing else 0
    now = step.undo[: len(step.undo) - left]
    spared = (sparing and act.against_new_code and bool(act.unaliases or act.retires) for act in now)
    acts = tuple(_only_noted(act) if is_spared else act for act, is_spared in zip(now, spared, strict=True))
    _undo_acts(session, release, step, acts, left, said="tighten again")


def _tightening(acts: tuple[Act, ...]) -> int:
    """How many acts at the end, from one that is against new code on, move and name nothing."""
    last = len(acts) - sum(1 for _ in takewhile(_moves_nothing, reversed(acts)))
    first = next((n for n, act in enumerate(acts) if n >= last and act.against_new_code), len(acts))
    return len(acts) - first


def _moves_nothing(act: Act) -> bool:
    return not (act.retires or act.revives or act.aliases or act.unaliases or act.renames)


def _only_noted(act: Act) -> Act:
    """What the act would have hidden and named, so that the step finds it and takes it up again."""
    return Act(
        retires=act.retires, revives=act.revives, aliases=act.aliases, unaliases=act.unaliases, renames=act.renames
    )


def _first(acts: tuple[Act, ...], left: int | None) -> int:
    return 0 if left is None else len(acts) - left


def _undo_acts(
    session: Session, release: str, step: Step, acts: tuple[Act, ...], left: int, said: str = "take back"
) -> None:
    """Carry out acts of a step's undo, after which `left` remain."""
    if not acts:
        return
    began, began_at = time.monotonic(), time.time()
    waited: list[Waited] = []
    for number, act in enumerate(acts, 1):
        after = len(acts) - number + left
        note = _undone(session, release, step, act, after, waited)
        _run(session, release, f"{step.id}:undo:{after}", act, note)
    session.timed(
        Timing(
            id=f"{step.id}:undo",
            title=f"{said}: {step.title}",
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


def carry_out_unnoted(session: Session, act: Act) -> None:
    """Carry out what the next command would find and see to by itself, so that the journal need not have it."""
    session.engine.carry_out(act, then=_nothing, say=session.say)


def end_captures(session: Session) -> None:
    """Take away whatever still keeps images of what own code changes; no such code is running.

    What is busy stays for the next command: it makes others' writes slower and harms nothing else.
    """
    for act in session.engine.captures_left() if session.engine.online else ():
        try:
            carry_out_unnoted(session, act)
        except LockNotTaken as error:
            session.say(f"what kept images of changed rows stays until the next command: {error}")


def settle_intended(session: Session, step: Step) -> None:
    """Remove what is left of a step outside a transaction that was announced and never done."""
    if step.probe and session.engine.probe(step) != "absent":
        carry_out_unnoted(session, Act(statements=step.clean, transactional=False))
