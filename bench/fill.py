"""One way to fill a column of VILLEN's songs: a process that fills it, and prints as JSON what that took.

Runs as `python -m bench.fill` in the project's folder. Its moments are monotonic seconds, which all processes of a
machine share.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import django
from django.db import connection

from bench.project import SONG_TABLE
from segue.core.change import Act, Backfill

FILL = Backfill(table=SONG_TABLE, assignments="length_ms = duration_seconds * 1000", where="length_ms IS NULL")
WAYS = ("update", "segue")


def main() -> int:
    """Fill the column in the way that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--way", choices=WAYS, required=True)
    way = parser.parse_args().way
    django.setup()
    connection.ensure_connection()
    batches: list[float] = []

    def time_updates(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        began = time.monotonic()
        try:
            return execute(sql, params, many, context)
        finally:
            if f"SET {FILL.assignments}" in sql:
                batches.append(time.monotonic() - began)

    began_at = time.monotonic()
    with connection.execute_wrapper(time_updates):
        if way == "segue":
            _as_segue()
        else:
            with connection.cursor() as cursor:
                cursor.execute(f"UPDATE {FILL.table} SET {FILL.assignments} WHERE {FILL.where}")
    found = {
        "began_at": began_at,
        "ended_at": time.monotonic(),
        "batches": len(batches),
        "longest_batch_ms": max(batches) * 1000,
        "wal_bytes": _wal_bytes(),
    }
    print(json.dumps(found))
    return 0


def _wal_bytes() -> int:
    """What this connection has logged so far; PostgreSQL 18 counts that for each."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush()")
        cursor.execute("SELECT wal_bytes FROM pg_stat_get_backend_wal(pg_backend_pid())")
        return int(cursor.fetchall()[0][0])


def _as_segue() -> None:
    from segue.session import open_session  # it imports models, so apps must be loaded

    engine = open_session("default").engine
    with engine.hold(_quietly):
        engine.carry_out(Act(backfill=FILL), then=_quietly, say=_quietly)


def _quietly(_: object) -> None:
    """Progress is said to nobody: the benchmark has its own."""


if __name__ == "__main__":
    sys.exit(main())
