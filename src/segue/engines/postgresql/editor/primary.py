"""Primary keys that come and go with their columns.

A table has one primary key, and Django's GROUP BY needs it. So old code keeps its own until finalize wherever a
row of new code can have a value in it; the new key is a unique index until then.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from segue.core.change import Act, Kind, Retired
from segue.core.errors import StepFailed
from segue.core.plan import Phase
from segue.engines.postgresql.acts import retire
from segue.engines.postgresql.acts.retire import label
from segue.engines.postgresql.editor.constraints import ConstraintVerbs
from segue.engines.postgresql.editor.emission import CONTRACT
from segue.engines.postgresql.editor.implicit import implicit_name
from segue.engines.postgresql.editor.keys import keys_of
from segue.engines.postgresql.editor.shape import Shapes


class PrimaryKeys(ConstraintVerbs, Shapes):
    """What add_field, remove_field and alter_field do about primary keys."""

    # Constraints that earlier steps have dropped, although a plan still finds them in the catalog.
    _freed: frozenset[str] = frozenset()
    # Primary keys that go at finalize: table and name.
    _leaving: frozenset[tuple[str, str]] = frozenset()

    def _key_of(self, table: str, column: str) -> str:
        """The name of the primary key that is this column alone, "" where there is none."""
        name = self._catalog.own_constraint(table, column, "p")
        return "" if name in self._freed else name

    # Going

    def _drop_key_now(self, table: str, column: str) -> None:
        """Drop the primary key of a column that new code's rows have no value for.

        A unique index keeps its promise to old code; on the way back that becomes the key again, without a scan.
        """
        name, spare, quote = self._key_of(table, column), self._key_index(table, column), self.quote_name
        self._emit_key_index(table, column, retire.drop_index_beside_key(table, spare, quote))
        self._emit(
            f"primary key {table}.{column}",
            f"drop primary key {name} of {table}",
            Act(
                statements=(f"ALTER TABLE {quote(table)} DROP CONSTRAINT {quote(name)}",),
                locks=retire.exclusive(table),
            ),
            (retire.primary_key_where_possible(table, column, name, spare, quote),),
            note="old code cannot GROUP BY it from now on",
        )
        self._freed |= {name}

    def _give_up_key(self, table: str, column: str) -> None:
        """Drop the primary key of a column that stays and may be empty; until finalize it is unique for old code."""
        self._drop_key_now(table, column)
        index = self._key_index(table, column)
        self._emit(
            f"drop index {index}",
            f"drop the index that stood in for the primary key of {table}",
            self._drop_index(table, index),
            CONTRACT,
            phase=Phase.CONTRACT,
            unless_retired=keys_of(table, column),
        )

    def _drop_key_at_finalize(self, table: str) -> None:
        """Let old code keep the primary key of a column that is to be none, and keeps a value in every row."""
        name = self._key_there(table)
        drop = f"ALTER TABLE {self.quote_name(table)} DROP CONSTRAINT IF EXISTS {self.quote_name(name)}"
        self._emit(
            f"drop primary key {table}",
            f"drop primary key {name} of {table}",
            Act(
                statements=(drop,),
                locks=retire.exclusive(table),
            ),
            CONTRACT,
            phase=Phase.CONTRACT,
            unless_retired=((Kind.TABLE.value, table, table),),
        )
        self._leaving |= {(table, name)}

    def _key_burial(self, retired: Retired) -> Iterator[dict[str, Any]]:
        """Yield what finalize does to the primary key that old code had until then."""
        if name := self._key_of(retired.table, retired.name):
            table = self.quote_name(retired.table)
            yield {
                "slug": f"drop primary key {retired.table}.{retired.name}",
                "title": f"drop primary key {name} of retired column {retired.table}.{retired.name}",
                "forward": Act(
                    statements=(f"ALTER TABLE {table} DROP CONSTRAINT {self.quote_name(name)}",),
                    locks=retire.exclusive(retired.table),
                ),
            }

    # Coming

    def _key_index(self, table: str, column: str) -> str:
        return label("segue_key_", f"{self._catalog.relation_name(table)}_{column}")

    def _emit_key_index(self, table: str, column: str, undo: Act | None = None) -> None:
        """Build the unique index that a primary key is made of, or that stands in for one."""
        index, quote = self._key_index(table, column), self.quote_name
        self._emit(
            f"index {index}",
            f"build a unique index for the key {table}.{column}",
            Act(
                statements=(f"CREATE UNIQUE INDEX CONCURRENTLY {quote(index)} ON {quote(table)} ({quote(column)})",),
                locks=retire.weak(table),
                transactional=False,
            ),
            (undo or replace(self._drop_index(table, index), background=True),),
            probe=self._index_probe(table, index),
            clean=(self._sql_drop_index(table, index),),
        )

    def _waits_for_key(self, model: Any, table: str) -> bool:
        """Whether old code has another primary key until finalize; raises StepFailed when that is to stay."""
        columns = self._catalog.primary_key(table) if self._key_there(table) else ()
        if (table, self._key_there(table)) in self._leaving:
            return True
        going = [r for c in columns for r in self._cemetery.find(Kind.COLUMN, table, c) if not r.place]
        if not going and model._meta.pk.column in columns:
            raise StepFailed(
                f"{table} has a primary key already: {', '.join(columns)}.",
                next_command="remove that field, or alter it to be no primary key, in an operation before this one",
            )
        return bool(going)

    def _make_key(self, table: str, column: str, *, waits: bool, name: str = "") -> None:
        """Make the column the primary key, from its index: now, or at finalize while the table has another.

        It must be not null by then. Without a `name` the key gets the one that PostgreSQL gives.
        """
        quote, index = self.quote_name, self._key_index(table, column)
        freed = self._freed | {self._key_there(table)}
        name = name or implicit_name(self._catalog, table, column, "pkey", freed=freed)
        add = f"ADD CONSTRAINT {quote(name)} PRIMARY KEY USING INDEX {quote(index)}"
        forward = Act(statements=(f"ALTER TABLE {quote(table)} {add}",), locks=retire.exclusive(table))
        slug, title = f"primary key {table}.{column}", f"make {column} the primary key of {table}"
        if waits:
            gone = keys_of(table, column)
            note = "until then new code cannot GROUP BY it"
            self._emit(slug, title, forward, CONTRACT, phase=Phase.CONTRACT, unless_retired=gone, note=note)
        else:
            drop = f"ALTER TABLE {quote(table)} DROP CONSTRAINT IF EXISTS {quote(name)}"
            self._emit(slug, title, forward, (Act(statements=(drop,), locks=retire.exclusive(table)),))

    def _is_referred_to(self, table: str) -> bool:
        """Whether a foreign key depends on the table's primary key."""
        columns = self._catalog.primary_key(table)
        return any(k.to_table == table and k.to_columns == columns for k in self._catalog.foreign_keys(table))

    def _key_there(self, table: str) -> str:
        """The primary key that the table has now and at finalize no longer, "" for none."""
        name = self._catalog.primary_key_name(table)
        return "" if name in self._freed else name

    # Numbers

    def _sequence(self, model: Any, field: Any) -> tuple[str, ...]:
        """Return the statements that let a sequence number the rows until the column is an identity."""
        if not self._is_numbered(field):
            return ()
        sequence, table = self.quote_name(self._interim_sequence(model, field)), self.quote_name(model._meta.db_table)
        return (f"CREATE SEQUENCE {sequence} AS {self._type(field)} OWNED BY {table}.{self.quote_name(field.column)}",)

    def _emit_identity(self, model: Any, field: Any) -> None:
        """At finalize the column numbers its rows itself, and goes on where the sequence was."""
        table, column, quote = model._meta.db_table, field.column, self.quote_name
        sequence = quote(self._interim_sequence(model, field))
        alter = f"ALTER TABLE {quote(table)} ALTER COLUMN {quote(column)}"
        own = f"pg_get_serial_sequence({self.quote_value(quote(table))}, {self.quote_value(column)})"
        self._emit(
            f"identity {table}.{column}",
            f"let {table}.{column} number its rows itself",
            Act(
                statements=(
                    f"{alter} DROP DEFAULT",
                    f"ALTER SEQUENCE {sequence} OWNED BY NONE",
                    f"{alter} ADD {field.db_type_suffix(connection=self.connection)}",
                    f"SELECT setval({own}, last_value, is_called) FROM {sequence}",
                    f"DROP SEQUENCE {sequence}",
                ),
                locks=retire.exclusive(table),
            ),
            CONTRACT,
            phase=Phase.CONTRACT,
            unless_retired=keys_of(table, column),
        )

    def _number(self, table: str, column: str, field: Any) -> None:
        """Let a column that code has filled number its rows itself, from the highest on."""
        quote = self.quote_name
        alter = f"ALTER TABLE {quote(table)} ALTER COLUMN {quote(column)}"
        own = f"pg_get_serial_sequence({self.quote_value(quote(table))}, {self.quote_value(column)})"
        highest = f"SELECT setval({own}, max({quote(column)})) FROM {quote(table)} HAVING max({quote(column)}) > 0"
        self._emit(
            f"identity {table}.{column}",
            f"let {table}.{column} number its rows itself",
            Act(
                statements=(f"{alter} ADD {field.db_type_suffix(connection=self.connection)}", highest),
                locks=retire.exclusive(table),
            ),
            (Act(statements=(f"{alter} DROP IDENTITY IF EXISTS",), locks=retire.exclusive(table)),),
        )
        self._emit(
            f"highest {table}.{column}",
            f"number {table}.{column} from the highest on that old code has given",
            Act(statements=(highest,)),
            CONTRACT,
            phase=Phase.CONTRACT,
            unless_retired=keys_of(table, column),
        )

    def _number_no_more(self, table: str, column: str) -> None:
        """Old code goes on to insert without a number until finalize."""
        alter = f"ALTER TABLE {self.quote_name(table)} ALTER COLUMN {self.quote_name(column)}"
        sequence = self._catalog.own_sequence(table, column)
        facts = self._catalog.column(table, column)
        statements: tuple[str, ...] = (f"{alter} DROP IDENTITY IF EXISTS",)
        if facts and not facts.identity and sequence:
            statements = (f"{alter} DROP DEFAULT", f"DROP SEQUENCE IF EXISTS {sequence}")
        self._emit(
            f"identity {table}.{column}",
            f"no longer number {table}.{column}",
            Act(statements=statements, locks=retire.exclusive(table)),
            CONTRACT,
            phase=Phase.CONTRACT,
            unless_retired=keys_of(table, column),
        )
