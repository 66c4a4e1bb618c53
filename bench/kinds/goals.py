"""The goals that the kinds of change are held against: for each, the kinds for which it holds, with the figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.tables import NOTHING

STALL_MS = 100.0
STOCK_STALL_MS, TIMES_SHORTER = 1000.0, 20.0
DURATION_RATIO, DURATION_SECONDS = 1.15, 1.0
ROLLBACK_SECONDS = 1.0
P99_RATIO = 2.0
COMMANDS = ("migrate", "rollback", "migrate again", "finalize")

Summary = Mapping[str, Any]
# What a kind's entries, by contender, say about a goal: whether it holds and the figure; None where they say nothing.
Verdict = tuple[bool, str] | None


@dataclass(frozen=True, kw_only=True)
class Goal:
    """One goal and the kinds for which it holds or does not, in words."""

    claim: str
    holding: str
    failing: str


def goals(summary: Sequence[Summary]) -> Iterator[Goal]:
    """Hold every kind's medians against every goal; a goal about which nothing was measured is left out."""
    kinds = dict.fromkeys(entry["kind"] for entry in summary)
    by_kind = {kind: {entry["contender"]: entry for entry in summary if entry["kind"] == kind} for kind in kinds}
    for claim, decide in GOALS:
        found = {kind: decide(entries) for kind, entries in by_kind.items() if "segue" in entries}
        lists = {
            holds: ", ".join(f"{kind} ({v[1]})" for kind, v in found.items() if v is not None and v[0] is holds)
            for holds in (True, False)
        }
        if any(lists.values()):
            yield Goal(claim=claim, holding=lists[True] or NOTHING, failing=lists[False] or NOTHING)


def _none_failed(entries: Mapping[str, Summary]) -> Verdict:
    found = [one for versions in entries["segue"]["failed"].values() for one in versions.values() if one]
    failed = sum(one["failed"]["max"] for one in found)
    requests = sum(one["requests"]["median"] for one in found)
    is_done = set(entries["segue"]["outcomes"]) == {"done"}
    return (failed == 0 and is_done, f"{failed:,.0f} of {requests:,.0f}{'' if is_done else ', ended early'}")


def _nothing_lost(entries: Mapping[str, Summary]) -> Verdict:
    found = [one for one in entries["segue"]["lost"].values() if one]
    lost, compared = (sum(one[key]["max"] for one in found) for key in ("lost", "compared"))
    return (lost == 0, f"{lost:,.0f} of {compared:,.0f}") if found else None


def _no_stall(entries: Mapping[str, Summary]) -> Verdict:
    longest = _longest_stall(entries["segue"])
    calm = entries["segue"]["stalls_ms"]["calm"]["write"]
    if longest is None or calm is None:
        return None
    return longest <= STALL_MS, f"{longest:,.0f} ms, calm {calm['median']:,.0f} ms"


def _shorter_than_stock(entries: Mapping[str, Summary]) -> Verdict:
    stalls = [_longest_stall(entries[name]) if name in entries else None for name in ("stock", "segue")]
    stock, ours = stalls
    if stock is None or ours is None or stock <= STOCK_STALL_MS:
        return None
    return stock / ours >= TIMES_SHORTER, f"{stock / ours:,.0f} times: {stock:,.0f} ms, {ours:,.0f} ms"


def _longest_stall(entry: Summary) -> float | None:
    medians = [found["write"]["median"] for title in COMMANDS if (found := entry["stalls_ms"][title])["write"]]
    return max(medians, default=None)


def _as_fast_as_by_hand(entries: Mapping[str, Summary]) -> Verdict:
    taken = [_without_backfill(entries[name]) if name in entries else None for name in ("segue", "expert")]
    ours, theirs = taken
    if ours is None or theirs is None:
        return None
    return ours <= theirs * DURATION_RATIO + DURATION_SECONDS, f"{ours:.2f} s, expert {theirs:.2f} s"


def _without_backfill(entry: Summary) -> float | None:
    found = entry["commands"]["migrate"]
    return found["seconds"]["median"] - found["backfill"]["median"] if found["seconds"] else None


def _rolls_back(entries: Mapping[str, Summary]) -> Verdict:
    found = entries["segue"]["commands"]["rollback"]["until_old_code"]
    return (found["median"] <= ROLLBACK_SECONDS, f"{found['median']:.2f} s") if found else None


def _p99(entries: Mapping[str, Summary]) -> Verdict:
    calm, meanwhile = (entries["segue"]["p99_ms"][phase] for phase in ("calm", "migrate"))
    backfill = entries["segue"]["commands"]["migrate"]["backfill"]
    if not calm or not meanwhile or not backfill or not backfill["median"]:
        return None
    ratio = meanwhile["median"] / calm["median"]
    return ratio <= P99_RATIO, f"{ratio:.1f} times: {calm['median']:.0f} ms, {meanwhile['median']:.0f} ms"


def _tokens(entries: Mapping[str, Summary]) -> Verdict:
    """For a unique column distinct values; else what stock gives."""
    found = entries["segue"]["tokens"]
    if not found:
        return None
    stock = entries["stock"]["tokens"] if "stock" in entries else None
    if entries["segue"]["kind"] == "uuid-unique":
        wanted = found["rows"]
    elif stock:
        wanted = stock["distinct"]
    else:
        return None
    holds = found["distinct"] == wanted and found["filled"] == found["rows"]
    return holds, f"{found['distinct']:,} distinct of {found['rows']:,}, wanted {wanted:,}"


GOALS: tuple[tuple[str, Callable[[Mapping[str, Summary]], Verdict]], ...] = (
    ("no transaction of either version fails, in any window", _none_failed),
    ("no acknowledged value is lost, after the rollback and after migrating again", _nothing_lost),
    (f"no write stalls over {STALL_MS:g} ms on a quiet machine", _no_stall),
    (f"stalls {TIMES_SHORTER:g} times shorter than stock's that take over a second", _shorter_than_stock),
    (f"whole command without backfill at most {DURATION_RATIO:g} times the expert's + 1 s", _as_fast_as_by_hand),
    (f"rollback: old code can run after {ROLLBACK_SECONDS:g} s", _rolls_back),
    (f"p99 of writes while rows are filled at most {P99_RATIO:g} times the calm one", _p99),
    ("a callable default gives what stock gives, and distinct values where unique", _tokens),
)
