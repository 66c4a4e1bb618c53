"""Constraints: made beside the traffic, taken away without losing a row, put back as far as the rows allow.

Forwards, rows against a constraint fail the migration, as with stock Django. On the way back they must not: the
constraint stays off, or unproved, and images of those rows go to quarantine.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.indexes import OpClass
from django.db.models import BaseConstraint, CheckConstraint, F, UniqueConstraint
from django.db.models.expressions import OrderBy
from django.db.models.sql import Query

from segue.core.change import Act, Irreversible, Kind, Retired, Work
from segue.core.plan import Phase
from segue.core.quarantine import Trouble
from segue.engines.postgresql.acts import retire, violators
from segue.engines.postgresql.acts.blocks import block
from segue.engines.postgresql.editor.emission import CONTRACT
from segue.engines.postgresql.editor.indexes import IndexVerbs
from segue.engines.postgresql.qualified import beside

_CHECK = re.compile(
    r"CHECK \((?P<condition>.*)\)(?: NO INHERIT)?(?P<unproved>(?: NOT VALID| NOT ENFORCED)?)", re.DOTALL
)
_UNIQUE = re.compile(
    r"UNIQUE(?P<nulls>(?: NULLS (?:NOT )?DISTINCT)?) \((?P<columns>(?:[^\"()]|\"(?:[^\"]|\"\")*\")*)\)"
    r"(?P<include>(?: INCLUDE \([^()]*\))?)(?P<deferrable>(?: DEFERRABLE.*)?)",
    re.DOTALL,
)
_NAME_IN_LIST = re.compile(r'"(?:[^"]|"")+"|[^\s,]+')
_OFF = "the constraint is off"
_UNPROVED = "the constraint holds for every row written from now on"


@dataclass(frozen=True, kw_only=True)
class Unique:
    """A unique index, and whether it backs a constraint.

    `index` is what follows CREATE UNIQUE INDEX, `deferrable` what follows the constraint's USING INDEX; `keys`
    are SQL and `where` the index's condition, to find duplicates by.
    """

    table: str
    name: str
    index: str
    keys: tuple[str, ...]
    where: str = ""
    nulls: str = ""
    is_constraint: bool = True
    deferrable: str = ""

    @property
    def says(self) -> str:
        """The rule, for a person."""
        where = f" WHERE {self.where}" if self.where else ""
        return f"UNIQUE{self.nulls} ({', '.join(self.keys)}){where}"


class ConstraintVerbs(IndexVerbs):
    """add_constraint, remove_constraint, alter_unique_together, and what other verbs need of them."""

    if TYPE_CHECKING:
        # Parts of Django's editor that its stubs leave out.
        _create_unique_sql: Any
        _unique_constraint_name: Any
        _constraint_names: Any
        sql_create_unique: str

    # Verbs

    def add_constraint(self, model: Any, constraint: BaseConstraint) -> None:
        """Make a constraint: a check waits for finalize, a unique index is built now, for new code's ON CONFLICT."""
        if self._drafts:
            super().add_constraint(model, constraint)
        elif _is_stocks(constraint, CheckConstraint):
            self._add_check_constraint(model, constraint)
        elif _is_stocks(constraint, UniqueConstraint):
            if unique := self._unique(model, constraint):
                self._make_unique(unique)
        elif _is_stocks(constraint, ExclusionConstraint):
            self._add_exclusion(model, constraint)
        else:
            self._as_stock(model, "add_constraint", constraint)

    def remove_constraint(self, model: Any, constraint: BaseConstraint) -> None:
        """Drop a constraint now, because new code may write rows against it."""
        table = model._meta.db_table
        if self._drafts:
            super().remove_constraint(model, constraint)
        elif _is_stocks(constraint, CheckConstraint):
            self._remove_check_constraint(model, constraint)
        elif _is_stocks(constraint, UniqueConstraint):
            if unique := self._unique(model, constraint):
                self._drop_unique(unique)
        elif _is_stocks(constraint, ExclusionConstraint):
            rule = self._exclusion_rule(model, constraint)
            self._emit_drop(table, constraint.name, self._exclusion_again(model, constraint, rule))
        else:
            self._as_stock(model, "remove_constraint", constraint)

    def alter_unique_together(self, model: Any, old_unique_together: Any, new_unique_together: Any) -> None:
        """Drop and make unique constraints over several fields, under stock's names."""
        if self._drafts:
            super().alter_unique_together(model, old_unique_together, new_unique_together)
            return
        olds = {tuple(names) for names in old_unique_together}
        news = {tuple(names) for names in new_unique_together}
        table = model._meta.db_table
        for names in sorted(olds - news):
            columns = [model._meta.get_field(name).column for name in names]
            unique = self._unique_together(table, self._name_of_together(model, columns), columns)
            self._drop_unique(unique, slug=f"drop unique together {table}.{'.'.join(columns)}")
        for names in sorted(news - olds):
            columns = [model._meta.get_field(name).column for name in names]
            name = self._unique_constraint_name(table, columns, quote=False)
            self._make_unique(self._unique_together(table, str(name), columns))

    # For the other verbs

    def _build_unique(
        self,
        *,
        table: str,
        name: str,
        columns: tuple[str, ...],
        as_constraint: bool,
        deferrable: str = "",
        statement: str | None = None,
    ) -> None:
        """Make a unique index, and a constraint of it if it is to be one; duplicates fail the migration.

        `deferrable` is what follows the constraint's definition; `statement` is stock's CREATE UNIQUE INDEX
        where there is more to it than the columns.
        """
        unique = self._unique_together(table, name, columns)
        if statement is not None:
            unique = replace(unique, index=statement.removeprefix("CREATE UNIQUE INDEX "))
        deferrable = f" {deferrable.strip()}" if deferrable else ""
        self._make_unique(replace(unique, is_constraint=as_constraint, deferrable=deferrable))

    def _add_check(
        self,
        *,
        table: str,
        name: str,
        check_sql: str,
        phase: Phase,
        unless_retired: tuple[tuple[str, ...], ...] = (),
        once: bool = False,
    ) -> None:
        """Enforce a check from now on, then prove it for the rows that are there, in the phase that is given.

        The names of steps that wait for finalize are kept from running by anything in `unless_retired`. `once`:
        it may be enforced already.
        """
        rule = violators.check(table, name, check_sql, self._catalog.primary_key(table), self.quote_name)
        contract = phase is Phase.CONTRACT and table not in self._new
        more: dict[str, Any] = {"phase": phase}
        if contract:
            cancelled = (Kind.CONSTRAINT.value, table, name, rule.says)
            gone = (Kind.TABLE.value, table, table)
            more["unless_retired"] = (gone, cancelled, *unless_retired)
        self._emit_check(rule, contract=contract, proving=True, more=more, once=once)

    def _drop_constraint(self, table: str, name: str, definition: str) -> None:
        """Drop a check, unique or exclusion constraint; `definition` is what ADD CONSTRAINT takes."""
        if _UNIQUE.fullmatch(definition):
            self._drop_unique(self._defined_unique(table, name, definition))
        elif _CHECK.fullmatch(definition):
            self._emit_drop(table, name, self._check_again(table, name, definition))
        else:
            self._emit_drop(table, name, self._as_it_was(table, name, definition))

    # Checks

    def _add_check_constraint(self, model: Any, constraint: Any) -> None:
        statement = constraint.create_sql(model, self)
        if statement is None:
            return
        table, name, condition = model._meta.db_table, constraint.name, str(statement.parts["check"])
        if table in self._new or self._goes_back:
            self._add_check(table=table, name=name, check_sql=condition, phase=Phase.EXPAND)
            return
        rule = violators.check(table, name, condition, self._catalog.primary_key(table), self.quote_name)
        cancelled = self._retired(Kind.CONSTRAINT, table, name, rule.says)
        revived = (cancelled,) if cancelled else ()
        self._emit(
            f"rows against {table}.{name}",
            f"look for rows of {table} that check {name} forbids",
            Act(statements=(violators.refusal(rule),), revives=revived),
            (Act(retires=revived),) if revived else (),
            phase=Phase.VALIDATE,
        )
        self._add_check(table=table, name=name, check_sql=condition, phase=Phase.CONTRACT)

    def _emit_check(
        self, rule: violators.Rule, *, contract: bool, proving: bool, more: dict[str, Any], once: bool = False
    ) -> None:
        table, name = rule.table, rule.name
        undo: tuple[Act, ...] | Irreversible = CONTRACT if contract else self._unmade(table, name)
        if table in self._new:
            forward = Act(statements=(self._addition(table, name, rule.says),))
            self._emit(f"check {table}.{name}", f"add check {name} to {table}", forward, undo, **more)
            return
        enforce = self._enforced(rule, once=contract or once)
        self._emit(f"check {table}.{name}", f"enforce check {name} on {table} from now on", enforce, undo, **more)
        if proving:
            if not contract:
                undo, more = (), {**more, "phase": Phase.VALIDATE}
            prove = self._proved(rule, tolerant=self._goes_back)
            self._emit(
                f"prove check {table}.{name}", f"prove check {name} for every row of {table}", prove, undo, **more
            )

    def _enforced(self, rule: violators.Rule, *, once: bool = False) -> Act:
        """Let the check hold for what is written from now on; `once`: unless a waiting step has done it already."""
        statement = f"{self._addition(rule.table, rule.name, rule.says)} NOT VALID"
        if once:
            statement = block(f"IF NOT {self._has_constraint(rule.table, rule.name)} THEN {statement}; END IF")
        return Act(statements=(statement,), locks=retire.exclusive(rule.table))

    def _proved(self, rule: violators.Rule, *, tolerant: bool) -> Act:
        validate = f"ALTER TABLE {self.quote_name(rule.table)} VALIDATE CONSTRAINT {self.quote_name(rule.name)}"
        if tolerant:
            again = (Act(statements=(validate,), locks=retire.weak(rule.table)),)
            kept = violators.quarantined(
                rule, self._release, _UNPROVED, self.quote_name, trouble=Trouble.VIOLATION, again=again
            )
            still = f"IF {self._has_constraint(rule.table, rule.name)} THEN {validate}; END IF"
            statement = block(f"{still}; EXCEPTION WHEN check_violation THEN {kept}")
        else:
            statement = violators.proved(validate, rule)
        return Act(statements=(statement,), locks=retire.weak(rule.table))

    def _remove_check_constraint(self, model: Any, constraint: Any) -> None:
        """Drop a check, or cancel the one that waits for finalize."""
        statement = constraint.create_sql(model, self)
        if statement is None:
            return
        table, name = model._meta.db_table, constraint.name
        definition = f"CHECK ({statement.parts['check']})"
        there = self._catalog.constraint(table, name)
        if there or table in self._new or self._goes_back:
            # Going back, what waited for finalize was never made.
            again = self._check_again(table, name, there or definition) if there or table in self._new else ()
            self._emit_drop(table, name, again)
            return
        cancelled = Retired(kind=Kind.CONSTRAINT, table=table, name=name, definition=definition)
        self._emit(
            f"cancel check {table}.{name}",
            f"cancel check {name} of {table}, which waits for finalize",
            Act(retires=(cancelled,)),
            (Act(revives=(cancelled,)),),
        )
        self._emit(
            f"forget check {table}.{name}",
            f"forget check {name} of {table}",
            Act(purges=(cancelled,)),
            CONTRACT,
            phase=Phase.CONTRACT,
            while_retired=(cancelled,),
        )

    def _check_again(self, table: str, name: str, definition: str) -> tuple[Act, ...]:
        """Put a check back: at once for what is written from now on, later for the rows that are there."""
        if definition.endswith((" NO INHERIT", " NOT VALID", " NOT ENFORCED")):
            return self._as_it_was(table, name, definition)
        rule = self._defined_check(table, name, definition)
        return (self._enforced(rule), replace(self._proved(rule, tolerant=True), background=True))

    def _defined_check(self, table: str, name: str, definition: str) -> violators.Rule:
        parts = _CHECK.fullmatch(definition)
        assert parts is not None
        key = self._catalog.primary_key(table)
        return violators.check(table, name, parts["condition"], key, self.quote_name)

    # Unique

    def _unique(self, model: Any, constraint: Any) -> Unique | None:
        statement = constraint.create_sql(model, self)
        if statement is None:
            return None
        table, name = model._meta.db_table, constraint.name
        keys = [self.quote_name(model._meta.get_field(field).column) for field in constraint.fields]
        keys += [self._key_sql(model, expression) for expression in constraint.expressions]
        nulls = str(statement.parts.get("nulls_distinct") or "")
        is_constraint = statement.template == self.sql_create_unique
        if is_constraint:
            index = f"{self.quote_name(name)} ON {self.quote_name(table)} ({statement.parts['columns']}){nulls}"
        else:
            index = str(statement).removeprefix("CREATE UNIQUE INDEX ")
        return Unique(
            table=table,
            name=name,
            index=index,
            keys=tuple(keys),
            where=constraint._get_condition_sql(model, self) or "",
            nulls=nulls,
            is_constraint=is_constraint,
            deferrable=str(statement.parts.get("deferrable") or ""),
        )

    def _key_sql(self, model: Any, expression: Any) -> str:
        """Return an index expression as SQL without what only an index may say of it: order and operator class."""
        while isinstance(expression, (OrderBy, OpClass)):
            expression = expression.get_source_expressions()[0]
        if isinstance(expression, str):
            expression = F(expression)
        query = Query(model, alias_cols=False)
        compiler = query.get_compiler(connection=self.connection)
        sql, params = compiler.compile(expression.resolve_expression(query))
        return f"({sql % tuple(self.quote_value(p) for p in params)})" if params else f"({sql})"

    def _unique_together(self, table: str, name: str, columns: Any) -> Unique:
        keys = tuple(self.quote_name(column) for column in columns)
        index = f"{self.quote_name(name)} ON {self.quote_name(table)} ({', '.join(keys)})"
        return Unique(table=table, name=name, index=index, keys=keys)

    def _defined_unique(self, table: str, name: str, definition: str) -> Unique:
        parts = _UNIQUE.fullmatch(definition)
        assert parts is not None
        index = f"{self.quote_name(name)} ON {self.quote_name(table)} ({parts['columns']})"
        return Unique(
            table=table,
            name=name,
            index=f"{index}{parts['include']}{parts['nulls']}",
            keys=tuple(_NAME_IN_LIST.findall(parts["columns"])),
            nulls=parts["nulls"],
            deferrable=parts["deferrable"],
        )

    def _name_of_together(self, model: Any, columns: list[str]) -> str:
        """Return the name of the constraint over the columns: as stock finds it, or as stock would name it.

        A plan looks for a constraint that an earlier step of it would make.
        """
        table = model._meta.db_table
        own = {c.name for c in model._meta.constraints} | {i.name for i in model._meta.indexes}
        found = self._constraint_names(model, columns, unique=True, primary_key=False, exclude=own)
        named = str(self._unique_constraint_name(table, columns, quote=False))
        if not found or named in found:
            return named
        if len(found) > 1:
            listed = ", ".join(columns)
            raise ValueError(f"Found wrong number ({len(found)}) of constraints for {table}({listed})")
        return str(found[0])

    def _make_unique(self, unique: Unique) -> None:
        if self._gives_way(unique.table, unique.index):
            self._make_unique_late(unique)
            return
        now, name = self._name_until_finalize(unique.table, unique.name), unique.name
        if now == name:
            self._make_unique_named(unique)
            return
        index = unique.index.replace(self.quote_name(name), self.quote_name(now), 1)
        self._make_unique_named(replace(unique, name=now, index=index))
        self._emit_index_name(unique.table, now, name)

    def _make_unique_named(self, unique: Unique) -> None:
        table, name = unique.table, unique.name
        if table in self._new or self._catalog.is_partitioned(table):
            self._make_unique_at_once(unique)
            return
        self._drop_index_in_the_way(table, name)
        build = self._built(unique)
        leftover = (self._leftover(table, name),) if unique.is_constraint else ()
        self._emit(
            f"index {name}",
            f"build unique index {name} on {table}",
            self._tolerant(build, unique) if self._goes_back else self._strict(build, unique),
            (*leftover, replace(self._drop_index(table, name), background=True)),
            probe=self._index_probe(table, name),
            clean=(self._sql_drop_index(table, name),),
        )
        if unique.is_constraint:
            self._emit(
                f"constraint {table}.{name}",
                f"make unique index {name} a constraint of {table}",
                self._attached(unique, tolerant=self._goes_back),
                (self._drop_act(table, name),),
            )

    def _make_unique_late(self, unique: Unique) -> None:
        """Make it on a column that has its type and name only when everything else is done."""
        table, name = unique.table, unique.name
        late: dict[str, Any] = {"phase": Phase.CONTRACT, "naming": True}
        self._emit(
            f"index {name}",
            f"build unique index {name} on {table}",
            self._strict(self._built(unique), unique),
            CONTRACT,
            probe=self._index_probe(table, name),
            clean=(self._sql_drop_index(table, name),),
            **late,
        )
        if unique.is_constraint:
            title = f"make unique index {name} a constraint of {table}"
            self._emit(f"constraint {table}.{name}", title, self._attached(unique, tolerant=False), CONTRACT, **late)

    def _make_unique_at_once(self, unique: Unique) -> None:
        """Make it as stock: nobody uses a new table, and a partitioned one knows no other way."""
        table, name = unique.table, unique.name
        new = table in self._new
        self._emit(
            f"unique {table}.{name}",
            f"make {name} of {table}",
            Act(statements=(self._made_at_once(unique),)) if new else self._of_partitions(unique),
            self._unmade(table, name, is_constraint=unique.is_constraint),
            online=new,
        )

    def _made_at_once(self, unique: Unique) -> str:
        if unique.is_constraint:
            return self._addition(unique.table, unique.name, f"{unique.says}{unique.deferrable}")
        return f"CREATE UNIQUE INDEX {unique.index}"

    def _of_partitions(self, unique: Unique, *, tolerant: bool | None = None) -> Act:
        statement = self._made_at_once(unique)
        if self._goes_back if tolerant is None else tolerant:
            rule = self._unique_rule(unique)
            kept = violators.quarantined(rule, self._release, _OFF, self.quote_name, trouble=Trouble.DUPLICATE)
            statement = block(f"{statement}; EXCEPTION WHEN unique_violation THEN {kept}")
        return Act(statements=(statement,), locks=retire.exclusive(unique.table), work=Work.BUILD)

    def _built(self, unique: Unique) -> Act:
        statement = f"CREATE UNIQUE INDEX CONCURRENTLY {unique.index}"
        return Act(statements=(statement,), locks=retire.weak(unique.table), transactional=False)

    def _strict(self, build: Act, unique: Unique) -> Act:
        """Let duplicates fail the index, by name, and leave nothing of it."""
        removed = self._sql_drop_index(unique.table, unique.name)
        gone = f"{unique.table} had duplicates that {unique.name} forbids while it was built; now it has none."
        return replace(build, otherwise=(removed, violators.refusal(self._unique_rule(unique), gone=gone)))

    def _tolerant(self, build: Act, unique: Unique) -> Act:
        """Let duplicates keep the index from being made, with images of them in quarantine, and nothing fail."""
        removed = self._sql_drop_index(unique.table, unique.name)
        again = [replace(build, statements=(removed, *build.statements), otherwise=(removed,))]
        again += [self._attached(unique, tolerant=True)] if unique.is_constraint else []
        rule = self._unique_rule(unique)
        kept = violators.quarantined(rule, self._release, _OFF, self.quote_name, trouble=Trouble.DUPLICATE, again=again)
        return replace(build, otherwise=(removed, kept))

    def _attached(self, unique: Unique, *, tolerant: bool) -> Act:
        """Make the index a constraint, of its own name; tolerant: if it could be built."""
        index = self.quote_name(unique.name)
        statement = self._addition(unique.table, unique.name, f"UNIQUE USING INDEX {index}{unique.deferrable}")
        if tolerant:
            there = f"to_regclass({self.quote_value(self._index(unique.table, unique.name))}) IS NOT NULL"
            missing = f"NOT {self._has_constraint(unique.table, unique.name)}"
            statement = block(f"IF {there} AND {missing} THEN {statement}; END IF")
        return Act(statements=(statement,), locks=retire.exclusive(unique.table))

    def _drop_unique(self, unique: Unique, slug: str = "") -> None:
        """Drop it; `slug` is given where the name comes from the catalog, which forgets it in a run that resumes."""
        table, name = unique.table, unique.name
        self._require_own_name(table, name)
        unique = self._as_it_stands(unique)
        again: list[Act] = []
        if self._catalog.is_partitioned(table):
            again.append(replace(self._of_partitions(unique, tolerant=True), background=True))
        else:
            again += self._unique_again(unique)
        if unique.is_constraint:
            self._emit_drop(table, name, tuple(again), slug)
        else:
            forward = self._drop_index_act(table, name)
            if table in self._new:
                forward = replace(forward, locks=())
            self._emit(f"drop unique {table}.{name}", f"drop unique index {name} of {table}", forward, tuple(again))

    def _unique_again(self, unique: Unique) -> list[Act]:
        """Build it and make it a constraint again, when old code needs nothing more."""
        build = self._tolerant(self._built(unique), unique)
        # What an interrupted attempt left of it goes first.
        removed = self._sql_drop_index(unique.table, unique.name)
        again = [replace(build, statements=(removed, *build.statements), background=True)]
        if unique.is_constraint:
            again.append(replace(self._attached(unique, tolerant=True), background=True))
        return again

    def _as_it_stands(self, unique: Unique) -> Unique:
        """What the database has, whose columns may have other names than the migration's; else as it will be."""
        found = self._catalog.unique_index(unique.table, beside(unique.table, unique.name))
        if found is None:
            return unique
        return replace(
            unique,
            index=found.definition.removeprefix("CREATE UNIQUE INDEX "),
            keys=found.keys,
            where=found.where,
            nulls=" NULLS NOT DISTINCT" if found.nulls_are_equal else "",
        )

    def _unique_rule(self, unique: Unique) -> violators.Rule:
        return violators.unique(
            unique.table,
            unique.name,
            unique.says,
            unique.keys,
            unique.where,
            self.quote_name,
            nulls_are_equal="NOT DISTINCT" in unique.nulls,
        )

    # Exclusion

    def _add_exclusion(self, model: Any, constraint: Any) -> None:
        """PostgreSQL builds the constraint's index under its strong lock, and has no other way."""
        table, name = model._meta.db_table, constraint.name
        again = self._exclusion_again(model, constraint, self._exclusion_rule(model, constraint))
        forward = self._exclusion(model, constraint)
        new = table in self._new
        if new:
            forward = replace(forward, locks=(), work=Work.CATALOG)
        elif self._goes_back:
            forward = again[0]
        self._emit(
            f"constraint {table}.{name}",
            f"add exclusion constraint {name} to {table}",
            replace(forward, background=False),
            self._unmade(table, name),
            online=new,
            note="" if new else "PostgreSQL can only build it under this lock",
        )
        if self._goes_back and not new:
            self._emit(
                f"rows against {table}.{name}",
                f"put rows of {table} that {name} forbids into quarantine",
                replace(again[1], background=False),
                (),
                phase=Phase.VALIDATE,
            )

    def _exclusion(self, model: Any, constraint: Any) -> Act:
        table = model._meta.db_table
        statement = str(constraint.create_sql(model, self))
        builds = str(constraint.constraint_sql(model, self))
        return Act(statements=(statement,), locks=retire.exclusive(table), work=Work.BUILD, builds=builds)

    def _exclusion_again(self, model: Any, constraint: Any, rule: violators.Rule) -> tuple[Act, ...]:
        """Put the constraint back if no two rows conflict; else it stays off, and they go to quarantine."""
        act = self._exclusion(model, constraint)
        if stands := self._catalog.constraint(rule.table, rule.name):
            builds = f"CONSTRAINT {self.quote_name(rule.name)} {stands}"
            act = replace(act, statements=(self._addition(rule.table, rule.name, stands),), builds=builds)
        tried = block(f"{act.statements[0]}; EXCEPTION WHEN exclusion_violation THEN NULL")
        kept = violators.quarantined(rule, self._release, _OFF, self.quote_name, trouble=Trouble.VIOLATION)
        listed = block(f"IF NOT {self._has_constraint(rule.table, rule.name)} THEN {kept}; END IF")
        return (replace(act, statements=(tried,), background=True), Act(statements=(listed,), background=True))

    def _exclusion_rule(self, model: Any, constraint: Any) -> violators.Rule:
        keys = [(self._key_sql(model, expression), operator) for expression, operator in constraint.expressions]
        query = Query(model, alias_cols=False)
        compiler = query.get_compiler(connection=self.connection)
        where = constraint._get_condition_sql(compiler, self, query) or ""
        said = ", ".join(f"{key} WITH {operator}" for key, operator in keys)
        says = f"EXCLUDE ({said})" + (f" WHERE {where}" if where else "")
        return violators.exclusion(model._meta.db_table, constraint.name, says, keys, where, self.quote_name)

    # Any

    def _emit_drop(self, table: str, name: str, again: tuple[Act, ...], slug: str = "") -> None:
        forward = self._drop_act(table, name)
        if table in self._new:
            forward = replace(forward, locks=())
        slug = slug or f"drop constraint {table}.{name}"
        again = tuple(replace(act, against_new_code=act.background) for act in again)
        self._emit(slug, f"drop constraint {name} of {table}", forward, again)

    def _as_it_was(self, table: str, name: str, definition: str) -> tuple[Act, ...]:
        unproved = definition.endswith((" NOT VALID", " NOT ENFORCED"))
        added = self._addition(table, name, definition)
        return (
            Act(
                statements=(added,),
                locks=retire.exclusive(table),
                work=Work.CATALOG if unproved else Work.BUILD,
                background=not unproved,
            ),
        )

    def _unmade(self, table: str, name: str, *, is_constraint: bool = True) -> tuple[Act, ...]:
        """Drop it at once, and again at the end: taking back its removal in the same release makes it anew."""
        first = self._drop_act(table, name) if is_constraint else self._drop_index_act(table, name)
        return (first, self._leftover(table, name, is_constraint=is_constraint))

    def _leftover(self, table: str, name: str, *, is_constraint: bool = True) -> Act:
        """Drop it in the background if it is there, without a lock if it is not."""
        if not is_constraint:
            return Act(statements=(f"DROP INDEX IF EXISTS {self._index(table, name)}",), background=True)
        drop = f"ALTER TABLE {self.quote_name(table)} DROP CONSTRAINT {self.quote_name(name)}"
        statement = block(f"IF {self._has_constraint(table, name)} THEN {drop}; END IF")
        return Act(statements=(statement,), background=True)

    def _drop_act(self, table: str, name: str) -> Act:
        # A rollback may have left it off.
        statement = f"ALTER TABLE {self.quote_name(table)} DROP CONSTRAINT IF EXISTS {self.quote_name(name)}"
        return Act(statements=(statement,), locks=retire.exclusive(table))

    def _drop_index_act(self, table: str, name: str) -> Act:
        """Drop an index at once: concurrently it would go on refusing rows while it waits for long transactions."""
        return Act(statements=(f"DROP INDEX IF EXISTS {self._index(table, name)}",), locks=retire.exclusive(table))

    def _addition(self, table: str, name: str, definition: str) -> str:
        return f"ALTER TABLE {self.quote_name(table)} ADD CONSTRAINT {self.quote_name(name)} {definition}"

    def _has_constraint(self, table: str, name: str) -> str:
        oid = f"to_regclass({self.quote_value(self.quote_name(table))})::oid"
        return f"EXISTS (SELECT FROM pg_constraint WHERE conrelid = {oid} AND conname = {self.quote_value(name)})"


def _is_stocks(constraint: Any, kind: type[BaseConstraint]) -> bool:
    """Whether the constraint is of that kind, and a project's own subclass writes the same SQL."""
    own: Any = type(constraint)
    stock: Any = kind
    return isinstance(constraint, kind) and all(
        getattr(own, part) is getattr(stock, part) for part in ("create_sql", "remove_sql", "constraint_sql")
    )
