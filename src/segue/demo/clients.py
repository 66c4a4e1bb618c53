"""One client of VILLEN: a process that makes requests on a fixed schedule and records each.

Runs as `python -m segue.demo.clients` in the project's folder, under the project's settings. It stops when
its standard input closes, which also happens when the demo that started it dies.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import django
from django.apps import apps
from django.db import connection
from django.db.migrations.loader import MigrationLoader

from segue.demo.project import APP, OLD_MIGRATION, RELEASES, VERSIONS
from segue.demo.record import Entry
from segue.demo.workload import Models, Notes, Request, Share, Villen10, Villen13, Workload


def main() -> int:
    """Make requests until told to stop."""
    options = _parser().parse_args()
    django.setup()
    share = Share(number=options.number, parts=options.parts)
    workload = _old(share) if options.version == "old" else _new(share)
    stop = threading.Event()
    threading.Thread(target=_wait_for_end_of_input, args=[stop], daemon=True).start()
    with options.record.open("w", buffering=1) as record:
        make_requests(
            workload.requests(),
            rate=options.rate,
            write=_writer(record),
            wait=stop.wait,
            first_due_at=time.monotonic() + share.number / share.parts / options.rate,
        )
    connection.close()
    return 0


def make_requests(
    requests: tuple[Request, ...],
    *,
    rate: float,
    write: Callable[[Entry], None],
    wait: Callable[[float], bool],
    first_due_at: float,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Make `rate` requests a second, in turn, until `wait` says to stop.

    The schedule never shifts: a request that comes late because the one before it was slow has waited since
    it was due, as a real client would have.
    """
    number = 0
    while True:
        due_at = first_due_at + number / rate
        if wait(max(0.0, due_at - clock())):
            return
        request = requests[number % len(requests)]
        failure, notes = _attempt(request)
        latency_ms = (clock() - due_at) * 1000
        name = request.__name__
        write(Entry(due_at=due_at, latency_ms=latency_ms, request=name, failure=failure, rows=tuple(notes)))
        number += 1


def _attempt(request: Request) -> tuple[str | None, Notes]:
    """Make one request; its failure as one line, and what it wrote or tried to write."""
    notes: Notes = []
    try:
        request(notes)
    except Exception as error:  # a failed request is what the demo counts: it must not end the client
        return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}", notes
    return None, notes


def _old(share: Share) -> Workload:
    """1.0.0's code: its settings hide the later migrations, its models are those of its last one."""
    models: Models = MigrationLoader(None).project_state([(APP, OLD_MIGRATION)]).apps
    return Villen10(models, share, version=RELEASES["old"])


def _new(share: Share) -> Workload:
    """1.3's code: the models as they are."""
    return Villen13(apps, share, version=RELEASES["new"])


def _writer(record: IO[str]) -> Callable[[Entry], None]:
    def write(entry: Entry) -> None:
        record.write(entry.to_line())

    return write


def _wait_for_end_of_input(stop: threading.Event) -> None:
    sys.stdin.buffer.read()
    stop.set()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--version", choices=VERSIONS, required=True)
    parser.add_argument("--number", type=int, required=True, help="which share of the rows is its own")
    parser.add_argument("--parts", type=int, required=True, help="into how many shares the rows are divided")
    parser.add_argument("--rate", type=float, required=True, help="requests per second")
    parser.add_argument("--record", type=Path, required=True, help="the file for what it did")
    return parser


if __name__ == "__main__":
    sys.exit(main())
