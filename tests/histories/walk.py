"""One project's history: every migration forth, back and forth with Segue, beside stock Django; then all the way back.

"default" is Segue's database, "stock" stock Django's, "before" a copy of that one from before the migration, and
"probe" one on which stock goes back.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from io import StringIO
from typing import Any

import psycopg
from django.apps import AppConfig
from django.contrib.contenttypes.models import ContentType
from django.core.management.sql import emit_post_migrate_signal, emit_pre_migrate_signal
from django.db import connections
from django.db.migrations import Migration
from django.db.migrations.exceptions import IrreversibleError
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.state import AppConfigStub, ProjectState
from django.db.models import UniqueConstraint
from django.db.models.signals import post_migrate
from psycopg import sql

from segue import pipeline
from segue.core.change import Kind
from segue.core.errors import SegueError
from segue.core.run import State
from segue.engines.postgresql import catalog
from segue.engines.postgresql.server import Server
from segue.operations import is_silent, is_translated, on_database
from segue.session import Session, open_session
from tests.histories.projects import History
from tests.histories.rows import (
    Lost,
    Rows,
    Writer,
    Written,
    aliases,
    insert,
    lay_in_order,
    lost,
    made_at_random,
    make_same,
    number_on,
    rows,
    sequences_of,
    tables_of,
    undone,
)

Key = tuple[str, str]
_NOT_AGAIN = "its own code fails when it is run again"
_TYPES = re.compile(
    r"column (\S+) differs: (?:text|character varying\((?P<size>\d+)\))(?P<rest>.*) "
    r"\| character varying\((?P<old_size>\d+)\)(?P<old_rest>.*)"
)
_NULLABLE = re.compile(r"column (\S+) differs: (.*) \| \2 NOT NULL")
_LOOSE = re.compile(r"constraint (?P<table>[^.]+)\.(?P<name>\S+) is missing on the left: UNIQUE \((?P<columns>[^)]+)\)")
_ALIASES = ("default", "stock", "before", "probe")


@dataclass
class Step:
    """What became of one migration. `stock` and `segue` say what each did on the way back, `faults` what differs.

    Values that differ without fault are counted: where the migration's own code ran twice they are those that stock
    ends with when it runs it twice too, or a default made them at random. `stays_wide` are the columns that a
    rollback leaves with the wider type, `stays_null` those that it leaves without NOT NULL for
    new code's rows, `stays_loose` the unique constraints that it cannot make for them.
    """

    migration: str
    stock: str = ""
    segue: str = ""
    stock_lost: int = 0
    segue_lost: int = 0
    stock_lost_of: list[str] = field(default_factory=list)
    segue_lost_of: list[str] = field(default_factory=list)
    as_run_twice: int = 0
    at_random: int = 0
    stays_wide: list[str] = field(default_factory=list)
    stays_null: list[str] = field(default_factory=list)
    stays_loose: list[str] = field(default_factory=list)
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
    as_it_was: list[str] = field(default_factory=list)
    is_forth_again: bool = False
    faults: list[str] = field(default_factory=list)
    stock_lost_all: int = 0
    segue_lost_all: int = 0
    segue_lost_all_of: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return it for a file."""
        return asdict(self)

    @property
    def all_faults(self) -> list[str]:
        """Every difference, with the migration that it came from."""
        return [f"{s.migration}: {fault}" for s in self.steps for fault in s.faults] + self.faults


@dataclass(frozen=True, kw_only=True)
class Way:
    """What stock's way back and forth again did to the rows, where a migration has code of its own."""

    lost_back: Sequence[Lost] = ()
    lost_again: Sequence[Lost] = ()
    back: Rows | None = None
    again: Rows | None = None


class Walk:
    """The walk through one history, on databases of its own."""

    def __init__(self, server: Server, history: History, say: Callable[[str], None]) -> None:
        self._server = server
        self._say = say
        self._unsaid: list[str] = []
        self._by_own_code: list[Lost] = []
        self._schemas: dict[Key, Any] = {}
        self.result = Result(name=history.name, package=history.package)
        for alias in _ALIASES:
            connections[alias].settings_dict.update(NAME=f"history_{alias}", PORT=str(server.port))
        for alias in ("default", "stock"):
            server.create_database(f"history_{alias}")
        if not history.permissions:
            post_migrate.disconnect(dispatch_uid="django.contrib.auth.management.create_permissions")
        # Django makes content types in the models' order, which is that of a set where a state was rendered again.
        AppConfigStub.get_models = _sorted_models
        self._executor = MigrationExecutor(connections["stock"])
        loader = self._executor.loader
        # Other apps' first: going back leaves those alone, and is compared with the schemas on the way forth.
        leaves = sorted(loader.graph.leaf_nodes(), key=lambda node: node[0] in history.apps)
        self._plan: list[Migration] = [migration for migration, _ in self._executor.migration_plan(leaves)]
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
            after.clear_delayed_apps_cache()
            step = Step(migration=key)
            self._say(f"{number + 1}/{len(self._plan)} {key}")
            if number == 0 or migration.app_label not in self._history.apps:
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
        """Return the last state, and let the rows fit every one on the way."""
        for migration in self._plan:
            state = migration.mutate_state(state, preserve=migration is self._plan[0])
            for table, columns in _unique(state):
                self._writer.unique.setdefault(table, set()).add(columns)
        return state

    def _note(self, migration: Migration, step: Step) -> None:
        for fault in step.faults:
            self._say(f"    ! {fault}")
        if step.stock or step.segue:
            self._say(f"    stock: {step.stock} ({step.stock_lost}) | segue: {step.segue} ({step.segue_lost})")
        if migration.app_label in self._history.apps:
            self.result.steps.append(step)
            for operation in migration.operations:
                kind = type(operation).__name__
                self.result.operations[kind] = self.result.operations.get(kind, 0) + 1

    # One migration

    def _begin(self, migration: Migration, before: ProjectState, after: ProjectState) -> None:
        """Migrate both databases once: for the apps that a project's history stands on.

        The first makes them from nothing; from then on Segue's is one in use.
        """
        self._stock("stock", migration, before, after)
        pipeline.apply(self._session(), migration.app_label, migration.name)
        pipeline.finalize(self._session(), old_code_gone=True)

    def _one(self, migration: Migration, before: ProjectState, after: ProjectState, step: Step) -> bool:
        """Whether the next migration can follow."""
        for row in self._writer.fill(before.apps):
            if why := insert("default", row):
                step.faults.append(f"stock takes a row that Segue does not, in {row.table}: {why}")
        for alias in ("stock", "default"):
            number_on(alias)
            if _has_own_code(migration):
                lay_in_order(alias)
        self._copy("stock", "before")
        schema = catalog._describe(connections["before"], frozenset())
        self._schemas[migration.app_label, migration.name] = _nameless(schema)
        try:
            self._stock("stock", migration, before, after)
        except Exception as error:
            step.faults.append(f"stock cannot apply it: {_said(error)}")
            return False
        new = []
        if step.migration not in self._history.continued:
            new = self._writer.add(after.apps, _touched(migration, before, after))
        number_on("stock")
        way = self._stock_there_and_back(migration, before, after, step)
        try:
            self._segue_there_and_back(migration, before, after, new, way, step)
        except Exception as error:
            if not isinstance(error, SegueError):
                raise
            step.faults.append(f"Segue stops: {_said(error)}")
            return False
        self._compare(migration, before, after, way, step)
        return True

    def _compare(self, migration: Migration, before: ProjectState, after: ProjectState, way: Way, step: Step) -> None:
        """Compare the two databases, and go on with the same rows in both."""
        step.faults += catalog.differences(connections["default"], connections["stock"])
        ours, theirs = rows("default", after.apps), rows("stock", after.apps)
        unlike = [*lost(theirs, ours), *(more for more in lost(ours, theirs) if not more.column)]
        if not unlike:
            return
        anew = made_at_random(after.apps)
        if not _has_own_code(migration):
            anew -= _columns(before)
        twice = way.again if _has_own_code(migration) and way.again is not None else theirs
        unlike_twice = {(u.place, str(u.key)) for u in (*lost(twice, ours), *lost(ours, twice))}
        found = []
        for one in unlike:
            if twice is not theirs and not {(one.place, str(one.key)), (one.table, str(one.key))} & unlike_twice:
                step.as_run_twice += 1
            elif one.place in anew:
                step.at_random += 1
            else:
                found.append(one)
        step.faults += [f"data, unlike stock's: {line}" for line in _some(found)]
        make_same("stock", after.apps, ours)

    def _segue_there_and_back(
        self,
        migration: Migration,
        before: ProjectState,
        after: ProjectState,
        new: list[Written],
        way: Way,
        step: Step,
    ) -> None:
        at_start = rows("default", before.apps)
        app, name = migration.app_label, migration.name
        pipeline.apply(self._session(), app, name)
        written = self._new_code_inserts(new, step)
        self._old_code_inserts(migration, before, after, step)
        if step.stock.startswith(_NOT_AGAIN):
            step.segue = "not taken back, for the same reason"
        if step.segue or _is_silent(migration):
            pipeline.finalize(self._session(), old_code_gone=True)
            return
        number_on("default")
        try:
            run = pipeline.rollback(self._session())
        except SegueError as error:
            step.segue = f"refuses: {_said(error)}"
            self._go_on(migration, step)
            return
        if run.state is not State.ROLLED_BACK:
            step.faults.append(f"after rollback the release is {run.state}")
        step.faults += [f"rollback: {line}" for line in self._differences_from_before(step)]
        by_old_code = rows("default", before.apps)
        gone = lost(at_start, by_old_code)
        at_random = made_at_random(before.apps)
        step.faults += [f"rollback: {line}" for line in _some(without(gone, way.lost_back, at_random))]
        step.segue = "back"
        self._written_stay(written, by_old_code, way, step)
        number_on("default")
        pipeline.apply(self._session(), app, name)
        pipeline.finalize(self._session(), old_code_gone=True)
        again = rows("default", after.apps)
        changed = lost({t: {r.key: dict(r.values) for r in written if r.table == t} for t in again}, again)
        step.segue_lost, step.segue_lost_of = len(gone) + len(changed), _places([*gone, *changed])
        changed = without(changed, way.lost_again, made_at_random(after.apps))
        step.faults += [f"what new code wrote, after rollback and apply: {line}" for line in _some(changed)]

    def _differences_from_before(self, step: Step) -> list[str]:
        """How the schema after a rollback differs from the one before, besides what lies retired in its place.

        Listed apart are a type that was widened and stays so, a column in which new code left NULL, and a unique
        constraint that new code's rows break.
        """
        retired = self._session().journal.cemetery().all()
        names = {r.name if r.kind is Kind.TABLE else f"{r.table}.{r.name}" for r in retired if not r.place}
        names |= sequences_of("default", names)
        found = catalog.differences(connections["default"], connections["before"], ignore=frozenset(names))
        step.stays_wide = [match[1] for line in found if (match := is_wider(line))]
        step.stays_null = [match[1] for line in found if (match := _NULLABLE.fullmatch(line)) and _has_null(match[1])]
        listed = {f"column {place}" for place in (*step.stays_wide, *step.stays_null)}
        for line in found:
            if (match := _LOOSE.fullmatch(line)) and _has_duplicates(match["table"], match["columns"]):
                step.stays_loose.append(f"{match['table']}.{match['name']}")
                listed |= {f"{kind} {match['table']}.{match['name']}" for kind in ("index", "constraint")}
        return [line for line in found if re.split(" differs: | is missing ", line)[0] not in listed]

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

    def _written_stay(self, written: list[Written], by_old_code: Rows, way: Way, step: Step) -> None:
        """Old code sees new code's rows, or they lie in quarantine, or own code removes them, as under stock."""
        with connections["default"].cursor() as cursor:
            cursor.execute('SELECT "table" FROM segue_quarantine')
            kept = {table for (table,) in cursor.fetchall()}
        for row in written:
            seen = by_old_code.get(row.table)
            by_stock = None if way.back is None else way.back.get(row.table, {}).get(row.key)
            if seen is None or row.key in seen or row.table in kept or (way.back is not None and by_stock is None):
                continue
            step.faults.append(f"old code does not see the row {row.key} that new code wrote into {row.table}")

    def _stock_there_and_back(self, migration: Migration, before: ProjectState, after: ProjectState, step: Step) -> Way:
        """What stock Django loses when it goes back and forth again, on a copy."""
        way = Way()
        if _is_silent(migration):
            return way
        own = _has_own_code(migration)
        at_start, there = rows("before", before.apps), rows("stock", after.apps)
        self._copy("stock", "probe")
        went_back = False
        try:
            self._stock("probe", migration, after, before, backwards=True)
            went_back = True
            back = rows("probe", before.apps)
            number_on("probe")
            self._stock("probe", migration, before, after)
            again = rows("probe", after.apps)
        except IrreversibleError:
            step.stock = "irreversible"
        except Exception as error:
            step.stock = f"{_NOT_AGAIN if own and went_back else 'fails'}: {_said(error)}"
        else:
            gone, changed = lost(at_start, back), lost(there, again)
            step.stock, step.stock_lost = "back", len(gone) + len(changed)
            step.stock_lost_of = _places([*gone, *changed])
            if own:
                way = Way(lost_back=gone, lost_again=changed, back=back, again=again)
        connections["probe"].close()
        return way

    # All the way back

    def _all_the_way(self, state: ProjectState) -> None:
        """Unapply from the newest on, one at a time, as far as that goes; then apply again."""
        self.result.rows = sum(map(len, rows("stock", state.apps).values()))
        before = {alias: rows(alias, state.apps) for alias in ("default", "stock")}
        self._copy("stock", "probe")
        ours, theirs = self._back()
        self.result.back_to = f"{len(ours)} by Segue, {len(theirs)} by stock, of {self.result.planned}"
        again = {}
        for alias, done, one in (("default", ours, self._segue_one), ("probe", theirs, self._stock_one)):
            if self._forth(alias, done, one):
                again[alias] = rows(alias, state.apps)
        if "default" in again:
            self.result.faults += catalog.differences(connections["default"], connections["stock"])
            self._compare_all(before, again, made_at_random(state.apps))

    def _compare_all(self, before: dict[str, Rows], again: dict[str, Rows], at_random: set[str]) -> None:
        gone = lost(before["default"], again["default"])
        self.result.is_forth_again = True
        self.result.segue_lost_all, self.result.segue_lost_all_of = len(gone), _places(gone)
        if "probe" in again:
            self.result.stock_lost_all = len(lost(before["stock"], again["probe"]))
        written = [(one.place, one.key, one.now) for one in self._by_own_code]
        left = [g for g in gone if (g.place, g.key, g.now) not in written and g.place not in at_random]
        self.result.faults += [f"all the way back and forth: {line}" for line in _some(left)]

    def _note_own_code(self, migration: Migration, backwards: bool) -> None:
        """Let stock run the migration on a copy of Segue's rows, and note what its own code writes."""
        state = self._executor._create_project_state()
        for each in self._plan[: self._plan.index(migration)]:
            state = each.mutate_state(state, preserve=False)
        states = [state, migration.mutate_state(state, preserve=True)]
        if backwards:
            states.reverse()
        self._copy("default", "before")
        there = rows("before", states[0].apps)
        try:
            self._stock_one("before", migration, backwards)
        except Exception:
            return  # Then nothing is excused by it.
        kept = _columns(states[1])
        written = lost(there, rows("before", states[1].apps))
        self._by_own_code += [one for one in written if not one.column or one.place in kept]

    def _back(self) -> tuple[list[Migration], list[Migration]]:
        """Unapply with both; where both have gone the same way, their schemas are the same after each."""
        done: dict[str, list[Migration]] = {"default": [], "probe": []}
        stays: dict[str, set[Key]] = {"default": set(), "probe": set()}
        graph = self._executor.loader.graph
        for migration in reversed(self._plan[1:]):
            key = (migration.app_label, migration.name)
            if migration.app_label not in self._history.apps:
                continue
            self._say(f"back {key[0]}.{key[1]}")
            for alias, who, one in (("default", "Segue", self._segue_one), ("probe", "stock", self._stock_one)):
                if key in stays[alias]:
                    continue
                try:
                    one(alias, migration, True)
                except Exception as error:
                    self.result.back.append(f"{who}: {key[0]}.{key[1]}: {_said(error)}")
                    stays[alias] |= set(graph.forwards_plan(key))
                else:
                    done[alias].append(migration)
            if done["default"] == done["probe"] and key not in stays["default"]:
                found = catalog.differences(connections["default"], connections["probe"])
                if found and _nameless(catalog._describe(connections["default"], frozenset())) == self._schemas[key]:
                    self.result.as_it_was.append(f"{key[0]}.{key[1]}")
                    continue
                self.result.faults += [f"back from {key[0]}.{key[1]}: {line}" for line in _some(found)]
        return done["default"], done["probe"]

    def _forth(self, alias: str, done: list[Migration], one: Callable[[str, Migration, bool], None]) -> bool:
        """Apply again what was unapplied; return whether all of it could be."""
        for migration in reversed(done):
            number_on(alias)
            try:
                one(alias, migration, False)
            except Exception as error:
                text = f"going forth again, {migration.app_label}.{migration.name}: {_said(error)}"
                self.result.back.append(f"{'Segue' if alias == 'default' else 'stock'}: {text}")
                key = f"{migration.app_label}.{migration.name}"
                alike = any(s.migration == key and s.stock.startswith(_NOT_AGAIN) for s in self.result.steps)
                if alias == "default" and not alike:
                    self.result.faults.append(text)
                return False
        return True

    def _segue_one(self, alias: str, migration: Migration, backwards: bool) -> None:
        if _has_own_code(migration):
            self._note_own_code(migration, backwards)
        pipeline.migrate(self._session(), [(migration, backwards)], None, fake_initial=False)
        pipeline.finalize(self._session(), old_code_gone=True)

    def _stock_one(self, alias: str, migration: Migration, backwards: bool) -> None:
        with self._as_default(alias):
            executor = MigrationExecutor(connections["default"])
            executor.migrate([], plan=[(executor.loader.graph.nodes[migration.app_label, migration.name], backwards)])

    # Databases

    def _session(self) -> Session:
        ContentType.objects.clear_cache()
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
        ContentType.objects.clear_cache()  # Every state's manager of them has the same cache.
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


def _nameless(schema: dict[str, dict[str, str]]) -> Any:
    """Return a schema in which indexes and constraints have no names: a table that comes back may keep older ones."""
    found: dict[str, Any] = dict(schema)
    found["index"] = sorted((t, re.sub(r"INDEX \S+ ON", "INDEX ON", v)) for t, v in _by_table(schema["index"]))
    found["constraint"] = sorted(_by_table(schema["constraint"]))
    return found


def _by_table(described: dict[str, str]) -> list[tuple[str, str]]:
    return [(name.split(".")[0], text) for name, text in described.items()]


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


def without(found: Sequence[Lost], excused: Sequence[Lost], at_random: set[str]) -> list[Lost]:
    """Return what is not among the excused: the same value became the same other one, where that is not at random."""
    left = []
    for one in found:
        alike = [e for e in excused if (e.place, e.key) == (one.place, one.key)]
        if not any(e.was == one.was and (e.now == one.now or one.place in at_random) for e in alike):
            left.append(one)
    return left


def _places(found: Sequence[Lost]) -> list[str]:
    return list(dict.fromkeys(one.place for one in found))


def _sorted_models(config: AppConfigStub, *which: bool, **options: bool) -> list[Any]:
    return sorted(AppConfig.get_models(config, *which, **options), key=lambda model: str(model._meta.model_name))


def _columns(state: ProjectState) -> set[str]:
    return {f"{m._meta.db_table}.{f.column}" for m in tables_of(state.apps) for f in m._meta.local_concrete_fields}


def _unique(state: ProjectState) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the table and the columns of what a state wants to be unique."""
    for (app, name), model in state.models.items():
        names = {
            field_name: field.db_column or (f"{field_name}_id" if field.remote_field else field_name)
            for field_name, field in model.fields.items()
        }
        groups = [(n,) for n, field in model.fields.items() if field.unique and not field.many_to_many]
        groups += [tuple(group) for group in model.options.get("unique_together") or ()]
        constraints = model.options.get("constraints", ())
        groups += [c.fields for c in constraints if isinstance(c, UniqueConstraint) and c.fields]
        table = model.options.get("db_table") or f"{app}_{name}"
        for group in groups:
            if all(n in names for n in group):
                yield table, tuple(names[n] for n in group)


def is_wider(line: str) -> re.Match[str] | None:
    """Whether a difference is that a column has a wider type of characters than it had."""
    match = _TYPES.fullmatch(line)
    if match is None or match["rest"] != match["old_rest"]:
        return None
    return match if match["size"] is None or int(match["size"]) > int(match["old_size"]) else None


def _has_null(place: str) -> bool:
    table, column = map(connections["default"].ops.quote_name, place.split("."))
    with connections["default"].cursor() as cursor:
        cursor.execute(f"SELECT FROM {table} WHERE {column} IS NULL LIMIT 1")
        return cursor.fetchone() is not None


def _has_duplicates(table: str, columns: str) -> bool:
    """Whether rows are the same in columns that are named as PostgreSQL quotes them."""
    with connections["default"].cursor() as cursor:
        cursor.execute(
            f"SELECT FROM {connections['default'].ops.quote_name(table)} "
            f"WHERE ({columns}) IS NOT NULL GROUP BY {columns} HAVING count(*) > 1 LIMIT 1"
        )
        return cursor.fetchone() is not None


def _said(error: BaseException) -> str:
    """Return what an error says, in words that are the same in every run."""
    said = " ".join((error.message if isinstance(error, SegueError) else str(error)).split())
    return re.sub(r" at 0x[0-9a-f]+|(?<=elease )[0-9]{8}-\S+ ", "", said) or type(error).__name__


def _some(lines: Sequence[str], most: int = 6) -> list[str]:
    return [*lines[:most], *([f"… and {len(lines) - most} more"] if len(lines) > most else [])]
