"""The swap: a column and its twin exchange their places in one transaction, and can be exchanged back.

Builds SQL only. Everything is a change of the catalog, so it takes the same milliseconds on any number of rows.
What hung on the old column keeps hanging on it under another name; what was built for the twin beforehand takes
over the names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from segue.engines.postgresql.acts import twin as twins
from segue.engines.postgresql.acts.blocks import literal
from segue.engines.postgresql.acts.retire import label
from segue.engines.postgresql.acts.twin import TWIN, Twin
from segue.engines.postgresql.dependents import Attached
from segue.engines.postgresql.qualified import beside

Quote = Callable[[str], str]

OLD = "segue_old_"


@dataclass(frozen=True, kw_only=True)
class Member:
    """One column of a swap; `place` is where the old column lies afterwards.

    `check` names the validated check that proves the twin not null, "" where it may be null. `default` is an
    expression, `identity` what GENERATED … AS IDENTITY says, `sequence` the one that a serial column owns. A column
    that `keeps_not_null` is never without a value after the swap. `renamed` is the twin's name if it is not to get
    the old one.
    """

    twin: Twin
    place: str
    attached: tuple[Attached, ...] = ()
    check: str = ""
    not_null: bool = False
    default: str = ""
    identity: str = ""
    sequence: str = ""
    comment: str | None = None
    keeps_not_null: bool = False
    renamed: str = ""

    @property
    def name(self) -> str:
        """What the twin is called after the swap."""
        return self.renamed or self.twin.old

    @property
    def has_primary_key(self) -> bool:
        """Whether the column is in the table's primary key."""
        return any(one.kind == "p" for one in self.attached)


@dataclass(frozen=True, kw_only=True)
class Key:
    """A foreign key from or to a member: its name, its table, and its definitions on the columns and on the twins.

    `mark` is that of what is attached to them.
    """

    name: str
    table: str
    to_table: str
    definition: str
    twin_definition: str
    mark: str = ""

    @property
    def clone(self) -> str:
        """The name that the twins' foreign key has until the swap."""
        return label(f"{TWIN}{self.mark}", self.name)


def clone(attached: Attached) -> str:
    """Return the name of what is built for the twin beforehand."""
    return label(f"{TWIN}{attached.mark}", attached.name)


def spare(attached: Attached) -> str:
    """Return the name of the index that stands in for the primary key's on the way back."""
    return former(attached)


def former(attached: Attached) -> str:
    """Return the name that what hangs on the old column has after the swap."""
    return label(f"{OLD}{attached.mark}", attached.name)


def forth(members: tuple[Member, ...], keys: tuple[Key, ...], quote: Quote, *, late: bool = False) -> tuple[str, ...]:
    """Return the statements of the swap.

    Between a `late` one and its plan come the rest of the release and what else finalize does: keys that it does not
    know join what takes the columns' places, unproved at first, and those that it knows keep the names that they have.
    """
    if late:
        statements = [_key_away(key, quote) for key in keys] + [_later_keys_away(members, quote)]
    else:
        statements = [f"ALTER TABLE {quote(key.table)} DROP CONSTRAINT {quote(key.name)}" for key in keys]
    for member in members:
        table = f"ALTER TABLE {quote(member.twin.table)}"
        old, new = quote(member.twin.old), quote(member.twin.new)
        if member.check:
            statements.append(f"{table} ALTER COLUMN {new} SET NOT NULL")
            statements.append(f"{table} DROP CONSTRAINT {quote(member.check)}")
        statements += _default_to(member, member.twin.old, member.twin.new, member.twin.forth.type, quote)
        for attached in member.attached:
            statements += _attached_forth(attached, member.twin.table, quote)
        if member.not_null and not member.has_primary_key and not member.keeps_not_null:
            statements.append(f"{table} ALTER COLUMN {old} DROP NOT NULL")
        statements.append(f"{table} RENAME COLUMN {old} TO {quote(member.place)}")
        name = quote(member.name)
        if name != new:
            statements.append(f"{table} RENAME COLUMN {new} TO {name}")
        statements.append(_keeps_old_true(member, quote))
        if member.comment is not None:
            statements.append(f"COMMENT ON COLUMN {quote(member.twin.table)}.{name} IS {literal(member.comment)}")
    statements += _functions_anew(members, quote)
    rename = "ALTER TABLE {} RENAME CONSTRAINT {} TO {}"
    if late:
        return (*statements, *(_key_again(key, quote) for key in keys), _LATER_KEYS_AGAIN)
    return (*statements, *(rename.format(*map(quote, (key.table, key.clone, key.name))) for key in keys))


def back(members: tuple[Member, ...], keys: tuple[Key, ...], quote: Quote) -> tuple[str, ...]:
    """Return the statements that exchange the columns back; the foreign keys are enforced and not yet proved."""
    statements = [f"ALTER TABLE {quote(key.table)} DROP CONSTRAINT {quote(key.name)}" for key in keys]
    for member in members:
        table = f"ALTER TABLE {quote(member.twin.table)}"
        old, new = quote(member.twin.old), quote(member.twin.new)
        if quote(member.name) != new:
            statements.append(f"{table} RENAME COLUMN {quote(member.name)} TO {new}")
        statements.append(f"{table} RENAME COLUMN {quote(member.place)} TO {old}")
        for attached in member.attached:
            statements += _attached_back(attached, member.twin.table, quote)
        statements += _default_to(member, member.twin.new, member.twin.old, member.twin.back.type, quote)
        if member.check:
            statements.append(f"{table} ALTER COLUMN {new} DROP NOT NULL")
        statements.append(twins.function(member.twin.function, twins.follows(member.twin, quote), quote))
    statements += _functions_anew(members, quote)
    for key in keys:
        statements.append(f"ALTER TABLE {quote(key.table)} ADD CONSTRAINT {quote(key.name)} {key.definition} NOT VALID")
    return tuple(statements)


def name_not_null(table: str, column: str, names: tuple[str, ...], quote: Quote) -> str:
    """Return the statement that gives a column's NOT NULL the first of the names that is free.

    It was made while the column had a name of Segue's, and a renamed column's keeps its name.
    """
    relation, wanted = f"{literal(quote(table))}::regclass", ", ".join(map(literal, names))
    own = f"SELECT attnum FROM pg_attribute WHERE attrelid = {relation} AND attname = {literal(column)}"
    rename = f"format('ALTER TABLE %s RENAME CONSTRAINT %I TO %I', {literal(quote(table))}, found, free)"
    return (
        "DO $segue$ DECLARE found name; free text; BEGIN SELECT conname INTO found FROM pg_constraint "
        f"WHERE conrelid = {relation} AND contype = 'n' AND conkey = ARRAY[({own})]; "
        f"SELECT u.name INTO free FROM unnest(ARRAY[{wanted}]) WITH ORDINALITY u(name, place) WHERE NOT EXISTS ("
        f"SELECT FROM pg_constraint WHERE conrelid = {relation} AND conname <> found AND conname = u.name) "
        f"ORDER BY u.place LIMIT 1; IF found <> free THEN EXECUTE {rename}; END IF; END $segue$"
    )


def prove_later_keys(members: tuple[Member, ...], quote: Quote) -> str:
    """Return the statement that proves the keys which a late swap has put on what takes the columns' places."""
    return (
        "DO $segue$ DECLARE later record; BEGIN FOR later IN SELECT k.conrelid::regclass AS child, k.conname AS name "
        f"FROM pg_constraint k WHERE NOT k.convalidated AND {_refers_to(members, quote)} LOOP "
        "EXECUTE format('ALTER TABLE %s VALIDATE CONSTRAINT %I', later.child, later.name); END LOOP; END $segue$"
    )


def _later_keys_away(members: tuple[Member, ...], quote: Quote) -> str:
    """Drop and remember the foreign keys onto the columns that came after the swap was planned."""
    return (
        "DO $segue$ DECLARE later record; kept jsonb := '[]'; BEGIN FOR later IN SELECT k.conrelid::regclass::text AS "
        "child, k.conname AS name, pg_get_constraintdef(k.oid) AS definition FROM pg_constraint k "
        f"WHERE k.conparentid = 0 AND {_refers_to(members, quote)} LOOP kept := kept || to_jsonb(later); "
        "EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', later.child, later.name); END LOOP; "
        "PERFORM set_config('segue.keys', kept::text, true); END $segue$"
    )


_LATER_KEYS_AGAIN = (
    "DO $segue$ DECLARE later record; BEGIN FOR later IN SELECT * FROM jsonb_to_recordset("
    "current_setting('segue.keys')::jsonb) AS kept(child text, name text, definition text) LOOP "
    "EXECUTE format('ALTER TABLE %s ADD CONSTRAINT %I %s NOT VALID', later.child, later.name, "
    "regexp_replace(later.definition, ' NOT VALID$', '')); END LOOP; END $segue$"
)


def _key_away(key: Key, quote: Quote) -> str:
    """Drop a key that may have got another name since the swap was planned, and remember that."""
    return (
        "DO $segue$ DECLARE found name; BEGIN SELECT k.conname INTO found FROM pg_constraint k WHERE k.contype = 'f' "
        f"AND k.conrelid = {literal(quote(key.table))}::regclass AND (k.conname = {literal(key.name)} "
        f"OR regexp_replace(pg_get_constraintdef(k.oid), ' NOT VALID$', '') = {literal(key.definition)}); "
        f"EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', {literal(quote(key.table))}, found); "
        f"PERFORM set_config({_setting(key)}, found, true); END $segue$"
    )


def _key_again(key: Key, quote: Quote) -> str:
    return (
        f"DO $segue$ BEGIN EXECUTE format('ALTER TABLE %s RENAME CONSTRAINT %I TO %I', {literal(quote(key.table))}, "
        f"{literal(key.clone)}, current_setting({_setting(key)})); END $segue$"
    )


def _setting(key: Key) -> str:
    return "'segue.key_" + hashlib.sha256(f"{key.table}.{key.name}".encode()).hexdigest()[:8] + "'"


def _refers_to(members: tuple[Member, ...], quote: Quote) -> str:
    """The condition that a constraint k is a foreign key onto one of the columns, by the names that they have then."""
    columns = ", ".join(f"({literal(quote(m.twin.table))}::regclass, {literal(m.twin.old)})" for m in members)
    return (
        "k.contype = 'f' AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = k.confrelid "
        f"AND a.attnum = ANY(k.confkey) AND (a.attrelid, a.attname) IN ({columns}))"
    )


def _attached_forth(attached: Attached, table_name: str, quote: Quote) -> list[str]:
    name, made, old = quote(attached.name), quote(clone(attached)), quote(former(attached))
    table = f"ALTER TABLE {quote(table_name)}"
    if attached.kind == "p":
        return [
            f"{table} DROP CONSTRAINT {name}",
            f"{table} ADD CONSTRAINT {name} PRIMARY KEY USING INDEX {made}{attached.deferrable}",
        ]
    if attached.kind == "u" and not attached.deferrable:
        return [
            f"{table} RENAME CONSTRAINT {name} TO {old}",
            f"{table} ADD CONSTRAINT {name} UNIQUE USING INDEX {made}",
        ]
    if attached.kind in ("u", "c"):
        return [f"{table} RENAME CONSTRAINT {name} TO {old}", f"{table} RENAME CONSTRAINT {made} TO {name}"]
    now, then = (quote(beside(table_name, index)) for index in (attached.name, clone(attached)))
    return [f"ALTER INDEX {now} RENAME TO {old}", f"ALTER INDEX {then} RENAME TO {name}"]


def _attached_back(attached: Attached, table_name: str, quote: Quote) -> list[str]:
    name, made, old = quote(attached.name), quote(clone(attached)), quote(former(attached))
    table = f"ALTER TABLE {quote(table_name)}"
    if attached.kind == "p":
        return [
            f"{table} DROP CONSTRAINT {name}",
            f"{table} ADD CONSTRAINT {name} PRIMARY KEY USING INDEX {quote(spare(attached))}{attached.deferrable}",
        ]
    if attached.kind == "u":
        return [f"{table} DROP CONSTRAINT {name}", f"{table} RENAME CONSTRAINT {old} TO {name}"]
    if attached.kind == "c":
        return [f"{table} RENAME CONSTRAINT {name} TO {made}", f"{table} RENAME CONSTRAINT {old} TO {name}"]
    now, then = (quote(beside(table_name, index)) for index in (attached.name, former(attached)))
    return [f"ALTER INDEX {now} RENAME TO {made}", f"ALTER INDEX {then} RENAME TO {name}"]


def _functions_anew(members: tuple[Member, ...], quote: Quote) -> list[str]:
    return [twins.functions_anew(table, quote) for table in dict.fromkeys(member.twin.table for member in members)]


def _keeps_old_true(member: Member, quote: Quote) -> str:
    """After the swap everybody writes the new column, under the old name; the old one follows it."""
    value = member.twin.back.safely(f"NEW.{quote(member.name)}", quote)
    return twins.function(member.twin.function, f"NEW.{quote(member.place)} := {value};", quote)


def _default_to(member: Member, giver: str, taker: str, type_: str, quote: Quote) -> list[str]:
    """Hand over what gives a row its value when an insert does not."""
    table = f"ALTER TABLE {quote(member.twin.table)}"
    if member.identity:
        return [_hand_over_identity(member, giver, taker, quote)]
    if member.sequence:
        sequence = member.sequence
        return [
            f"{table} ALTER COLUMN {quote(giver)} DROP DEFAULT",
            f"ALTER SEQUENCE {sequence} OWNED BY {quote(member.twin.table)}.{quote(taker)}",
            _retype_sequence(sequence, type_),
            f"{table} ALTER COLUMN {quote(taker)} SET DEFAULT nextval({literal(sequence)}::regclass)",
        ]
    if member.default:
        return [_hand_over_default(member.twin.table, giver, taker, quote)]
    return []


def _hand_over_default(table: str, giver: str, taker: str, quote: Quote) -> str:
    """The default that the column has when this runs: a step that waited too may have taken it away."""
    alter = f"ALTER TABLE {quote(table)} ALTER COLUMN"
    return (
        "DO $segue$ DECLARE given text; BEGIN SELECT pg_get_expr(d.adbin, d.adrelid) INTO given FROM pg_attrdef d "
        "JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum "
        f"WHERE d.adrelid = {literal(quote(table))}::regclass AND a.attname = {literal(giver)}; "
        f"IF given IS NOT NULL THEN EXECUTE {literal(f'{alter} {quote(taker)} SET DEFAULT ')} || given; "
        f"{alter} {quote(giver)} DROP DEFAULT; END IF; END $segue$"
    )


def _retype_sequence(sequence: str, type_: str) -> str:
    """A sequence that has gone past the smaller type stays as large as it is."""
    return (
        f"DO $segue$ BEGIN ALTER SEQUENCE {sequence} AS {type_}; "
        "EXCEPTION WHEN invalid_parameter_value THEN NULL; END $segue$"
    )


def _hand_over_identity(member: Member, giver: str, taker: str, quote: Quote) -> str:
    """An identity's sequence cannot change hands, so another of the same name goes on where it stopped."""
    table = quote(member.twin.table)
    return (
        "DO $segue$ DECLARE source regclass; name text; place bigint; used boolean; made pg_sequence; "
        "grants aclitem[]; given record; BEGIN "
        f"source := pg_get_serial_sequence({literal(table)}, {literal(giver)})::regclass; "
        "SELECT c.relname, c.relacl INTO name, grants FROM pg_class c WHERE c.oid = source; "
        "SELECT * INTO made FROM pg_sequence WHERE seqrelid = source; "
        "EXECUTE format('SELECT last_value, is_called FROM %s', source) INTO place, used; "
        f"ALTER TABLE {table} ALTER COLUMN {quote(giver)} DROP IDENTITY; "
        f"EXECUTE format('ALTER TABLE %s ALTER COLUMN %I ADD GENERATED {member.identity} AS IDENTITY "
        "(SEQUENCE NAME %I INCREMENT BY %s CACHE %s)', "
        f"{literal(table)}, {literal(taker)}, name, made.seqincrement, made.seqcache); "
        f"source := pg_get_serial_sequence({literal(table)}, {literal(taker)})::regclass; "
        "PERFORM setval(source, least(place, (SELECT seqmax FROM pg_sequence WHERE seqrelid = source)), used); "
        "FOR given IN SELECT grantee, privilege_type FROM aclexplode(grants) LOOP "
        "EXECUTE format('GRANT %s ON SEQUENCE %s TO %s', given.privilege_type, source, "
        "CASE given.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(given.grantee)) END); "
        "END LOOP; END $segue$"
    )
