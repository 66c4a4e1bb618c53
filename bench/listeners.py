"""VILLEN's listeners while songs are filled: a process of many connections, each of which counts plays on schedule.

Runs as `python -m bench.listeners` until its standard input closes. The songs are chosen at random from all of
them, because a client that keeps to a few would meet a batch of a backfill once, or never.
"""

from __future__ import annotations

import argparse
import random
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import psycopg

from bench.project import SONG_TABLE
from segue.demo.clients import make_requests
from segue.demo.record import Entry
from segue.demo.workload import Notes, Request


def main() -> int:
    """Count plays until told to stop."""
    options = _parser().parse_args()
    stop = threading.Event()
    written = threading.Lock()
    with options.record.open("w", buffering=1) as record, ExitStack() as stack:

        def write(entry: Entry) -> None:
            with written:
                record.write(entry.to_line())

        opened = [
            stack.enter_context(psycopg.connect(options.url, autocommit=True, application_name="listener"))
            for _ in range(options.connections)
        ]
        rate = options.rate / options.connections
        began_at = time.monotonic()
        threads = [
            threading.Thread(target=_listen, args=[_requests(one, options.songs), rate, write, stop, due_at])
            for number, one in enumerate(opened)
            for due_at in [began_at + number / options.rate]
        ]
        for thread in threads:
            thread.start()
        sys.stdin.buffer.read()
        stop.set()
        for thread in threads:
            thread.join()
    return 0


def _listen(
    requests: tuple[Request, ...], rate: float, write: Callable[[Entry], None], stop: threading.Event, due_at: float
) -> None:
    make_requests(requests, rate=rate, write=write, wait=stop.wait, first_due_at=due_at)


def _requests(connection: psycopg.Connection, songs: int) -> tuple[Request, ...]:
    def count_play(_: Notes) -> None:
        """Count a play of any song."""
        song = random.randint(1, songs)
        connection.execute(f"UPDATE {SONG_TABLE} SET play_count = play_count + 1 WHERE id = %s", [song])

    return (count_play,)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--songs", type=int, required=True, help="how many songs there are")
    parser.add_argument("--connections", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True, help="requests per second of all connections together")
    parser.add_argument("--record", type=Path, required=True, help="the file for what it did")
    return parser


if __name__ == "__main__":
    sys.exit(main())
