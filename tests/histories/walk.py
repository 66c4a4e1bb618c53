"""One project's history: every migration forth, back and forth with Segue, beside stock Django; then all the way back.

"default" is Segue's database, "stock" stock Django's, and "probe" a copy of that one on which stock goes back.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from io import StringIO
from typing import Any

import psycopg
from django.core.management.sql import emit_post_migrate_signal, emit_pre_migrate_signal
from django.db import connections
from django.db.migrations import Migration
from django.db.migrations.exceptions import IrreversibleError
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.state import ProjectState
from psycopg import sql

from segue import pipeline
from segue.core.errors import SegueError
from segue.core.run import State
from segue.engines.postgresql import catalog
from segue.engines.postgresql.server import Server
from segue.operations import is_silent, is_translated, on_database
from segue.session import Session, open_session
from tests.histories.projects import History
from tests.histories.rows import (
    Rows,
    Writer,
    Written,
    aliases,
    insert,
    lost,
    number_on,
    rows,
    steady,
    tables_of,
    undone,
)

Key = tuple[str, str]
_NOT_AGAIN = "its own code fails when it is run again"
_ALIASES = ("default", "stock", "probe")


@dataclass
class Step:
    """What became of one migration. `stock` and `segue` say what each did on the way back, `faults` what differs."""

    migration: str
    stock: str = ""
    segue: str = ""
    stock_lost: int = 0
    segue_lost: int = 0
    faults: list[str] = field(default_factory=list)


@dataclass
class Result:
    """What became of a project's history."""

    name: str
    package: str
    steps: list[Step] = field(default_factory=list)
    operations: dict[str, int] = field(default_factory=dict)
    planned: int = 0
    rows: int = 0
    back_to: str = ""
    back: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    stock_lost_all: int = 0
    segue_lost_all: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return it for a file."""
        return asdict(self)

    @property
    def all_faults(self) -> list[str]:
        """Every difference, with the migration that it came from."""
        return [f"{s.migration}: {fault}" for s in self.steps for fault in s.faults] + self.faults


class Walk:
    """The walk through one history, on databases of its own."""

    def __init__(self, server: Server, history: History, say: Callable[[str], None]) -> None:
        self._server = server
        self._say = say
        self._began = datetime.now(UTC)
        self._unsaid: list[str] = []
        self._by_stock: set[str] = set()
        self._by_stock_again: set[str] = set()
        self._written_by_own_code: set[str] = set()
        self.result = Result(name=history.name, package=history.package)
        for alias in _ALIASES:
            connections[alias].settings_dict.update(NAME=f"history_{alias}", PORT=str(server.port))
        for alias in ("default", "stock"):
            server.create_database(f"history_{alias}")
        self._executor = MigrationExecutor(connections["stock"])
        loader = self._executor.loader
        self._plan: list[Migration] = [
            migration for migration, _ in self._executor.migration_plan([*loader.graph.leaf_nodes()])
        ]
        self._states: dict[Key, ProjectState] = {}
        self._writer = Writer(alias="stock", special=history.values)
        self._history = history
        self.result.planned = sum(m.app_label in history.apps for m in self._plan)

    def go(self, until: str = "") -> Result:
        """Walk; stop after the migration whose "app.name" begins with `until`."""
        state = self._executor._create_project_state()
        final = self._final_state(state)
        self._writer.keeps_null = {
            f"{m._meta.db_table}.{f.column}"
            for m in tables_of(final.apps)
            for f in m._meta.local_concrete_fields
            if f.null
        }
        for number, migration in enumerate(self._plan):
            key = f"{migration.app_label}.{migration.name}"
            after = migration.mutate_state(state, preserve=True)
            step = Step(migration=key)
            self._say(f"{number + 1}/{len(self._plan)} {key}")
            if number == 0:
                self._begin(migration, state, after)
            elif not self._one(migration, state, after, step):
                self._note(migration, step)
                self.result.faults.append(f"stopped at {key}")
                return self.result
            self._note(migration, step)
            state = after
            if until and key.startswith(until):
                return self.result
            if number % 20 == 0:
                gc.collect()
        self._all_the_way(state)
        return self.result

    def _final_state(self, state: ProjectState) -> ProjectState:
        for migration in self._plan:
            state = migration.mutate_state(state, preserve=migration is self._plan[0])
        return state

    def _note(self, migration: Migration, step: Step) -> None:
        for fault in step.faults:
            self._say(f"    ! {fault}")
        if step.stock or step.segue:
            self._say(f"    stock: {step.stock} ({step.stock_lost}) | segue: {step.segue} ({step.segue_lost})")
        if migration.app_label in self._history.apps or step.faults:
            self.result.steps.append(step)
        if migration.app_label in self._history.apps:
            for operation in migration.operations:
                kind = type(operation).__name__
                self.result.operations[kind] = self.result.operations.get(kind, 0) + 1

    # One migration

    def _begin(self, migration: Migration, before: ProjectState, after: ProjectState) -> None:
        """The first makes both databases from nothing; from then on Segue's is one in use."""
        self._stock("stock", migration, before, after)
        pipeline.apply(self._session(), migration.app_label, migration.name)

    def _one(self, migration: Migration, before: ProjectState, after: ProjectState, step: Step) -> bool:
        """Whether the next migration can follow."""
        for row in self._writer.fill(before.apps):
            if why := insert("default", row):
                step.faults.append(f"stock takes a row that Segue does not, in {row.table}: {why}")
        for alias in ("stock", "default"):
            number_on(alias)
        at_start = rows("stock", before.apps)
        try:
            self._stock("stock", migration, before, after)
        except Exception as error:
            step.faults.append(f"stock cannot apply it: {_said(error)}")
            return False
        new = self._writer.add(after.apps, _touched(migration, before, after))
        self._stock_there_and_back(migration, before, after, at_start, step)
        try:
            self._segue_there_and_back(migration, before, after, new, step)
        except Exception as error:
            if not isinstance(error, SegueError):
                raise
            step.faults.append(f"Segue stops: {_said(error)}")
            return False
        self._compare(after, step.faults)
        return True

    def _compare(self, state: ProjectState, faults: list[str]) -> None:
        faults += catalog.differences(connections["default"], connections["stock"])
        ours = steady(rows("default", state.apps), state.apps, self._began)
        theirs = steady(rows("stock", state.apps), state.apps, self._began)
        faults += [f"data, not as stock's: {line}" for line in _some(lost(theirs, ours))]
        faults += [f"data, more than stock's: {line}" for line in _some(lost(ours, theirs))]

    def _segue_there_and_back(
        self, migration: Migration, before: ProjectState, after: ProjectState, new: list[Written], step: Step
    ) -> None:
        at_start = rows("default", before.apps)
        app, name = migration.app_label, migration.name
        pipeline.apply(self._session(), app, name)
        written = self._new_code_inserts(new, step)
        self._old_code_inserts(migration, before, after, step)
        if step.stock.startswith(_NOT_AGAIN):
            step.segue = "not taken back, for the same reason"
        if step.segue or not self._goes_back(migration):
            pipeline.finalize(self._session(), old_code_gone=True)
            return
        try:
            run = pipeline.rollback(self._session())
        except SegueError as error:
            step.segue = f"refuses: {_said(error)}"
            self._go_on(migration, step)
            return
        if run.state is not State.ROLLED_BACK:
            step.faults.append(f"after rollback the release is {run.state}")
        by_old_code = rows("default", before.apps)
        gone = lost(at_start, by_old_code)
        step.segue_lost = len(gone)
        # What the migration's own reverse code writes over is its author's will, and stock does the same.
        gone = [line for line in gone if _place(line) not in self._by_stock]
        step.faults += [f"rollback: {line}" for line in _some(gone)]
        step.segue = "back"
        self._written_stay(written, by_old_code, step)
        number_on("default")
        pipeline.apply(self._session(), app, name)
        pipeline.finalize(self._session(), old_code_gone=True)
        again = rows("default", after.apps)
        changed = lost({t: {r.key: dict(r.values) for r in written if r.table == t} for t in again}, again)
        changed = [line for line in changed if _place(line) not in self._by_stock_again]
        step.segue_lost += len(changed)
        step.faults += [f"what new code wrote, after rollback and apply: {line}" for line in _some(changed)]

    def _go_on(self, migration: Migration, step: Step) -> None:
        """After a rollback that was refused the release must still be there to finalize."""
        try:
            pipeline.finalize(self._session(), old_code_gone=True)
        except SegueError as error:
            step.faults.append(f"after the refused rollback: {_said(error)}")
            raise

    def _old_code_inserts(self, migration: Migration, before: ProjectState, after: ProjectState, step: Step) -> None:
        """Old code can insert into every table that the migration touches; nothing of it stays."""
        touched = _touched(migration, before, after)
        writer = replace(self._writer, alias="default", number=self._writer.number + 10_000)
        for model in tables_of(before.apps):
            row = writer.make(model) if model._meta.label_lower in touched else None
            if row is None:
                continue
            with undone("default"):
                why = insert("default", row)
            if why and "duplicate key" not in why:
                step.faults.append(f"old code cannot insert into {row.table}: {why}")

    def _new_code_inserts(self, new: list[Written], step: Step) -> list[Written]:
        written = []
        names = aliases("default")
        for row in new:
            if why := insert("default", row, names):
                step.faults.append(f"new code cannot insert into {row.table}: {why}")
            else:
                written.append(row)
        return written

    def _written_stay(self, written: list[Written], by_old_code: Rows, step: Step) -> None:
        """Old code sees the rows that new code wrote, or the quarantine has them."""
        with connections["default"].cursor() as cursor:
            cursor.execute('SELECT "table" FROM segue_quarantine')
            kept = {table for (table,) in cursor.fetchall()}
        for row in written:
            seen = by_old_code.get(row.table)
            if seen is not None and row.key not in seen and row.table not in kept:
                step.faults.append(f"old code does not see the row {row.key} that new code wrote into {row.table}")

    def _stock_there_and_back(
        self, migration: Migration, before: ProjectState, after: ProjectState, at_start: Rows, step: Step
    ) -> None:
        """What stock Django loses when it goes back and forth again, on a copy."""
        self._by_stock, self._by_stock_again = set(), set()
        if not self._goes_back(migration):
            return
        there = rows("stock", after.apps)
        self._copy("stock", "probe")
        went_back = False
        try:
            self._stock("probe", migration, after, before, backwards=True)
            old = lost(at_start, rows("probe", before.apps))
            self._by_stock = {_place(line) for line in old} if _has_own_code(migration) else set()
            number_on("probe")
            went_back = True
            self._stock("probe", migration, before, after)
            new = lost(there, rows("probe", after.apps))
        except IrreversibleError:
            step.stock = "irreversible"
        except Exception as error:
            own = went_back and _has_own_code(migration)
            step.stock = f"{_NOT_AGAIN if own else 'fails'}: {_said(error)}"
        else:
            step.stock, step.stock_lost = "back", len(old) + len(new)
            self._by_stock_again = {_place(line) for line in new} if _has_own_code(migration) else set()
            places = self._by_stock | self._by_stock_again
            self._written_by_own_code |= {place.split(" of row ")[0] for place in places}
        connections["probe"].close()

    # All the way back

    def _all_the_way(self, state: ProjectState) -> None:
        """Unapply from the newest on, one at a time, until one cannot be; then apply them again."""
        self.result.rows = sum(map(len, rows("stock", state.apps).values()))
        before = {alias: rows(alias, state.apps) for alias in ("default", "stock")}
        self._copy("stock", "probe")
        back, blocked = self._back("default", self._segue_one)
        stock_back, _ = self._back("probe", self._stock_one)
        self.result.back = blocked
        self.result.back_to = f"{len(back)} by Segue, {len(stock_back)} by stock, of {self.result.planned}"
        for alias, done, one in (("default", back, self._segue_one), ("probe", stock_back, self._stock_one)):
            for migration in reversed(done):
                number_on(alias)
                try:
                    one(alias, migration, False)
                except Exception as error:
                    text = f"going forth again, {migration.app_label}.{migration.name}: {_said(error)}"
                    self.result.back.append(f"{'Segue' if alias == 'default' else 'stock'}: {text}")
                    if alias == "default":
                        self.result.faults.append(text)
                        return
                    break
        gone = lost(before["default"], rows("default", state.apps))
        self.result.segue_lost_all = len(gone)
        gone = [line for line in gone if _place(line).split(" of row ")[0] not in self._written_by_own_code]
        self.result.faults += [f"all the way back and forth: {line}" for line in _some(gone)]
        self.result.faults += catalog.differences(connections["default"], connections["stock"])
        try:
            again = rows("probe", state.apps)
            self.result.stock_lost_all = len(
                lost(steady(before["stock"], state.apps, self._began), steady(again, state.apps, self._began))
            )
        except Exception as error:
            self.result.back.append(f"stock: {_said(error)}")

    def _back(self, alias: str, one: Callable[[str, Migration, bool], None]) -> tuple[list[Migration], list[str]]:
        done: list[Migration] = []
        said: list[str] = []
        stays: set[Key] = set()
        graph = self._executor.loader.graph
        for migration in reversed(self._plan[1:]):
            key = (migration.app_label, migration.name)
            if key in stays or migration.app_label not in self._history.apps:
                continue
            try:
                one(alias, migration, True)
            except Exception as error:
                who = "Segue" if alias == "default" else "stock"
                said.append(f"{who}: {key[0]}.{key[1]}: {_said(error)}")
                stays |= set(graph.forwards_plan(key))
            else:
                done.append(migration)
        return done, said

    def _segue_one(self, alias: str, migration: Migration, backwards: bool) -> None:
        pipeline.migrate(self._session(), [(migration, backwards)], None, fake_initial=False)
        pipeline.finalize(self._session(), old_code_gone=True)

    def _stock_one(self, alias: str, migration: Migration, backwards: bool) -> None:
        with self._as_default(alias):
            MigrationExecutor(connections["default"]).migrate([], plan=[(migration, backwards)])

    def _goes_back(self, migration: Migration) -> bool:
        """Django's own apps are walked only where a project's history stands on them."""
        return migration.app_label in self._history.apps and not _is_silent(migration)

    # Databases

    def _session(self) -> Session:
        return open_session("default", say=self._unsaid.append)

    def _stock(
        self, alias: str, migration: Migration, start: ProjectState, end: ProjectState, *, backwards: bool = False
    ) -> None:
        """What stock's `migrate` does for one migration, its signals included."""
        with self._as_default(alias):
            executor = MigrationExecutor(connections["default"])
            plan = [(executor.loader.graph.nodes[migration.app_label, migration.name], backwards)]
            emit_pre_migrate_signal(0, False, "default", stdout=StringIO(), apps=start.apps, plan=plan)
            executor.migrate([], plan=plan, state=None if backwards else start.clone())
            emit_post_migrate_signal(0, False, "default", stdout=StringIO(), apps=end.apps, plan=plan)

    @contextmanager
    def _as_default(self, alias: str) -> Iterator[None]:
        """Make a database the default one for the block: code of migrations often writes to that one, whatever runs."""
        default = connections["default"]
        default.close()
        default.settings_dict["NAME"] = connections[alias].settings_dict["NAME"]
        try:
            yield
        finally:
            default.close()
            default.settings_dict["NAME"] = "history_default"

    def _copy(self, of: str, to: str) -> None:
        for alias in (of, to):
            connections[alias].close()
        names = {alias: str(connections[alias].settings_dict["NAME"]) for alias in (of, to)}
        self._server.drop_database(names[to])
        with psycopg.connect(self._server.url(), autocommit=True) as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(names[to]), sql.Identifier(names[of]))
            )


def _touched(migration: Migration, before: ProjectState, after: ProjectState) -> set[str]:
    """The models that a migration makes or changes; all of its app's where it only changes rows."""
    changed = {
        f"{app}.{name}"
        for app, name in before.models.keys() | after.models.keys()
        if (before.models.keys() ^ after.models.keys()) & {(app, name)}
        or before.models[app, name] != after.models[app, name]
    }
    return changed or {f"{app}.{name}" for app, name in after.models if app == migration.app_label}


def _has_own_code(migration: Migration) -> bool:
    return any(not is_silent(op) and not is_translated(op) for _, op in on_database(migration.operations))


def _is_silent(migration: Migration) -> bool:
    return all(is_silent(operation) for _, operation in on_database(migration.operations))


def _place(line: str) -> str:
    """Return which value a sentence is about."""
    return line.split(" was ", 1)[0]


def _said(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _some(lines: Sequence[str], most: int = 6) -> list[str]:
    return [*lines[:most], *([f"… and {len(lines) - most} more"] if len(lines) > most else [])]
