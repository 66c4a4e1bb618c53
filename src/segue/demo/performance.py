"""One performance of the demo: the order of the two sides, the cleaning up, and what is printed in the end."""

from __future__ import annotations

import json
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg
from rich.console import Console

from segue.core.errors import Interrupted, UsageError
from segue.demo import FEWEST_USERS, Options
from segue.demo.project import PRODUCTION, STOCK, Side, find_project
from segue.demo.report import SCHEMA_VERSION, side_report
from segue.demo.screen import Screen
from segue.demo.stage import make_side, migrate_fully, prepare, server_version, start_server
from segue.demo.story import Story, Told
from segue.demo.tables import print_report
from segue.engines.postgresql import catalog
from segue.engines.postgresql.server import Server

TABLE_WIDTH = 120


def perform(wanted: Options) -> int:
    """Tell the story and print what was measured; 1 when a promise was broken.

    Raises Interrupted after Ctrl-C or SIGTERM, once every child is stopped and the folder is removed.
    """
    if wanted.users < FEWEST_USERS:
        raise UsageError(
            f"{wanted.users} users are too few: each client needs some of its own.",
            next_command=f"segue demo --users {FEWEST_USERS}",
        )
    project = find_project(wanted.project)
    try:
        with one_interrupt():
            report = _report(wanted, project)
    except KeyboardInterrupt:
        raise Interrupted("The demo was interrupted; nothing of it is left running.") from None
    if wanted.format == "json":
        print(json.dumps(report, indent=2))
    else:
        print_report(_results_console(), report)
    return 1 if report["broken_promises"] else 0


def _report(options: Options, project: Path) -> dict[str, Any]:
    started_at = time.monotonic()
    with ExitStack() as cleaning:
        folder = cleaning.enter_context(_folder(keep=options.keep))
        screen = cleaning.enter_context(Screen(Console(stderr=True)))
        with screen.scene("start PostgreSQL"):
            server = cleaning.enter_context(start_server(folder))
        told = _tell_with_segue(options, project, folder, server, screen)
        stock = _tell_on_stock(options, project, folder, server, screen) if options.compare else None
        version = server_version(server)
    return {
        "schema_version": SCHEMA_VERSION,
        "server_version": version,
        "users": options.users,
        "seconds": time.monotonic() - started_at,
        "seconds_per_phase": options.seconds_per_phase,
        **side_report(told),
        "stock": side_report(stock) if stock else None,
    }


def _tell_with_segue(options: Options, project: Path, folder: Path, server: Server, screen: Screen) -> Told:
    expected = make_side(server, name="expected", settings=STOCK, project=project, folder=folder)
    side = make_side(server, name="villen", settings=PRODUCTION, project=project, folder=folder)
    with screen.scene(f"1.0.0's schema with {options.users:,} users and as many songs"):
        migrate_fully(expected, say=screen.say)
        prepare(side, users=options.users, say=screen.say)

    def find_differences(connection: psycopg.Connection) -> list[str]:
        with psycopg.connect(expected.url, autocommit=True) as other:
            return catalog.differences(connection, other)

    return _story(side, options, screen).tell(find_differences)


def _tell_on_stock(options: Options, project: Path, folder: Path, server: Server, screen: Screen) -> Told:
    side = make_side(server, name="stock", settings=STOCK, project=project, folder=folder)
    with screen.scene("stock Django: the same schema and rows"):
        prepare(side, users=options.users, say=screen.say)
    return _story(side, options, screen).tell(None)


def _story(side: Side, options: Options, screen: Screen) -> Story:
    return Story(side, scene_seconds=options.seconds_per_phase, screen=screen)


@contextmanager
def _folder(*, keep: bool) -> Iterator[Path]:
    """A new folder for the server and the records; removed at the end unless it is to be kept."""
    folder = Path(tempfile.mkdtemp(prefix="segue-demo-"))
    try:
        yield folder
    finally:
        if keep:
            print(f"Kept: {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder)


@contextmanager
def one_interrupt() -> Iterator[None]:
    """Take the first Ctrl-C or SIGTERM for an end, and let no second one disturb the cleaning up."""
    signals = (signal.SIGINT, signal.SIGTERM)

    def interrupt(*_: object) -> None:
        for each in signals:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {each: signal.signal(each, interrupt) for each in signals}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _results_console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=TABLE_WIDTH)
