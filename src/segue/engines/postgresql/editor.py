"""The one door: Django's schema editor, translated into steps.

Whatever a migration does to a schema passes through these verbs. Each emits Steps in place of running SQL; the
statements themselves are built by Django's own editor, so names and types are stock's. A verb that has no
online form here becomes a step that runs stock's statements and says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.backends.ddl_references import Statement
from django.db.backends.postgresql.schema import DatabaseSchemaEditor
from django.db.backends.utils import strip_quotes
from django.db.models import NOT_PROVIDED, Index

from segue.core.change import Act, Cemetery, Irreversible, Kind, Retired
from segue.core.plan import Phase, Step
from segue.engines.base import Emit
from segue.engines.postgresql import retire
from segue.engines.postgresql.catalog import Catalog, ForeignKey

_STOCK = Irreversible(reason="it runs as stock Django runs it")
_CONTRACT = Irreversible(reason="finalize only goes forward")
# What old code's DELETE of a parent does to children that only new code knows, as long as both run. PROTECT and
# RESTRICT are new code's refusal and stay one; SET_DEFAULT and SET() are values that only Django computes.
_ON_DELETE: dict[Any, str] = {models.CASCADE: "CASCADE", models.SET_NULL: "SET NULL"}
_ON_DELETE_NOTE = "until finalize the database does what on_delete says, so that old code can delete"


@dataclass
class _Draft:
    """The statements that one verb of the stock editor has produced so far."""

    model: Any
    verb: str
    statements: list[str] = field(default_factory=list)


class StepEditor(DatabaseSchemaEditor):
    """Emits one migration's schema changes as steps.

    `prefix` begins every step's id, `new_tables` are those that this release has made and nobody uses yet.
    """

    # Without an inline form Django defers a new column's foreign key, which is then a step of its own.
    sql_create_column_inline_fk = ""

    if TYPE_CHECKING:
        # Parts of Django's editor that its stubs leave out.
        _alter_column_default_sql: Any
        _column_default_sql: Any

    def __init__(
        self,
        connection: Any,
        *,
        emit: Emit,
        prefix: str,
        release: str,
        cemetery: Cemetery,
        new_tables: set[str],
    ) -> None:
        super().__init__(connection, atomic=False)
        self._emit_step = emit
        self.prefix = prefix
        self._release = release
        self._cemetery = cemetery
        self._new = new_tables
        self._catalog = Catalog(connection.cursor, self.quote_name)
        self._drafts: list[_Draft] = []
        self._ids: Counter[str] = Counter()
        self._implicit_tables: list[Any] | None = None

    def __exit__(self, exc_type: Any, exc_value: Any, traceback: Any) -> None:
        """Translate what the stock editor defers to the migration's end; nothing of it after a failure."""
        if exc_type is None:
            self.translate_deferred()

    # Emission

    def _emit(self, slug: str, title: str, forward: Act, undo: tuple[Act, ...] | Irreversible, **more: Any) -> None:
        if self._drafts:
            self._emit_draft(self._drafts[-1])  # what the verb around this one did before it comes first
        self._ids[slug] += 1
        nth = f" #{self._ids[slug]}" if self._ids[slug] > 1 else ""
        more.setdefault("phase", Phase.EXPAND)
        step = Step(id=f"{self.prefix}:{slug}{nth}", title=title, forward=forward, undo=undo, **more)
        if step.phase is not Phase.CONTRACT:
            self._cemetery.follow(forward)
        self._emit_step(step)

    def execute(self, sql: Any, params: Any = ()) -> None:
        """Keep a statement for the verb's step; outside a verb it is a step of its own, as stock runs it."""
        text = self._complete(sql, params)
        if self._drafts:
            self._drafts[-1].statements.append(text)
        else:
            self._emit("sql", _first_line(text), Act(statements=(text,)), _STOCK, online=False)

    def _complete(self, sql: Any, params: Any) -> str:
        if params is None:
            return str(sql)
        return str(self.connection.ops.compose_sql(str(sql), params))

    @contextmanager
    def _drafting(self, model: Any, verb: str) -> Iterator[_Draft]:
        """Collect what the stock editor executes for one verb."""
        draft = _Draft(model=model, verb=verb)
        self._drafts.append(draft)
        try:
            yield draft
        finally:
            self._drafts.pop()

    def _emit_draft(self, draft: _Draft) -> None:
        """Emit what a verb has collected so far as stock would run it."""
        statements, draft.statements = tuple(draft.statements), []
        if statements:
            table = draft.model._meta.db_table
            new = table in self._new
            self._emit(
                f"{draft.verb} {table}",
                f"{draft.verb.replace('_', ' ')} on {table}",
                Act(statements=statements, locks=() if new else retire.exclusive(table)),
                _STOCK,
                online=new,
            )

    def _as_stock(self, model: Any, verb: str, *args: Any) -> None:
        with self._drafting(model, verb) as draft:
            getattr(super(), verb)(model, *args)
            self._emit_draft(draft)

    # Tables

    def create_model(self, model: Any) -> None:
        """Create a table, or revive it when it is retired and was the same."""
        if self._implicit_tables is not None:
            self._implicit_tables.append(model)
            return
        table = model._meta.db_table
        already_deferred = len(self.deferred_sql)
        implicit_tables = self._implicit_tables = []
        with self._drafting(model, "create_model") as draft:
            super().create_model(model)
        self._implicit_tables = None
        definition = draft.statements[0]
        retired = self._retired(Kind.TABLE, table, table, definition)
        if retired is None:
            self._bury_what_is_in_the_way(Kind.TABLE, table, table)
            self._new.add(table)
            self._emit(
                f"table {table}",
                f"create table {table}",
                Act(statements=tuple(draft.statements)),
                (Act(retires=(Retired(kind=Kind.TABLE, table=table, name=table, definition=definition),)),),
            )
        else:
            if retired.place:
                self._bury_what_is_in_the_way(Kind.TABLE, table, table)
            self._revive_table(retired, already_deferred)
        for implicit in implicit_tables:
            self.create_model(implicit)

    def _revive_table(self, retired: Retired, already_deferred: int) -> None:
        """What the table already has need not be made again; its foreign keys are attached at the end."""
        table = retired.table
        self._emit(
            f"table {table}",
            f"revive table {table}",
            Act(statements=retire.unbury_table(retired, self._schema(), self.quote_name), revives=(retired,)),
            (Act(retires=(Retired(kind=Kind.TABLE, table=table, name=table, definition=retired.definition),)),),
        )
        for statement in self.deferred_sql[already_deferred:]:
            if self._is_there(statement, retired):
                self.deferred_sql.remove(statement)

    def _is_there(self, statement: Any, retired: Retired) -> bool:
        """Whether the index or unique constraint lies with the retired table."""
        if not isinstance(statement, Statement) or statement.template == self.sql_create_fk:
            return False
        name = strip_quotes(str(statement.parts["name"]))
        buried = f'"{retired.place}"."{name}"'
        # In a run the table has its own place again by now; in a plan it still lies where it was buried.
        return self._is_index_of(retired.table, name) or (
            bool(retired.place) and bool(self._catalog.index_table(buried))
        )

    def delete_model(self, model: Any) -> None:
        """Retire a table: its rows stay, its foreign keys go, its name is freed by finalize."""
        for m2m in model._meta.local_many_to_many:
            if m2m.remote_field.through._meta.auto_created:
                self.delete_model(m2m.remote_field.through)
        table = model._meta.db_table
        for key in self._catalog.foreign_keys(table):
            self._detach(key)
        before = len(self.deferred_sql)
        sql, params = self.table_sql(model)
        definition = self._complete(sql, params or None)
        del self.deferred_sql[before:]
        retired = Retired(kind=Kind.TABLE, table=table, name=table, definition=definition)
        self._emit(
            f"retire table {table}",
            f"retire table {table}",
            Act(retires=(retired,)),
            (Act(revives=(retired,)),),
        )
        self._emit(
            f"bury table {table}",
            f"move retired table {table} out of the schema",
            retire.bury_table(retired, self._grave(), self.quote_name),
            _CONTRACT,
            phase=Phase.CONTRACT,
            while_retired=(retired,),
        )
        self._new.discard(table)
        self._forget_deferred(lambda s: s.references_table(table))

    # Columns

    def add_field(self, model: Any, field: Any) -> None:
        """Add a column whose default stays until finalize, or revive it when it is retired and was the same."""
        if field.many_to_many and field.remote_field.through._meta.auto_created:
            return self.create_model(field.remote_field.through)
        if field.db_parameters(connection=self.connection)["type"] is None:
            return None
        table, column = model._meta.db_table, field.column
        already_deferred = len(self.deferred_sql)
        with self._drafting(model, "add_field") as draft:
            super().add_field(model, field)
        statements = tuple(draft.statements)
        retired = self._retired(Kind.COLUMN, table, column, self._definition(model, field))
        if retired is not None:
            if retired.place:
                self._bury_what_is_in_the_way(Kind.COLUMN, table, column)
            self._forget_indexes_of_revived_column(table, already_deferred)
            return self._revive_column(model, field, retired)
        self._bury_what_is_in_the_way(Kind.COLUMN, table, column)
        if table in self._new:
            return self._emit_draft(draft)
        return self._add_column(model, field, statements)

    def _adds_online(self, field: Any) -> bool:
        """Whether adding the column only touches the catalog and old code can go on inserting.

        A unique column needs an index first, a check would be scanned for, a function as default or a
        generated value rewrites the table; and NOT NULL without any default stops old code's INSERT.
        """
        if field.unique or getattr(field, "generated", False) or field.db_type_suffix(self.connection):
            return False
        if field.db_parameters(connection=self.connection)["check"]:
            return False
        db_default = getattr(field, "db_default", NOT_PROVIDED)
        if db_default is not NOT_PROVIDED:
            return not hasattr(db_default, "resolve_expression")
        return bool(field.null or self.effective_default(field) is not None)

    def _add_column(self, model: Any, field: Any, statements: tuple[str, ...]) -> None:
        """Add the column with stock's statements, except that its default goes only at finalize."""
        table, column = model._meta.db_table, field.column
        online, keeps_default = self._adds_online(field), self._keeps_default(field)
        drop = self._drop_default(model, field) if keeps_default else ""
        old_code_can_insert = online or keeps_default or field.null
        self._emit(
            f"column {table}.{column}",
            f"add column {table}.{column}",
            Act(statements=tuple(s for s in statements if s != drop), locks=retire.exclusive(table)),
            (Act(retires=(self._retired_column(model, field),)),) if old_code_can_insert else _STOCK,
            online=online,
            note="its default stays until finalize, so that old code can insert" if keeps_default else "",
        )
        self._drop_default_at_finalize(model, field)

    def _drop_default(self, model: Any, field: Any) -> str:
        changes, params = self._alter_column_default_sql(model, None, field, drop=True)
        table = self.quote_name(model._meta.db_table)
        return self._complete(self.sql_alter_column % {"table": table, "changes": changes}, params or None)

    def _keeps_default(self, field: Any) -> bool:
        """Whether the default that stock gives the column, and takes away at once, stays until finalize.

        A unique column cannot keep one: the second row of old code would collide.
        """
        has_db_default = getattr(field, "db_default", NOT_PROVIDED) is not NOT_PROVIDED
        return not has_db_default and not field.unique and self.effective_default(field) is not None

    def _drop_default_at_finalize(self, model: Any, field: Any) -> None:
        if not self._keeps_default(field):
            return
        table, column = model._meta.db_table, field.column
        self._emit(
            f"default {table}.{column}",
            f"drop the default of {table}.{column}",
            Act(statements=(self._drop_default(model, field),), locks=retire.exclusive(table)),
            _CONTRACT,
            phase=Phase.CONTRACT,
            unless_retired=_keys(table, column),
        )

    def _revive_column(self, model: Any, field: Any, retired: Retired) -> None:
        """Give the column its name and its default back; NOT NULL returns once no row is without a value."""
        table, column = model._meta.db_table, field.column
        # After a crash the column may have its own name again already.
        facts = self._catalog.column(table, retired.place or column) or self._catalog.column(table, column)
        alter = f"ALTER TABLE {self.quote_name(table)} ALTER COLUMN {self.quote_name(column)}"
        constraints = self._own_constraints(model, field) if retired.place else ()
        statements = [*retire.unbury_column(retired, self.quote_name), *constraints]
        default = "" if field.unique else self._default_literal(field)
        if self._keeps_default(field):
            statements += [] if facts and facts.default else [f"{alter} SET DEFAULT {default}"]
        self._emit(
            f"column {table}.{column}",
            f"revive column {table}.{column}",
            Act(
                statements=tuple(statements),
                locks=retire.exclusive(table) if statements else (),
                revives=(retired,),
            ),
            (Act(retires=(self._retired_column(model, field),)),),
            online=not constraints,
            note="every value that it had is still there",
        )
        if facts and not facts.not_null and not field.null:
            self._tighten(table, column, default)
        self._drop_default_at_finalize(model, field)

    def _own_constraints(self, model: Any, field: Any) -> tuple[str, ...]:
        """What a column's definition says inline and a burial drops; PostgreSQL gives them stock's names again."""
        alter = f"ALTER TABLE {self.quote_name(model._meta.db_table)} ADD"
        check = field.db_parameters(connection=self.connection)["check"]
        unique = [f"{alter} UNIQUE ({self.quote_name(field.column)})"] if field.unique else []
        return (*unique, *([f"{alter} CHECK ({check})"] if check else []))

    def _forget_indexes_of_revived_column(self, table: str, already_deferred: int) -> None:
        """A column that was retired where it stands kept its indexes; they need not be made again."""
        for statement in self.deferred_sql[already_deferred:]:
            is_index = isinstance(statement, Statement) and statement.template == self.sql_create_index
            if is_index and self._is_index_of(table, strip_quotes(str(statement.parts["name"]))):
                self.deferred_sql.remove(statement)

    def _is_index_of(self, table: str, name: str) -> bool:
        """Whether a valid index of that name is the table's; PostgreSQL keeps 63 bytes of a table's name."""
        return self._catalog.index_table(name) == retire.shorten(table)

    def _tighten(self, table: str, column: str, default: str) -> None:
        if default:
            fill = f"UPDATE {self.quote_name(table)} SET {self.quote_name(column)} = {default} "
            fill += f"WHERE {self.quote_name(column)} IS NULL"
            self._emit(
                f"fill {table}.{column}",
                f"fill {table}.{column} where old code left it empty",
                Act(statements=(fill,)),
                (),
                phase=Phase.BACKFILL,
            )
        for number, act in enumerate(retire.tighten(table, column, self.quote_name)):
            self._emit(
                f"not null {table}.{column} {number}",
                f"make {table}.{column} NOT NULL, part {number + 1} of 3",
                act,
                _CONTRACT,
                phase=Phase.CONTRACT,
            )

    def remove_field(self, model: Any, field: Any) -> None:
        """Retire a column: its values stay, what would trip code that does not know it goes."""
        if field.many_to_many and field.remote_field.through._meta.auto_created:
            return self.delete_model(field.remote_field.through)
        table, column = model._meta.db_table, field.column
        if field.db_parameters(connection=self.connection)["type"] is None:
            return None
        if field.primary_key:
            return self._as_stock(model, "remove_field", field)
        for key in self._catalog.foreign_keys(table, column):
            self._detach(key)
        facts = self._catalog.column(table, column)
        relaxed = retire.relax(table, column, facts, self._default_literal(field), self.quote_name) if facts else None
        forward, undo = relaxed or (Act(), ())
        retired = self._retired_column(model, field)
        burial = list(self._burial(retired))
        self._emit(
            f"retire column {table}.{column}",
            f"retire column {table}.{column}",
            Act(statements=forward.statements, locks=forward.locks, retires=(retired,)),
            (Act(revives=(retired,)), *undo),
        )
        for step in burial:
            self._emit(**step, undo=_CONTRACT, phase=Phase.CONTRACT, while_retired=(retired,))
        self._forget_deferred(lambda s: s.references_column(table, column))
        return None

    def _burial(self, retired: Retired) -> Iterator[dict[str, Any]]:
        """Free a retired column's name and the names of what was built on it.

        Indexes and constraints hold no values of their own: they are dropped, and made again by a revival.
        """
        table, name = retired.table, retired.name
        for index in self._catalog.indexes(table, name):
            yield {
                "slug": f"drop index {index.name}",
                "title": f"drop index {index.name} of retired column {table}.{name}",
                "forward": self._drop_index(table, index.name),
            }
        for constraint in self._catalog.constraints_on(table, name):
            statement = f"ALTER TABLE {self.quote_name(table)} DROP CONSTRAINT {self.quote_name(constraint)}"
            yield {
                "slug": f"drop constraint {table}.{constraint}",
                "title": f"drop constraint {constraint} of retired column {table}.{name}",
                "forward": Act(statements=(statement,), locks=retire.exclusive(table)),
            }
        yield {
            "slug": f"bury column {table}.{name}",
            "title": f"rename retired column {table}.{name} out of the way",
            "forward": retire.bury_column(retired, self._grave(), self.quote_name),
        }

    # Indexes

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
            _CONTRACT,
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
        if self._retired(Kind.INDEX, table, name, definition):
            revive = Act(revives=(retired,))
            self._emit(f"index {name}", f"revive index {name} on {table}", revive, (Act(retires=(retired,)),))
        elif table in self._new:
            act = Act(statements=(definition,))
            self._emit(f"index {name}", f"create index {name} on {table}", act, (Act(retires=(retired,)),))
        else:
            self._build_index(retired, statement)

    def _build_index(self, retired: Retired, statement: Statement) -> None:
        self._bury_what_is_in_the_way(Kind.INDEX, retired.table, retired.name)
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

    # What the stock editor defers to the migration's end

    def translate_deferred(self) -> None:
        """Emit the deferred statements: indexes and constraints first, foreign keys in three passes.

        A revived table's keys are enforced first, then rows whose parents went away are put aside, parents
        before children, and only then is each key proved.
        """
        deferred, self.deferred_sql = self.deferred_sql, []
        keys = [s for s in deferred if isinstance(s, Statement) and s.template == self.sql_create_fk]
        for statement in deferred:
            if statement in keys:
                continue
            if isinstance(statement, Statement) and statement.template == self.sql_create_index:
                self._add_index(statement)
            else:
                self._deferred_as_stock(statement)
        fresh = [s for s in keys if s.parts["table"].table in self._new]
        for statement in fresh:
            self._add_key_of_new_table(statement)
        self._attach_keys([self._key(s) for s in keys if s not in fresh])

    def _deferred_as_stock(self, statement: Any) -> None:
        table = statement.parts["table"].table if isinstance(statement, Statement) else ""
        online = table in self._new
        locks = () if online or not table else retire.exclusive(table)
        act = Act(statements=(str(statement),), locks=locks)
        self._emit("deferred", _first_line(str(statement)), act, () if online else _STOCK, online=online)

    def _create_fk_sql(self, model: Any, field: Any, suffix: str) -> Statement:
        """Build stock's statement, and keep with it what it leaves out: what deleting the parent should do."""
        stock: Any = super()
        statement: Statement = stock._create_fk_sql(model, field, suffix)
        statement.parts["on_delete_in_django"] = field.remote_field.on_delete
        return statement

    def _key(self, statement: Statement) -> ForeignKey:
        """The foreign key, and its form while old code runs, which deletes parents without knowing the child.

        The database then does what Django's on_delete does in new code; otherwise old code's DELETE would fail.
        """
        parts: Any = statement.parts
        to_column = ", ".join(self.quote_name(c) for c in parts["to_column"].columns)
        columns = ", ".join(self.quote_name(c) for c in parts["column"].columns)
        references = f"FOREIGN KEY ({columns}) REFERENCES {parts['to_table']} ({to_column})"
        stock = str(statement).rsplit(" ADD CONSTRAINT ", 1)[1].removeprefix(f"{parts['name']} ")
        action = _ON_DELETE.get(parts.get("on_delete_in_django"))
        return ForeignKey(
            name=strip_quotes(str(parts["name"])),
            table=parts["table"].table,
            to_table=parts["to_table"].table,
            columns=tuple(parts["column"].columns),
            to_columns=tuple(parts["to_column"].columns),
            definition=stock,
            while_open=f"{references} ON DELETE {action}{parts['deferrable']}" if action else "",
        )

    def _add_key_of_new_table(self, statement: Statement) -> None:
        key = self._key(statement)
        locks = () if key.to_table in self._new else retire.share_row(key.to_table)
        add = f"ALTER TABLE {self.quote_name(key.table)} ADD CONSTRAINT {self.quote_name(key.name)} "
        self._emit(
            f"foreign key {key.table}.{key.name}",
            f"add foreign key {key.table}.{key.columns[0]} to {key.to_table}",
            Act(statements=(add + (key.while_open or key.definition),), locks=locks),
            (retire.detach(key, self.quote_name),),
            note=_ON_DELETE_NOTE if key.while_open else "",
        )
        self._exchange_at_finalize(key)

    def _exchange_at_finalize(self, key: ForeignKey) -> None:
        if not key.while_open:
            return
        for number, act in enumerate(retire.exchange(key, self.quote_name)):
            self._emit(
                f"exchange {key.table}.{key.name} {number}",
                f"make foreign key {key.table}.{key.columns[0]} as stock Django has it, part {number + 1} of 3",
                act,
                _CONTRACT,
                phase=Phase.CONTRACT,
                unless_retired=(*_keys(key.table, key.columns[0]), *_keys(key.to_table, key.to_columns[0])),
            )

    def _attach_keys(self, keys: list[ForeignKey]) -> None:
        """Attach what holds rows to tables in use, settle what lost its parent, then attach revived tables to
        each other: a key that cascades must not take rows along that quarantine is about to keep.
        """
        revived = {key.table for key in keys}
        inner = [key for key in keys if key.to_table in revived]
        self._attach([key for key in keys if key not in inner])
        self._settle_orphans("quarantine", keys)
        self._attach(inner)
        self._settle_orphans("quarantine late", inner)
        for key in keys:
            self._emit(
                f"validate {key.table}.{key.name}",
                f"validate foreign key {key.table}.{key.columns[0]} to {key.to_table}",
                retire.attach(key, self.quote_name)[1],
                (),
                phase=Phase.VALIDATE,
            )
            self._exchange_at_finalize(key)

    def _attach(self, keys: list[ForeignKey]) -> None:
        for key in keys:
            self._emit(
                f"foreign key {key.table}.{key.name}",
                f"attach foreign key {key.table}.{key.columns[0]} to {key.to_table}",
                retire.attach(key, self.quote_name)[0],
                (retire.detach(key, self.quote_name),),
                note=_ON_DELETE_NOTE if key.while_open else "",
            )

    def _settle_orphans(self, slug: str, keys: list[ForeignKey]) -> None:
        if keys:
            self._emit(
                slug,
                f"put orphans of {', '.join(dict.fromkeys(key.table for key in keys))} into quarantine",
                Act(statements=(retire.until_settled(tuple(s for key in keys for s in self._quarantine(key))),)),
                (),
                phase=Phase.VALIDATE,
            )

    def _quarantine(self, key: ForeignKey) -> tuple[str, ...]:
        facts = self._catalog.column(key.table, key.columns[0])
        nullable = facts is not None and not facts.not_null
        return retire.quarantine(key, nullable, self._release, self.quote_value, self.quote_name)

    # Pieces

    def _retired(self, kind: Kind, table: str, name: str, definition: str) -> Retired | None:
        return next((r for r in self._cemetery.find(kind, table, name) if r.definition == definition), None)

    def _retired_column(self, model: Any, field: Any) -> Retired:
        return Retired(
            kind=Kind.COLUMN,
            table=model._meta.db_table,
            name=field.column,
            definition=self._definition(model, field),
        )

    def _definition(self, model: Any, field: Any) -> str:
        """The column as Django would make it without its one-off default: what a revival compares."""
        definition, params = self.column_sql(model, field, include_default=False)
        check = field.db_parameters(connection=self.connection)["check"]
        target = field.target_field if field.remote_field and field.db_constraint else None
        return " ".join(
            [
                self._complete(definition, params or None),
                *([f"CHECK ({check})"] if check else []),
                *([f"REFERENCES {target.model._meta.db_table} ({target.column})"] if target else []),
            ]
        )

    def _default_literal(self, field: Any) -> str:
        value = self.effective_default(field)
        if value is None:
            return ""
        return self._complete(self._column_default_sql(field), [value])

    def _detach(self, key: ForeignKey) -> None:
        self._emit(
            f"detach foreign key {key.table}.{key.name}",
            f"detach foreign key {key.table}.{key.columns[0]} from {key.to_table}",
            retire.detach(key, self.quote_name),
            self._attached_again(key),
        )

    def _attached_again(self, key: ForeignKey) -> tuple[Act, ...]:
        """Undo a detachment: enforce the key, put aside the rows whose parent went away meanwhile, prove it."""
        enforce, prove = retire.attach(key, self.quote_name)
        return (enforce, Act(statements=(retire.until_settled(self._quarantine(key)),)), prove)

    def _bury_what_is_in_the_way(self, kind: Kind, table: str, name: str) -> None:
        """A retired object of another shape keeps its values under another name."""
        for retired in self._cemetery.find(kind, table, name):
            if retired.place:
                continue
            if kind is Kind.COLUMN:
                for step in self._burial(retired):
                    self._emit(**step, undo=())
            elif kind is Kind.TABLE:
                forward = retire.bury_table(retired, self._grave(), self.quote_name)
                self._emit(f"bury table {table}", f"move retired table {table} out of the schema", forward, ())
            else:
                forward = self._drop_index(table, name, purges=(retired,))
                self._emit(f"drop index {name}", f"drop retired index {name} on {table}", forward, ())

    def _grave(self) -> str:
        return f"{self._release}_{len(self._cemetery.all())}"

    def _schema(self) -> str:
        with self.connection.cursor() as cursor:
            cursor.execute("SELECT current_schema()")
            return str(cursor.fetchall()[0][0])

    def _forget_deferred(self, about: Any) -> None:
        self.deferred_sql = [s for s in self.deferred_sql if not (isinstance(s, Statement) and about(s))]


def _stock_verb(verb: str) -> Any:
    def run(self: StepEditor, model: Any, *args: Any) -> None:
        if self._drafts:
            getattr(super(StepEditor, self), verb)(model, *args)
        else:
            self._as_stock(model, verb, *args)

    run.__name__ = verb
    run.__doc__ = "Run what stock Django runs: there is no online form of it yet."
    return run


for _verb in (
    "alter_field",
    "alter_db_table",
    "alter_db_table_comment",
    "alter_db_tablespace",
    "alter_unique_together",
    "alter_index_together",
    "add_constraint",
    "remove_constraint",
    "rename_index",
):
    setattr(StepEditor, _verb, _stock_verb(_verb))


def _keys(table: str, column: str) -> tuple[tuple[str, ...], ...]:
    """The keys of a table and of one of its columns, for a step that must not run once either is retired."""
    return ((Kind.TABLE.value, table, table), (Kind.COLUMN.value, table, column))


def _first_line(text: str) -> str:
    return " ".join(text.split())[:100]


def editor_class(stock: type[DatabaseSchemaEditor]) -> type[StepEditor]:
    """Return the step editor over whatever editor the project's engine has (PostGIS and others)."""
    if issubclass(StepEditor, stock):
        return StepEditor
    return type("StepEditor", (StepEditor, stock), {})
