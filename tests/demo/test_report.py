"""The demo's answer: its keys, its unknowns, and the promises that it finds broken."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from segue.demo.commands import CommandRun
from segue.demo.latency import Window
from segue.demo.ledger import Comparison
from segue.demo.project import PRODUCTION, Side
from segue.demo.record import Entry
from segue.demo.report import side_report
from segue.demo.returned import Returned
from segue.demo.story import Told
from segue.demo.tables import print_report

STEP = {
    "id": "1",
    "title": "add a column",
    "phase": "expand",
    "seconds": 0.1,
    "attempts": 2,
    "waited_seconds": 3,
}
BLOCKED = {
    "table": "music_user",
    "readers_seconds": 0,
    "writers_seconds": 0.02,
    "longest_ms": 21,
    "probes": 90,
}
ANSWER = {"seconds": 0.5, "steps": [STEP], "blocked": [BLOCKED]}

KEPT = Told(
    side=Side(name="villen", settings=PRODUCTION, url="", project=Path(), folder=Path()),
    windows=(Window(name="calm", started_at=0, ended_at=10),),
    entries={"old": [Entry(due_at=1, latency_ms=4, request="read", failure=None, rows=())], "new": []},
    commands={"apply": CommandRun(seconds=1.5, answer=ANSWER)},
    returned=(Returned(kind="playlists", acknowledged=3, found=3),),
    comparison=Comparison(compared=7, lost=()),
    schema_differences=(),
    ended_by=None,
)
UNTOLD = Told(
    side=KEPT.side,
    windows=(),
    entries={"old": [], "new": []},
    commands={},
    returned=None,
    comparison=None,
    schema_differences=None,
    ended_by="apply (villen) ended with status 7: a step failed",
)


def printed(told: Told) -> str:
    output = io.StringIO()
    whole = {**side_report(told), "stock": None, "server_version": "18.6", "users": 10, "seconds": 9.0}
    print_report(Console(file=output, width=140), whole)
    return output.getvalue()


def test_the_report_holds_what_the_scenes_measured() -> None:
    report = side_report(KEPT)

    assert report["failed_requests"] == {"old": 0, "new": 0}
    assert (report["values_compared"], report["values_lost"]) == (7, 0)
    assert (report["apply_seconds"], report["wall_seconds"]) == (0.5, {"apply": 1.5})
    assert report["longest_wait_ms"] == 21
    assert report["schema_equal"] is True
    assert report["steps"] == [{"command": "apply", **STEP, "longest_ms": None}]
    assert report["latency"]["calm"]["old"]["p99_ms"] == 4
    assert report["latency"]["calm"]["new"] is None
    assert report["broken_promises"] == []


def test_what_was_not_measured_is_null_and_reads_unknown() -> None:
    report = side_report(UNTOLD)

    for key in ("values_lost", "longest_wait_ms", "apply_seconds", "rollback_seconds", "schema_equal"):
        assert report[key] is None
    assert "unknown" in printed(UNTOLD)


def test_each_broken_promise_is_a_sentence() -> None:
    refused = Entry(due_at=1, latency_ms=4, request="sign_up", failure="IntegrityError: null value", rows=())
    broken = replace(
        KEPT,
        entries={"old": [refused], "new": []},
        returned=(Returned(kind="playlists", acknowledged=3, found=1),),
        comparison=Comparison(compared=7, lost=("music_user.email of row 1 was 'a'; the row is gone",)),
        schema_differences=("column music_user.email differs",),
    )

    assert side_report(broken)["broken_promises"] == [
        "Failed requests of 1.0.0: 1, most often with IntegrityError: null value",
        "Only 1 of 3 playlists came back with the second apply.",
        "1 of 7 acknowledged values are lost, such as music_user.email of row 1 was 'a'; the row is gone.",
        "Differences from stock Django's schema: 1, first: column music_user.email differs",
    ]
    assert "BROKEN: Only 1 of 3 playlists came back" in printed(broken)


def test_a_story_that_ended_early_says_why() -> None:
    assert side_report(UNTOLD)["broken_promises"] == [
        "The story ended early. apply (villen) ended with status 7: a step failed"
    ]


def test_a_wait_over_a_tenth_of_a_second_is_noted_but_breaks_no_promise() -> None:
    answer = {**ANSWER, "blocked": [{**BLOCKED, "longest_ms": 130.2}]}

    report = side_report(replace(KEPT, commands={"apply": CommandRun(seconds=1.5, answer=answer)}))

    assert report["notes"] == ["Some session waited 130 ms for a lock; more than 100 ms is unusual."]
    assert report["broken_promises"] == []
