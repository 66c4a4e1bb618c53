"""The twin of a column takes its place: at once where both versions work with it, else at finalize."""

from __future__ import annotations

import re
from dataclasses import replace

from segue.core.change import Act, Kind, Retired
from segue.core.plan import Phase
from segue.engines.postgresql.acts import retire, swap
from segue.engines.postgresql.acts import twin as twins
from segue.engines.postgresql.acts.blocks import fail_if_any
from segue.engines.postgresql.acts.retire import label
from segue.engines.postgresql.acts.swap import Key, Member
from segue.engines.postgresql.acts.twin import TWIN, Conversion, Twin
from segue.engines.postgresql.editor import families
from segue.engines.postgresql.editor.emission import CONTRACT
from segue.engines.postgresql.editor.hearing import Alteration
from segue.engines.postgresql.editor.twinning import Retyping, Twinning, made_anew

_CHARACTERS = re.compile(r"(?:varchar|character varying)\((\d+)\)(?P<dimensions>(?:\[\d*\])*)")


class Exchange(Twinning):
    """Columns whose twins take their places."""

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
            # What another name of the column was given has to be in the column first.
            order=2,
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
        characters = _CHARACTERS.fullmatch(change.new_type)
        if characters is None or change.cast:
            return ""
        if characters["dimensions"]:
            return f"EXISTS (SELECT FROM unnest({column}) segue_part WHERE length(rtrim(segue_part)) > {characters[1]})"
        return f"length(rtrim({column})) > {characters[1]}"

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

    def _left_behind(self, altered: Alteration, phase: Phase) -> tuple[str, ...]:
        """The indexes that the old column keeps until finalize; those that are exchanged are dropped with that."""
        exchanged = made_anew(altered) if phase is Phase.EXPAND else frozenset()
        return tuple(name for name in dict.fromkeys(altered.indexes_gone) if name not in exchanged)
