"""Tables of text, printed for a terminal or as Markdown; and numbers as words."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from rich.console import Console
from rich.markup import escape
from rich.table import Table

NOTHING = "-"
WIDTH = 140
Spread: TypeAlias = dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A table: its columns' names, the first of which is the rows', its rows, and notes to stand below it."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()


def print_text(grids: Iterable[Grid]) -> None:
    """Print tables for a terminal."""
    console = Console(highlight=False)
    console = console if console.is_terminal else Console(width=WIDTH, highlight=False)
    for grid in grids:
        console.print(f"[bold]{escape(grid.title)}[/]", soft_wrap=True)
        table = Table()
        for number, column in enumerate(grid.columns):
            table.add_column(escape(column), justify="right" if number else "left")
        for row in grid.rows:
            table.add_row(*map(escape, row))
        console.print(table)
        for note in grid.notes:
            console.print(escape(note), soft_wrap=True)


def to_markdown(grids: Iterable[Grid]) -> str:
    """The same tables as Markdown."""
    blocks = []
    for grid in grids:
        lines = [f"**{grid.title}**", "", _markdown_row(grid.columns)]
        lines.append("|".join(["", "---", *["---:"] * (len(grid.columns) - 1), ""]))
        lines += [_markdown_row(row) for row in grid.rows]
        lines += [line for note in grid.notes for line in ("", note)]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def spread(values: Iterable[float | None]) -> Spread | None:
    """The median of what was measured, its least and its most; None where nothing was."""
    measured = [value for value in values if value is not None]
    if not measured:
        return None
    return {"median": statistics.median(measured), "min": min(measured), "max": max(measured)}


def words(found: Spread | None, *, unit: str = "", digits: int = 0) -> str:
    """A median and, where there is any, the range that it comes from: "12 (10-15) ms"."""
    if found is None:
        return NOTHING
    median, least, most = (f"{found[key]:,.{digits}f}" for key in ("median", "min", "max"))
    between = f" ({least}-{most})" if least != most else ""
    return f"{median}{between}{unit and f' {unit}'}"


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
