"""What the benchmark of kinds decides: how a row is named in each version, and whether a goal holds."""

from __future__ import annotations

from typing import Any

from bench.kinds.by_hand_scripts import SCRIPTS
from bench.kinds.changes import CHANGES
from bench.kinds.goals import goals
from bench.kinds.operations import SECOND
from bench.kinds.tables import summarize_trials
from segue.demo.record import Row

SONG = Row(table="shop_song", pk=1, values={"title": "Kesariya", "note": "loud", "mood": None}, is_new=True)


def test_every_kind_has_a_migration_and_a_script_by_hand() -> None:
    assert set(CHANGES) == set(SECOND) == set(SCRIPTS)


def test_a_row_is_named_as_the_new_version_does_without_what_that_does_not_have() -> None:
    album = Row(table="shop_album", pk=1, values={"title": "Brahmastra"}, is_new=False)
    renamed, removed, required = (CHANGES[kind] for kind in ("rename-field", "remove-field", "not-null"))

    assert renamed.in_new_words(SONG).values == {"name": "Kesariya", "note": "loud", "mood": None}
    assert renamed.in_new_words(album) == album
    assert removed.in_new_words(SONG).values == {"title": "Kesariya", "mood": None}
    assert required.in_new_words(SONG).values == {"title": "Kesariya", "note": "loud", "mood": "unknown"}


def test_a_row_is_named_as_the_old_version_does_without_what_is_new() -> None:
    added = Row(table="shop_song", pk=1, values={"title": "Kesariya", "quality": 128}, is_new=True)
    album = Row(table="shop_record", pk=1, values={"title": "Brahmastra"}, is_new=False)

    assert CHANGES["columns-and-index"].in_old_words(added).values == {"title": "Kesariya"}
    assert CHANGES["rename-model"].in_old_words(album).table == "shop_album"
    assert CHANGES["rename-field"].in_old_words(CHANGES["rename-field"].in_new_words(SONG)) == SONG


def test_a_goal_names_the_kinds_for_which_it_holds_and_does_not() -> None:
    summary = summarize_trials(
        [
            _trial("index", "stock", stall_ms=5000, failed=0),
            _trial("index", "segue", stall_ms=40, failed=0),
            _trial("not-null", "stock", stall_ms=2000, failed=9),
            _trial("not-null", "segue", stall_ms=400, failed=1),
        ]
    )

    found = {goal.claim: (goal.holding, goal.failing) for goal in goals(summary)}

    assert found["no transaction of either version fails, in any window"] == ("index (0 of 10)", "not-null (1 of 10)")
    assert found["no write stalls over 100 ms on a quiet machine"] == (
        "index (40 ms, calm 20 ms)",
        "not-null (400 ms, calm 20 ms)",
    )
    assert found["stalls 20 times shorter than stock's that take over a second"] == (
        "index (125 times: 5,000 ms, 40 ms)",
        "not-null (5 times: 2,000 ms, 400 ms)",
    )
    assert found["rollback: old code can run after 1 s"] == ("index (0.30 s), not-null (0.30 s)", "-")


def _trial(kind: str, contender: str, *, stall_ms: float, failed: int) -> dict[str, Any]:
    def phase(longest_ms: float, failed: int) -> dict[str, Any]:
        write = {"max_ms": longest_ms, "p99_ms": 10.0}
        old = {"requests": 10, "failed": failed, "errors": {"refused": failed} if failed else {}, "write": write}
        return {
            "old": {**old, "read": None},
            "new": {"requests": 0, "failed": 0, "errors": {}, "write": None, "read": None},
        }

    took = {"seconds": 2.0, "attempts": 1, "itself": 1.0, "backfill": 0.0, "until_old_code": 0.3}
    return {
        "kind": kind,
        "contender": contender,
        "outcome": "done",
        "reason": None,
        "alone": {},
        "commands": {"migrate": took, "rollback": took},
        "phases": {"calm": phase(20, 0), "migrate": phase(stall_ms, failed)},
        "values": {},
    }
