"""`segue demo`: VILLEN Music is migrated, rolled back and migrated again under load, and all is measured.

Start at `story.py`. This module owns the options, and imports little: every command reads them.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

DEFAULT_USERS = 200_000
FEWEST_USERS = 100
DEFAULT_SCENE_SECONDS = 7.0


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the demo was asked for."""

    users: int
    format: str
    compare: bool
    seconds_per_phase: float
    keep: bool
    project: Path | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `segue demo`."""
    say = parser.add_argument
    say("--users", type=int, default=DEFAULT_USERS, help="listeners, and as many songs (default: %(default)s)")
    say("--format", choices=["text", "json"], default="text", help="tables, or one JSON object")
    say("--compare", action="store_true", help="tell the same story on stock Django, too")
    say(
        "--seconds-per-phase",
        type=float,
        default=DEFAULT_SCENE_SECONDS,
        help="how long each scene without a command lasts (default: %(default)s)",
    )
    say("--keep", action="store_true", help="leave the server's folder and all records for inspection")
    say("--project", type=Path, help="the reference project (default: backend/ here or above)")


def run(options: argparse.Namespace) -> int:
    """Tell the story and print what was measured; 1 when a promise was broken.

    Raises Interrupted after Ctrl-C or SIGTERM, once every child is stopped and the folder is removed.
    """
    # Imported here, because it takes longer than most commands do.
    from segue.demo.performance import perform

    return perform(Options(**{name: getattr(options, name) for name in Options.__dataclass_fields__}))
