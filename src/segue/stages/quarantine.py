"""segue quarantine: what the way back could not keep, and how to settle it. An image is never deleted."""

from __future__ import annotations

import json
from collections.abc import Sequence

from segue.core.change import Act
from segue.core.errors import StepFailed, UsageError
from segue.core.quarantine import Group, Line, Settled
from segue.core.values import from_json
from segue.engines.base import Waited
from segue.session import Session

_NOTHING_TO_PUT_BACK = "it does not say what would put it right"


def groups(session: Session) -> tuple[Group, ...]:
    """Return what waits for a person, by release, table and reason; reads only."""
    return session.journal.quarantine_groups()


def chosen(session: Session, ids: Sequence[int], release: str, table: str) -> tuple[Line, ...]:
    """Return the lines that wait and are meant, oldest first; raise UsageError when there are none."""
    found = session.journal.quarantine_lines(ids=ids, release=release, table=table)
    if not found:
        raise UsageError(
            "No line of the quarantine that still waits is meant by that.",
            next_command="segue quarantine, which lists them",
        )
    return found


def keep(session: Session, lines: Sequence[Line]) -> Settled:
    """Mark the lines as settled, without changing anything else."""
    session.journal.settle(lines)
    return Settled(settled=tuple(lines), left=())


def restore(session: Session, lines: Sequence[Line]) -> Settled:
    """Put back what fits by now, or try the constraint again; call it while holding the target.

    Each line is settled in the transaction that puts it back. What stays as it was says why.
    """
    of_rows = [line for line in lines if line.trouble and line.trouble.is_of_a_row]
    of_constraints = [line for line in lines if line.trouble and not line.trouble.is_of_a_row]
    left = {line.id: _NOTHING_TO_PUT_BACK for line in lines if line.trouble is None}
    left |= _put_back(session, of_rows)
    left |= _tried_again(session, of_constraints)
    return Settled(
        settled=tuple(line for line in lines if line.id not in left),
        left=tuple((line, left[line.id]) for line in lines if line.id in left),
    )


def _put_back(session: Session, lines: Sequence[Line]) -> dict[int, str]:
    """Put rows and values back, as often as that helps another; return why the rest stays."""
    settler, waiting = session.engine.settler(), list(lines)
    while True:
        left = {line.id: why for line in waiting if (why := settler.put_back(line, session.journal.settle))}
        if len(left) == len(waiting):
            return left
        waiting = [line for line in waiting if line.id in left]


def _tried_again(session: Session, lines: Sequence[Line]) -> dict[int, str]:
    """Make each constraint that the rows stood against, if none does any more; return why the rest stays."""
    left: dict[int, str] = {}
    for table, name in dict.fromkeys((line.table, line.object) for line in lines):
        mine = [line for line in lines if (line.table, line.object) == (table, name)]
        if why := _made(session, table, name, mine[-1].definition):
            left |= {line.id: why for line in mine}
        else:
            session.journal.settle(mine)
    return left


def _made(session: Session, table: str, name: str, definition: str) -> str:
    settler = session.engine.settler()
    if settler.stands(table, name):
        return ""
    if not definition:
        return f"{name} cannot be made without holding the table up: make it by hand"
    try:
        for act in json.loads(definition):
            session.engine.carry_out(from_json(Act, act), then=_unnoted, say=session.say)
    except StepFailed as error:
        return str(error).splitlines()[0]
    return "" if settler.stands(table, name) else f"rows still stand against {name}"


def _unnoted(_: Waited) -> None:
    """A constraint that stands again is its own note."""
