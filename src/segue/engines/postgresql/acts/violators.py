"""Rows that a constraint forbids: found before it is made, and put into quarantine on the way back.

Builds SQL only. In it a row is called segue_row, and what a rule says uses bare column names, as Django's editor
writes them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from segue.core.change import Act
from segue.core.quarantine import Trouble
from segue.core.values import to_json
from segue.engines.postgresql.acts.blocks import block, literal

Quote = Callable[[str], str]

_ROW = "segue_row"
_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One constraint or unique index, and how to find the rows against it.

    `says` is its text for a person; `against` is true of a forbidden row; `tally` is a query for how many there
    are and a few of them as text, which need not look at each row by itself.
    """

    table: str
    name: str
    says: str
    against: str
    tally: str


def check(table: str, name: str, condition: str, key: Sequence[str], quote: Quote) -> Rule:
    """Return the rule of a check constraint; `key` are the columns to name a row by, none for its whole text."""
    against = f"NOT ({condition})"
    if key:
        shown = " || ', ' || ".join(f"{literal(f'{name} = ')} || {_ROW}.{quote(name)}" for name in key)
    else:
        shown = f"left({_ROW}::text, 100)"
    each = f"SELECT row_number() OVER () AS place, {shown} AS shown FROM {quote(table)} {_ROW} WHERE {against}"
    return Rule(
        table=table,
        name=name,
        says=f"CHECK ({condition})",
        against=against,
        tally=f"SELECT count(*), string_agg(shown, '; ') FILTER (WHERE place <= {_SHOWN}) FROM ({each}) segue_each",
    )


def unique(
    table: str, name: str, says: str, keys: Sequence[str], where: str, quote: Quote, *, nulls_are_equal: bool
) -> Rule:
    """Return the rule of a unique constraint or index; `keys` are SQL, `where` is the index's condition or ""."""
    conditions = [f"({where})"] if where else []
    if not nulls_are_equal:
        conditions += [f"({key}) IS NOT NULL" for key in keys]
    rows = f"{quote(table)} {_ROW} WHERE {' AND '.join(conditions) or 'true'}"
    listed = ", ".join(keys)
    counted = f"SELECT tableoid AS part, ctid AS place, count(*) OVER (PARTITION BY {listed}) AS same FROM {rows}"
    groups = f"SELECT ROW({listed})::text AS shown, count(*) AS same FROM {rows} GROUP BY {listed} HAVING count(*) > 1"
    ranked = f"SELECT row_number() OVER (ORDER BY same DESC, shown) AS rank, shown, same FROM ({groups}) segue_groups"
    shown = f"string_agg(left(shown, 100) || ' in ' || same || ' rows', '; ') FILTER (WHERE rank <= {_SHOWN})"
    return Rule(
        table=table,
        name=name,
        says=says,
        against=f"({_ROW}.tableoid, {_ROW}.ctid) IN (SELECT part, place FROM ({counted}) segue_all WHERE same > 1)",
        tally=f"SELECT coalesce(sum(same), 0)::bigint, {shown} FROM ({ranked}) segue_ranked",
    )


def exclusion(table: str, name: str, says: str, keys: Sequence[tuple[str, str]], where: str, quote: Quote) -> Rule:
    """Return the rule of an exclusion constraint; `keys` are expressions as SQL, each with its operator."""
    columns = ", ".join(f"({key}) AS segue_{number}" for number, (key, _) in enumerate(keys))
    rows = f"SELECT tableoid AS part, ctid AS place, {columns} FROM {quote(table)} {_ROW}"
    rows += f" WHERE {where}" if where else ""
    both = " AND ".join(f"a.segue_{n} {operator} b.segue_{n}" for n, (_, operator) in enumerate(keys))
    pairs = (
        f"SELECT a.part, a.place FROM ({rows}) a JOIN ({rows}) b ON (a.part, a.place) <> (b.part, b.place) AND {both}"
    )
    against = f"({_ROW}.tableoid, {_ROW}.ctid) IN ({pairs})"
    each = f"SELECT left({_ROW}::text, 100) AS shown FROM {quote(table)} {_ROW} WHERE {against}"
    return Rule(
        table=table,
        name=name,
        says=says,
        against=against,
        tally=f"SELECT count(*), min(shown) FROM ({each}) segue_each",
    )


def refusal(rule: Rule, *, gone: str = "") -> str:
    """Return a statement that fails, saying how many rows the rule forbids and which.

    Where there are none it does not, unless it has `gone` to say, for rows that were seen a moment before.
    """
    otherwise = f"; RAISE EXCEPTION USING ERRCODE = 'unique_violation', MESSAGE = {literal(gone)}" if gone else ""
    return block(_raised(rule) + otherwise, declare="segue_found bigint; segue_sample text")


def proved(statement: str, rule: Rule) -> str:
    """Return the statement that proves a check for every row, failing with the rows that contradict it."""
    return block(
        f"{statement}; EXCEPTION WHEN check_violation THEN {_raised(rule)}; RAISE",
        declare="segue_found bigint; segue_sample text",
    )


def _raised(rule: Rule) -> str:
    about = f"{rule.name} forbids, {rule.says}: "
    message = (
        f"{literal(rule.table)} || ' has ' || segue_found || CASE WHEN segue_found = 1 THEN ' row' ELSE ' rows' END "
        f"|| ' that ' || {literal(about)} || segue_sample || '.'"
    )
    return (
        f"SELECT * INTO segue_found, segue_sample FROM ({rule.tally}) segue_tally; "
        f"IF segue_found > 0 THEN RAISE EXCEPTION USING ERRCODE = 'integrity_constraint_violation', "
        f"MESSAGE = {message}; END IF"
    )


def quarantined(
    rule: Rule, release: str, what_stays: str, quote: Quote, *, trouble: Trouble, again: Sequence[Act] = ()
) -> str:
    """Return a statement that keeps the images of the rows that the rule forbids; the rows themselves stay.

    A row that lies there already, as it is now, is not put there again. `again` are the acts that make the constraint
    once no row stands against it: a person settles the rows by them.
    """
    definition = json.dumps([to_json(act) for act in again]) if again else ""
    reason = f"{rule.table}: {rule.name} forbids it, {rule.says}; the row stays, {what_stays}"
    image = f"to_jsonb({_ROW})"
    known = (
        f'SELECT FROM "segue_quarantine" segue_known WHERE segue_known."settled_at" IS NULL AND '
        f'segue_known."table" = {literal(rule.table)} AND segue_known."reason" = {literal(reason)} '
        f'AND segue_known."row" = {image}'
    )
    return (
        'INSERT INTO "segue_quarantine" ("release", "table", "reason", "kind", "object", "definition", "row", "at") '
        f"SELECT {literal(release)}, {literal(rule.table)}, {literal(reason)}, {literal(trouble)}, "
        f"{literal(rule.name)}, {literal(definition)}, {image}, now() "
        f"FROM {quote(rule.table)} {_ROW} WHERE {rule.against} AND NOT EXISTS ({known})"
    )
