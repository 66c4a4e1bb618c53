"""Clients of the shop: a process of several connections that make requests on a fixed schedule and record each.

Runs as `python -m bench.kinds.client` under the shop's settings, until its standard input closes.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import django
from django.db import connection

from bench.kinds.changes import CHANGES
from bench.kinds.models import define
from bench.kinds.workload import Shop
from bench.project import KINDS, VERSIONS
from segue.demo.clients import make_requests
from segue.demo.record import Entry
from segue.demo.workload import Share

CONNECT_SECONDS = 0.5


def main() -> int:
    """Make requests until told to stop."""
    options = _parser().parse_args()
    django.setup()
    define()
    stop, written = threading.Event(), threading.Lock()
    began_at = time.monotonic()
    with options.record.open("w", buffering=1) as record:

        def write(entry: Entry) -> None:
            line = entry.to_line()
            with written:
                record.write(line)

        threads = [
            threading.Thread(target=_work, args=[options, thread, began_at, write, stop.wait])
            for thread in range(options.connections)
        ]
        for thread in threads:
            thread.start()
        sys.stdin.buffer.read()
        stop.set()
        for thread in threads:
            thread.join()
    return 0


def _work(
    options: argparse.Namespace,
    thread: int,
    began_at: float,
    write: Callable[[Entry], None],
    wait: Callable[[float], bool],
) -> None:
    """Make one connection's part of the requests."""
    number = options.number * options.connections + thread
    share = Share(number=number, parts=options.parts * options.connections)
    shop = Shop(CHANGES[options.change], options.version, share, songs=options.songs, albums=options.albums)
    rate = options.rate / options.connections
    connection.ensure_connection()
    # Evenly spread between the connections' turns, so that they do not all come at once.
    first_due_at = began_at + CONNECT_SECONDS + (thread + options.number / options.parts) / options.rate
    requests = shop.requests(options.kind)
    make_requests(requests, rate=rate, write=write, wait=wait, first_due_at=first_due_at)
    connection.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--change", choices=CHANGES, required=True)
    parser.add_argument("--version", choices=VERSIONS, required=True)
    parser.add_argument("--kind", choices=KINDS, required=True, help="whether it writes or reads")
    parser.add_argument("--number", type=int, required=True, help="which share of the rows is its own")
    parser.add_argument("--parts", type=int, required=True, help="into how many shares the rows are divided")
    parser.add_argument("--connections", type=int, required=True, help="how many it has")
    parser.add_argument("--rate", type=float, required=True, help="requests per second of all its connections")
    parser.add_argument("--songs", type=int, required=True, help="how many songs there were at first")
    parser.add_argument("--albums", type=int, required=True, help="how many albums there were at first")
    parser.add_argument("--record", type=Path, required=True, help="the file for what it did")
    return parser


if __name__ == "__main__":
    sys.exit(main())
