"""What is tried at every event of a command: kill it there, give the next command, and say what is wrong then.

A matrix is one test with a loop, because each round needs only a copy of a prepared database.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Sequence

from segue.core.event import EventKind
from tests.faults import child
from tests.faults.child import Ended, Strike
from tests.faults.shop import Shop

APPLY = ("apply", "shop")
ROLLBACK = ("rollback",)
FINALIZE = ("finalize", "--old-code-gone")

Next = Callable[[Shop], list[str]]


def kinds_of_events(shop: Shop, *command: str) -> list[str]:
    """Return what a whole command appends to the journal, in order; resets bring back what was there before."""
    shop.reset()
    began = len(shop.kinds())
    ended = child.run(*command)
    assert ended.status == 0, ended.output
    return shop.kinds()[began:]


def every_strike(kinds: Sequence[str]) -> list[Strike]:
    """Return a kill before and after the commit of each event."""
    return [Strike(event=n, when=when) for n in range(1, len(kinds) + 1) for when in ("before", "after")]


def a_share(kinds: Sequence[str], *, part: int) -> list[Strike]:
    """Return one kill of each event, two before and two after in turn; parts 0 and 1 make up the whole.

    Of contract steps that wait for finalize, which change nothing yet, the first in a row stands for the others.
    """
    chosen = [
        n
        for n, kind in enumerate(kinds, 1)
        if kind != EventKind.STEP_DEFERRED or kinds[max(n - 2, 0)] != EventKind.STEP_DEFERRED
    ]
    return [Strike(event=n, when=("before", "after")[(turn // 2 + part) % 2]) for turn, n in enumerate(chosen)]


def troubles(shop: Shop, command: tuple[str, ...], strikes: Iterable[Strike], then: Next) -> list[str]:
    """Kill the command at each strike and return what is wrong after the next one, one sentence a trouble."""
    found = []
    for strike in strikes:
        shop.reset()
        ended = child.run(*command, strike=strike)
        assert ended.signal == signal.SIGKILL, f"{strike} did not strike:\n{ended.output}"
        last = shop.last_event()
        found += [f"{strike}, after which the journal ended with {last}: {wrong}" for wrong in then(shop)]
    return found


def apply_and_finalize(shop: Shop) -> list[str]:
    """Apply as the next command; return what is wrong once that is finalized."""
    before = shop.write_as_new_code()
    return _failure(shop, APPLY) or _failure(shop, FINALIZE) or shop.troubles_of_the_finished(before)


def roll_back(shop: Shop) -> list[str]:
    """Roll back as the next command; return what is wrong then."""
    before = shop.write_as_new_code()
    return _failure(shop, ROLLBACK) or shop.troubles_of_the_undone(before)


def roll_back_and_apply(shop: Shop) -> list[str]:
    """Roll back as the next command, apply once more, finalize; return what is wrong in between and then."""
    before = shop.write_as_new_code()
    return (
        _failure(shop, ROLLBACK)
        or shop.troubles_of_the_undone(before)
        or _failure(shop, APPLY)
        or _failure(shop, FINALIZE)
        or shop.troubles_of_the_finished(before)
    )


def finalize(shop: Shop) -> list[str]:
    """Finalize as the next command; return what is wrong then."""
    before = shop.contents()
    return _failure(shop, FINALIZE) or shop.troubles_of_the_finished(before)


def _failure(shop: Shop, command: tuple[str, ...]) -> list[str]:
    ended: Ended = child.run(*command)
    return [] if ended.status == 0 else [f"segue {' '.join(command)} ended with {ended.status}:\n{ended.output}"]
