"""Indexes: built without holding up anybody, and kept while old code may use them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from django.db.backends.ddl_references import Statement
from django.db.backends.utils import strip_quotes
from django.db.models import Index

from segue.core.change import Act, Kind, Retired, Work
from segue.core.errors import StepFailed
from segue.core.plan import PLANNED, Phase
from segue.engines.postgresql.acts import retire
from segue.engines.postgresql.editor.emission import CONTRACT, StepEmitter
from segue.engines.postgresql.qualified import beside, relation_of, schema_of

# What an index is called while another one has its name, until finalize.
NEW_INDEX = "segue_new_"


class IndexVerbs(StepEmitter):
    """add_index, remove_index and rename_index, and the indexes that tables and columns bring along."""

    if TYPE_CHECKING:
        # Parts of Django's editor that its stubs leave out.
        _create_index_name: Any
        _create_index_sql: Any
        _rename_index_sql: Any
        # Parts of the editors above this one.
        _bury_table_in_the_way: Any
        defers: bool
        # Lets models use the database's own names; see Aliasing.
        physically: Any

    @property
    def _goes_back(self) -> bool:
        """Whether the verb is said by a migration that is unapplied."""
        return ":back:" in self.prefix

    def add_index(self, model: Any, index: Index, concurrently: bool = False) -> None:  # noqa: ARG002
        """Build an index without holding up anybody, or revive it."""
        self._add_index(index.create_sql(model, self))

    def remove_index(self, model: Any, index: Index, concurrently: bool = False) -> None:  # noqa: ARG002
        """Retire an index: it serves old code until finalize drops it; one that is still deferred is never made."""
        waiting = len(self.deferred_sql)
        # Stock forgets it here, and names the table's other deferred indexes for good.
        index.remove_sql(model, self)
        if len(self.deferred_sql) < waiting:
            return
        self._require_own_name(model._meta.db_table, index.name)
        self._retire_index(model._meta.db_table, index.name, str(index.create_sql(model, self)))

    def rename_index(self, model: Any, old_index: Index, new_index: Index) -> None:
        """Give an index its new name at once: neither version's code says it."""
        table, old, new = model._meta.db_table, old_index.name, new_index.name
        self._require_own_name(table, old)
        self._drop_index_in_the_way(table, new)
        self._emit(
            f"rename index {old} to {new}",
            f"rename index {old} on {table} to {new}",
            Act(statements=(str(self._rename_index_sql(model, beside(table, old), new)),)),
            (Act(statements=(str(self._rename_index_sql(model, beside(table, new), old)),)),),
        )

    def alter_index_together(self, model: Any, old_index_together: Any, new_index_together: Any) -> None:
        """Retire and build indexes over several fields, under stock's names."""
        olds = {tuple(names) for names in old_index_together}
        news = {tuple(names) for names in new_index_together}
        table = model._meta.db_table
        for names in sorted(olds - news):
            fields = [model._meta.get_field(name) for name in names]
            own = {c.name for c in model._meta.constraints} | {i.name for i in model._meta.indexes}
            columns = [field.column for field in fields]
            found = self._constraint_names(model, columns, index=True, unique=False, exclude=own)
            named = self._create_index_name(table, columns, suffix="_idx")
            if len(found) > 1 and named not in found:
                listed = ", ".join(columns)
                raise ValueError(f"Found wrong number ({len(found)}) of constraints for {table}({listed})")
            name = named if not found or named in found else found[0]
            self._retire_index(table, name, str(self._create_index_sql(model, fields=fields, name=name)))
        for names in sorted(news - olds):
            fields = [model._meta.get_field(name) for name in names]
            self._add_index(self._create_index_sql(model, fields=fields, suffix="_idx"))

    def _constraint_names(self, model: Any, column_names: Any = None, **wanted: Any) -> list[str]:
        """Return what stock finds, without what is retired; or what an earlier step would make, or finalize."""
        stock: Any = super()
        with self.physically(model):
            table = model._meta.db_table
            with self._in_schema_of(model):
                every = stock._constraint_names(model, column_names, **wanted)
        retired = {r.name for r in self._cemetery.all() if (r.kind, r.table, r.place) == (Kind.INDEX, table, "")}
        found = [name for name in every if name not in retired]
        renaming = column_names and wanted.get("index") and wanted.get("unique") is False and "exclude" not in wanted
        is_to_come = self._release == PLANNED or any(r.table == table for r in self._cemetery.giving_way)
        if not found and renaming and is_to_come:
            return [self._create_index_name(table, list(column_names), suffix="_idx")]
        return found

    @contextmanager
    def _in_schema_of(self, model: Any) -> Iterator[None]:
        """Let Django's introspection, which knows of search_path alone, find a table that lies elsewhere for now.

        Where the model itself names a schema stock finds nothing, so its constraints end as with stock.
        """
        options, table = model._meta, model._meta.db_table
        if not schema_of(table) or table not in self._places:
            yield
            return
        with self.connection.cursor() as cursor:
            cursor.execute("SELECT current_setting('search_path')")
            path = cursor.fetchall()[0][0]
            set_path = "SELECT set_config('search_path', %s, false)"
            cursor.execute(set_path, [self.quote_name(schema_of(table))])
            options.db_table = relation_of(table)
            try:
                yield
            finally:
                options.db_table = table
                cursor.execute(set_path, [path])

    def _retire_index(self, table: str, name: str, definition: str = "") -> None:
        """Keep an index for old code; `definition` is stock's statement, by which it is known when it comes back."""
        in_use = self.defers and table not in self._new
        retired = Retired(kind=Kind.INDEX, table=table, name=name, definition=definition, in_use=in_use)
        self._emit(
            f"retire index {name}",
            f"retire index {name} on {table}",
            Act(retires=(retired,)),
            (Act(revives=(retired,)),),
        )
        self._emit(
            f"drop index {name}",
            f"drop retired index {name} on {table}",
            self._drop_index(table, name, purges=(retired,)),
            CONTRACT,
            phase=Phase.CONTRACT,
            while_retired=(retired,),
        )

    def _drop_index(self, table: str, name: str, purges: tuple[Retired, ...] = ()) -> Act:
        if self._catalog.is_partitioned(table):
            statement = self.sql_delete_index % {"name": self._index(table, name)}
            return Act(statements=(statement,), locks=retire.exclusive(table), purges=purges)
        statement = self._sql_drop_index(table, name)
        return Act(statements=(statement,), locks=retire.weak(table), transactional=False, purges=purges)

    def _add_index(self, statement: Statement) -> None:
        table, name = statement.parts["table"].table, strip_quotes(str(statement.parts["name"]))
        if self._gives_way(table, str(statement)):
            self._build_late(table, statement)
        elif (now := self._name_until_finalize(table, name)) != name:
            statement = Statement(statement.template, **{**statement.parts, "name": self.quote_name(now)})
            self._add_index_named(statement)
            self._emit_index_name(table, now, name)
        else:
            self._add_index_named(statement)

    def _gives_way(self, table: str, says: str) -> bool:
        """Whether it names a column whose place another takes at finalize: what is built on that goes with it."""
        going = [retired.name for retired in self._cemetery.giving_way if retired.table == table]
        return any(self.quote_name(name) in says for name in going)

    def _build_late(self, table: str, statement: Statement) -> None:
        """Build an index on a column that has its type and name only when everything else is done."""
        name = strip_quotes(str(statement.parts["name"]))
        self._emit(
            f"index {name}",
            f"build index {name} on {table}",
            Act(
                statements=(str(Statement(self.sql_create_index_concurrently, **statement.parts)),),
                locks=retire.weak(table),
                transactional=False,
            ),
            CONTRACT,
            phase=Phase.CONTRACT,
            naming=True,
            probe=self._index_probe(table, name),
            clean=(self._sql_drop_index(table, name),),
        )

    def _name_until_finalize(self, table: str, name: str) -> str:
        """The name that an index has for now: until finalize another table's may have its own."""
        owner = "" if schema_of(table) else self._catalog.relation_owner(name)
        is_free = owner in ("", retire.shorten(table)) or not self._goes_at_finalize(name)
        return name if is_free else retire.label(NEW_INDEX, name)

    def _goes_at_finalize(self, name: str) -> bool:
        """Whether an index or a sequence of the name is old code's alone, or that of a table which is."""
        owner = self._catalog.relation_owner(name)
        going = [r for r in self._cemetery.all() if r.in_use and not r.place and retire.shorten(r.table) == owner]
        return any(r.kind is Kind.TABLE or (r.kind, r.name) == (Kind.INDEX, name) for r in going)

    def _require_own_name(self, table: str, name: str) -> None:
        if not self._goes_back and self._name_until_finalize(table, name) != name:
            raise StepFailed(
                f"Index {name} of {table} has the name of one that old code still uses: it cannot be changed yet.",
                next_command="segue finalize, when old code is gone; then the same command again",
            )

    def _require_free_at_finalize(self, table: str, name: str) -> None:
        """Refuse now what would fail at finalize: the table lies elsewhere until then, and stock could not make it."""
        owner = self._catalog.relation_owner(name) if schema_of(table) else ""
        if owner and table in self._places and not self._goes_at_finalize(name):
            raise StepFailed(
                f"Index {name} of {relation_of(table)} cannot be made: {owner} has one of that name.",
                next_command="rename one of the two with RenameIndex in an earlier operation; then the same command "
                "again",
            )

    @property
    def _places(self) -> set[str]:
        """What the database calls the tables for which new code has another name."""
        return {alias.place for alias in self._cemetery.aliases if not alias.column}

    def _emit_index_name(self, table: str, now: str, name: str) -> None:
        self._emit(
            f"name index {name}",
            f"give index {name} of {table} its name, which was another one's until now",
            Act(
                statements=(f"ALTER INDEX {self._index(table, now)} RENAME TO {self.quote_name(name)}",),
                locks=retire.weak(table),
            ),
            CONTRACT,
            phase=Phase.CONTRACT,
            unless_retired=((Kind.TABLE.value, table, table), (Kind.INDEX.value, table, now)),
            naming=True,
        )

    def _add_index_named(self, statement: Statement) -> None:
        table, name = statement.parts["table"].table, strip_quotes(str(statement.parts["name"]))
        definition = str(statement)
        retired = Retired(kind=Kind.INDEX, table=table, name=name, definition=definition)
        found = self._retired(Kind.INDEX, table, name, definition)
        if found and self._is_still_there(table, name):
            revive = Act(revives=(found,))
            self._emit(f"index {name}", f"revive index {name} on {table}", revive, (Act(retires=(found,)),))
        elif table in self._new:
            self._require_free_at_finalize(table, name)
            act = Act(statements=(definition,))
            self._emit(f"index {name}", f"create index {name} on {table}", act, (Act(retires=(retired,)),))
        else:
            self._build_index(retired, statement)

    def _is_still_there(self, table: str, name: str) -> bool:
        """Whether the name is still that of the retired index, and not of a unique one that came back."""
        index = beside(table, name)
        return self._catalog.index_table(index) == table and not self._catalog.is_unique_index(index)

    def _build_index(self, retired: Retired, statement: Statement) -> None:
        self._drop_index_in_the_way(retired.table, retired.name)
        if self._catalog.is_partitioned(retired.table):
            self._emit(
                f"index {retired.name}",
                f"build index {retired.name} on the partitions of {retired.table}",
                Act(statements=(str(statement),), locks=retire.share_row(retired.table), work=Work.BUILD),
                (Act(retires=(retired,)),),
                online=False,
                note="PostgreSQL knows no concurrent index of a partitioned table",
            )
            return
        concurrent = str(Statement(self.sql_create_index_concurrently, **statement.parts))
        self._emit(
            f"index {retired.name}",
            f"build index {retired.name} on {retired.table}",
            Act(statements=(concurrent,), locks=retire.weak(retired.table), transactional=False),
            (Act(retires=(retired,)),),
            probe=self._index_probe(retired.table, retired.name),
            clean=(self._sql_drop_index(retired.table, retired.name),),
        )

    def _index(self, table: str, name: str) -> str:
        """The index as SQL that is not about its table: there it is found in the schema that the table names."""
        return str(self.quote_name(beside(table, name)))

    def _sql_drop_index(self, table: str, name: str) -> str:
        return str(self.sql_delete_index_concurrently % {"name": self._index(table, name)})

    def _index_probe(self, table: str, name: str) -> str:
        oid = f"to_regclass({self.quote_value(self._index(table, name))})::oid"
        return (
            f"SELECT CASE WHEN NOT EXISTS (SELECT FROM pg_class WHERE oid = {oid}) THEN 'absent' "
            f"WHEN EXISTS (SELECT FROM pg_index WHERE indexrelid = {oid} AND indisvalid AND indisready) THEN 'done' "
            "ELSE 'broken' END"
        )

    def _drop_index_in_the_way(self, table: str, name: str) -> None:
        """A retired index of another shape holds no values: it makes room."""
        self._make_room_for(table, name)
        for retired in self._cemetery.find(Kind.INDEX, table, name):
            self._drop_retired(retired)

    def _drop_retired(self, retired: Retired) -> None:
        forward = self._drop_index(retired.table, retired.name, purges=(retired,))
        self._emit(f"drop index {retired.name}", f"drop retired index {retired.name} on {retired.table}", forward, ())

    def _make_room_for(self, table: str, name: str) -> None:
        """What a rollback has left of other tables, and nobody uses, gives the name up."""
        if schema_of(table):
            return
        self._bury_what_has(name)
        owner = self._catalog.relation_owner(name)
        left = [r for r in self._cemetery.all() if (r.kind, r.name, r.place) == (Kind.INDEX, name, "")]
        for retired in left:
            if not retired.in_use and retired.table != table and retire.shorten(retired.table) == owner:
                self._drop_retired(retired)

    def _bury_what_has(self, name: str) -> None:
        """A table that a rollback has left and nobody uses leaves the schema with the names of its indexes."""
        owner = self._catalog.relation_owner(name)
        left = [r for r in self._cemetery.all() if r.kind is Kind.TABLE and not r.place and not r.in_use]
        for table in [r.table for r in left if retire.shorten(r.table) == owner]:
            self._bury_table_in_the_way(table)
