"""Code of one version that writes beside a release, in a thread and sessions of its own, and its ledger.

A write is in the ledger once the database has acknowledged it: from then on it must be in the tables.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import DatabaseError, IntegrityError, connections, models

from tests.operations.sequences import Rows, Writer, parents_first, shop_models

PATIENCE_SECONDS = 120
# Undefined column, undefined table: the names that the database no longer has for this version.
_GONE = frozenset({"42703", "42P01"})


class Traffic(Writer):
    """Inserts rows of every model and updates its own rows, one column at a time, until it is told to stop.

    It gets into no other version's way: what must be unique is made of its own numbers and of its own rows.
    """

    def __init__(self, apps: Any, number: int) -> None:
        super().__init__(apps, number=number)
        self.ledger: Rows = {model._meta.label: {} for model in shop_models(apps, implicit=True)}
        self.failures: list[str] = []
        self.rounds = 0
        self._may_be_refused = threading.Event()
        self._stop = threading.Event()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Write beside the block; fail when a write has failed."""
        self._stop.clear()
        thread = threading.Thread(target=self._work)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()
        assert not self.failures, "\n".join(self.failures)

    def go_on(self, rounds: int = 1) -> None:
        """Wait until so many more rounds are done; it ends early when a write has failed."""
        wanted, deadline = self.rounds + rounds + 1, time.monotonic() + PATIENCE_SECONDS
        while self.rounds < wanted and not self.failures:
            assert time.monotonic() < deadline, "the traffic has stopped"
            time.sleep(0.005)

    def is_on_its_way_out(self) -> None:
        """From now on the database may refuse writes of this version; it never takes one back."""
        self._may_be_refused.set()

    def lost(self, now: Rows) -> list[str]:
        """Return each acknowledged value that is not there, of the tables that `now` has, as a sentence."""
        return [
            f"{label}.{column} of row {key} was acknowledged as {value!r}, and is {_value(now[label], key, column)!r}"
            for label, rows in self.ledger.items()
            for key, values in rows.items()
            for column, value in values.items()
            if label in now and _value(now[label], key, column) != value
        ]

    def _work(self) -> None:
        try:
            while not self._stop.wait(0.01):
                for model in parents_first(shop_models(self.apps)):
                    self._attempt(self._insert_one, model)
                    self._attempt(self._update_one, model)
                self.rounds += 1
        except _NamesAreGoneError:
            pass  # This version's time is over; what it has written is compared all the same.
        except Exception:
            self.failures.append(traceback.format_exc(limit=-8))
        finally:
            connections[self.alias].close()

    def _attempt(self, write: Any, model: Any) -> None:
        try:
            write(model)
        except DatabaseError as error:
            if not self._may_be_refused.is_set():
                raise
            if getattr(error.__cause__, "sqlstate", None) in _GONE:
                raise _NamesAreGoneError from error
            if not isinstance(error, IntegrityError):
                raise

    def _insert_one(self, model: Any) -> None:
        before = len(self.written)
        try:
            super()._insert_one(model)
        finally:  # The row may be there although what is added to it is refused.
            for row in self.written[before:]:
                columns = [f.attname for f in model._meta.local_concrete_fields]
                self.ledger[model._meta.label][row.pk] = {name: getattr(row, name) for name in columns}

    def _add_many(self, row: Any, many: Any) -> None:
        super()._add_many(row, many)
        through = many.remote_field.through
        columns = [f.attname for f in through._meta.local_concrete_fields]
        mine = self._all(through).filter(**{f"{many.m2m_field_name()}_id": row.pk}).values(*columns)
        self.ledger[through._meta.label] |= {values[through._meta.pk.attname]: values for values in mine}

    def _update_one(self, model: Any) -> None:
        mine = self.ledger[model._meta.label]
        columns = [f for f in model._meta.local_concrete_fields if not f.primary_key and not self._must_be_unique(f)]
        if not mine or not columns:
            return
        self.number += 1
        key, column = [*mine][self.number % len(mine)], columns[self.rounds % len(columns)]
        value = self._value(column)
        if value is not None:
            assert self._all(model).filter(pk=key).update(**{column.attname: value}) == 1, f"{key} of {model} is gone"
            mine[key][column.attname] = value

    def _must_be_unique(self, column: models.Field[Any, Any]) -> bool:
        return column.remote_field is not None and (column.unique or self._is_unique_with_others(column))

    def _reference(self, column: Any) -> Any:
        if not self._must_be_unique(column):
            return super()._reference(column)
        used = {*self._all(column.model).values_list(column.attname, flat=True)}
        free = [key for key in self.ledger[column.related_model._meta.label] if key not in used]
        return free[0] if free else None


class _NamesAreGoneError(Exception):
    """The database does not know this version's names any more."""


def _value(rows: dict[Any, dict[str, Any]], key: Any, column: str) -> Any:
    return rows.get(key, {}).get(column, "gone")
