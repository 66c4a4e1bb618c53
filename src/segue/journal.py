"""Append and replay the events of releases, in the target's own database.

The ledger is the journal's mirror in the store, because a restored database forgets its journal. The mirror
never stops a release: what it could not write is said and written with the next event.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Count, Min
from django.utils import timezone

from segue import models
from segue.core.change import Cemetery
from segue.core.event import EventKind
from segue.core.plan import Step
from segue.core.quarantine import Group, Line, Trouble, sample
from segue.core.run import UNDER_WAY, Event, Graveyard, Run, State, acts, graveyard, replay
from segue.core.values import to_json

_SAMPLES = 3
logger = logging.getLogger("segue.journal")


class Mirror(Protocol):
    """What the ledger needs of a store."""

    def write(self, key: str, data: bytes) -> None:
        """Store the object whole, in place of the one of that key."""


class Journal:
    """The events of one target."""

    def __init__(self, connection: BaseDatabaseWrapper, store: Mirror | None = None) -> None:
        self._connection = connection
        self.store = store
        self._exists = False
        # The committed events that were read before, and what the first of them add up to.
        self._seen: list[Event] = []
        self._runs: dict[str, Run] = {}
        self._added = 0
        self._last_id = 0

    @property
    def exists(self) -> bool:
        """Whether the journal's tables have been made."""
        if not self._exists:
            with self._connection.cursor() as cursor:
                self._exists = models.Event._meta.db_table in self._connection.introspection.table_names(cursor)
        return self._exists

    def ensure(self) -> None:
        """Make the journal's tables where they are missing; call it while holding the target."""
        with self._connection.cursor() as cursor:
            there = self._connection.introspection.table_names(cursor)
        # Each by itself: a journal that an earlier version of Segue made may lack the later ones.
        missing = [m for m in (models.Event, models.Quarantined, models.OpenAlias) if m._meta.db_table not in there]
        if missing:
            with self._connection.schema_editor() as editor:
                for model in missing:
                    editor.create_model(model)
        self._exists = True

    def append(self, release: str, kind: EventKind, **data: Any) -> None:
        """Add an event, in the caller's transaction if there is one.

        The progress of a backfill reaches the ledger with the next event: nobody needs it there, and the store may
        be slow.
        """
        values = to_json(data)
        self._events.create(release=release, kind=kind.value, data=values)
        if self.store is not None and kind is not EventKind.BACKFILL_PROGRESS:
            transaction.on_commit(lambda: self._mirror(release), using=self._connection.alias)

    def runs(self) -> list[Run]:
        """Return every release, oldest first."""
        return list(self._added_up().values()) if self.exists else []

    def run(self, release: str) -> Run:
        """Return one release."""
        return self._added_up()[release]

    def new_release_id(self) -> str:
        """Return an identifier that no release of this journal has."""
        known = {run.release for run in self.runs()}
        return next(release for release in iter(new_release_id, "") if release not in known)

    def under_way(self) -> Run | None:
        """Return the release that was begun and not ended, if a run was interrupted."""
        return next((run for run in reversed(self.runs()) if run.state in UNDER_WAY), None)

    def open_runs(self) -> list[Run]:
        """Return the releases that wait for finalize, oldest first."""
        return [run for run in self.runs() if run.state is State.OPEN]

    def runs_behind(self) -> list[Run]:
        """Return the releases that are rolled back and wait for their new code to go, newest first."""
        return [run for run in reversed(self.runs()) if run.waits_for_new_code]

    def cemetery(
        self, *, before_work_of: str = "", before_reversal: tuple[str, str] | None = None, before_finalize_of: str = ""
    ) -> Cemetery:
        """Return every object that is retired now, or was before the unfinished migration of a release began.

        A migration that is taken up again is translated again from its first step, so it must see what it saw. So
        must the reversal of an operation, which the release and the id that its acts undo tell; and what waits for
        finalize is judged by what lay where before the first of it was carried out.
        """
        if not self.exists:
            return Cemetery()
        events = self._read()
        if before_work_of and self.run(before_work_of).work is not None:
            began = max(
                number
                for number, event in enumerate(events)
                if event.release == before_work_of and event.kind is EventKind.MIGRATION_STARTED
            )
            events = events[:began]
        if before_finalize_of:
            ended = (e for e in events if e.release == before_finalize_of and e.kind is EventKind.FINALIZE_STARTED)
            events = events[: events.index(next(ended))]
        if before_reversal is not None:
            events = _before_reversal(events, *before_reversal)
        cemetery = Cemetery(acts(events))
        for step in self._expected():
            cemetery.expect(step.forward)
        return cemetery

    def _expected(self) -> Iterator[Step]:
        """The steps that wait for finalize, but for those of a migration under way, which is translated again."""
        for run in self.runs():
            if run.state in (State.OPEN, *UNDER_WAY):
                begun = run.work.migration if run.work is not None else None
                left = {step.id for step in run.steps_left}
                yield from (step for key, step in run.deferred if key != begun and step.id in left)

    def graveyard(self) -> Graveyard:
        """Return every retired object that lies in the database, with the releases that moved it."""
        return graveyard(self._read()) if self.exists else Graveyard()

    def quarantined(self) -> int:
        """Return how many rows wait in quarantine for a person."""
        if not self.exists:
            return 0
        return int(self._unsettled.count())

    def quarantine_groups(self) -> tuple[Group, ...]:
        """Return what waits in quarantine, by release, table and reason, oldest first."""
        if not self.exists:
            return ()
        alike = ("release", "table", "reason", "kind", "object")
        rows = self._unsettled.values(*alike).annotate(count=Count("id"), first=Min("id")).order_by("first")
        return tuple(self._group(row) for row in rows)

    def _group(self, row: dict[str, Any]) -> Group:
        alike = {name: row[name] for name in ("release", "table", "reason", "kind", "object")}
        first = list(self._unsettled.filter(**alike).order_by("id")[:_SAMPLES])
        with self._connection.cursor() as cursor:
            key = self._connection.introspection.get_primary_key_columns(cursor, row["table"]) or []
        samples = [sample(line.row, key, Trouble(line.kind) if line.kind else None, line.definition) for line in first]
        return Group(
            release=row["release"],
            table=row["table"],
            reason=row["reason"],
            trouble=Trouble(row["kind"]) if row["kind"] else None,
            object=row["object"] or "",
            count=row["count"],
            ids=tuple(line.id for line in first),
            samples=tuple(samples),
        )

    def quarantine_lines(self, *, ids: Sequence[int] = (), release: str = "", table: str = "") -> tuple[Line, ...]:
        """Return the lines that wait and are all of this, oldest first."""
        if not self.exists:
            return ()
        asked = {"id__in": ids, "release": release, "table": table}
        rows = self._unsettled.filter(**{name: value for name, value in asked.items() if value}).order_by("id")
        return tuple(
            Line(
                id=row.id,
                release=row.release,
                table=row.table,
                reason=row.reason,
                trouble=Trouble(row.kind) if row.kind else None,
                object=row.object or "",
                definition=row.definition or "",
            )
            for row in rows.defer("row")
        )

    def settle(self, lines: Sequence[Line]) -> None:
        """Mark lines of the quarantine as settled; what they hold stays."""
        self._unsettled.filter(id__in=[line.id for line in lines]).update(settled_at=timezone.now())

    @property
    def _unsettled(self) -> Any:
        return models.Quarantined.objects.using(self._connection.alias).filter(settled_at=None)

    @property
    def _events(self) -> Any:
        return models.Event.objects.using(self._connection.alias)

    def _read(self, release: str | None = None) -> list[Event]:
        """Return the events, of one release or of all."""
        uncommitted = self._look()
        return [e for e in (*self._seen, *uncommitted) if release is None or e.release == release]

    def _added_up(self) -> dict[str, Run]:
        """Return every release as its events tell it, oldest first."""
        uncommitted = self._look()
        self._runs, self._added = _followed(self._runs, self._seen[self._added :]), len(self._seen)
        return _followed(self._runs, uncommitted)

    def _look(self) -> list[Event]:
        """Take up the events that were committed since the last look; return those that must not be kept.

        Inside a transaction nothing is kept, because what it wrote may yet be rolled back.
        """
        rows = _rows_after(self._last_id, self._connection)
        new = [Event(release=r, kind=EventKind(kind), at=at.isoformat(), data=data) for _, r, kind, at, data in rows]
        if not new or self._connection.in_atomic_block:
            return new
        self._seen, self._last_id = self._seen + new, rows[-1][0]
        return []

    def _mirror(self, release: str) -> None:
        assert self.store is not None
        lines = [
            json.dumps({"release": e.release, "kind": e.kind, "at": e.at, "data": e.data}, default=str)
            for e in self._read(release)
        ]
        try:
            self.store.write(f"ledger/{self._connection.alias}/{release}.jsonl", "\n".join(lines).encode() + b"\n")
        except Exception as error:
            # Safe to go on: the database holds every event, and the next one writes the whole ledger again.
            logger.warning("The ledger of release %s could not be written: %s", release, error)


# What asks an engine for events, as Django compiled it: it is asked before and after every step.
_COMPILED: dict[str, tuple[Any, list[Any], str]] = {}


def _compiled(connection: BaseDatabaseWrapper) -> tuple[Any, list[Any], str]:
    """Return the query for the events after one, its columns and its SQL."""
    if connection.vendor not in _COMPILED:
        events = models.Event.objects.using(connection.alias).filter(id__gt=0).order_by("id")
        query = events.values_list("id", "release", "kind", "at", "data").query
        compiler = query.get_compiler(connection=connection)
        sql = compiler.as_sql()[0]
        _COMPILED[connection.vendor] = (query, [column for column, *_ in compiler.select], sql)
    return _COMPILED[connection.vendor]


def _rows_after(last_id: int, connection: BaseDatabaseWrapper) -> list[Any]:
    """Return the events after one, oldest first: id, release, kind, time and data."""
    query, columns, sql = _compiled(connection)
    with connection.cursor() as cursor:
        cursor.execute(sql, [last_id])
        rows = cursor.fetchall()
    if not rows:
        return []
    compiler = query.get_compiler(connection=connection)
    return list(compiler.apply_converters(rows, compiler.get_converters(columns)))


def _followed(runs: Mapping[str, Run], events: Sequence[Event]) -> dict[str, Run]:
    """Return the releases as more events leave them."""
    found = dict(runs)
    for event in events:
        found[event.release] = replay([event], found.get(event.release))
    return found


def _before_reversal(events: list[Event], release: str, id_: str) -> list[Event]:
    """The events before the reversal under way began; one that has not begun yet has all of them before it."""
    for number in reversed(range(len(events))):
        event = events[number]
        if event.release == release and event.kind in {EventKind.MIGRATION_STARTED, EventKind.MIGRATION_REOPENED}:
            break
    else:
        number = 0
    its_own = (
        n
        for n, e in enumerate(events)
        if n > number and e.release == release and e.kind is EventKind.ACT_UNDONE and e.data["id"] == id_
    )
    return events[: next(its_own, len(events))]


def new_release_id() -> str:
    """Return an identifier that sorts by time and is readable: 20260115-020000-1a2b."""
    from secrets import token_hex

    return f"{timezone.now():%Y%m%d-%H%M%S}-{token_hex(2)}"
