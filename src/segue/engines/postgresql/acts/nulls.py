"""NOT NULL on a column that old code may write NULL to, and the NULLs back again.

Builds steps' parts only. A hidden column remembers what was put in place of NULL, in rows that had it or were
written with it; a trigger does that meanwhile. Where the column still has that value, NULL can come back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

from segue.core.change import Act, Backfill
from segue.core.plan import Phase
from segue.engines.postgresql.acts import retire
from segue.engines.postgresql.acts.blocks import fail_if_any
from segue.engines.postgresql.acts.retire import label
from segue.engines.postgresql.acts.twin import compared

Quote = Callable[[str], str]


def flag(column: str) -> str:
    """Return the name of the column that remembers NULL."""
    return label("segue_null_", column)


def forbid(table: str, column: str, type_: str, default: str, quote: Quote) -> Iterator[dict[str, Any]]:
    """Yield the steps that replace NULL by the default and then forbid it; `type_` is the column's."""
    alter = f"ALTER TABLE {quote(table)}"
    name, hidden = quote(column), quote(flag(column))
    function, named = _names(table, column, quote)
    yield {
        "slug": f"default for NULL {table}.{column}",
        "title": f"turn NULL in {table}.{column} into its default, and remember where",
        "forward": Act(
            statements=(
                f"{alter} ADD COLUMN IF NOT EXISTS {hidden} {type_}",
                _function(function, _coalescing(name, hidden, default)),
                f"CREATE TRIGGER {named} BEFORE INSERT OR UPDATE ON {quote(table)} FOR EACH ROW "
                f"EXECUTE FUNCTION {function}()",
                f"{alter} ENABLE ALWAYS TRIGGER {named}",
            ),
            locks=retire.exclusive(table),
        ),
        "undo": (
            Act(statements=(_function(function, _forgetting(name, hidden)),)),
            Act(
                backfill=Backfill(
                    table=table,
                    assignments=f"{name} = CASE WHEN {_still(column, type_, quote)} THEN NULL ELSE {name} END, "
                    f"{hidden} = NULL",
                    where=f"{hidden} IS NOT NULL",
                ),
                background=True,
            ),
            Act(
                statements=(f"DROP FUNCTION {function}() CASCADE", f"{alter} DROP COLUMN {hidden}"),
                locks=retire.exclusive(table),
                background=True,
            ),
        ),
    }
    yield {
        "slug": f"fill NULL {table}.{column}",
        "title": f"give {table}.{column} its default where it is NULL",
        "forward": Act(
            backfill=Backfill(
                table=table, assignments=f"{name} = {default}, {hidden} = {default}", where=f"{name} IS NULL"
            )
        ),
        "undo": (),
        "phase": Phase.BACKFILL,
    }
    drop_check = f"{alter} DROP CONSTRAINT IF EXISTS {quote(retire.not_null_check(column))}"
    for number, act in enumerate(retire.tighten(table, column, quote)):
        loosen = (drop_check, f"{alter} ALTER COLUMN {name} DROP NOT NULL")
        undo = (Act(statements=loosen, locks=retire.exclusive(table)),) if number == 0 else ()
        yield {
            "slug": f"not null {table}.{column} {number}",
            "title": f"make {table}.{column} NOT NULL, part {number + 1} of 3",
            "forward": act,
            "undo": undo,
            "phase": (Phase.EXPAND, Phase.VALIDATE, Phase.EXPAND)[number],
        }


def restore(table: str, column: str, type_: str, quote: Quote) -> tuple[Backfill, Backfill]:
    """Return the backfill that brings NULL back where its stand-in is still there, and the one that undoes that."""
    name, hidden = quote(column), quote(flag(column))
    there = Backfill(table=table, assignments=f"{name} = NULL", where=_still(column, type_, quote))
    back = Backfill(table=table, assignments=f"{name} = {hidden}", where=f"{name} IS NULL AND {hidden} IS NOT NULL")
    return there, back


def _still(column: str, type_: str, quote: Quote) -> str:
    return f"{compared(quote(column), type_)} = {compared(quote(flag(column)), type_)}"


def part(table: str, column: str, quote: Quote) -> tuple[str, ...]:
    """Return the statements that stop replacing NULL; the rows that had it stay remembered."""
    function, _ = _names(table, column, quote)
    return (f"DROP FUNCTION {function}() CASCADE",)


def require_none(table: str, column: str, quote: Quote) -> Act:
    """Return an act that fails when a row has NULL, as stock's SET NOT NULL would."""
    rows = f"{quote(table)} WHERE {quote(column)} IS NULL"
    return Act(statements=(fail_if_any(rows, f" of {table} with NULL in {column}", error="not_null_violation"),))


def trigger(table: str, column: str) -> str:
    """Return the name of the trigger that replaces NULL: before those of the column's twins, which follow it."""
    return f"zzzz_segue_000_null_{_digest(table, column)}"


def _digest(table: str, column: str) -> str:
    return hashlib.sha256(f"{table}.{column}".encode()).hexdigest()[:8]


def _names(table: str, column: str, quote: Quote) -> tuple[str, str]:
    digest = _digest(table, column)
    return quote(f"segue_null_{digest}"), quote(trigger(table, column))


def _function(name: str, body: str) -> str:
    return (
        f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $segue$ "
        f"BEGIN IF coalesce(current_setting('segue.backfill', true), '') <> 'on' THEN {body} END IF; "
        "RETURN NEW; END $segue$"
    )


def _coalescing(name: str, hidden: str, default: str) -> str:
    return (
        f"IF NEW.{name} IS NULL THEN NEW.{name} := {default}; NEW.{hidden} := NEW.{name}; "
        f"ELSIF TG_OP = 'UPDATE' AND NEW.{name} IS DISTINCT FROM OLD.{name} THEN NEW.{hidden} := NULL; END IF;"
    )


def _forgetting(name: str, hidden: str) -> str:
    """Old code runs alone again: what it writes is what it means."""
    return f"IF TG_OP = 'UPDATE' AND NEW.{name} IS DISTINCT FROM OLD.{name} THEN NEW.{hidden} := NULL; END IF;"
