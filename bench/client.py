"""One client of VILLEN: a process that makes requests on a fixed schedule and records each.

Runs as `python -m bench.client` in the project's folder, until its standard input closes.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from pathlib import Path

import django
from django.db import connection

from bench.project import KINDS, VERSIONS
from bench.requests import requests_of
from segue.demo.clients import make_requests
from segue.demo.record import Entry
from segue.demo.workload import Share


def main() -> int:
    """Make requests until told to stop."""
    options = _parser().parse_args()
    django.setup()
    requests = requests_of(options.version, options.kind, Share(number=options.number, parts=options.parts))
    stop = threading.Event()
    threading.Thread(target=_wait_for_end_of_input, args=[stop], daemon=True).start()
    with options.record.open("w", buffering=1) as record:

        def write(entry: Entry) -> None:
            record.write(entry.to_line())

        # Evenly spread between the clients' turns, so that they do not all come at once.
        offset = options.number / options.parts / options.rate
        first_due_at = time.monotonic() + offset
        make_requests(requests, rate=options.rate, write=write, wait=stop.wait, first_due_at=first_due_at)
    connection.close()
    return 0


def _wait_for_end_of_input(stop: threading.Event) -> None:
    sys.stdin.buffer.read()
    stop.set()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--version", choices=VERSIONS, required=True)
    parser.add_argument("--kind", choices=KINDS, required=True, help="whether it writes or reads")
    parser.add_argument("--number", type=int, required=True, help="which share of the rows is its own")
    parser.add_argument("--parts", type=int, required=True, help="into how many shares the rows are divided")
    parser.add_argument("--rate", type=float, required=True, help="requests per second")
    parser.add_argument("--record", type=Path, required=True, help="the file for what it did")
    return parser


if __name__ == "__main__":
    sys.exit(main())
