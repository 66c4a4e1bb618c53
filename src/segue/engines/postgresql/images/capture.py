"""Capture: whatever a migration's own code changes in rows is kept, as it was and as it is.

Triggers for whole statements write the images, in the transaction of what they are about; they see nothing but a
session that says so. A table gets them before the code first writes to it, from another session, because in the code's
own transaction they would hold every writer up until its end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.db import DatabaseError

from segue.core.change import Act, Kind, LockMode, Restore, Retired, images_of
from segue.engines.base import Uncaptured
from segue.engines.postgresql import activity
from segue.engines.postgresql.acts import retire
from segue.engines.postgresql.acts.blocks import literal
from segue.engines.postgresql.editor.door import is_of_rows, writes
from segue.engines.postgresql.images import lay, shape
from segue.engines.postgresql.images.shape import EDITED, NUMBER, STATE, WHAT, Images
from segue.engines.postgresql.qualified import qualified

SETTING = "segue.capture"
# The first of a statement's triggers, so that what the others change has its images after these.
_TRIGGER = "000_segue_capture_"
_EVENTS = {"INSERT": "NEW TABLE AS segue_new", "DELETE": "OLD TABLE AS segue_old"}
_EVENTS["UPDATE"] = f"{_EVENTS['DELETE']} {_EVENTS['INSERT']}"
# What stands where images would be of which there are more than are allowed.
_TOO_MANY = "X"
# Of the tables that the transaction has written to, those that are Segue's own say nothing of the code.
# What earlier transactions of the session have written may be counted, too.
_WRITTEN = """
SELECT coalesce(pg_partition_root(s.relid), s.relid)::oid::bigint, sum(s.n_tup_ins + s.n_tup_upd + s.n_tup_del)
FROM pg_stat_xact_user_tables s JOIN pg_class c ON c.oid = s.relid
WHERE s.n_tup_ins + s.n_tup_upd + s.n_tup_del > 0 AND c.relpersistence <> 't'
  AND s.relname NOT IN ('segue_event', 'segue_quarantine', 'segue_alias')
  AND s.schemaname NOT LIKE 'segue\\_images\\_%'
GROUP BY 1
"""
_CAPTURED = """
SELECT t.tgrelid::bigint FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_namespace n
ON n.oid = p.pronamespace WHERE n.nspname = %s AND NOT t.tgisinternal GROUP BY 1
"""
_HELD = """
SELECT 1 FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'relation' AND granted AND relation = %s
AND mode = ANY(%s) LIMIT 1
"""
_LEFT = """
SELECT n.nspname::text, c.relname::text, pg_table_is_visible(c.oid), t.tgfoid::regprocedure::text,
       array_agg(t.tgname::text ORDER BY t.tgname)
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE t.tgname LIKE '000\\_segue\\_capture\\_%' AND t.tgparentid = 0
GROUP BY n.nspname, c.relname, c.oid, t.tgfoid ORDER BY c.oid
"""


class Capture:
    """The images of one run of an operation.

    `begin` carries out, in another session, the act that makes a table's images begin. `most_rows` says how many a
    table may have, 0 for none. `columns_made` are those that the release has made, by table; `tables_made` likewise.
    """

    def __init__(
        self,
        connection: Any,
        *,
        release: str,
        operation: str,
        begin: Callable[[str, Act, tuple[Act, ...]], None],
        most_rows: Callable[[str], int],
        columns_made: frozenset[tuple[str, str]],
        tables_made: frozenset[str],
        earlier: str,
    ) -> None:
        self._connection = connection
        self._quote: Callable[[str], str] = connection.ops.quote_name
        self.place = shape.place_of(release, operation)
        self._release, self._operation = release, operation
        self._begin = begin
        self._most_rows = most_rows
        self._columns_made, self._tables_made = columns_made, tables_made
        self._earlier = earlier
        self._targets: dict[str, tuple[int, ...]] = {}
        self._captured: set[int] = set()
        self._written_before: dict[int, int] = {}
        self._not_captured: dict[int, str] = {}
        self._is_ours = self._is_local = False
        self.missed: list[str] = []
        """Why not everything that the code changed has images, as sentences."""

    # While the code runs

    @contextmanager
    def watching(self, *, local: bool) -> Iterator[None]:
        """Let the images be written for the block; `local` to the transaction that it is in."""
        self._is_local = local
        self._captured = {id_ for (id_,) in self._ask(_CAPTURED, [self.place])}
        self._written_before = dict(self._ask(_WRITTEN))
        if self._earlier:
            with self._own():
                lay.set_aside(self._ask, self._execute, self._quote, self._earlier, self.begin)
        self._set("on", local=local)
        try:
            with self._connection.execute_wrapper(self._look):
                yield
        finally:
            if not local and self._connection.is_usable():
                self._set("", local=False)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Write no images for the block: what is done in it is no code of the migration."""
        if self._is_ours or self._connection.in_atomic_block:
            yield
            return
        ours, self._is_ours = self._is_ours, True
        self._set("", local=False)
        try:
            yield
            self._follow_columns()
        finally:
            self._is_ours = ours
            if self._connection.is_usable():
                self._set("on", local=False)

    def _follow_columns(self) -> None:
        """Tell the triggers what the columns are called now: a step of the code may have renamed one."""
        for images in (known for known in shape.found(self._ask, self.place) if known.table.id in self._captured):
            self._execute(_function(images, self._most_rows(images.table.name), self._quote))

    def covers(self, sql: str) -> bool:
        """Whether the images will have whatever a statement of the code that is about to run changes."""
        if self._is_ours or not writes(sql):
            return True
        return sql in self._targets and not any(id_ in self._not_captured for id_ in self._targets[sql])

    def _set(self, value: str, *, local: bool) -> None:
        with self._own(), self._connection.cursor() as cursor:
            cursor.execute("SELECT set_config(%s, %s, %s)", [SETTING, value, local])

    @contextmanager
    def _own(self) -> Iterator[None]:
        before, self._is_ours = self._is_ours, True
        try:
            yield
        finally:
            self._is_ours = before

    def _look(self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any) -> Any:
        text = str(sql)
        # What has missed something cannot be taken back by its images, and its locks may be in a trigger's way.
        if not self._is_ours and not self.missed and writes(text):
            with self._own():
                self._prepare(text, (params or [None])[0] if many else params)
        return execute(sql, params, many, context)

    def _prepare(self, text: str, params: Any) -> None:
        """See that the tables which a statement writes to have triggers."""
        if text in self._targets:
            return
        if not is_of_rows(text):
            self.missed.append(f"it runs {' '.join(text.split())[:60]}")
            return
        self._targets[text] = self._written_by(text, params)
        for id_ in self._targets[text]:
            self.begin(id_)

    def _written_by(self, text: str, params: Any) -> tuple[int, ...]:
        """Return the tables that the planner says a statement will write to; its locks are let go at once."""
        with _savepoint(self._connection), self._connection.cursor() as cursor:
            try:
                cursor.execute(f"EXPLAIN (FORMAT JSON, VERBOSE) {text}", params)
            except DatabaseError:
                return ()  # The statement itself is about to say what is wrong with it.
            names = sorted(_modified(cursor.fetchall()[0][0]))
            cursor.execute("SELECT to_regclass(n)::oid::bigint FROM unnest(%s::text[]) n", [names])
            found = [id_ for (id_,) in cursor.fetchall() if id_]
        roots = self._ask("SELECT coalesce(pg_partition_root(i::oid), i::oid)::oid::bigint FROM unnest(%s) i", [found])
        return tuple(dict.fromkeys(id_ for (id_,) in roots))

    # Tables

    def begin(self, table_id: int) -> None:
        """Give a table its triggers, unless it has them or cannot have them."""
        if table_id in self._captured or table_id in self._not_captured:
            return
        table = shape.describe(self._ask, table_id)
        if table is None:
            self._leave(table_id, "it writes to something that is no table")
        elif table.name in {"segue_event", "segue_quarantine", "segue_alias"}:
            self._captured.add(table_id)
        elif not table.key:
            self._leave(table_id, f"{table.name} has no primary key")
        elif not self._most_rows(table.name):
            self._leave(table_id, f'SEGUE["CAPTURE"] leaves {table.name} out')
        else:
            spared = frozenset(c.number for c in table.columns if (table.name, c.name) in self._columns_made)
            images = shape.named(self.place, table, spared, new=table.name in self._tables_made)
            retired = Retired(
                kind=Kind.TABLE,
                table=images.name,
                name=images.name,
                definition=images_of(self._operation),
                place=self.place,
            )
            forward = Act(
                statements=_beginning(images, self._most_rows(table.name), self._quote),
                locks=retire.share_row(table.name),
                retires=(retired,),
            )
            undo = Act(restore=Restore(place=self.place, operation=self._operation, release=self._release))
            if self._holds(table_id):
                self._begin_again_or_leave(table)
                return
            if any(known.table.id == table_id for known in shape.found(self._ask, self.place)):
                again = _triggers(images, self._most_rows(table.name), self._quote)
                self._begin(table.name, Act(statements=again, locks=forward.locks), ())
            else:
                self._begin(table.name, forward, (undo,))
            self._captured.add(table_id)

    def _holds(self, table_id: int) -> bool:
        """Whether this very session would be in the way of the other one's lock."""
        modes = [*activity.CONFLICTS[LockMode.SHARE_ROW_EXCLUSIVE]]
        return self._connection.in_atomic_block and bool(self._ask(_HELD, [table_id, modes]))

    def _begin_again_or_leave(self, table: shape.Table) -> None:
        """Raise Uncaptured where the code has committed nothing yet."""
        if self._is_local:
            raise Uncaptured((table.id,))
        self._leave(table.id, f"it writes to {table.name} after it has locked it")

    def _leave(self, table_id: int, why: str) -> None:
        self._not_captured[table_id] = why
        self.missed.append(why)

    # When the code is done, in its transaction

    def settle(self, *, counted: bool) -> None:
        """See that nothing has been missed, and lay what is known of an earlier run over this one's.

        Raises Uncaptured for tables that were written to and have no triggers yet: with them the code must run again.
        """
        if counted and not self.missed:
            self._require_all()
        for images in shape.found(self._ask, self.place):
            self._settle(images)
        if self._earlier and not self.missed:
            lay.over(self._ask, self._execute, self._quote, self.place, self._earlier)

    def _require_all(self) -> None:
        with self._own():
            if self._ask("SELECT current_setting('track_counts')")[0][0] != "on":
                self.missed.append("the server does not count what is written (track_counts)")
            written = {id_ for id_, rows in self._ask(_WRITTEN) if rows != self._written_before.get(id_)}
            if strays := written - self._captured - self._not_captured.keys():
                raise Uncaptured(tuple(sorted(strays)))

    def _settle(self, images: Images) -> None:
        if self._ask(f"SELECT 1 FROM {images.sql} WHERE {WHAT} = '{_TOO_MANY}' LIMIT 1"):
            most = self._most_rows(images.table.name)
            self.missed.append(f'it changes more rows of {images.table.name} than SEGUE["CAPTURE"] allows, {most:,}')
        self._execute(shape.index(images))

    def _ask(self, sql: str, params: Sequence[Any] | None = None) -> list[Any]:
        with self._own(), self._connection.cursor() as cursor:
            cursor.execute(sql, params)
            rows: list[Any] = cursor.fetchall()
        return rows

    def _execute(self, sql: str) -> None:
        with self._own(), self._connection.cursor() as cursor:
            cursor.execute(sql)


def left(connection: Any) -> tuple[Act, ...]:
    """Return acts that take the triggers of every table away, with their functions."""
    quote: Callable[[str], str] = connection.ops.quote_name
    with connection.cursor() as cursor:
        cursor.execute(_LEFT)
        rows = cursor.fetchall()
    acts = []
    for schema, name, visible, function, triggers in rows:
        table = name if visible else qualified(schema, name)
        drops = [f"DROP TRIGGER {quote(trigger)} ON {quote(table)}" for trigger in triggers]
        acts.append(Act(statements=(*drops, f"DROP FUNCTION {function}"), locks=retire.exclusive(table)))
    return tuple(acts)


def _beginning(images: Images, most_rows: int, quote: Callable[[str], str]) -> tuple[str, ...]:
    table = images.table
    columns = [f"{NUMBER} bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY", f'{WHAT} "char" NOT NULL']
    columns += [f'{STATE} "char"', f"{EDITED} int[]"]
    columns += [f"key_{c.number} {c.type}{c.collation}" for c in table.key]
    columns += [f"{when}_{c.number} {c.type}{c.collation}" for when in ("was", "now") for c in table.columns]
    return (
        f"CREATE SCHEMA IF NOT EXISTS {quote(images.place)}",
        f"CREATE TABLE {images.sql} ({', '.join(columns)})",
        f"COMMENT ON TABLE {images.sql} IS {literal(shape.comment(images))}",
        *_triggers(images, most_rows, quote),
    )


def _triggers(images: Images, most_rows: int, quote: Callable[[str], str]) -> tuple[str, ...]:
    triggers = (
        f'CREATE TRIGGER "{_TRIGGER}{event.lower()}" AFTER {event} ON {quote(images.table.name)} REFERENCING {rows} '
        f"FOR EACH STATEMENT WHEN (current_setting('{SETTING}', true) = 'on') EXECUTE FUNCTION {images.sql}()"
        for event, rows in _EVENTS.items()
    )
    return (_function(images, most_rows, quote), *triggers)


def _function(images: Images, most_rows: int, quote: Callable[[str], str]) -> str:
    """Return the function of the triggers.

    Nested loops are off, because a plan is kept, and the first statement of a session may have had one row only.
    """
    table = images.table

    def values(row: str) -> str:
        return ", ".join(f"{row}.{quote(c.name)}" for c in table.columns)

    def key(row: str) -> list[str]:
        return [f"{row}.{quote(c.name)}" for c in table.key]

    keys = ", ".join(f"key_{c.number}" for c in table.key)
    was, now = (", ".join(f"{when}_{c.number}" for c in table.columns) for when in ("was", "now"))
    into = f"INSERT INTO {images.sql} ({WHAT}, {keys}"
    same_key = " AND ".join(f"{o} = {n}" for o, n in zip(key("o"), key("n"), strict=True))
    either = ", ".join(f"coalesce({o}, {n})" for o, n in zip(key("o"), key("n"), strict=True))
    first_of_key = quote(table.key[0].name)
    what = f"CASE WHEN n.{first_of_key} IS NULL THEN 'D' WHEN o.{first_of_key} IS NULL THEN 'I' ELSE 'U' END"
    bodies = {
        "INSERT": f"{into}, {now}) SELECT 'I', {', '.join(key('n'))}, {values('n')} FROM segue_new n",
        "DELETE": f"{into}, {was}) SELECT 'D', {', '.join(key('o'))}, {values('o')} FROM segue_old o",
        "UPDATE": f"{into}, {was}, {now}) SELECT {what}, {either}, {values('o')}, {values('n')} FROM segue_old o "
        f"FULL JOIN segue_new n ON {same_key} "
        f"WHERE NOT pg_catalog.record_image_eq(ROW({values('o')}), ROW({values('n')}))",
    }
    rows = {"INSERT": "segue_new", "DELETE": "segue_old", "UPDATE": "segue_new"}
    nulls = ", ".join("NULL" for _ in table.key)
    branches = " ELS".join(
        f"IF TG_OP = '{event}' THEN IF (SELECT count(*) FROM {rows[event]}) "
        f"+ coalesce((SELECT max({NUMBER}) FROM {images.sql}), 0) > {most_rows} "
        f"THEN {into}) VALUES ('{_TOO_MANY}', {nulls}); ELSE {body}; END IF;"
        for event, body in bodies.items()
    )
    body = f"BEGIN {branches} END IF; RETURN NULL; END"
    tag = "$segue_capture$"
    return (
        f"CREATE OR REPLACE FUNCTION {images.sql}() RETURNS trigger LANGUAGE plpgsql SET enable_nestloop = off "
        f"AS {tag} {body} {tag}"
    )


def _modified(plan: Any) -> set[str]:
    """Return the tables that a plan modifies, as SQL."""
    if isinstance(plan, list):
        return {name for part in plan for name in _modified(part)}
    if not isinstance(plan, dict):
        return set()
    found = {name for part in plan.values() for name in _modified(part)}
    if plan.get("Node Type") == "ModifyTable" and "Relation Name" in plan:
        found.add(".".join('"' + plan[part].replace('"', '""') + '"' for part in ("Schema", "Relation Name")))
    return found


@contextmanager
def _savepoint(connection: Any) -> Iterator[None]:
    """Let go of what the block has locked, where it is in a transaction."""
    if not connection.in_atomic_block:
        yield
        return
    savepoint = connection.savepoint()
    try:
        yield
    finally:
        connection.savepoint_rollback(savepoint)
