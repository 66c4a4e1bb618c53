"""Indexes: built without holding up anybody, and kept while old code may use them."""

from __future__ import annotations

from typing import Any

from django.db.backends.ddl_references import Statement
from django.db.backends.utils import strip_quotes
from django.db.models import Index

from segue.core.change import Act, Kind, Retired
from segue.core.plan import Phase
from segue.engines.postgresql import retire
from segue.engines.postgresql.emission import CONTRACT, StepEmitter


class IndexVerbs(StepEmitter):
    """add_index and remove_index, and the indexes that tables and columns bring along."""

    def add_index(self, model: Any, index: Index, concurrently: bool = False) -> None:  # noqa: ARG002
        """Build an index without holding up anybody, or revive it."""
        self._add_index(index.create_sql(model, self))

    def remove_index(self, model: Any, index: Index, concurrently: bool = False) -> None:  # noqa: ARG002
        """Retire an index: it goes on serving old code and is dropped by finalize."""
        table = model._meta.db_table
        definition = str(index.create_sql(model, self))
        retired = Retired(kind=Kind.INDEX, table=table, name=index.name, definition=definition)
        self._emit(
            f"retire index {index.name}",
            f"retire index {index.name} on {table}",
            Act(retires=(retired,)),
            (Act(revives=(retired,)),),
        )
        self._emit(
            f"drop index {index.name}",
            f"drop retired index {index.name} on {table}",
            self._drop_index(table, index.name, purges=(retired,)),
            CONTRACT,
            phase=Phase.CONTRACT,
            while_retired=(retired,),
        )

    def _drop_index(self, table: str, name: str, purges: tuple[Retired, ...] = ()) -> Act:
        statement = self.sql_delete_index_concurrently % {"name": self.quote_name(name)}
        return Act(statements=(statement,), locks=retire.weak(table), transactional=False, purges=purges)

    def _add_index(self, statement: Statement) -> None:
        table, name = statement.parts["table"].table, strip_quotes(str(statement.parts["name"]))
        definition = str(statement)
        retired = Retired(kind=Kind.INDEX, table=table, name=name, definition=definition)
        if self._retired(Kind.INDEX, table, name, definition) and self._catalog.index_table(name) == table:
            revive = Act(revives=(retired,))
            self._emit(f"index {name}", f"revive index {name} on {table}", revive, (Act(retires=(retired,)),))
        elif table in self._new:
            act = Act(statements=(definition,))
            self._emit(f"index {name}", f"create index {name} on {table}", act, (Act(retires=(retired,)),))
        else:
            self._build_index(retired, statement)

    def _build_index(self, retired: Retired, statement: Statement) -> None:
        self._drop_index_in_the_way(retired.table, retired.name)
        concurrent = str(Statement(self.sql_create_index_concurrently, **statement.parts))
        self._emit(
            f"index {retired.name}",
            f"build index {retired.name} on {retired.table}",
            Act(statements=(concurrent,), locks=retire.weak(retired.table), transactional=False),
            (Act(retires=(retired,)),),
            probe=self._index_probe(retired.name),
            clean=(self.sql_delete_index_concurrently % {"name": self.quote_name(retired.name)},),
        )

    def _index_probe(self, name: str) -> str:
        oid = f"to_regclass({self.quote_value(self.quote_name(name))})::oid"
        return (
            f"SELECT CASE WHEN NOT EXISTS (SELECT FROM pg_class WHERE oid = {oid}) THEN 'absent' "
            f"WHEN EXISTS (SELECT FROM pg_index WHERE indexrelid = {oid} AND indisvalid AND indisready) THEN 'done' "
            "ELSE 'broken' END"
        )

    def _drop_index_in_the_way(self, table: str, name: str) -> None:
        """A retired index of another shape holds no values: it makes room."""
        for retired in self._cemetery.find(Kind.INDEX, table, name):
            forward = self._drop_index(table, name, purges=(retired,))
            self._emit(f"drop index {name}", f"drop retired index {name} on {table}", forward, ())
