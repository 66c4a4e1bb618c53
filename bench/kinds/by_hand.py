"""Carries out what an expert wrote by hand: a process that runs one script and prints as JSON what that took.

Runs as `python -m bench.kinds.by_hand`. It has no Django to start, and takes every strong lock in attempts of 50 ms.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from typing import Any

import psycopg
from psycopg import errors

from bench.kinds.by_hand_scripts import SCRIPTS, WAYS, Briefly, Fill, Online, Step

LOCK_TIMEOUT = "50ms"
MOST_ATTEMPTS = 400
PAUSES_SECONDS = (0.02, 0.2)
BATCH_ROWS = 2000


def main() -> int:
    """Run one script."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--change", choices=SCRIPTS, required=True)
    parser.add_argument("--way", choices=WAYS, required=True)
    options = parser.parse_args()
    began, filling = time.monotonic(), 0.0
    with psycopg.connect(options.url, autocommit=True, application_name="by hand") as connection:
        for step in getattr(SCRIPTS[options.change], options.way):
            step_began = time.monotonic()
            _carry_out(connection, step)
            if isinstance(step, Fill):
                filling += time.monotonic() - step_began
    print(json.dumps({"seconds": time.monotonic() - began, "fill_seconds": filling}))
    return 0


def _carry_out(connection: psycopg.Connection[Any], step: Step) -> None:
    if isinstance(step, Fill):
        _fill(connection, step)
    elif step.unless and connection.execute(step.unless).fetchone():
        return
    elif isinstance(step, Online):
        connection.execute(step.sql)
    else:
        _briefly(connection, step)


def _briefly(connection: psycopg.Connection[Any], step: Briefly) -> None:
    """Run statements in one transaction that gives up waiting for a lock, again until it gets them all."""
    for attempt in range(1, MOST_ATTEMPTS + 1):
        try:
            with connection.transaction():
                connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
                for statement in step.statements:
                    connection.execute(statement)
        except (errors.LockNotAvailable, errors.DeadlockDetected):
            if attempt == MOST_ATTEMPTS:
                raise
            time.sleep(random.uniform(*PAUSES_SECONDS))
        else:
            return


def _fill(connection: psycopg.Connection[Any], step: Fill) -> None:
    """Update a table in batches of primary keys, each a transaction of its own."""
    row = connection.execute(f"SELECT coalesce(max({step.key}), 0) FROM {step.table}").fetchone()
    assert row is not None
    for first in range(0, row[0] + 1, BATCH_ROWS):
        connection.execute(
            f"UPDATE {step.table} SET {step.assignments}"
            f" WHERE {step.key} >= {first} AND {step.key} < {first + BATCH_ROWS} AND {step.where}"
        )


if __name__ == "__main__":
    sys.exit(main())
