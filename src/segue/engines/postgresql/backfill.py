"""Backfills: a table's rows changed in batches, each of which commits by itself after about a tenth of a second.

A batch is a range of blocks, in the order in which they lie on disk, so no key is needed. It may be repeated
safely. Rows that moved meanwhile, or that somebody else held, are found and changed in further passes.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from django.db import DatabaseError, DataError, IntegrityError, transaction

from segue.core.change import Backfill
from segue.core.errors import LockNotTaken, StepFailed
from segue.core.run import Filled
from segue.engines.base import Say, Waited
from segue.engines.postgresql import activity, locks
from segue.engines.postgresql.pace import Pace, Progress, note_due_at

# "on" while Segue's own batches run: a project's triggers, audit logs and change feeds can tell them by it.
MARKER = "segue.backfill"

SAY_EVERY_SECONDS = 1.0
# A batch that takes longer is cancelled: its rows are dearer than those that its size was judged by.
LIMIT_SECONDS = 0.14
# Of the time that a batch took. It leaves the disk and the processors to others.
PAUSE_SHARE = 0.1
_HURRIED_ATTEMPTS = 3
_LONGEST_PAUSE_SECONDS = 1.0
_FRUITLESS_PASSES = 3
_SERIALIZATION_FAILURE = "40001"
_CANCELLED = "57014"


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """Blocks of a table or partition, from `first` to before `end`; `part` is its name as SQL."""

    part: str
    first: int
    end: int


@dataclass(kw_only=True)
class Filler:
    """One backfill under way.

    `filled` is how far it is, at first how far an interrupted run had come; `note` writes that down, about once
    a second. `check_held` is asked before each batch.
    """

    connection: Any
    backfill: Backfill
    filled: Filled
    note: Callable[[Filled], None]
    check_held: Callable[[], None]
    patience: locks.Patience
    say: Say
    _pace: Pace = field(init=False, default_factory=Pace)
    _waited: Waited = field(init=False, default_factory=Waited)
    _limit_seconds: float = field(init=False, default_factory=lambda: LIMIT_SECONDS)
    _began: float = field(init=False, default_factory=time.monotonic)
    _said_at: float = field(init=False, default_factory=time.monotonic)
    _noted_at: float = field(init=False, default_factory=time.monotonic)

    def run(self) -> Waited:
        """Change every row that `backfill.where` is true of; return what waiting for rows cost.

        Raises LockNotTaken when a row was not free within the deadline, StepFailed for a row that cannot be
        changed, or that changing does not help.
        """
        try:
            self._fill()
        except (DataError, IntegrityError) as error:
            what = str(error).strip().splitlines()[0]
            raise StepFailed(f"A row of {self.backfill.table} cannot be filled: {what}") from error
        return self._waited

    def _fill(self) -> None:
        """Walk the table, or what an interrupted run left of it; then again where rows are left, until none is."""
        if self.filled.passes == 0:
            self._walk_first()
        least, fruitless = None, 0
        while left := self._left():
            rows = sum(left.values())
            fruitless = 0 if least is None or rows < least else fruitless + 1
            least = rows if least is None else min(rows, least)
            if fruitless == _FRUITLESS_PASSES:
                raise StepFailed(
                    f"{rows:,} rows of {self.backfill.table} are left after {self.filled.passes} passes, because "
                    f"{self.backfill.where} stays true of them or becomes so again."
                )
            self.say(f"fill {self.backfill.table}: rows left for pass {self.filled.passes + 1}: {rows:,}")
            self._walk(list(left), in_a_hurry=False)

    # Where to go

    def _parts(self) -> list[Stretch]:
        """Return the table whole, or each of its partitions: a partitioned table has no blocks of its own."""
        table = self.connection.ops.quote_name(self.backfill.table)
        rows = self._ask(
            """
            SELECT format('%%I.%%I', n.nspname, c.relname), c.oid = %s::regclass::oid,
                   pg_relation_size(c.oid) / current_setting('block_size')::bigint
            FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE c.relkind = 'r'
              AND c.oid IN (SELECT relid FROM pg_partition_tree(%s::regclass) UNION SELECT %s::regclass)
            ORDER BY c.oid
            """,
            [table] * 3,
        )
        return [Stretch(part=table if is_it else part, first=0, end=end) for part, is_it, end in rows]

    def _left(self) -> dict[Stretch, int]:
        """Return where rows are left to change, and how many there."""
        found = {}
        if time.monotonic() - self._began >= SAY_EVERY_SECONDS:
            self.say(f"fill {self.backfill.table}: counting the rows that are left")
        for part in self._parts():
            count = f"SELECT count(*), min(ctid)::text, max(ctid)::text FROM {part.part} WHERE {self.backfill.where}"
            rows, lowest, highest = self._ask(count)[0]
            if rows:
                found[Stretch(part=part.part, first=_block(lowest), end=_block(highest) + 1)] = rows
        return found

    def _walk_first(self) -> None:
        parts = self._parts()
        done = next((n for n, part in enumerate(parts) if part.part == self.filled.part), 0)
        left = parts[done:]
        if left and left[0].part == self.filled.part:
            left[0] = replace(left[0], first=min(self.filled.block, left[0].end))
        self._walk(left, in_a_hurry=True, before=sum(part.end for part in parts) - _blocks(left))

    # Batches

    def _walk(self, stretches: Sequence[Stretch], *, in_a_hurry: bool, before: int = 0) -> None:
        """Change what is to be changed in these blocks; in a hurry, a row that is not free is left.

        `before` is how many blocks of this pass an interrupted run had walked.
        """
        progress = Progress(blocks=before + _blocks(stretches), walked=before, rows=self.filled.rows)
        for stretch in stretches:
            block = stretch.first
            while block < stretch.end:
                began = time.monotonic()
                end = self._batch(stretch.part, block, stretch.end, in_a_hurry)
                progress.walked += end - block
                self.filled = replace(self.filled, part=stretch.part, block=end)
                self._tell(progress)
                time.sleep((time.monotonic() - began) * PAUSE_SHARE)
                block = end
        self.filled = replace(self.filled, passes=self.filled.passes + 1, part="", block=0)

    def _batch(self, part: str, first: int, last: int, in_a_hurry: bool) -> int:
        """Change the rows of as many blocks as the pace allows; return the block to go on with."""
        waiting_since, attempts = time.monotonic(), 0
        while True:
            self.check_held()
            end = min(first + self._pace.blocks, last)
            began = time.monotonic()
            try:
                rows = self._update(part, first, end)
            except DatabaseError as error:
                seconds = time.monotonic() - began
                if locks.sqlstate(error) == _CANCELLED and seconds > 0.9 * self._limit_seconds:
                    self._give_more_time(end - first)
                    continue
                if not locks.is_busy(error) and locks.sqlstate(error) != _SERIALIZATION_FAILURE:
                    raise
            else:
                self._pace.took(end - first, time.monotonic() - began)
                self.filled = replace(self.filled, rows=self.filled.rows + rows)
                return end
            self._pace.held()
            if end - first == 1:
                attempts += 1
                if in_a_hurry and attempts == _HURRIED_ATTEMPTS:
                    return end
                self._wait_for_row(waiting_since, attempts)
            self._waited = Waited(
                attempts=self._waited.attempts + 1, seconds=self._waited.seconds + time.monotonic() - began
            )

    def _update(self, part: str, first: int, end: int) -> int:
        """Change the rows of these blocks; return how many they were.

        It is one message to the server and thus one transaction, which the server commits, so that its rows are
        not held while this process, on a busy host, waits for its turn. Nor do they wait for the disk: a crash
        that loses a batch loses the journal's rows after it as well.

        IS TRUE keeps the planner from an index on what `where` names, by which every batch would look at the
        whole table's rows.
        """
        settings = {
            "lock_timeout": f"{self.patience.timeout_ms}ms",
            "statement_timeout": f"{self._limit_seconds * 1000:.0f}ms",
            "synchronous_commit": "off",
            MARKER: "on",
        }
        update = (
            f"UPDATE {part} SET {self.backfill.assignments} "
            f"WHERE ctid >= '({first},0)' AND ctid < '({end},0)' AND ({self.backfill.where}) IS TRUE"
        )
        message = ["SET TRANSACTION ISOLATION LEVEL READ COMMITTED"]
        message += [f"SET LOCAL {name} = '{value}'" for name, value in settings.items()]
        with self.connection.cursor() as cursor:
            cursor.execute("; ".join([*message, update]))
            while cursor.nextset():
                pass  # the results of the settings come first
            return int(cursor.rowcount)

    def _give_more_time(self, blocks: int) -> None:
        """Make the next batch smaller than the one that was cancelled; a single block gets twice the time."""
        self._pace.too_long()
        if blocks == 1:
            self._limit_seconds *= 2

    def _wait_for_row(self, since: float, attempts: int) -> None:
        waited = time.monotonic() - since
        holders = activity.row_holders(self.connection, self.backfill.table)
        who = "; ".join(str(holder) for holder in holders) or "short transactions, one after the other"
        if waited > self.patience.deadline.total_seconds():
            raise LockNotTaken(
                f"A row of {self.backfill.table} was not free for {waited:.0f} s. It may be held by: {who}."
            )
        if waited > _LONGEST_PAUSE_SECONDS:
            self.say(f"waiting for a row of {self.backfill.table} for {waited:.0f} s: {who}")
        time.sleep(min(_LONGEST_PAUSE_SECONDS, 0.02 * 2 ** min(attempts, 10)) * random.uniform(0.5, 1.0))

    def _ask(self, sql: str, params: Sequence[Any] | None = None) -> list[Any]:
        """Ask what may take long on a large table, and holds nobody up."""
        with transaction.atomic(using=self.connection.alias), self.connection.cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = 0")
            cursor.execute("SET LOCAL lock_timeout = 0")
            cursor.execute(sql, params)
            rows: list[Any] = cursor.fetchall()
        return rows

    def _tell(self, progress: Progress) -> None:
        """Say how far it is, and note it, each where it is time to."""
        now = time.monotonic()
        if now - self._said_at >= SAY_EVERY_SECONDS:
            self._said_at = now
            self.say(f"fill {self.backfill.table}: {progress.words(self.filled.rows, now)}")
        if now >= note_due_at(self._began, self._noted_at):
            self.note(self.filled)
            self._noted_at = time.monotonic()


def _blocks(stretches: Sequence[Stretch]) -> int:
    return sum(stretch.end - stretch.first for stretch in stretches)


def _block(ctid: str) -> int:
    """Return the block of a row's place, which PostgreSQL writes as (block,number)."""
    return int(ctid[1:].partition(",")[0])
