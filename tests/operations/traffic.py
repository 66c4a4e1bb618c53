"""Code of one version that writes beside a release, in a thread and sessions of its own, and its ledger.

A write is in the ledger once the database has acknowledged it: from then on it must be in the tables, and what was
deleted must not.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from django.db import DatabaseError, IntegrityError, connections, models, transaction

from tests.operations.sequences import Rows, Writer, parents_first, shop_models, told

PATIENCE_SECONDS = 120
# Between two rounds; a machine that does nothing but write leaves the release no time.
PAUSE_SECONDS = 0.15
# How often a write looks for the names that finalize is giving and taking, one after the other.
LOOKS = 20
# Undefined column, undefined table: the names that the database no longer has for this version.
_GONE = frozenset({"42703", "42P01"})


class Traffic(Writer):
    """Inserts rows of every model, updates its own, one column at a time, and deletes some, until it is told to stop.

    It gets into no other version's way: what must be unique is made of its own numbers and of its own rows, and it
    refers to its own rows and to the `steady` ones alone, which nobody deletes.
    """

    def __init__(self, apps: Any, number: int, steady: Rows) -> None:
        super().__init__(apps, number=number)
        self.ledger: Rows = {model._meta.label: {} for model in shop_models(apps, implicit=True)}
        self.deleted: dict[str, set[Any]] = {label: set() for label in self.ledger}
        self.failures: list[str] = []
        self.rounds = 0
        self._steady = steady
        self._may_be_refused = threading.Event()
        self._stop = threading.Event()
        self._names: ExitStack | None = None

    @contextmanager
    def looking_again(self) -> Iterator[None]:
        """Let each write that the database knows no name of look for its names once more, as an application does."""
        with ExitStack() as self._names:
            self._names.enter_context(told(self.apps))
            yield
        self._names = None

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
        """Return each acknowledged write that is not there, of the tables that `now` has, as a sentence."""
        back = [
            f"{label}: the deletion of row {key} was acknowledged, and it is there"
            for label, keys in self.deleted.items()
            for key in sorted(keys & now.get(label, {}).keys(), key=str)
        ]
        return back + [
            f"{label}.{column} of row {key} was acknowledged as {value!r}, and is {_value(now[label], key, column)!r}"
            for label, rows in self.ledger.items()
            for key, values in rows.items()
            for column, value in values.items()
            if label in now and _value(now[label], key, column) != value
        ]

    def _work(self) -> None:
        try:
            while not self._stop.wait(PAUSE_SECONDS):
                for model in parents_first(shop_models(self.apps)):
                    self._attempt(self._insert_one, model)
                    self._attempt(self._update_one, model)
                    self._attempt(self._delete_one, model)
                self.rounds += 1
        except _NamesAreGoneError:
            pass  # This version's time is over; what it has written is compared all the same.
        except Exception:
            self.failures.append(traceback.format_exc(limit=-8))
        finally:
            connections[self.alias].close()

    def _attempt(self, write: Any, model: Any) -> None:
        try:
            if self._names is None:
                write(model)
            else:
                self._look_until_written(write, model, self._names)
        except DatabaseError as error:
            if not self._may_be_refused.is_set():
                raise
            if _is_gone(error):
                raise _NamesAreGoneError from error
            if not isinstance(error, IntegrityError):
                raise

    def _look_until_written(self, write: Any, model: Any, names: ExitStack) -> None:
        for look in range(LOOKS):
            try:
                with transaction.atomic(using=self.alias), self._noting_nothing_on_failure():
                    write(model)
                return
            except DatabaseError as error:
                if not _is_gone(error) or look == LOOKS - 1:
                    raise
                names.close()
                names.enter_context(told(self.apps, self.alias))

    @contextmanager
    def _noting_nothing_on_failure(self) -> Iterator[None]:
        ledger = {label: dict(rows) for label, rows in self.ledger.items()}
        deleted = {label: set(keys) for label, keys in self.deleted.items()}
        written = [*self.written]
        try:
            yield
        except DatabaseError:
            self.ledger, self.deleted, self.written = ledger, deleted, written
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
        getattr(row, many.name).add(*self._parents(many.related_model)[:2])
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

    def _delete_one(self, model: Any) -> None:
        """Delete a row that no other refers to, but for rows that only join it with another."""
        mine, label = self.ledger[model._meta.label], model._meta.label
        joining = [m for m in shop_models(self.apps, implicit=True) if m._meta.auto_created]
        used = {key for child in shop_models(self.apps) for key, _ in self._references(child, model)}
        free = [key for key in mine if key not in used]
        if self.rounds % 3 != 1 or len(free) < 2:
            return
        _, counted = self._all(model).filter(pk=free[0]).delete()
        gone = {label: [free[0]]}
        gone |= {m._meta.label: [k for p, k in self._references(m, model) if p == free[0]] for m in joining}
        assert counted == {name: len(keys) for name, keys in gone.items() if keys}, f"{counted} went with {gone}"
        for name, keys in gone.items():
            self.deleted[name] |= {*keys}
            self.ledger[name] = {key: row for key, row in self.ledger[name].items() if key not in keys}

    def _references(self, child: Any, parent: Any) -> set[tuple[Any, Any]]:
        """The keys of this traffic's rows of `parent` that its rows of `child` refer to, each with the child's key."""
        names = [f.attname for f in child._meta.local_concrete_fields if f.remote_field and f.related_model is parent]
        return {(row[name], key) for key, row in self.ledger[child._meta.label].items() for name in names}

    def _must_be_unique(self, column: models.Field[Any, Any]) -> bool:
        return column.remote_field is not None and (column.unique or self._is_unique_with_others(column))

    def _reference(self, column: Any) -> Any:
        if not self._must_be_unique(column):
            keys = self._parents(column.related_model)
            return keys[self.number % len(keys)] if keys else None
        used = {*self._all(column.model).values_list(column.attname, flat=True)}
        free = [key for key in self.ledger[column.related_model._meta.label] if key not in used]
        return free[0] if free else None

    def _parents(self, model: Any) -> list[Any]:
        allowed = self.ledger[model._meta.label].keys() | self._steady.get(model._meta.label, {}).keys()
        return [key for key in self._all(model).order_by("pk").values_list("pk", flat=True) if key in allowed]


class _NamesAreGoneError(Exception):
    """The database does not know this version's names any more."""


def _is_gone(error: DatabaseError) -> bool:
    return getattr(error.__cause__, "sqlstate", None) in _GONE


def _value(rows: dict[Any, dict[str, Any]], key: Any, column: str) -> Any:
    return rows.get(key, {}).get(column, "gone")
