"""How long an act will hold its strong lock: tried on a sample of the very table, on this server, and scaled up.

Reads at most some 200 blocks of a table, chosen at random so that what is not in memory is as slow as it will
be. Takes ACCESS SHARE for a moment; what it makes for the trial is temporary and rolled back.
"""

from __future__ import annotations

import json
import math
from typing import Any

from django.db import DatabaseError, transaction

from segue.core.change import Act, LockMode, Work
from segue.core.evidence import Prediction

_BLOCKS = 200
_ROWS_TRIED = 1000
_TRIAL = "segue_trial"
# What each kind of work costs a row, in units of reading the row and writing it out as text: the sample's cost.
# Measured on PostgreSQL 18 with rows of 50 to 1,200 bytes, 100,000 to 300,000 of them: a check or NOT NULL took 0.03
# to 0.1 units, a b-tree 0.1 to 0.7, a rewrite 0.3 to 1.1 and another 0.1 to 0.3 for each index of the table. Here is
# about twice the most, because a larger table does not fit in memory.
_UNITS = {Work.SCAN: 0.25, Work.BUILD: 1.5, Work.REWRITE: 2.0}
_UNITS_OF_AN_INDEX = 0.5
# A GiST index of a thousand rows is cheaper for each row than one of a million by more than the logarithm says: the
# trials came out at a third to nearly all of what the whole table took.
_MARGIN_OF_A_TRIAL = 4.0
_MARGIN_OF_THE_WHOLE = 1.5
# Of so few rows, what the host does besides takes longer.
_FEW_ROWS = 100
_SECONDS_PER_ROW_OF_FEW = 300e-6
# Where a sample could not be read, or an index not be tried, within a second.
_SECONDS_PER_ROW = 100e-6
_SECONDS_PER_ROW_TRIED = _MARGIN_OF_A_TRIAL / _ROWS_TRIED

# A partitioned table is as large as its partitions.
_PARTS = "WITH parts AS (SELECT relid AS oid FROM pg_partition_tree(to_regclass(%s)) UNION SELECT to_regclass(%s)::oid)"
_KNOWN_ROWS = f"""
    {_PARTS} SELECT sum(greatest(0, c.reltuples))::bigint FROM pg_class c JOIN parts ON parts.oid = c.oid
"""
_SIZE = f"""
    {_PARTS} SELECT (sum(pg_relation_size(parts.oid)) / current_setting('block_size')::bigint)::bigint,
                    (SELECT count(*) FROM pg_index i WHERE i.indrelid = to_regclass(%s)::oid)
    FROM parts
"""


def predict(connection: Any, act: Act) -> Prediction | None:
    """Return what the act's work will take under its strong locks; None for a change of the catalog only."""
    if act.work is Work.CATALOG:
        return None
    strong = {lock.table for lock in act.locks if lock.mode is not LockMode.SHARE_UPDATE_EXCLUSIVE}
    found = [_predict_for(connection, table, act) for table in sorted(strong)]
    if not found:
        return None
    worst = max(found, key=lambda prediction: prediction.seconds)
    return Prediction(table=worst.table, rows=worst.rows, seconds=round(sum(p.seconds for p in found), 4))


def _predict_for(connection: Any, table: str, act: Act) -> Prediction:
    quoted = connection.ops.quote_name(table)
    with connection.cursor() as cursor:
        cursor.execute(_KNOWN_ROWS, [quoted, quoted])
        known_rows = cursor.fetchall()[0][0]
    if known_rows is None:
        return Prediction(table=table, rows=0, seconds=0.0)
    try:
        with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = '1s'")
            cursor.execute("SET LOCAL lock_timeout = '50ms'")
            rows, seconds = _measured(cursor, quoted, act)
    except DatabaseError:
        # It is too slow, or somebody holds the table, or a row contradicts the constraint: the step itself will say.
        rows = known_rows
        seconds = rows * (_SECONDS_PER_ROW_TRIED if act.builds else _SECONDS_PER_ROW)
    return Prediction(table=table, rows=rows, seconds=seconds)


def _measured(cursor: Any, table: str, act: Act) -> tuple[int, float]:
    """Return how many rows the table has, and what the work on all of them would take."""
    cursor.execute(_SIZE, [table] * 3)
    blocks, indexes = cursor.fetchall()[0]
    share = min(1.0, _BLOCKS / blocks) if blocks else 1.0
    if act.builds:
        return _tried(cursor, table, act.builds, share)
    # The quicker of two: a busy host interrupts one of them, and each looks at other blocks.
    rows, seconds = min((_sampled(cursor, table, share) for _ in range(2)), key=lambda found: found[1])
    if rows <= _FEW_ROWS:
        return rows, rows * _SECONDS_PER_ROW_OF_FEW
    return rows, seconds * (_UNITS[act.work] + (_UNITS_OF_AN_INDEX * indexes if act.work is Work.REWRITE else 0))


def _sampled(cursor: Any, table: str, share: float) -> tuple[int, float]:
    """Return how many rows the table has, and what reading all of them as text would take."""
    sample = f"{table} segue_row TABLESAMPLE SYSTEM ({share * 100:.6f})"
    cursor.execute(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) SELECT sum(length(segue_row::text)) FROM {sample}")
    found = cursor.fetchall()[0][0]
    plan = (json.loads(found) if isinstance(found, str) else found)[0]
    return round(_rows_read(plan["Plan"]) / share), plan["Execution Time"] / 1000 / share


def _rows_read(node: dict[str, Any]) -> float:
    """The rows that the scans below a plan's node have read, of each partition."""
    below = node.get("Plans", ())
    return sum(map(_rows_read, below)) if below else float(node["Actual Rows"]) * float(node["Actual Loops"])


def _tried(cursor: Any, table: str, constraint: str, share: float) -> tuple[int, float]:
    """Return how many rows the table has, and what the constraint would take, made for a copy of some of them."""
    sample = f"SELECT * FROM {table} TABLESAMPLE SYSTEM ({share * 100:.6f})"
    cursor.execute(f"SELECT count(*) FROM ({sample}) segue_sample")
    rows = round(cursor.fetchall()[0][0] / share)
    if rows <= _FEW_ROWS:
        return rows, rows * _SECONDS_PER_ROW_OF_FEW
    cursor.execute("SET LOCAL client_min_messages = error")
    cursor.execute(
        f"CREATE TEMPORARY TABLE {_TRIAL} ON COMMIT DROP AS SELECT * FROM ({sample}) segue_sample "
        f"ORDER BY random() LIMIT {_ROWS_TRIED}"
    )
    cursor.execute(f"SELECT count(*), clock_timestamp() FROM {_TRIAL}")
    tried, began = cursor.fetchall()[0]
    cursor.execute(f"ALTER TABLE {_TRIAL} ADD {constraint}")
    cursor.execute("SELECT clock_timestamp()")
    seconds = (cursor.fetchall()[0][0] - began).total_seconds()
    if rows <= tried:
        return rows, seconds * _MARGIN_OF_THE_WHOLE
    return rows, seconds * rows / tried * math.log(rows) / math.log(tried) * _MARGIN_OF_A_TRIAL
