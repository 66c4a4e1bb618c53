"""What the operations of django.contrib.postgres execute as text: extensions, collations, unproved checks.

An extension or a collation that a migration made stays where something that was retired needs it.
"""

from __future__ import annotations

import re
from typing import Any

from django.db.backends.utils import strip_quotes

from segue.core.change import Act, Kind
from segue.core.plan import Phase
from segue.engines.postgresql.acts import retire, violators
from segue.engines.postgresql.acts.blocks import block
from segue.engines.postgresql.editor.constraints import ConstraintVerbs
from segue.engines.postgresql.editor.emission import CONTRACT

_NAME = r'"(?:[^"]|"")+"'
_CREATE_EXTENSION = re.compile(rf"CREATE EXTENSION IF NOT EXISTS (?P<name>{_NAME})")
_DROP_EXTENSION = re.compile(rf"DROP EXTENSION IF EXISTS (?P<name>{_NAME})")
_CREATE_COLLATION = re.compile(rf"CREATE COLLATION (?P<name>{_NAME}) \((?P<options>.*)\)")
_DROP_COLLATION = re.compile(rf"DROP COLLATION (?P<name>{_NAME})")
_UNPROVED_CHECK = re.compile(
    rf"ALTER TABLE (?P<table>{_NAME}(?:\.{_NAME})?) ADD CONSTRAINT (?P<name>{_NAME}) "
    r"CHECK \((?P<condition>.*)\) NOT VALID",
    re.DOTALL,
)
_VALIDATE = re.compile(rf"ALTER TABLE (?P<table>{_NAME}(?:\.{_NAME})?) VALIDATE CONSTRAINT (?P<name>{_NAME})")
_OPTION = re.compile(r'(?P<option>\w+)="?(?P<value>[^",]*)"?')


class ContribVerbs(ConstraintVerbs):
    """Knows those statements when a migration executes them; any other is as stock has it."""

    def execute(self, sql: Any, params: Any = ()) -> None:
        """Emit the steps of a statement that is known; keep any other for its verb, or emit it as it is."""
        if self._drafts:
            super().execute(sql, params)
            return
        text = self._complete(sql, params)
        for pattern, verb in self._known:
            if parts := pattern.fullmatch(text):
                verb(self, text, {key: _plain(value) for key, value in parts.groupdict().items()})
                return
        super().execute(sql, params)

    # Extensions and collations

    def _create_extension(self, text: str, parts: dict[str, str]) -> None:
        name = parts["name"]
        note = "a rollback leaves it where it is"
        self._emit(f"extension {name}", f"create extension {name}", Act(statements=(text,)), (), note=note)

    def _drop_extension(self, text: str, parts: dict[str, str]) -> None:
        self._drop_at_finalize("extension", parts["name"], text)

    def _create_collation(self, text: str, parts: dict[str, str]) -> None:
        name = parts["name"]
        options = {found["option"]: found["value"] for found in _OPTION.finditer(parts["options"])}
        provider, is_deterministic = options.get("provider", "libc"), options.get("deterministic") != "false"
        if self._catalog.has_collation(name, options["locale"], provider, is_deterministic):
            self._emit(f"collation {name}", f"find collation {name} as it was left", Act(), ())
            return
        undo = Act(statements=(_unless_needed(f"DROP COLLATION IF EXISTS {self.quote_name(name)}"),))
        self._emit(f"collation {name}", f"create collation {name}", Act(statements=(text,)), (undo,))

    def _drop_collation(self, text: str, parts: dict[str, str]) -> None:
        self._drop_at_finalize("collation", parts["name"], text)

    def _drop_at_finalize(self, kind: str, name: str, statement: str) -> None:
        self._emit(
            f"drop {kind} {name}",
            f"drop {kind} {name}",
            Act(statements=(_unless_needed(statement),)),
            CONTRACT,
            phase=Phase.CONTRACT,
            note="it stays while something that is retired needs it",
        )

    # Checks

    def _add_unproved_check(self, text: str, parts: dict[str, str]) -> None:
        """Enforce a check without proving it; old code may violate it, so it waits."""
        table, name = parts["table"], parts["name"]
        if table in self._new:
            undo = self._drop_act(table, name)
            self._emit(f"check {table}.{name}", f"add check {name} to {table}", Act(statements=(text,)), (undo,))
            return
        rule = violators.check(table, name, parts["condition"], self._catalog.primary_key(table), self.quote_name)
        cancelled = (Kind.CONSTRAINT.value, table, name, rule.says)
        self._emit(
            f"check {table}.{name}",
            f"enforce check {name} on {table} from then on",
            self._enforced(rule, once=True),
            CONTRACT,
            phase=Phase.CONTRACT,
            unless_retired=((Kind.TABLE.value, table, table), cancelled),
        )

    def _validate(self, text: str, parts: dict[str, str]) -> None:
        """Prove a check; one that waits for finalize is proved then."""
        table, name = parts["table"], parts["name"]
        title = f"prove check {name} for every row of {table}"
        definition = self._catalog.constraint(table, name)
        if definition or table in self._new:
            statement = violators.proved(text, self._defined_check(table, name, definition)) if definition else text
            act = Act(statements=(statement,), locks=() if table in self._new else retire.weak(table))
            self._emit(f"prove check {table}.{name}", title, act, (), phase=Phase.VALIDATE)
            return
        statement = block(f"IF {self._has_constraint(table, name)} THEN {text}; END IF")
        self._emit(
            f"prove check {table}.{name}",
            title,
            Act(statements=(statement,), locks=retire.weak(table)),
            CONTRACT,
            phase=Phase.CONTRACT,
            unless_retired=((Kind.TABLE.value, table, table),),
        )

    _known = (
        (_CREATE_EXTENSION, _create_extension),
        (_DROP_EXTENSION, _drop_extension),
        (_CREATE_COLLATION, _create_collation),
        (_DROP_COLLATION, _drop_collation),
        (_UNPROVED_CHECK, _add_unproved_check),
        (_VALIDATE, _validate),
    )


def _unless_needed(statement: str) -> str:
    return block(f"{statement}; EXCEPTION WHEN dependent_objects_still_exist THEN NULL")


def _plain(quoted: str) -> str:
    """Return a name as Django has it: a table in a schema of its own keeps its quotes."""
    is_name = re.fullmatch(_NAME, quoted)
    return strip_quotes(quoted) if is_name else quoted
