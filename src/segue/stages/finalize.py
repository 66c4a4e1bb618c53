"""segue finalize: the steps that old code would trip over, once it is proved that old code is gone."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from segue.core.change import Act
from segue.core.errors import NeedsPerson, OldCodeConnected, StepFailed
from segue.core.event import EventKind
from segue.core.run import Run, State
from segue.executor import carry_out
from segue.session import Session

# Long enough for the requests of an application that connects for each of them.
WATCHED = timedelta(seconds=2)


def require_gone(session: Session, run: Run) -> None:
    """Raise OldCodeConnected, naming each connection, unless old code is proved gone."""
    found = session.old_code(run, watched=WATCHED)
    if found.is_gone:
        return
    lines = [f'  pid {c.pid} "{c.application}" since {c.since}: old code' for c in found.old]
    lines += [f'  pid {c.pid} "{c.application}" since {c.since}: its code cannot be told' for c in found.unknown]
    raise OldCodeConnected(
        f"Release {run.release} cannot be finalized while old code may run:\n" + "\n".join(lines),
        next_command="stop them and run segue finalize again; or segue finalize --old-code-gone, if you know "
        "that they are not old code",
    )


def finalize(session: Session, run: Run) -> Run:
    """Carry out what waits of a release; call it while holding the target, old code gone.

    Resumes where it was interrupted. Raises NeedsPerson when a step fails; what is left can be tried again.
    """
    if run.state is not State.FINALIZING:
        session.journal.append(run.release, EventKind.FINALIZE_STARTED)
    cemetery, before = session.journal.cemetery(), session.journal.cemetery(before_finalize_of=run.release)
    steps = run.steps_left
    tables = tuple(dict.fromkeys(lock.table for step in steps for lock in step.forward.locks))
    with session.watching(tables) as canary:
        for step in steps:
            due = step.is_due(cemetery, before)
            # What was revived or retired meanwhile is left alone; the journal says that the step is over.
            now = step if due else replace(step, forward=Act(), probe="")
            try:
                carry_out(session, run.release, now)
            except StepFailed as error:
                raise NeedsPerson(
                    f"{step.title} failed: {error}\nWhat finalize had done before it stays.",
                    next_command="mend the cause and run segue finalize again: it goes on where it stopped",
                ) from error
            cemetery.follow(now.forward)
    session.journal.append(run.release, EventKind.RELEASE_FINALIZED, blocked=canary.blocked())
    return session.journal.run(run.release)
