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
rolled back, applied again and finalized. After the rollback its schema is compared with the one before, and at the
end with stock's: every table, column, index, constraint and sequence; then every value of every row. Before a migration
with code of its own the rows lie in the order of their keys in both databases: such code often asks for no order, and
numbers what it makes in the one that it gets. After the last migration both go back, one finalized migration at a time,
with the schemas compared after each, and forth again.

To repeat this: `python -m tests.histories --report`. It installs each project in a folder of its own.

Not among them is wagtail 7.0. Its first migration makes tables and rows of them at once, with a way back for the rows
that does nothing. Stock's way back drops them with the tables. Segue keeps them, so when the release is applied again
the code meets the rows that it had made, fails on their unique path, and is taken back.

What is no difference, each time counted or listed below:

- What a migration's own code (RunPython, RunSQL) writes over, on the way back or when it runs again: only where stock,
  from the same rows, ends with the very same value.
- A value that a default makes at random, and a moment of the run, in a column that the migration adds or in rows that
  its own code writes. Both databases go on with the same one.
- A type of characters that was widened stays wide after a rollback; going back from the finalized release narrows it.
- NOT NULL does not come back with a column that was removed while rows which new code wrote have no value in it, nor
  a unique constraint while such rows have the same values.
- Going back brings back what there was before, where stock makes it anew and under newer names.
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
    left = len(result["steps"]) - len(shown)
    lines.append(f"The other {left} migrations lose nothing either way." if shown else "Nothing is lost either way.")
    lines += _all_the_way(result)
    excused = [line for step in result["steps"] for line in _excused(step)]
    if excused:
        lines += ["", "No difference, for the reasons above:", "", *(f"- {line}" for line in excused)]
    faults = [f"{s['migration']}: {fault}" for s in result["steps"] for fault in s["faults"]] + result["faults"]
    if faults:
        lines += ["", "Differences:", "", *(f"- {fault}" for fault in faults)]
    return lines


def _all_the_way(result: dict[str, Any]) -> list[str]:
    if not result["back_to"]:
        return []
    lost = _number(result["segue_lost_all"], result["segue_lost_all_of"])
    again = f" Forth again, stock has lost {result['stock_lost_all']} values, Segue {lost}."
    return [
        "",
        f"All the way back, after the last migration was finalized: {result['back_to']} migrations."
        f"{again if result['is_forth_again'] else ' Not gone forth again.'}",
        *([""] if result["back"] or result["as_it_was"] else []),
        *(
            f"- {name}: what it had removed has the names that it had before, unlike stock's"
            for name in result["as_it_was"]
        ),
        *(f"- {line}" for line in result["back"]),
    ]


def _excused(step: dict[str, Any]) -> list[str]:
    found = []
    if step["as_run_twice"]:
        found.append(f"{_values(step['as_run_twice'])} that its own code wrote twice, as under stock")
    if step["at_random"]:
        found.append(f"{_values(step['at_random'])} made at random or by the clock")
    if step["stays_wide"]:
        found.append(f"after the rollback {_places(step['stays_wide'])} stays wide")
    if step["stays_null"]:
        found.append(f"after the rollback {_places(step['stays_null'])} stays without NOT NULL")
    if step["stays_loose"]:
        found.append(f"after the rollback {_places(step['stays_loose'])} is not there")
    return [f"{step['migration']}: {line}" for line in found]


def _values(number: int) -> str:
    return f"{number} {'value' if number == 1 else 'values'}"


def _places(places: list[str], most: int = 3) -> str:
    more = f" and {len(places) - most} more" if len(places) > most else ""
    return ", ".join(f"`{place}`" for place in places[:most]) + more


def _number(number: int, places: list[str]) -> str:
    return f"{number}, of {_places(places)}" if number else "none"


def _went_back(step: dict[str, Any]) -> bool:
    return step["stock"] in ("", "back") and step["segue"] in ("", "back")


def _outcome(step: dict[str, Any], who: str) -> str:
    said, number = step[who], step[f"{who}_lost"]
    if number:
        return f"loses {_values(number)} of {_places(step[f'{who}_lost_of'])}"
    return {"": "not tried", "back": "loses nothing"}.get(said, said.replace("|", "\\|"))
