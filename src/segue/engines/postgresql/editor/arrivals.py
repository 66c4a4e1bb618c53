"""Columns that come: added without moving a row or holding up anybody, or revived with their values."""

from __future__ import annotations

from dataclasses import dataclass, replace
from dataclasses import field as default
from typing import TYPE_CHECKING, Any

from segue.core.change import Act, Alias, Backfill, Retired, Work
from segue.core.plan import Phase
from segue.engines.postgresql.acts import retire
from segue.engines.postgresql.acts.retire import label
from segue.engines.postgresql.catalog import Column
from segue.engines.postgresql.editor.emission import CONTRACT
from segue.engines.postgresql.editor.filling import Filling, runs_only_in_python
from segue.engines.postgresql.editor.implicit import implicit_name
from segue.engines.postgresql.editor.keys import keys_of
from segue.engines.postgresql.editor.removals import RemovalVerbs
from segue.engines.postgresql.editor.shape import NEW_COLUMN


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """A column that new code is to have: its field, and as what it lies retired if the release goes back.

    `stock` are stock's statements. Where old code has a column of the same name, `aliases` and `opening` tell new
    code where this one is until finalize, and `taken` are the names of what goes with that one; what hangs on this
    one gets such a name `later`: noted as CONSTRAINT or INDEX, the name that it has now, and the one to come.
    """

    model: Any
    field: Any
    retired: Retired
    stock: tuple[str, ...]
    aliases: tuple[Alias, ...] = ()
    opening: tuple[str, ...] = ()
    taken: frozenset[str] = frozenset()
    later: list[tuple[str, str, str]] = default(default_factory=list)

    @property
    def table(self) -> str:
        """The table, by its name in the database."""
        return str(self.model._meta.db_table)

    @property
    def column(self) -> str:
        """The column, by its name in the database."""
        return str(self.field.column)

    @property
    def undo(self) -> Act:
        """What the way back does at least."""
        return Act(retires=(self.retired,), unaliases=self.aliases)


class ArrivalVerbs(RemovalVerbs):
    """What add_field does for a column, once it is decided what there is of it."""

    if TYPE_CHECKING:
        # Parts of Django's editor that its stubs leave out.
        _alter_column_comment_sql: Any

    # New columns

    def _arrive(self, arrival: Arrival) -> None:
        table, field = arrival.table, arrival.field
        self._fresh |= {(table, arrival.column)}
        if table in self._new:
            self._arrive_on_new_table(arrival)
        elif self._is_computed(field):
            self._arrive_computed(arrival)
        else:
            self._arrive_bare(arrival)

    def _emit_column(self, arrival: Arrival, verb: str, forward: Act, undo: Act, **more: Any) -> None:
        slug = f"column {arrival.table}.{arrival.retired.name}"
        title = f"{verb} column {arrival.table}.{arrival.retired.name}"
        forward = replace(forward, statements=(*forward.statements, *arrival.opening), aliases=arrival.aliases)
        self._emit(slug, title, forward, (undo,), **more)

    def _arrive_on_new_table(self, arrival: Arrival) -> None:
        """Nobody uses the table yet; but on the way back the code before may do so."""
        table, field = arrival.table, arrival.field
        undo = arrival.undo
        if not (self._may_be_null(field) or self._is_numbered(field) or field.primary_key):
            loosen = f"ALTER TABLE {self.quote_name(table)} ALTER COLUMN {self.quote_name(field.column)} DROP NOT NULL"
            undo = replace(undo, statements=(loosen,), locks=retire.exclusive(table))
        self._emit_column(arrival, "add", Act(statements=arrival.stock), undo)

    def _arrive_computed(self, arrival: Arrival) -> None:
        """A virtual column is an entry in the catalog; a stored one is written into every row, by stock's statement."""
        stored = arrival.field.db_persist
        forward = Act(
            statements=arrival.stock,
            locks=retire.exclusive(arrival.table),
            work=Work.REWRITE if stored else Work.CATALOG,
        )
        note = "no other session can use the table while PostgreSQL computes every row" if stored else ""
        self._emit_column(arrival, "add", forward, arrival.undo, online=not stored, note=note)

    def _arrive_bare(self, arrival: Arrival) -> None:
        """Add the column with one value for every row, if it has one; what it lacks yet is built beside."""
        table, column, field = arrival.table, arrival.column, arrival.field
        fills = self._filling(arrival.model, field)
        tight = not self._may_be_null(field) and fills.at_once != "" and fills.inserted != ""
        bare = self._bare_definition(field, fills.at_once, not_null=tight)
        # After the column itself and the default's removal, stock has its comment, and what an extension adds.
        others = [s for s in arrival.stock[1:] if s != self._drop_default(arrival.model, field)]
        # A domain's check is tried on every row, even where the new column is empty.
        rewrites = self._catalog.is_checked_domain(str(self._type(field)))
        forward = Act(
            statements=(
                *retire.require_few_rows(table, column, fills.at_most, self.quote_name),
                f"ALTER TABLE {self.quote_name(table)} ADD COLUMN {self.quote_name(column)} {bare}",
                *self._sequence(arrival.model, field),
                *self._change_default(table, column, fills.at_once, fills.inserted),
                *others,
            ),
            locks=retire.exclusive(table),
            work=Work.REWRITE if rewrites else Work.CATALOG,
        )
        self._emit_column(arrival, "add", forward, arrival.undo, online=not rewrites, note=self._note(field, fills))
        self._finish(arrival, fills, fill=fills.one_by_one, tight=tight)

    def _note(self, field: Any, fills: Filling) -> str:
        """What the plan says of the rows that old code inserts."""
        if not fills.inserted:
            empty = "old code's rows have no value in it: finalize asks that each has got one"
            return "" if self._may_be_null(field) else empty
        if fills.inserted == fills.lasting:
            return ""
        if fills.inserted == fills.at_once and (callable_ := runs_only_in_python(field)):
            return f"old code's rows get the one value that all others get: {callable_} runs in Python only"
        return "its default stays until finalize, so that old code can insert"

    # What a column lacks

    def _finish(self, arrival: Arrival, fills: Filling, *, fill: str, tight: bool) -> None:
        """Fill the column where it is empty, constrain it, and leave it as stock does; nobody waits for any of it."""
        table, column, field = arrival.table, arrival.column, arrival.field
        if fill:
            self._fill(table, column, fill)
        waits = not fills.inserted
        has_key = field.primary_key and not self._key_of(table, column)
        if has_key:
            self._emit_key_index(table, column)
        self._add_own_constraints(arrival)
        if not tight and not self._may_be_null(field):
            self._tighten(table, column, Phase.CONTRACT if waits else Phase.VALIDATE)
        if has_key:
            self._make_key(table, column, waits=waits or self._waits_for_key(arrival.model, table))
        if self._is_numbered(field) and fills.inserted:
            self._emit_identity(arrival.model, field)
        elif fills.inserted != fills.lasting:
            self._settle_default(table, column, fills)

    def _fill(self, table: str, column: str, expression: str) -> None:
        name = self.quote_name(column)
        self._emit(
            f"fill {table}.{column}",
            f"fill {table}.{column} where it is empty",
            Act(backfill=Backfill(table=table, assignments=f"{name} = {expression}", where=f"{name} IS NULL")),
            (),
            phase=Phase.BACKFILL,
        )

    def _add_own_constraints(self, arrival: Arrival) -> None:
        """Make what the definition says inline, under the names that PostgreSQL gives it, unless it is there."""
        table, column, field = arrival.table, arrival.column, arrival.field
        check = field.db_parameters(connection=self.connection)["check"]
        if check and not self._catalog.own_constraint(table, column, "c"):
            name = self._own_name(arrival, "check")
            self._add_check(table=table, name=name, check_sql=check, phase=Phase.EXPAND, once=True)
        if field.unique and not field.primary_key and not self._catalog.own_constraint(table, column, "u"):
            name = self._own_name(arrival, "key")
            self._build_unique(table=table, name=name, columns=(column,), as_constraint=True)

    def _own_name(self, arrival: Arrival, label: str) -> str:
        """The name that a constraint of the column has in the end, or the one that it has until then."""
        freed = arrival.taken | self._freed
        name = implicit_name(
            self._catalog, arrival.table, arrival.column, label, final=arrival.retired.name, freed=freed
        )
        return self._name_for_now(arrival, "CONSTRAINT", name)

    def _name_for_now(self, arrival: Arrival, kind: str, name: str) -> str:
        if name not in arrival.taken:
            return name
        now = label(NEW_COLUMN, name)
        arrival.later.append((kind, now, name))
        return now

    def _tighten(self, table: str, column: str, phase: Phase) -> None:
        """Make a column not null; at finalize only once it is told how many rows lack a value."""
        waits: dict[str, Any] = {"phase": phase}
        undo: Any = (retire.untighten(table, column, self.quote_name),)
        if phase is Phase.CONTRACT:
            waits["unless_retired"], undo = keys_of(table, column), CONTRACT
            self._emit(
                f"values {table}.{column}",
                f"see that every row of {table} has a value in {column}",
                retire.require_values(table, column, self.quote_name),
                CONTRACT,
                **waits,
            )
        for number, act in enumerate(retire.tighten(table, column, self.quote_name)):
            self._emit(
                f"not null {table}.{column} {number}",
                f"make {table}.{column} NOT NULL, part {number + 1} of 3",
                act,
                undo if number == 0 or phase is Phase.CONTRACT else (),
                **waits,
            )

    def _settle_default(self, table: str, column: str, fills: Filling) -> None:
        self._emit(
            f"default {table}.{column}",
            f"{'set' if fills.lasting else 'drop'} the default of {table}.{column}",
            Act(
                statements=self._change_default(table, column, fills.inserted, fills.lasting),
                locks=retire.exclusive(table),
            ),
            CONTRACT,
            phase=Phase.CONTRACT,
            unless_retired=keys_of(table, column),
        )

    # Reviving

    def _revive(self, arrival: Arrival, found: Retired) -> None:
        """Give the column its name and its default back; what it lacks is made again beside the traffic."""
        if not found.place:
            # What old code uses is its column again on the way back.
            arrival = replace(arrival, retired=replace(arrival.retired, in_use=found.in_use))
        table, column, field = arrival.table, arrival.column, arrival.field
        # After a crash the column may have its own name again already.
        facts = self._catalog.column(table, found.place or column) or self._catalog.column(table, column)
        assert facts is not None
        fills, default = Filling(), ""
        if not facts.fills_itself:
            fills, default = self._filling(arrival.model, field), facts.default
        if not fills.inserted:
            # A default that was left for code that did not know the column serves it until finalize.
            fills = replace(fills, inserted=default)
        has_it = default == fills.inserted or default.startswith(f"{fills.inserted}::")
        statements = (
            *self._renamed(arrival, found),
            *(() if has_it else self._change_default(table, column, default, fills.inserted)),
            *self._comment_again(arrival, facts),
        )
        locks = retire.exclusive(table) if statements else ()
        forward = Act(statements=statements, locks=locks, revives=(found,))
        self._emit_column(arrival, "revive", forward, arrival.undo, note="every value that it had is still there")
        fill = "" if facts.not_null or self._may_be_null(field) else fills.inserted
        self._finish(arrival, fills, fill=fill, tight=facts.not_null or facts.fills_itself)

    def _renamed(self, arrival: Arrival, found: Retired) -> tuple[str, ...]:
        """Return the statements that give a buried column the name that it is to have now, and its sequence its own."""
        now, table, column = found.place or found.name, arrival.table, arrival.column
        if now == column:
            return ()
        quote = self.quote_name
        rename = f"ALTER TABLE {quote(table)} RENAME COLUMN {quote(now)} TO {quote(column)}"
        sequence = self._catalog.own_sequence(table, now)
        if not sequence:
            return (rename,)
        name = implicit_name(self._catalog, table, now, "seq", final=found.name, freed=self._freed)
        return (rename, f"ALTER SEQUENCE {sequence} RENAME TO {quote(name)}")

    def _comment_again(self, arrival: Arrival, facts: Column) -> tuple[str, ...]:
        """Return the statement that makes a revived column's comment what the field says."""
        field = arrival.field
        wanted = getattr(field, "db_comment", None) or None
        if wanted == facts.comment:
            return ()
        sql, params = self._alter_column_comment_sql(arrival.model, field, self._type(field), wanted)
        return (self._complete(sql, params),)
