"""docs/histories.md, from the results of the walks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import django

FILE = Path(__file__).parents[2] / "docs" / "histories.md"

_HEAD = """# Real histories

The migrations of public Django projects, one at a time, with Django {django} on PostgreSQL 18. Before each one every
table has rows, the same in two databases. Stock Django migrates one. Segue migrates the other as a database in use:
it applies the migration, new code writes a row into each table that it touches, old code does too, the release is
rolled back, applied again and finalized. Then the two databases are compared: every table, column, index, constraint
and sequence, and every value of every row. Moments of the run itself, and values that a default makes at random, are
left out of the comparison of rows. Segue counts as losing what a migration's own reverse code writes over, as it does
under stock; any other loss is listed as a difference.

To repeat this: `python -m tests.histories --report`. It installs each project in a folder of its own.
"""

_COUNTED = ("RenameField", "RenameModel", "AlterField", "RemoveField", "DeleteModel", "RunPython", "RunSQL")


def write(results: list[dict[str, Any]]) -> None:
    """Write the page."""
    FILE.write_text(text(results), encoding="utf-8")


def text(results: list[dict[str, Any]]) -> str:
    """Return the page."""
    lines = [_HEAD.format(django=django.get_version()), *_summary(results)]
    for result in results:
        lines += _project(result)
    return "\n".join(lines) + "\n"


def _summary(results: list[dict[str, Any]]) -> list[str]:
    lines = [
        "| project | migrations | among their operations | values lost by stock | by Segue | differences |",
        "|---|---:|---|---:|---:|---:|",
    ]
    for result in results:
        steps = result["steps"]
        counted = ", ".join(f"{result['operations'][k]} {k}" for k in _COUNTED if result["operations"].get(k))
        lines.append(
            f"| {result['package']} | {_walked(result)} | {counted} | {sum(s['stock_lost'] for s in steps)} "
            f"| {sum(s['segue_lost'] for s in steps)} | {_faults(result)} |"
        )
    return [
        *lines,
        "",
        "*Lost* counts values and rows that going back, and forth again, one migration at a time, did not bring back.",
    ]


def _walked(result: dict[str, Any]) -> str:
    """How many migrations, and of how many where the walk did not come to the end."""
    done = len(result["steps"])
    return str(done) if done >= result["planned"] else f"{done} of {result['planned']}"


def _faults(result: dict[str, Any]) -> int:
    return len(result["faults"]) + sum(len(s["faults"]) for s in result["steps"])


def _project(result: dict[str, Any]) -> list[str]:
    lines = ["", f"## {result['package']}", ""]
    shown = [s for s in result["steps"] if s["stock_lost"] or s["segue_lost"] or not _went_back(s)]
    if shown:
        lines += ["| migration | stock Django, back and forth | Segue |", "|---|---|---|"]
        lines += [f"| {s['migration']} | {_outcome(s, 'stock')} | {_outcome(s, 'segue')} |" for s in shown]
        lines.append("")
    lines.append(
        f"The other {len(result['steps']) - len(shown)} migrations lose nothing either way."
        if shown
        else "Nothing is lost either way."
    )
    if result["back_to"]:
        lines += [
            "",
            f"All the way back, after the last migration was finalized: {result['back_to']} migrations. Forth again, "
            f"stock has lost {result['stock_lost_all']} values and Segue {result['segue_lost_all']}.",
        ]
        lines += [f"- {line}" for line in result["back"]]
    faults = [f"{s['migration']}: {fault}" for s in result["steps"] for fault in s["faults"]] + result["faults"]
    if faults:
        lines += ["", "Differences:", "", *(f"- {fault}" for fault in faults)]
    return lines


def _went_back(step: dict[str, Any]) -> bool:
    return step["stock"] in ("", "back") and step["segue"] in ("", "back")


def _outcome(step: dict[str, Any], who: str) -> str:
    said, number = step[who], step[f"{who}_lost"]
    if number:
        return f"loses {number} {'value' if number == 1 else 'values'}"
    return {"": "not tried", "back": "loses nothing"}.get(said, said.replace("|", "\\|"))
