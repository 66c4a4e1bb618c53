"""Latency counts from when a request was due, and belongs to the scene in which it was due."""

from __future__ import annotations

import pytest

from segue.demo.clients import make_requests
from segue.demo.latency import Window, percentile, summarize
from segue.demo.record import Entry
from segue.demo.workload import Notes


class Clock:
    """Time that passes only while a request or a wait lasts."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> bool:
        """Let time pass; the run ends after three seconds."""
        self.now += seconds
        return self.now >= 3


def run(slow_seconds: float) -> list[Entry]:
    """Two requests a second in turn, every other of which takes `slow_seconds`."""
    clock = Clock()
    entries: list[Entry] = []

    def slow(_: Notes) -> None:
        clock.now += slow_seconds

    def refused(_: Notes) -> None:
        raise ValueError("refused\nwith details")

    make_requests((slow, refused), rate=2, write=entries.append, wait=clock.wait, first_due_at=0, clock=clock)
    return entries


def test_a_request_behind_a_slow_one_has_waited_since_it_was_due() -> None:
    entries = run(slow_seconds=1.25)

    assert [(entry.due_at, entry.latency_ms) for entry in entries[:3]] == [(0, 1250), (0.5, 750), (1, 1500)]


def test_a_failed_request_is_recorded_and_the_next_one_is_made() -> None:
    entries = run(slow_seconds=0)

    assert [entry.failure for entry in entries[:3]] == [None, "ValueError: refused", None]


@pytest.mark.parametrize(("percent", "expected"), [(50, 5), (99, 10), (100, 10), (0, 1)])
def test_a_percentile_is_a_value_that_was_measured(percent: float, expected: float) -> None:
    assert percentile(list(range(1, 11)), percent) == expected


def test_a_window_counts_the_requests_that_were_due_in_it() -> None:
    entries = run(slow_seconds=1.25)

    latency = summarize(entries, Window(name="apply", started_at=0.5, ended_at=1))

    assert latency is not None
    assert (latency.requests, latency.failed, latency.max_ms) == (1, 1, 750)


def test_a_window_without_requests_has_no_latency() -> None:
    assert summarize(run(slow_seconds=0), Window(name="calm", started_at=50, ended_at=60)) is None
