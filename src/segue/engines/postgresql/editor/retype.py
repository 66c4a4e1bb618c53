"""Columns that change their type: directly where that is a change of the catalog only, else by a twin and a swap.

A wider type is swapped in at once, because both versions of the code work with it. A narrower one waits for
finalize. One that old code cannot work with lies beside the old column until then: new code finds it by an
alias, or by the column's new name.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING, Any

from django.db.backends.ddl_references import Statement
from django.db.backends.utils import strip_quotes

from segue.core.change import Act, Alias, Irreversible, Kind, Retired
from segue.core.errors import StepFailed
from segue.core.plan import Phase
from segue.engines.postgresql.acts import retire, swap
from segue.engines.postgresql.acts import twin as twins
from segue.engines.postgresql.acts.blocks import fail_if_any
from segue.engines.postgresql.acts.retire import label
from segue.engines.postgresql.acts.swap import Key, Member
from segue.engines.postgresql.acts.twin import TWIN, Conversion, Twin
from segue.engines.postgresql.catalog import Column, ForeignKey
from segue.engines.postgresql.dependents import Attached, Rehearsed, rehearse
from segue.engines.postgresql.editor import families
from segue.engines.postgresql.editor.columns import ColumnVerbs
from segue.engines.postgresql.editor.emission import CONTRACT
from segue.engines.postgresql.editor.hearing import Alteration, Hearing

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


class RetypeVerbs(Hearing, ColumnVerbs):
    """What alter_field does to types."""

    if TYPE_CHECKING:
        # Parts of Django's editor that its stubs leave out.
        _using_sql: Any
        _part: Any

    def _retype(self, altered: Alteration, column: str, to: str) -> bool:
        """Give the column its new type; `to` is its name in new code, another one when it is renamed too.

        Returns whether the column has its new type only at finalize, so that what is new on it must wait too.
        """
        old_type, new_type = (f.db_parameters(connection=self.connection)["type"] for f in self._pair(altered))
        old_collation, new_collation = (
            f.db_parameters(connection=self.connection).get("collation") for f in self._pair(altered)
        )
        kind = families.change(old_type, new_type)
        if kind is families.Change.SAME and old_collation != new_collation:
            kind = families.Change.WIDER
        if kind is families.Change.SAME and to == column:
            self._retire_gone(altered)
            return False
        first = self._retyping(altered.model, altered.old_field, altered.new_field, column, altered)
        others = [
            self._retyping(model, old, new, old.column, None)
            for model, old, new in altered.retyped
            if new is not altered.new_field
        ]
        if kind is families.Change.OTHER:
            to = self._final_name(altered.model._meta.db_table, column, to)
        if to != column or kind is families.Change.OTHER:
            self._require_alone(first, others)
            self._beside(altered, first, to)
            return True
        if kind is families.Change.WIDER and not first.rehearsed.rewrites and not others:
            self._retire_gone(altered)
            self._retype_in_place(first)
            return False
        phase = Phase.CONTRACT if kind is families.Change.NARROWER else Phase.EXPAND
        self._exchange([first, *others], altered, phase)
        return phase is Phase.CONTRACT

    def _final_name(self, table: str, column: str, to: str) -> str:
        """A twin of another type takes the name that an earlier rename of the release has given, and its place."""
        for alias in self._aliases_of(table, column):
            to = alias.column
            self._part(alias)
        return to

    def _retire_gone(self, altered: Alteration) -> None:
        """Retire the indexes that go where the column itself stays: no swap takes them along."""
        for name in dict.fromkeys(altered.indexes_gone):
            if name not in _made_anew(altered):
                self._retire_index(altered.model._meta.db_table, name)

    def _exchange_index(self, table: str, name: str, statement: Statement) -> None:
        """Stock makes another index under the name of one that goes: old code keeps that until finalize."""
        beside = label(f"{TWIN}new_", name)
        parts = {**statement.parts, "name": self.quote_name(beside)}
        drop = self._sql_drop_index(table, beside)
        self._emit(
            f"index {beside}",
            f"build the index that is to be {name} on {table}",
            Act(
                statements=(str(Statement(self.sql_create_index_concurrently, **parts)),),
                locks=retire.weak(table),
                transactional=False,
            ),
            (Act(statements=(drop,), transactional=False, background=True),),
            probe=self._index_probe(table, beside),
            clean=(drop,),
        )
        rename = f"ALTER INDEX {self._index(table, beside)} RENAME TO {self.quote_name(name)}"
        for slug, act in (
            (f"drop index {name}", self._drop_index(table, name)),
            (f"rename index {beside}", Act(statements=(rename,), locks=retire.weak(table))),
        ):
            title = f"{slug} on {table}"
            self._emit(
                slug, title, act, CONTRACT, phase=Phase.CONTRACT, unless_retired=((Kind.TABLE.value, table, table),)
            )

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

    def _pair(self, altered: Alteration) -> tuple[Any, Any]:
        return altered.old_field, altered.new_field

    def _retyping(
        self, model: Any, old_field: Any, new_field: Any, column: str, altered: Alteration | None
    ) -> Retyping:
        table = model._meta.db_table
        params = new_field.db_parameters(connection=self.connection)
        cast = f"::{params['type']}" if self._using_sql(new_field, old_field) else ""
        collation = f" COLLATE {self.quote_name(params['collation'])}" if params.get("collation") else ""
        old_type = old_field.db_parameters(connection=self.connection)["type"]
        facts = self._catalog.column(table, column)
        change = Retyping(
            model=model,
            fields=(old_field, new_field),
            table=table,
            column=column,
            old_type=old_type,
            new_type=params["type"],
            collation=collation,
            cast=cast,
            facts=facts or Column(not_null=not old_field.null, default="", fills_itself=False, unique=False),
            rehearsed=Rehearsed(rewrites=True),
        )
        if facts is None:
            return change  # A plan's column that an earlier step of the same plan is to make.
        is_late = families.change(old_type, params["type"]) is families.Change.NARROWER
        if is_late and not facts.identity and new_field.db_type_suffix(connection=self.connection):
            # By the time of the swap the column numbers its rows itself.
            change = replace(change, facts=replace(facts, identity="BY DEFAULT", default=""))
        mark = self._mark(model, column, new_field)
        rehearsed = self._rehearsed(altered, table, column, label(f"{TWIN}{mark}", column), change)
        self._require_free(table, column, rehearsed)
        change = replace(change, mark=mark)
        return replace(change, rehearsed=replace(rehearsed, attached=_marked(rehearsed, change)))

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

    def _require_alone(self, first: Retyping, others: list[Retyping]) -> None:
        if others or any(a.kind == "p" for a in first.rehearsed.attached):
            raise StepFailed(
                f"{first.table}.{first.column} is a key that others refer to, and old code cannot work with "
                f"{first.new_type} in it.",
                next_command="add a new key beside it and move the references in migrations of their own",
            )

    # In place

    def _retype_in_place(self, change: Retyping) -> None:
        """A wider type whose values need no other form: PostgreSQL changes only its catalog."""
        table, column = self.quote_name(change.table), self.quote_name(change.column)
        self._emit(
            f"type {change.table}.{change.column}",
            f"change the type of {change.table}.{change.column} to {change.new_type}",
            Act(
                statements=(f"ALTER TABLE {table} ALTER COLUMN {column} TYPE {change.new_type}{change.collation}",),
                locks=retire.exclusive(change.table),
            ),
            (),
            note="on the way back the wider type stays: old code can read and write it",
        )

    # Exchange: the twin takes the old column's place, at once or at finalize

    def _exchange(self, changes: list[Retyping], altered: Alteration, phase: Phase) -> None:
        keyed = len(changes) > 1 or any(a.kind == "p" for a in changes[0].rehearsed.attached)
        members = [self._member(change, keyed) for change in changes]
        keys = self._keys_of_members(members, changes[0].mark)
        retyped = list(zip(members, changes, strict=True))
        loosened = [change for change in changes if phase is Phase.EXPAND and self._was_loosened(change)]
        if phase is Phase.CONTRACT:
            self._require_all_fit(changes)
        for member, change in retyped:
            self._emit_twin(member, change, phase, twins.follows(member.twin, self.quote_name))
        for member, change in retyped:
            self._emit_clones(member, change.table, phase)
        for key in keys:
            self._emit_key_clone(key, phase)
        self._emit_swap(retyped, keys, phase)
        for change in loosened:
            self._tighten_again(change)
        for member, change in retyped:
            gone = self._left_behind(altered, phase) if change is changes[0] else ()
            self._emit_clean_up(member, change, gone)

    def _member(self, change: Retyping, keyed: bool) -> Member:
        facts = change.facts
        bits, new_bits = twins.integer_bits(change.old_type), twins.integer_bits(change.new_type)
        wraps = keyed or bool(facts.identity)
        twin = Twin(
            table=change.table,
            old=change.column,
            new=label(f"{TWIN}{change.mark}", change.column),
            forth=Conversion(type=change.new_type, cast=change.cast),
            back=Conversion(type=change.old_type),
        )
        digest = twin.digest
        fits = families.change(change.old_type, change.new_type) is families.Change.WIDER
        twin = replace(
            twin,
            forth=Conversion(
                type=change.new_type,
                cast=change.cast,
                function="" if fits or wraps else f"segue_forth_{digest}",
                wraps=0 if fits or not (wraps and self._goes_back) else new_bits,
            ),
            back=Conversion(
                type=change.old_type,
                function="" if wraps and bits else f"segue_back_{digest}",
                wraps=bits if wraps else 0,
            ),
        )
        # NULL that is allowed with the new type comes to the twin too; the old column kept it out until now.
        tight = facts.not_null and not change.fields[1].null
        check = label(f"{TWIN}{change.mark}not_null_", change.column) if tight else ""
        return Member(
            twin=twin,
            place=label(f"segue_retired_{self._grave()}_", change.column),
            attached=change.rehearsed.attached,
            check=check,
            not_null=facts.not_null,
            default="" if facts.sequence else facts.default,
            identity=facts.identity,
            sequence=facts.sequence,
            comment=facts.comment,
            keeps_not_null=wraps and not change.fields[1].null,
        )

    def _was_loosened(self, change: Retyping) -> bool:
        """Whether a rollback has left NULL where the old type could not hold what is to come back with the new one."""
        definition = self._definition(change.model, change.fields[1])
        named = self._cemetery.find(Kind.COLUMN, change.table, change.column)
        is_back = any(retired.definition == definition for retired in named)
        return is_back and not change.facts.not_null and not any(field.null for field in change.fields)

    def _tighten_again(self, change: Retyping) -> None:
        table, column = change.table, change.column
        loosen = f"ALTER TABLE {self.quote_name(table)} ALTER COLUMN {self.quote_name(column)} DROP NOT NULL"
        undo = (Act(statements=(loosen,), locks=retire.exclusive(table)),)
        for number, act in enumerate(retire.tighten_where_possible(table, column, self.quote_name)):
            self._emit(
                f"not null {table}.{column} {number}",
                f"make {table}.{column} NOT NULL again if every row has a value, part {number + 1} of 3",
                replace(act, background=False, against_new_code=False),
                undo if number == 2 else (retire.untighten(table, column, self.quote_name),) if number == 0 else (),
            )

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

    def _require_all_fit(self, changes: list[Retyping]) -> None:
        """A narrower type waits for finalize; what does not fit today is told today."""
        if self._goes_back:
            return
        for change in changes:
            table, column = self.quote_name(change.table), self.quote_name(change.column)
            statement = f"SELECT count(segue_probe) FROM (SELECT {column}{change.cast} AS segue_probe FROM {table}) s"
            length = self._misfits(change)
            if length:
                said = f" of {change.table} with a {change.column} that does not fit {change.new_type}"
                statement = fail_if_any(f"{table} WHERE {length}", said, error="data_exception")
            self._emit(
                f"fits {change.table}.{change.column}",
                f"see that every value of {change.table}.{change.column} fits {change.new_type}",
                Act(statements=(statement,)),
                (),
                phase=Phase.VALIDATE,
            )

    def _misfits(self, change: Retyping) -> str:
        """A condition for the rows that the new type cannot hold, "" where only a conversion tells."""
        column = self.quote_name(change.column)
        bits = twins.integer_bits(change.new_type)
        if bits:
            return f"{column} NOT BETWEEN {-(2 ** (bits - 1))} AND {2 ** (bits - 1) - 1}"
        if change.new_type.startswith(("varchar(", "character varying(")) and not change.cast:
            return f"length(rtrim({column})) > {change.new_type.split('(')[1].rstrip(')')}"
        return ""

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

    def _emit_swap(self, retyped: list[tuple[Member, Retyping]], keys: list[Key], phase: Phase) -> None:
        members, quote = tuple(member for member, _ in retyped), self.quote_name
        tables = tuple(
            dict.fromkeys([*(m.twin.table for m in members), *(t for k in keys for t in (k.table, k.to_table))])
        )
        retired = tuple(self._retired_by_swap(member, change) for member, change in retyped)
        first = retyped[0][1]
        statements = swap.forth(members, tuple(keys), quote, late=phase is Phase.CONTRACT)
        if phase is Phase.CONTRACT:
            for table in dict.fromkeys(member.twin.table for member in members):
                away, again = self._view_anew(table)
                statements = (away, *statements, again)
        settled = [act for member, change in retyped for act in self._settled_after_swap_back(member, change)]
        settled += [
            Act(
                statements=(f"ALTER TABLE {quote(k.table)} VALIDATE CONSTRAINT {quote(k.name)}",),
                locks=retire.weak(k.table),
                background=True,
            )
            for k in keys
        ]
        self._emit_for(
            phase,
            f"swap {first.table}.{first.column}",
            f"swap {', '.join(f'{m.twin.table}.{m.twin.old}' for m in members)} for the twin",
            Act(statements=statements, locks=retire.exclusive(*tables), retires=retired),
            (
                Act(
                    statements=swap.back(members, tuple(keys), quote),
                    locks=retire.exclusive(*tables),
                    revives=retired,
                ),
                *settled,
            ),
        )
        if phase is Phase.CONTRACT:
            self._emit(
                f"later keys {first.table}.{first.column}",
                f"prove what has come to refer to {', '.join(tables)} in this release",
                Act(statements=(swap.prove_later_keys(members, quote),), locks=retire.weak(*tables)),
                CONTRACT,
                phase=Phase.CONTRACT,
            )
        if self._goes_back and phase is Phase.CONTRACT:
            for member, change in retyped:
                self._emit_for(
                    phase,
                    f"quarantine {change.table}.{change.column}",
                    f"list what {change.table}.{change.column} cannot hold in quarantine",
                    Act(statements=(self._overflows(member, member.twin.old, member.place),)),
                    (),
                )

    def _retired_by_swap(self, member: Member, change: Retyping) -> Retired:
        return Retired(
            kind=Kind.COLUMN,
            table=change.table,
            name=change.column,
            definition=self._definition(change.model, change.fields[0]),
            place=member.place,
        )

    def _settled_after_swap_back(self, member: Member, change: Retyping) -> tuple[Act, ...]:
        """What is tightened and listed once old code runs on its own column again."""
        table, column = member.twin.table, member.twin.old
        tight: tuple[Act, ...] = ()
        # What allowed NULL when the release began allows it again, and may have got its NULLs back.
        was_tight = member.not_null and not change.fields[0].null
        if was_tight and not member.has_primary_key and not member.keeps_not_null:
            tight = tuple(
                replace(act, background=True) for act in retire.tighten_where_possible(table, column, self.quote_name)
            )
        listed = Act(statements=(self._overflows(member, column, member.twin.new),), background=True)
        return (listed, *tight)

    def _overflows(self, member: Member, column: str, source: str) -> str:
        """Put an image of every row whose value in `source` `column` cannot hold into quarantine; the row stays."""
        table, narrow, wide = self.quote_name(member.twin.table), self.quote_name(column), self.quote_name(source)
        bits = member.twin.back.wraps or member.twin.forth.wraps
        lost = f"{narrow} IS NULL AND {wide} IS NOT NULL"
        if bits:
            lost = f"{wide} NOT BETWEEN {-(2 ** (bits - 1))} AND {2 ** (bits - 1) - 1}"
        name, literal = member.twin.table, self.quote_value
        type_ = member.twin.forth.type if source == member.place else member.twin.back.type
        return (
            'INSERT INTO "segue_quarantine" '
            '("release", "table", "reason", "kind", "object", "definition", "row", "at") '
            f"SELECT {literal(self._release)}, {literal(name)}, {literal(f'{name}.{column} cannot hold the value')}, "
            f"'overflow', {literal(column)}, {literal(type_)}, "
            f"to_jsonb(segue_row) || jsonb_build_object({literal(member.twin.old)}, segue_row.{wide}), now() "
            f"FROM {table} segue_row WHERE {lost}"
        )

    def _emit_clean_up(self, member: Member, change: Retyping, gone: tuple[str, ...]) -> None:
        """At finalize nothing follows the old column any more, and what hung on it goes."""
        retired, table = self._retired_by_swap(member, change), change.table
        loosen: tuple[str, ...] = ()
        if member.not_null:
            alter = f"ALTER TABLE {self.quote_name(table)} ALTER COLUMN {self.quote_name(member.place)}"
            loosen = (f"{alter} DROP NOT NULL",)
        self._emit(
            f"part {table}.{change.column}",
            f"part {table}.{change.column} from its old form",
            Act(
                statements=(*twins.detach(member.twin, self.quote_name), *loosen),
                locks=retire.exclusive(table),
            ),
            CONTRACT,
            phase=Phase.CONTRACT,
            # Before another swap of the release: a trigger that sessions know must not meet another type.
            while_retired=(retired,),
        )
        self._emit_cleaning(member, retired, gone)

    def _emit_cleaning(self, member: Member, retired: Retired, gone: tuple[str, ...], *, naming: bool = False) -> None:
        table = member.twin.table
        if member.check and self.connection.pg_version >= _NAMES_NOT_NULL:
            name = swap.name_not_null(table, member.name, self.quote_name)
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

    def _left_behind(self, altered: Alteration, phase: Phase) -> tuple[str, ...]:
        """The indexes that the old column keeps until finalize; those that are exchanged are dropped with that."""
        exchanged = _made_anew(altered) if phase is Phase.EXPAND else frozenset()
        return tuple(name for name in dict.fromkeys(altered.indexes_gone) if name not in exchanged)

    def _emit_clean(self, slug: str, title: str, act: Act, retired: Retired, naming: bool) -> None:
        self._emit(slug, title, act, CONTRACT, phase=Phase.CONTRACT, while_retired=(retired,), naming=naming)

    # Beside: both columns until finalize

    def _beside(self, altered: Alteration, change: Retyping, to: str) -> None:
        """Old code keeps its column, new code has the twin; at finalize the twin takes the name."""
        member = self._member_beside(altered, change, to)
        is_tight, twin, table = bool(member.check), member.twin, change.table
        if self._goes_back:
            member = replace(member, check="")
        renamed = to != change.column
        alias = () if renamed else (Alias(table=table, column=to, place=twin.new),)
        opening, closing = self._app_alias(alias)
        # An earlier rename of the release drops what has the new name when it goes back.
        aside = label(f"{TWIN}{change.mark}", change.column)
        self._allow_what_is_no_value(replace(member, twin=replace(twin, new=aside)), change)
        self._emit_twin(
            member,
            change,
            Phase.EXPAND,
            twins.both(twin, self.quote_name),
            aside=aside,
            aliases=alias,
            opening=opening,
            closing=closing,
        )
        # A bare unique index would refuse what a deferrable constraint, which old code's column has, lets pass.
        early = tuple(a for a in member.attached if a.kind != "c" and not a.deferrable)
        late = tuple(a for a in member.attached if a not in early)
        self._emit_clones(replace(member, attached=early, check=""), table, Phase.EXPAND)
        if not self._goes_back:
            self._emit_agreement(member, change)
        self._emit_clones(replace(member, attached=late), table, Phase.CONTRACT)
        keys = self._keys_of_members([member], change.mark)
        for key in keys:
            self._emit_key_clone(key, Phase.CONTRACT)
        retired = self._retired_by_swap(member, change)
        gone = self._left_behind(altered, Phase.CONTRACT)
        self._emit(
            f"swap {table}.{change.column}",
            f"put the twin of {table}.{change.column} in its place",
            Act(
                statements=(
                    *swap.forth((member,), tuple(keys), self.quote_name, late=True),
                    *closing,
                    *twins.detach(twin, self.quote_name),
                ),
                locks=retire.exclusive(*dict.fromkeys((table, *(t for k in keys for t in (k.table, k.to_table))))),
                retires=(retired,),
                unaliases=alias,
            ),
            CONTRACT,
            phase=Phase.CONTRACT,
            naming=True,
        )
        if self._goes_back:
            self._settle_beside(member, is_tight)
        self._emit_cleaning(member, retired, gone, naming=True)

    def _settle_beside(self, member: Member, is_tight: bool) -> None:
        """On the way back a value that the column cannot hold is listed, and keeps the column from being NOT NULL."""
        table, column = member.twin.table, member.name
        late: dict[str, Any] = {"phase": Phase.CONTRACT, "naming": True}
        self._emit(
            f"quarantine {table}.{column}",
            f"list what {table}.{column} cannot hold in quarantine",
            Act(statements=(self._overflows(member, column, member.place),)),
            CONTRACT,
            **late,
        )
        for number, act in enumerate(retire.tighten_where_possible(table, column, self.quote_name) if is_tight else ()):
            self._emit(
                f"not null {table}.{column} {number}",
                f"make {table}.{column} NOT NULL if every row has a value, part {number + 1} of 3",
                act,
                CONTRACT,
                **late,
            )

    def _allow_what_is_no_value(self, member: Member, change: Retyping) -> None:
        """New code writes what the old type has no value for: old code finds NULL there, as it does on the way back."""
        if not member.not_null:
            return
        table, column = change.table, change.column
        alter = f"ALTER TABLE {self.quote_name(table)} ALTER COLUMN {self.quote_name(column)}"
        self._emit(
            f"null {table}.{column}",
            f"allow NULL in {table}.{column} where new code writes what is no {change.old_type}",
            Act(statements=(f"{alter} DROP NOT NULL",), locks=retire.exclusive(table)),
            self._settled_after_swap_back(member, change),
        )

    def _member_beside(self, altered: Alteration, change: Retyping, to: str) -> Member:
        """The member of a swap that waits for finalize: its conversions never fail, for either version's writes."""
        member = self._member(change, keyed=False)
        if self._was_loosened(change):
            member = replace(member, check=label(f"{TWIN}{change.mark}not_null_", change.column))
        if to == change.column:
            place, attached = member.twin.new, member.attached
        else:
            place = to
            again = self._rehearsed(altered, change.table, change.column, place, change)
            attached = _marked(again, change)
        twin = replace(member.twin, new=place)
        twin = replace(
            twin,
            forth=replace(twin.forth, function=f"segue_forth_{twin.digest}"),
            back=replace(twin.back, function=f"segue_back_{twin.digest}"),
        )
        return replace(member, twin=twin, attached=attached, renamed=to)

    def _emit_agreement(self, member: Member, change: Retyping) -> None:
        """Old code may have written what the new type cannot hold: finalize must not lose it."""
        table, old, new = (self.quote_name(n) for n in (change.table, member.twin.old, member.twin.new))
        rows = f"{table} WHERE {old} IS NOT NULL AND {new} IS NULL"
        said = f" of {change.table} with a value in {change.column} that is no {change.new_type}"
        self._emit(
            f"agreement {change.table}.{change.column}",
            f"see that every value of {change.table}.{change.column} has become {change.new_type}",
            Act(statements=(fail_if_any(rows, said, error="data_exception"),)),
            CONTRACT,
            phase=Phase.CONTRACT,
        )

    # Phases

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


def _marked(rehearsed: Rehearsed, change: Retyping) -> tuple[Attached, ...]:
    """What hangs on two columns is made for the twin of each."""
    mark = f"{change.mark}{hashlib.sha256(change.column.encode()).hexdigest()[:4]}_"
    return tuple(replace(one, mark=mark) for one in rehearsed.attached)


def _made_anew(altered: Alteration) -> frozenset[str]:
    """The indexes that go and come again under the same name."""
    made = {strip_quotes(str(statement.parts["name"])) for statement in altered.indexes}
    return frozenset(made & {*altered.indexes_gone})
