"""The way back of a migration's own code: each value that it changed is what it was, where nobody has changed it since.

In batches, the newest images first, each of which commits by itself; what is done is marked in the images, so an
interrupted way back goes on where it stopped. What somebody has changed stays as it is and is listed in quarantine,
with the value before and the one after. An image that served keeps the row as it was left, for the next time forth.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import DatabaseError, transaction

from segue.core.change import Restore
from segue.core.errors import LockNotTaken
from segue.core.quarantine import Trouble
from segue.engines.base import Say, Waited
from segue.engines.postgresql import activity, locks
from segue.engines.postgresql.acts.blocks import literal
from segue.engines.postgresql.backfill import MARKER
from segue.engines.postgresql.images import shape
from segue.engines.postgresql.images.shape import EDITED, NUMBER, STATE, WHAT, Column, Images, Key

# What became of an image: its row is as it was, or it was kept as it is.
BACK, KEPT = "B", "K"
_FIRST_ROWS, _MOST_ROWS = 500, 20_000
_TARGET_SECONDS = 0.06
_LONGEST_PAUSE_SECONDS = 1.0
_PAUSE_SHARE = 0.1
_SAY_EVERY_SECONDS = 1.0
_FOREIGN_KEY_VIOLATION = "23503"


def same(left: str, right: str) -> str:
    """Return SQL that is true of two values of one type that are the same, byte for byte; NULL is NULL."""
    return f"pg_catalog.record_image_eq(ROW({left}), ROW({right}))"


@dataclass(kw_only=True)
class Restorer:
    """One way back under way. `check_held` is asked before each batch."""

    connection: Any
    restore: Restore
    check_held: Callable[[], None]
    patience: locks.Patience
    say: Say
    _rows: int = field(init=False, default=_FIRST_ROWS)
    _done: int = field(init=False, default=0)
    _waited: Waited = field(init=False, default_factory=Waited)
    _said_at: float = field(init=False, default_factory=time.monotonic)

    def run(self) -> Waited:
        """Put back what can be, list the rest; return what waiting for rows cost. Raises LockNotTaken."""
        every = [images for images in shape.found(self._ask, self.restore.place) if not images.new]
        for images in every:
            self._execute(shape.index(images))
            # The planner knows nothing of a table this young, and would read a large one whole for each batch.
            self._execute(f"ANALYZE {images.sql}")
        while sum(self._walk(images, what) for what in "DUI" for images in every):
            pass  # A row may go or come back once another has.
        for images in every:
            self._keep_what_is_left(images)
            if self.restore.forgets:
                self._execute(f"DELETE FROM {images.sql}")
        return self._waited

    # Batches

    def _walk(self, images: Images, what: str) -> int:
        """Go through what is left of a table's images of one kind, the newest first; return how many served."""
        change = {"D": self._inserted_again, "U": self._as_before, "I": self._deleted}[what]
        found = self._ask(
            f"SELECT min({NUMBER}), max({NUMBER}) FROM {images.sql} WHERE {STATE} IS NULL AND {WHAT} = '{what}'"
        )
        lowest, highest = found[0]
        done = 0
        while highest is not None and highest >= lowest:
            first = max(highest - self._rows + 1, lowest)
            changed = self._batch(images, change, first, highest)
            if changed is not None:
                done += changed
                highest = first - 1
                self._tell(images, changed)
        return done

    def _batch(self, images: Images, change: Callable[[Images, int, int], int], first: int, last: int) -> int | None:
        """Change the rows of these images in a transaction; None when one was not free, and fewer are to be tried."""
        waiting_since, attempts = time.monotonic(), 0
        while True:
            self.check_held()
            began = time.monotonic()
            try:
                with transaction.atomic(using=self.connection.alias):
                    self._execute(
                        f"SET LOCAL lock_timeout = '{self.patience.timeout_ms}ms'; SET LOCAL statement_timeout = 0; "
                        f"SET LOCAL synchronous_commit = off; SET LOCAL {MARKER} = 'on'; "
                        # A batch is few rows of many: each is found by its key, and nothing is read whole.
                        "SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; "
                        "SET LOCAL enable_seqscan = off"
                    )
                    rows = change(images, first, last)
            except DatabaseError as error:
                if not locks.is_busy(error) and locks.sqlstate(error) != _FOREIGN_KEY_VIOLATION:
                    raise
                attempts += 1
                self._waited = Waited(
                    attempts=self._waited.attempts + 1, seconds=self._waited.seconds + time.monotonic() - began
                )
                if last > first:
                    self._rows = max(1, (last - first + 1) // 2)
                    return None
                self._wait(images, waiting_since, attempts)
                continue
            seconds = time.monotonic() - began
            wanted = round((last - first + 1) * _TARGET_SECONDS / max(seconds, 1e-6))
            self._rows = max(1, min(wanted, self._rows * 2, _MOST_ROWS))
            time.sleep(seconds * _PAUSE_SHARE)
            return rows

    def _wait(self, images: Images, since: float, attempts: int) -> None:
        waited = time.monotonic() - since
        holders = activity.row_holders(self.connection, images.table.name)
        who = "; ".join(str(holder) for holder in holders) or "short transactions, one after the other"
        if waited > self.patience.deadline.total_seconds():
            raise LockNotTaken(
                f"A row of {images.table.name} was not free for {waited:.0f} s. It may be held by: {who}."
            )
        if waited > _LONGEST_PAUSE_SECONDS:
            self.say(f"waiting for a row of {images.table.name} for {waited:.0f} s: {who}")
        time.sleep(min(_LONGEST_PAUSE_SECONDS, 0.02 * 2 ** min(attempts, 10)) * random.uniform(0.5, 1.0))

    def _tell(self, images: Images, rows: int) -> None:
        self._done += rows
        if time.monotonic() - self._said_at >= _SAY_EVERY_SECONDS:
            self._said_at = time.monotonic()
            self.say(f"take back what {self.restore.operation} wrote to {images.table.name}: {self._done:,} rows")

    # What is done to rows

    def _as_before(self, images: Images, first: int, last: int) -> int:
        """Give the values that were changed back; what somebody has changed since stays, and is listed."""
        table = self._quote(images.table.name)
        of_batch = f"{self._newest(images, 'U', first, last)} AND {self._of_row(images)}"
        self._ask(f"SELECT 1 FROM {table} t JOIN {images.sql} i ON {of_batch} FOR UPDATE OF t")
        self._list_changed(images, of_batch)
        sets = [f"{STATE} = '{BACK}'", f"{EDITED} = array_remove(ARRAY[{self._edited(images)}]::int[], NULL)"]
        for column in images.table.columns:
            now, was, is_ = f"i.now_{column.number}", f"i.was_{column.number}", f"t.{self._quote(column.name)}"
            goes_back = f"{_changed(column)} AND {same(is_, now)}"
            left = is_ if column.number in images.spared else f"CASE WHEN {goes_back} THEN {was} ELSE {is_} END"
            sets.append(f"was_{column.number} = {left}")
            sets.append(f"now_{column.number} = CASE WHEN {goes_back} THEN {now} ELSE {is_} END")
        update = f"UPDATE {images.sql} i SET {', '.join(sets)} FROM {table} t WHERE {of_batch} RETURNING i.{NUMBER}"
        numbers = [number for (number,) in self._ask(update)]
        back = [c for c in images.table.others if c.number not in images.spared]
        if numbers and back:
            served = "{" + ",".join(map(str, numbers)) + "}"
            values = ", ".join(f"{self._quote(c.name)} = i.was_{c.number}" for c in back)
            differs = " OR ".join(f"NOT {same(f't.{self._quote(c.name)}', f'i.was_{c.number}')}" for c in back)
            self._execute(
                f"UPDATE {table} t SET {values} FROM {images.sql} i "
                f"WHERE i.{NUMBER} = ANY('{served}') AND {self._of_row(images)} AND ({differs})"
            )
        gone = f"UPDATE {images.sql} i SET {STATE} = '{BACK}' WHERE {self._newest(images, 'U', first, last)}"
        return len(numbers) + self._count(f"{gone} AND NOT EXISTS (SELECT FROM {table} t WHERE {self._of_row(images)})")

    def _inserted_again(self, images: Images, first: int, last: int) -> int:
        """Bring rows back that were deleted, where their parents are there."""
        table, columns = self._quote(images.table.name), images.table.columns
        names = ", ".join(self._quote(c.name) for c in columns)
        values = ", ".join(f"i.was_{c.number}" for c in columns)
        parents = [
            f"(({' OR '.join(f'i.was_{n} IS NULL' for n in numbers)}) OR EXISTS (SELECT FROM {key.other} p WHERE "
            + " AND ".join(f"p.{self._quote(o)} = i.was_{n}" for o, n in zip(key.others, numbers, strict=True))
            + "))"
            for key in shape.keys_from(self._ask, images.table)
            if key.other_id != images.table.id and (numbers := _numbers(columns, key.own))
        ]
        rows = " AND ".join([self._newest(images, "D", first, last), *parents])
        key = ", ".join(self._quote(c.name) for c in images.table.key)
        same_key = " AND ".join(f"n.{self._quote(c.name)} = i.key_{c.number}" for c in images.table.key)
        return self._count(
            f"WITH made AS (INSERT INTO {table} ({names}) OVERRIDING SYSTEM VALUE SELECT {values} FROM {images.sql} i "
            f"WHERE {rows} ORDER BY i.{NUMBER} ON CONFLICT DO NOTHING RETURNING {key}) "
            f"UPDATE {images.sql} i SET {STATE} = '{BACK}' FROM made n "
            f"WHERE {same_key} AND {self._newest(images, 'D', first, last)}"
        )

    def _deleted(self, images: Images, first: int, last: int) -> int:
        """Delete rows that were made, are as they were made, and that nothing refers to."""
        table = self._quote(images.table.name)
        rows = f"{self._newest(images, 'I', first, last)} AND {self._of_row(images)}"
        unchanged = [same(f"t.{self._quote(c.name)}", f"i.now_{c.number}") for c in images.table.columns]
        free = [self._is_free(images, key) for key in shape.keys_onto(self._ask, images.table)]
        condition = " AND ".join([rows, *unchanged, *free])
        deleted = self._count(
            f"WITH gone AS (DELETE FROM {table} t USING {images.sql} i WHERE {condition} RETURNING i.{NUMBER} AS nr) "
            f"UPDATE {images.sql} i SET {STATE} = '{BACK}' FROM gone WHERE i.{NUMBER} = gone.nr"
        )
        nowhere = f"NOT EXISTS (SELECT FROM {table} t WHERE {self._of_row(images)})"
        return deleted + self._count(
            f"UPDATE {images.sql} i SET {STATE} = '{BACK}' WHERE {self._newest(images, 'I', first, last)} AND {nowhere}"
        )

    def _is_free(self, images: Images, key: Key) -> str:
        """Return SQL that is true of a row of `t` that no other row refers to."""
        refers = [f"c.{self._quote(o)} = t.{self._quote(n)}" for o, n in zip(key.others, key.own, strict=True)]
        if key.other_id == images.table.id:
            own = ", ".join(f"c.{self._quote(c.name)}" for c in images.table.key)
            refers.append(f"({own}) <> ({', '.join(f't.{self._quote(c.name)}' for c in images.table.key)})")
        return f"NOT EXISTS (SELECT FROM {key.other} c WHERE {' AND '.join(refers)})"

    # What stays

    def _list_changed(self, images: Images, of_batch: str) -> None:
        """List each row of which a value was changed since, with what it was before and after."""
        newer = f"SELECT FROM {images.sql} l WHERE {_same_key(images, 'l')} AND l.{NUMBER} > i.{NUMBER}"
        oldest = f"SELECT o.was_{{0}} FROM {images.sql} o WHERE {_same_key(images, 'o')} ORDER BY o.{NUMBER} LIMIT 1"
        each = [
            f"SELECT {literal(c.name)} AS name, jsonb_build_object('before', to_jsonb(({oldest.format(c.number)})), "
            f"'after', to_jsonb(i.now_{c.number}), 'now', to_jsonb(t.{self._quote(c.name)})) AS value "
            f"WHERE {self._is_edited(c)} AND NOT EXISTS ({newer} AND {c.number} = ANY(l.{EDITED}))"
            for c in images.table.others
            if c.number not in images.spared
        ]
        if not each:
            return
        values = f"(SELECT jsonb_object_agg(e.name, e.value) FROM ({' UNION ALL '.join(each)}) e)"
        table = self._quote(images.table.name)
        self._quarantine(
            images,
            f"what {self.restore.operation} wrote was changed since; it stays as it is",
            Trouble.CHANGED,
            f"SELECT to_jsonb(t) AS image, {values} AS said FROM {table} t JOIN {images.sql} i ON {of_batch}",
        )

    def _keep_what_is_left(self, images: Images) -> None:
        """List the rows that could neither go nor come back, in one transaction for each table."""
        table, operation = self._quote(images.table.name), self.restore.operation
        was = ", ".join(f"{literal(c.name)}, i.was_{c.number}" for c in images.table.columns)
        with transaction.atomic(using=self.connection.alias):
            self._quarantine(
                images,
                f"{operation} made the row, and it was changed or is referred to since; it stays",
                None,
                f"SELECT to_jsonb(t) AS image, NULL::jsonb AS said FROM {table} t JOIN {images.sql} i "
                f"ON i.{STATE} IS NULL AND i.{WHAT} = 'I' AND {self._of_row(images)}",
            )
            self._quarantine(
                images,
                f"{operation} deleted the row, and what it refers to is gone or another row has its key since",
                Trouble.ORPHAN,
                f"SELECT jsonb_build_object({was}) AS image, NULL::jsonb AS said FROM {images.sql} i "
                f"WHERE i.{STATE} IS NULL AND i.{WHAT} = 'D'",
            )
            self._execute(f"UPDATE {images.sql} SET {STATE} = '{KEPT}' WHERE {STATE} IS NULL")

    def _quarantine(self, images: Images, why: str, trouble: Trouble | None, rows: str) -> None:
        """Put the rows of a query, which has an `image` and what is `said` of it, into quarantine."""
        kind = literal(trouble) if trouble else "NULL"
        self._execute(
            'INSERT INTO "segue_quarantine" '
            '("release", "table", "reason", "kind", "object", "definition", "row", "at") '
            f"SELECT {literal(self.restore.release)}, {literal(images.table.name)}, "
            f"{literal(f'{images.table.name}: {why}')}, {kind}, NULL, q.said::text, q.image, now() FROM ({rows}) q "
            f"WHERE {'q.said IS NOT NULL' if trouble is Trouble.CHANGED else 'true'}"
        )

    # SQL

    def _newest(self, images: Images, what: str, first: int, last: int) -> str:
        """Images of this kind that are left, and of each row the newest."""
        later = f"{_same_key(images, 'l')} AND l.{NUMBER} > i.{NUMBER}"
        return (
            f"i.{NUMBER} BETWEEN {first} AND {last} AND i.{STATE} IS NULL AND i.{WHAT} = '{what}' "
            f"AND NOT EXISTS (SELECT FROM {images.sql} l WHERE {later} AND l.{STATE} IS NULL)"
        )

    def _of_row(self, images: Images) -> str:
        return " AND ".join(f"t.{self._quote(c.name)} = i.key_{c.number}" for c in images.table.key)

    def _edited(self, images: Images) -> str:
        each = (f"CASE WHEN {self._is_edited(c)} THEN {c.number} END" for c in images.table.others)
        return ", ".join(each) or "NULL"

    def _is_edited(self, column: Column) -> str:
        """Return SQL that is true of a value that the code changed, and that is neither what it was nor became."""
        is_ = f"t.{self._quote(column.name)}"
        now, was = f"i.now_{column.number}", f"i.was_{column.number}"
        return f"({_changed(column)} AND NOT {same(is_, now)} AND NOT {same(is_, was)})"

    def _quote(self, name: str) -> str:
        return str(self.connection.ops.quote_name(name))

    def _ask(self, sql: str, params: Sequence[Any] | None = None) -> list[Any]:
        with self.connection.cursor() as cursor:
            cursor.execute(sql, params)
            rows: list[Any] = cursor.fetchall()
        return rows

    def _execute(self, sql: str) -> None:
        with self.connection.cursor() as cursor:
            cursor.execute(sql)

    def _count(self, sql: str) -> int:
        with self.connection.cursor() as cursor:
            cursor.execute(sql)
            return int(cursor.rowcount)


def _changed(column: Column) -> str:
    return f"NOT {same(f'i.was_{column.number}', f'i.now_{column.number}')}"


def _same_key(images: Images, other: str) -> str:
    return " AND ".join(f"{other}.key_{c.number} = i.key_{c.number}" for c in images.table.key)


def _numbers(columns: Sequence[Column], names: Sequence[str]) -> list[int]:
    """Return the numbers of columns; none when an image lacks one of them."""
    numbers = {column.name: column.number for column in columns}
    return [numbers[name] for name in names] if all(name in numbers for name in names) else []
