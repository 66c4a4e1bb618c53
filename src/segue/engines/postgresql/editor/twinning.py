"""A twin of a column in another type, with all that hangs on the column: made, filled, cloned and cleaned away.

Owns what is the same whether the twin takes the column's place at once, at finalize, or lies beside it until then.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from django.db.backends.utils import strip_quotes

from segue.core.change import Act, Irreversible, Kind, Retired
from segue.core.errors import StepFailed
from segue.core.plan import Phase
from segue.engines.postgresql.acts import retire, swap
from segue.engines.postgresql.acts import twin as twins
from segue.engines.postgresql.acts.retire import label
from segue.engines.postgresql.acts.swap import Key, Member
from segue.engines.postgresql.acts.twin import TWIN, Twin
from segue.engines.postgresql.catalog import Column, ForeignKey
from segue.engines.postgresql.dependents import Attached, Rehearsed, rehearse
from segue.engines.postgresql.editor.columns import ColumnVerbs
from segue.engines.postgresql.editor.emission import CONTRACT
from segue.engines.postgresql.editor.hearing import Alteration, Hearing
from segue.engines.postgresql.editor.implicit import not_null_names

# The version of PostgreSQL that has NOT NULL among the constraints.
_NAMES_NOT_NULL = 180000


@dataclass(frozen=True, kw_only=True)
class Retyping:
    """One column's change of type; `fields` are the field before and after.

    `mark` is in the names of what is made for it, where there is another twin of the column.
    """

    model: Any
    fields: tuple[Any, Any]
    table: str
    column: str
    old_type: str
    new_type: str
    collation: str
    cast: str
    facts: Column
    rehearsed: Rehearsed
    mark: str = ""


class Twinning(Hearing, ColumnVerbs):
    """The steps around a twin."""

    def _pair(self, altered: Alteration) -> tuple[Any, Any]:
        return altered.old_field, altered.new_field

    def _mark(self, model: Any, column: str, new_field: Any) -> str:
        """Tell the column's twin from those of other shapes: swapped in this release already, or retired earlier."""
        table = model._meta.db_table
        named = self._cemetery.find(Kind.COLUMN, table, column)
        definition = self._definition(model, new_field)
        others = {r.place for r in named if r.definition != definition}
        swapped = sum(bool(self._release) and self._release in r.place for r in named)
        marks = (f"{number}_" if number > 1 else "" for number in count(swapped + 1))
        return next(mark for mark in marks if label(f"{TWIN}{mark}", column) not in others)

    def _rehearsed(self, altered: Alteration | None, table: str, column: str, twin: str, change: Retyping) -> Rehearsed:
        using = f" USING {self.quote_name(column)}{change.cast}" if change.cast else ""
        retype = f"ALTER COLUMN {self.quote_name(column)} TYPE {change.new_type}{change.collation}{using}"
        gone = (*altered.indexes_gone, *altered.uniques_gone, *altered.checks_gone) if altered else ()
        return rehearse(
            self.connection, table, column, twin, retype=retype, without=frozenset(gone), view=self._view_of(table)
        )

    def _require_free(self, table: str, column: str, rehearsed: Rehearsed) -> None:
        """Refuse, by name, what cannot be carried over to a twin; most of it stops stock Django too."""
        exclusions = tuple(f"exclusion constraint {a.name}" for a in rehearsed.attached if a.kind == "x")
        if bound := (*rehearsed.bound, *exclusions):
            raise StepFailed(
                f"{table}.{column} cannot be given another type while these depend on it: {'; '.join(bound)}.",
                next_command="drop them in a migration before this one and make them again after it",
            )
        if rehearsed.refused:
            raise StepFailed(f"{table}.{column} cannot be given another type: {rehearsed.refused}")

    def _keys_of_members(self, members: list[Member], mark: str) -> list[Key]:
        """The foreign keys from and to the members, each with its definition on the twins."""
        # Of the two tables that a key joins, the catalog knows one by what PostgreSQL keeps of its name.
        twin_of = {(retire.shorten(m.twin.table), m.twin.old): m.twin.new for m in members}
        found: dict[tuple[str, str], Key] = {}
        for member in members:
            for key in self._catalog.foreign_keys(member.twin.table, member.twin.old):
                of_members = self._key_of_members(key, twin_of)
                found[retire.shorten(key.table), key.name] = replace(of_members, mark=mark)
        return list(found.values())

    def _key_of_members(self, key: ForeignKey, twin_of: dict[tuple[str, str], str]) -> Key:
        table, to_table = retire.shorten(key.table), retire.shorten(key.to_table)
        columns = ", ".join(self.quote_name(twin_of.get((table, c), c)) for c in key.columns)
        to_columns = ", ".join(self.quote_name(twin_of.get((to_table, c), c)) for c in key.to_columns)
        actions = key.definition.rsplit(")", 1)[1]
        return Key(
            name=key.name,
            table=key.table,
            to_table=key.to_table,
            definition=key.definition,
            twin_definition=(
                f"FOREIGN KEY ({columns}) REFERENCES {self.quote_name(key.to_table)} ({to_columns}){actions}"
            ),
        )

    def _emit_twin(
        self, member: Member, change: Retyping, phase: Phase, body: str, *, aside: str = "", **more: Any
    ) -> None:
        """Add the twin, or take one that lies retired with what the old column could not hold, and fill it.

        On the way back it lies `aside`, if it is not to keep its name.
        """
        twin, quote = member.twin, self.quote_name
        alter = f"ALTER TABLE {quote(twin.table)}"
        definition = self._definition(change.model, change.fields[1])
        revived = self._retired(Kind.COLUMN, twin.table, change.column, definition)
        if revived is not None and not self._lies_free(revived, twin):
            revived = None
        made: tuple[str, ...]
        if revived is None:
            made = (
                f"{alter} ADD COLUMN {quote(twin.new)} {change.new_type}{change.collation}",
                twins.settings(twin, quote),
            )
        elif revived.place == twin.new:
            made = ()
        else:
            made = (f"{alter} RENAME COLUMN {quote(revived.place)} TO {quote(twin.new)}",)
        place = aside or twin.new
        moved = () if place == twin.new else (f"{alter} RENAME COLUMN {quote(twin.new)} TO {quote(place)}",)
        retired = Retired(kind=Kind.COLUMN, table=twin.table, name=change.column, definition=definition, place=place)
        closed = more.get("aliases", ())
        self._emit_for(
            phase,
            f"twin {twin.table}.{change.column}",
            f"add a twin of {twin.table}.{change.column} with type {change.new_type}",
            Act(
                statements=(*made, *twins.attach(twin, body, quote), *more.get("opening", ())),
                locks=retire.exclusive(twin.table),
                revives=(revived,) if revived else (),
                aliases=closed,
            ),
            (
                Act(
                    statements=(*more.get("closing", ()), *twins.detach(twin, quote), *moved),
                    locks=retire.exclusive(twin.table),
                    retires=(retired,),
                    unaliases=closed,
                    against_new_code=bool(closed),
                ),
            ),
        )
        self._emit_for(
            phase,
            f"fill {twin.table}.{change.column}",
            f"fill the twin of {twin.table}.{change.column}",
            Act(backfill=twins.fill(twin, quote, revived=revived is not None, leniently=self._goes_back)),
            (),
            working=Phase.BACKFILL,
        )

    def _lies_free(self, retired: Retired, twin: Twin) -> bool:
        """Whether a retired column can be the twin: what this very release has put aside still follows the column.

        An interrupted run may have given it the twin's name already.
        """
        if self._release in retired.place and not self._goes_back:
            return False
        names = (retired.place, twin.new) if retired.place else (twin.new,)
        return any(self._catalog.column(twin.table, name) is not None for name in names)

    def _emit_clones(self, member: Member, table: str, phase: Phase) -> None:
        """Build for the twin what hangs on the old column, and prove it not null."""
        for attached in member.attached:
            if attached.kind == "c":
                self._emit_check_clone(table, swap.clone(attached), attached.definition, phase)
                continue
            self._emit_index_clone(table, swap.clone(attached), attached, phase)
            if attached.kind == "u" and attached.deferrable:
                self._emit_unique_clone(table, attached, phase)
            if attached.kind == "p" and phase is Phase.EXPAND:
                mirrored = replace(attached, definition=self._index_on_old(member, attached))
                self._emit_index_clone(table, swap.spare(attached), mirrored, phase, "to go back to")
        if member.check:
            self._emit_check_clone(
                table, member.check, f"CHECK ({self.quote_name(member.twin.new)} IS NOT NULL)", phase
            )

    def _index_on_old(self, member: Member, attached: Attached) -> str:
        twin = member.twin
        return attached.definition.replace(self.quote_name(twin.new), self.quote_name(twin.old)).replace(
            twin.new, self.quote_name(twin.old)
        )

    def _emit_index_clone(
        self, table: str, name: str, attached: Attached, phase: Phase, purpose: str = "for the twin"
    ) -> None:
        quote = self.quote_name
        create = f"CREATE {'UNIQUE ' if attached.unique else ''}INDEX CONCURRENTLY"
        drop = self._sql_drop_index(table, name)
        self._emit_for(
            phase,
            f"index {name}",
            f"build index {attached.name} {purpose}",
            Act(
                statements=(f"{create} {quote(name)} ON {quote(table)} {attached.definition}",),
                locks=retire.weak(table),
                transactional=False,
            ),
            (Act(statements=(drop,), transactional=False, background=True),),
            probe=self._index_probe(table, name),
            clean=(drop,),
        )

    def _emit_unique_clone(self, table: str, attached: Attached, phase: Phase) -> None:
        """A bare index refuses at once what a deferrable constraint lets pass until the end: it becomes one soon."""
        alter, name = f"ALTER TABLE {self.quote_name(table)}", self.quote_name(swap.clone(attached))
        self._emit_for(
            phase,
            f"unique {table}.{swap.clone(attached)}",
            f"make the index for the twin deferrable, as {attached.name} is",
            Act(
                statements=(f"{alter} ADD CONSTRAINT {name} UNIQUE USING INDEX {name}{attached.deferrable}",),
                locks=retire.exclusive(table),
            ),
            (
                Act(
                    statements=(f"{alter} DROP CONSTRAINT IF EXISTS {name}",),
                    locks=retire.exclusive(table),
                    background=True,
                ),
            ),
            note="while the index is built it refuses at once what the constraint would let pass until the end",
        )

    def _emit_check_clone(self, table: str, name: str, definition: str, phase: Phase) -> None:
        alter = f"ALTER TABLE {self.quote_name(table)}"
        drop = f"{alter} DROP CONSTRAINT IF EXISTS {self.quote_name(name)}"
        self._emit_for(
            phase,
            f"check {table}.{name}",
            f"enforce {definition} on {table}",
            Act(
                statements=(f"{alter} ADD CONSTRAINT {self.quote_name(name)} {definition} NOT VALID",),
                locks=retire.exclusive(table),
            ),
            (Act(statements=(drop,), locks=retire.exclusive(table), background=True),),
        )
        self._emit_for(
            phase,
            f"validate {table}.{name}",
            f"prove {definition} on {table}",
            Act(statements=(f"{alter} VALIDATE CONSTRAINT {self.quote_name(name)}",), locks=retire.weak(table)),
            (),
            working=Phase.VALIDATE,
        )

    def _emit_key_clone(self, key: Key, phase: Phase) -> None:
        alter = f"ALTER TABLE {self.quote_name(key.table)}"
        self._emit_for(
            phase,
            f"foreign key {key.table}.{key.clone}",
            f"attach foreign key {key.name} of {key.table} to the twins",
            Act(
                statements=(f"{alter} ADD CONSTRAINT {self.quote_name(key.clone)} {key.twin_definition} NOT VALID",),
                locks=retire.share_row(key.table, key.to_table),
            ),
            (
                Act(
                    statements=(f"{alter} DROP CONSTRAINT IF EXISTS {self.quote_name(key.clone)}",),
                    locks=retire.exclusive(key.table, key.to_table),
                ),
            ),
        )
        self._emit_for(
            phase,
            f"validate {key.table}.{key.clone}",
            f"prove foreign key {key.name} of {key.table} on the twins",
            Act(
                statements=(f"{alter} VALIDATE CONSTRAINT {self.quote_name(key.clone)}",), locks=retire.weak(key.table)
            ),
            (),
            working=Phase.VALIDATE,
        )

    def _emit_cleaning(self, member: Member, retired: Retired, gone: tuple[str, ...], *, naming: bool = False) -> None:
        table = member.twin.table
        if member.check and self.connection.pg_version >= _NAMES_NOT_NULL:
            name = swap.name_not_null(table, member.name, not_null_names(table, member.name), self.quote_name)
            named = Act(statements=(name,), locks=retire.exclusive(table))
            what = f"the NOT NULL of {table}.{member.name}"
            self._emit_clean(f"name {table}.{member.name}", f"give {what} its own name", named, retired, naming)
        for attached in member.attached:
            old = swap.former(attached)
            act = self._drop_index(table, old)
            if attached.kind in ("u", "c"):
                drop = f"ALTER TABLE {self.quote_name(table)} DROP CONSTRAINT IF EXISTS {self.quote_name(old)}"
                act = Act(statements=(drop,), locks=retire.exclusive(table))
            self._emit_clean(f"drop {old}", f"drop what {attached.name} of {table} was before", act, retired, naming)
        for name in gone:
            act = self._drop_index(table, name)
            self._emit_clean(f"drop {name}", f"drop retired index {name}", act, retired, naming)

    def _emit_clean(self, slug: str, title: str, act: Act, retired: Retired, naming: bool) -> None:
        self._emit(slug, title, act, CONTRACT, phase=Phase.CONTRACT, while_retired=(retired,), naming=naming)

    def _emit_for(
        self,
        phase: Phase,
        slug: str,
        title: str,
        forward: Act,
        undo: tuple[Act, ...] | Irreversible,
        *,
        working: Phase = Phase.EXPAND,
        **more: Any,
    ) -> None:
        """Emit a step now, with its way back, or let it wait for finalize as a whole."""
        if phase is Phase.CONTRACT:
            self._emit(slug, title, forward, CONTRACT, phase=Phase.CONTRACT, **more)
        else:
            self._emit(slug, title, forward, undo, phase=working, **more)


def marked(rehearsed: Rehearsed, change: Retyping) -> tuple[Attached, ...]:
    """What hangs on two columns is made for the twin of each."""
    mark = f"{change.mark}{hashlib.sha256(change.column.encode()).hexdigest()[:4]}_"
    return tuple(replace(one, mark=mark) for one in rehearsed.attached)


def made_anew(altered: Alteration) -> frozenset[str]:
    """The indexes that go and come again under the same name."""
    made = {strip_quotes(str(statement.parts["name"])) for statement in altered.indexes}
    return frozenset(made & {*altered.indexes_gone})
