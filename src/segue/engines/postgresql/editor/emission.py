"""Steps in place of statements: the ground that every verb of the step editor stands on.

Owns how a step gets its id, and what becomes of statements that Django's own editor executes. Knows no verb.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from django.db.backends.ddl_references import Statement
from django.db.backends.postgresql.schema import DatabaseSchemaEditor

from segue.core.change import Act, Cemetery, Irreversible, Kind, Retired, Work
from segue.core.plan import Phase, Step
from segue.engines.base import Emit
from segue.engines.postgresql.acts import retire
from segue.engines.postgresql.archives import unarchive
from segue.engines.postgresql.catalog import Catalog
from segue.engines.postgresql.prediction import predict

STOCK = Irreversible(reason="it runs as stock Django runs it")
CONTRACT = Irreversible(reason="finalize only goes forward")


@dataclass
class Draft:
    """The statements that one verb of the stock editor has produced so far."""

    model: Any
    verb: str
    statements: list[str] = field(default_factory=list)


class StepEmitter(DatabaseSchemaEditor):
    """A schema editor that keeps what it would execute and emits it as steps.

    `prefix` begins every step's id, `new_tables` are those that this release has made and nobody uses yet.
    """

    def __init__(
        self,
        connection: Any,
        *,
        emit: Emit,
        prefix: str,
        release: str,
        cemetery: Cemetery,
        new_tables: set[str],
        archives: unarchive.Archives | None = None,
    ) -> None:
        super().__init__(connection, atomic=False)
        self._emit_step = emit
        self.prefix = prefix
        self._release = release
        self._cemetery = cemetery
        self._new = new_tables
        # Those of them that this migration has made: no step that waits for finalize knows them from before.
        self._made_here: set[str] = set()
        self._archives = archives
        self._unarchived: set[str] = set()
        self._catalog = Catalog(connection.cursor, self.quote_name)
        self._drafts: list[Draft] = []
        self._ids: Counter[str] = Counter()
        self._graves = 0
        self._implicit_tables: list[Any] | None = None

    def _emit(self, slug: str, title: str, forward: Act, undo: tuple[Act, ...] | Irreversible, **more: Any) -> None:
        if self._drafts:
            self._emit_draft(self._drafts[-1])  # what the verb around this one did before it comes first
        id_ = f"{self.prefix}:{slug}"
        self._ids[id_] += 1
        nth = f" #{self._ids[id_]}" if self._ids[id_] > 1 else ""
        more.setdefault("phase", Phase.EXPAND)
        if not more.get("online", True) and forward.work is Work.CATALOG:
            forward = replace(forward, work=Work.REWRITE)  # What does not say less is taken for the most.
        more["blocks"] = predict(self.connection, forward)
        step = Step(id=f"{id_}{nth}", title=title, forward=forward, undo=undo, **more)
        if step.phase is Phase.CONTRACT:
            self._cemetery.expect(forward)
        else:
            self._cemetery.follow(forward)
        self._emit_step(step)

    def execute(self, sql: Any, params: Any = ()) -> None:
        """Keep a statement for the verb's step; outside a verb it is a step of its own, as stock runs it."""
        text = self._complete(sql, params)
        if self._drafts:
            self._drafts[-1].statements.append(text)
        else:
            self._emit("sql", first_line(text), Act(statements=(text,)), STOCK, online=False)

    def _complete(self, sql: Any, params: Any) -> str:
        if params is None:
            return str(sql)
        return str(self.connection.ops.compose_sql(str(sql), params))

    @contextmanager
    def _drafting(self, model: Any, verb: str) -> Iterator[Draft]:
        """Collect what the stock editor executes for one verb."""
        draft = Draft(model=model, verb=verb)
        self._drafts.append(draft)
        try:
            yield draft
        finally:
            self._drafts.pop()

    def _emit_draft(self, draft: Draft) -> None:
        """Emit what a verb has collected so far as stock would run it."""
        statements, draft.statements = tuple(draft.statements), []
        if statements:
            table = draft.model._meta.db_table
            new = table in self._new
            self._emit(
                f"{draft.verb} {table}",
                f"{draft.verb.replace('_', ' ')} on {table}",
                Act(statements=statements, locks=() if new else retire.exclusive(table)),
                STOCK,
                online=new,
            )

    def _as_stock(self, model: Any, verb: str, *args: Any, **options: Any) -> None:
        with self._drafting(model, verb) as draft:
            getattr(super(), verb)(model, *args, **options)
            self._emit_draft(draft)

    def _retired(
        self, kind: Kind, table: str, name: str, definition: str, *, fits: Callable[[Retired], bool] = lambda _: True
    ) -> Retired | None:
        """Return what lies retired under that name and was the same; what lies in an archive alone is brought back."""
        same = [r for r in self._cemetery.find(kind, table, name) if r.definition == definition and fits(r)]
        here = next((r for r in same if not r.archive), None)
        return here if here or not same else self._brought_back(same[0])

    def _brought_back(self, archived: Retired) -> Retired | None:
        """Emit the steps that put an object where it lay before purge dropped it; None for that of another table."""
        if archived.archive in self._unarchived:
            return archived
        manifest = unarchive.manifest(archived, self._archives)
        another = manifest.contents.table_id != self._catalog.id(archived.table)
        if archived.kind is Kind.COLUMN and another and self._cemetery.find(Kind.TABLE, archived.table, archived.table):
            return None
        self._unarchived.add(archived.archive)
        for step in unarchive.steps(archived, manifest, self.quote_value, self.quote_name):
            self._emit(**step)
        self._catalog.expect(archived.table, archived.place, manifest.contents)
        return archived

    def _grave(self) -> str:
        """A part of a name that nothing else gets: what waits for finalize may need its own at the same time."""
        self._graves += 1
        place = hashlib.sha256(f"{self.prefix}:{self._graves}".encode()).hexdigest()[:6]
        return f"{self._release}_{place}"

    def _schema(self) -> str:
        with self.connection.cursor() as cursor:
            cursor.execute("SELECT current_schema()")
            return str(cursor.fetchall()[0][0])

    def _forget_deferred(self, about: Any) -> None:
        self.deferred_sql = [s for s in self.deferred_sql if not (isinstance(s, Statement) and about(s))]


def first_line(text: str) -> str:
    return " ".join(text.split())[:100]
