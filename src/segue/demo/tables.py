"""The demo's answer for a person: the report's values as tables. It reads the report and measures nothing."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from segue.demo.story import SCENES

UNKNOWN = "unknown"
SHOWN_STEPS = 8
LATENCIES = (("p50", "p50_ms"), ("p99", "p99_ms"), ("max", "max_ms"))


def print_report(console: Console, report: Mapping[str, Any]) -> None:
    """Print the whole answer; the verdict comes last."""
    sides = {"Segue": report} | ({"stock Django": report["stock"]} if report["stock"] else {})
    console.print(_summary(sides))
    for name, side in sides.items():
        console.print(_latency(name, side["latency"]))
    if report["steps"]:
        console.print(_steps(report["steps"]))
    for name, side in sides.items():
        for failure in side["failures"]:
            line = f"{name}: {failure['count']:,} x {failure['version']}: {failure['error']}"
            console.print(Text(line, style="red"))
    for difference in report["schema_differences"]:
        console.print(Text(f"schema: {difference}", style="red"))
    for sentence in _verdict(report):
        console.print(sentence)


def _summary(sides: Mapping[str, Mapping[str, Any]]) -> Table:
    table = Table(title="What happened", title_justify="left")
    table.add_column("")
    for name in sides:
        table.add_column(name, justify="right")
    columns = [dict(_figures(side)) for side in sides.values()]
    for label in columns[0]:
        table.add_row(label, *(column[label] for column in columns))
    return table


def _figures(side: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    requests, failed, wall = side["requests"], side["failed_requests"], side["wall_seconds"]
    yield "failed requests of 1.0.0", f"{failed['old']:,} of {requests['old']:,}"
    yield "failed requests of 1.3", f"{failed['new']:,} of {requests['new']:,}"
    yield "acknowledged values lost", _of(side["values_lost"], side["values_compared"])
    for kind in side["returned"] or ():
        yield f"{kind['kind']} back after applying again", _of(kind["found"], kind["acknowledged"])
    yield "longest wait imposed by a lock", _ms(side["longest_wait_ms"])
    yield "longest request of a client", _ms(_longest_request(side["latency"]))
    yield "apply", _seconds(side["apply_seconds"])
    yield "rollback", _seconds(side["rollback_seconds"])
    yield "apply again", _seconds(side["second_apply_seconds"])
    yield "finalize", _seconds(side["finalize_seconds"])
    for title in ("apply", "rollback", "apply again", "finalize"):
        yield f"{title}, as a whole process", _seconds(wall.get(title))
    yield "schema equal to stock Django's", _yes(side["schema_equal"])


def _latency(name: str, scenes: Mapping[str, Mapping[str, Any]]) -> Table:
    table = Table(title=f"{name}: latency of requests, from when they were due (ms)", title_justify="left")
    table.add_column("Scene")
    for release in ("1.0.0", "1.3"):
        for heading, _ in LATENCIES:
            table.add_column(f"{release} {heading}", justify="right")
    for scene, versions in scenes.items():
        cells = [
            f"{latency[key]:,.1f}" if latency else "-"
            for latency in (versions["old"], versions["new"])
            for _, key in LATENCIES
        ]
        table.add_row(SCENES[scene], *cells)
    return table


def _steps(steps: Sequence[Mapping[str, Any]]) -> Table:
    """The steps that took longest, in the order in which they ran, and one line for all others."""
    slowest = heapq.nlargest(SHOWN_STEPS, steps, key=lambda step: float(step["seconds"]))
    others = [step for step in steps if step not in slowest]
    table = Table(title="Segue's longest steps", title_justify="left")
    for heading in ("Command", "Step", "Phase"):
        table.add_column(heading)
    for heading in ("Seconds", "Attempts", "Waited", "Wait imposed"):
        table.add_column(heading, justify="right")
    for step in steps:
        if step in slowest:
            table.add_row(step["command"], step["title"], step["phase"], *_step_figures(step))
    if others:
        together = sum(float(step["seconds"]) for step in others)
        table.add_row("", f"{len(others)} more steps, together", "", _seconds(together))
    return table


def _step_figures(step: Mapping[str, Any]) -> Iterator[str]:
    yield _seconds(step["seconds"])
    yield str(step["attempts"])
    yield _seconds(step["waited_seconds"])
    yield _ms(step["longest_ms"])


def _verdict(report: Mapping[str, Any]) -> Iterator[Text]:
    for promise in report["broken_promises"]:
        yield Text(f"BROKEN: {promise}", style="bold red")
    for note in report["notes"]:
        yield Text(f"Note: {note}", style="yellow")
    if not report["broken_promises"]:
        yield Text("Every promise held: nothing failed, nothing is lost, the schema is equal.", style="green")
    yield Text(f"PostgreSQL {report['server_version']}, {report['users']:,} users, {report['seconds']:.0f} s")


def _longest_request(scenes: Mapping[str, Mapping[str, Any]]) -> float | None:
    """Over all scenes and both versions; None where nothing was measured."""
    every = [latency["max_ms"] for scene in scenes.values() for latency in scene.values() if latency]
    return max(every, default=None)


def _of(part: int | None, whole: int | None) -> str:
    return UNKNOWN if part is None or whole is None else f"{part:,} of {whole:,}"


def _ms(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:,.1f} ms"


def _seconds(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.2f} s"


def _yes(value: bool | None) -> str:
    return UNKNOWN if value is None else ("yes" if value else "NO")
