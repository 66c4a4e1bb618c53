"""The twin of a column lies beside it until finalize, because old code cannot work with its type."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from segue.core.change import Act, Alias
from segue.core.plan import Phase
from segue.engines.postgresql.acts import retire, swap
from segue.engines.postgresql.acts import twin as twins
from segue.engines.postgresql.acts.blocks import fail_if_any
from segue.engines.postgresql.acts.retire import label
from segue.engines.postgresql.acts.swap import Member
from segue.engines.postgresql.acts.twin import TWIN
from segue.engines.postgresql.editor.emission import CONTRACT
from segue.engines.postgresql.editor.exchange import Exchange
from segue.engines.postgresql.editor.hearing import Alteration
from segue.engines.postgresql.editor.twinning import Retyping, marked


class Beside(Exchange):
    """Columns that both versions have one each of."""

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
            attached = marked(again, change)
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
