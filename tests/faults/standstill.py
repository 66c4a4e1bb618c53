"""A command that stands still at a chosen place, so that a test can break something there; and how it should end."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable, Sequence

from segue.core.event import EventKind
from tests.faults import child, matrix
from tests.faults.child import Ended, Strike
from tests.faults.shop import Shop

# The server process that builds an index and waits for somebody else's transaction to end.
BUILDING = (
    "SELECT pid FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX CONCURRENTLY%%' AND state = 'active' "
    "AND wait_event_type = 'Lock'"
)
_LOST = re.compile(
    r'segue (apply|rollback|finalize): The connection to database "default" was lost: .+\. '
    r"The journal knows every step that was done; nothing is lost\.\n"
    r"Next: run the same command again, and it goes on where it stopped; or segue rollback\n$",
    re.DOTALL,
)


def stops(strikes: Iterable[Strike]) -> list[Strike]:
    """Return a standstill in place of each kill."""
    return [Strike(event=s.event, when=s.when, signal=signal.SIGSTOP) for s in strikes]


def some_stops(kinds: Sequence[str]) -> list[Strike]:
    """Return a standstill for each kind of event, before the first of its kind and after the last.

    The first stands before any event: apply may follow it, but rollback would take the release before it back.
    """
    last = {kind: n for n, kind in enumerate(kinds, 1)}
    befores = [Strike(event=kinds.index(kind) + 1, when="before", signal=signal.SIGSTOP) for kind in last]
    afters = [Strike(event=n, when="after", signal=signal.SIGSTOP) for n in last.values() if n < len(kinds)]
    return sorted([*befores, *afters], key=lambda strike: (strike.event, strike.when))


def before_building(shop: Shop) -> child.Command:
    """Start apply and let it stand still where it is about to build the first index."""
    first = matrix.kinds_of_events(shop, *matrix.APPLY).index(EventKind.STEP_INTENDED) + 1
    shop.reset()
    command = child.start(*matrix.APPLY, strike=Strike(event=first, when="after", signal=signal.SIGSTOP))
    command.wait_until_stopped()
    return command


def complaints(ended: Ended) -> list[str]:
    """Return what is wrong with how a command ended that lost its connection: it must say so, and what is next."""
    return [] if ended.status == 8 and _LOST.search(ended.output) else [f"ended with {ended.status}:\n{ended.output}"]
