"""What an expert writes by hand for each kind of change: forth, back, and what ends the old version's time.

Both versions of the shop work from the end of `forth` to `contract`, and through `back`, which undoes no more than the
old version needs undone, so that nothing is lost and `forth` may be run again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

WAYS = ("forth", "back", "contract")


@dataclass(frozen=True)
class Online:
    """A statement that blocks nobody, however long it takes; skipped where `unless` finds a row."""

    sql: str
    unless: str = ""


@dataclass(frozen=True)
class Briefly:
    """Statements that take strong locks for a moment, in one transaction."""

    statements: tuple[str, ...]
    unless: str = ""


@dataclass(frozen=True)
class Fill:
    """An UPDATE of a table in batches of `key`."""

    table: str
    assignments: str
    where: str
    key: str = "id"


Step: TypeAlias = Online | Briefly | Fill


@dataclass(frozen=True, kw_only=True)
class Script:
    """One kind of change."""

    forth: tuple[Step, ...]
    back: tuple[Step, ...] = ()
    contract: tuple[Step, ...] = ()


def _alter(table: str, *actions: str, unless: str = "") -> Briefly:
    return Briefly((f"ALTER TABLE {table} {', '.join(actions)}",), unless)


def _index(name: str, on: str, *, unique: bool = False, unless: str = "") -> Online:
    return Online(f"CREATE {'UNIQUE ' if unique else ''}INDEX CONCURRENTLY IF NOT EXISTS {name} ON {on}", unless)


def _no_index(name: str) -> Online:
    return Online(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")


def _constraint(name: str) -> str:
    return f"SELECT 1 FROM pg_constraint WHERE conname = '{name}'"


def _column(table: str, name: str) -> str:
    return (
        f"SELECT 1 FROM pg_attribute WHERE attrelid = '{table}'::regclass AND attname = '{name}' AND NOT attisdropped"
    )


def _late(table: str, name: str, definition: str) -> tuple[Step, ...]:
    """A constraint that is added unproved, then proved."""
    return (
        _alter(table, f"ADD CONSTRAINT {name} {definition} NOT VALID", unless=_constraint(name)),
        Online(f"ALTER TABLE {table} VALIDATE CONSTRAINT {name}"),
    )


def _reference(name: str, table: str, column: str, to: str) -> tuple[Step, ...]:
    return _late(table, name, f"FOREIGN KEY ({column}) REFERENCES {to} DEFERRABLE INITIALLY DEFERRED")


def _function(name: str, body: str) -> str:
    return f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN {body} RETURN NEW; END$$"


def _trigger(table: str, name: str) -> str:
    return f"CREATE OR REPLACE TRIGGER {name} BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION {name}()"


def _no_trigger(table: str, name: str) -> Briefly:
    return Briefly((f"DROP TRIGGER IF EXISTS {name} ON {table}", f"DROP FUNCTION IF EXISTS {name}()"))


_COLUMNS = Script(
    forth=(
        _alter(
            "shop_song",
            "ADD COLUMN IF NOT EXISTS language varchar(10) NOT NULL DEFAULT 'en'",
            "ADD COLUMN IF NOT EXISTS quality integer NOT NULL DEFAULT 320",
            "ADD COLUMN IF NOT EXISTS is_explicit boolean NOT NULL DEFAULT false",
        ),
        _index("song_language", "shop_song (language)"),
    ),
    back=(_no_index("song_language"),),
    contract=(
        _alter("shop_song", *(f"ALTER {column} DROP DEFAULT" for column in ("language", "quality", "is_explicit"))),
    ),
)

_INDEX = Script(forth=(_index("song_title", "shop_song (title)"),), back=(_no_index("song_title"),))

_WIDER = Script(
    forth=(
        _alter("shop_song", "ADD COLUMN IF NOT EXISTS plays_new bigint"),
        Briefly((_function("keep_plays", "NEW.plays_new := NEW.plays;"), _trigger("shop_song", "keep_plays"))),
        Fill("shop_song", "plays_new = plays", "plays_new IS DISTINCT FROM plays"),
        *_late("shop_song", "plays_new_is_there", "NOT NULL plays_new"),
        Briefly(
            (
                "LOCK TABLE shop_song",
                "ALTER TABLE shop_song RENAME plays TO plays_old",
                "ALTER TABLE shop_song RENAME plays_new TO plays",
                _function("keep_plays", "NEW.plays_old := NEW.plays;"),
            )
        ),
    ),
    back=(
        Briefly(
            (
                "LOCK TABLE shop_song",
                "ALTER TABLE shop_song RENAME plays TO plays_new",
                "ALTER TABLE shop_song RENAME plays_old TO plays",
                _function("keep_plays", "NEW.plays_new := NEW.plays;"),
            )
        ),
    ),
    contract=(
        Briefly(
            (
                "LOCK TABLE shop_song",
                "DROP TRIGGER keep_plays ON shop_song",
                "DROP FUNCTION keep_plays()",
                "ALTER TABLE shop_song DROP COLUMN plays_old",
            )
        ),
    ),
)

_NOT_NULL = Script(
    forth=(
        Briefly(
            (
                _function("keep_mood", "NEW.mood := coalesce(NEW.mood, 'unknown');"),
                _trigger("shop_song", "keep_mood"),
            )
        ),
        Fill("shop_song", "mood = 'unknown'", "mood IS NULL"),
        *_late("shop_song", "song_mood_is_there", "NOT NULL mood"),
    ),
    back=(
        Briefly(
            (
                "LOCK TABLE shop_song",
                "ALTER TABLE shop_song ALTER mood DROP NOT NULL",
                "DROP TRIGGER keep_mood ON shop_song",
            )
        ),
    ),
    contract=(_no_trigger("shop_song", "keep_mood"),),
)

_REFERENCES = Script(
    forth=(
        _alter("shop_song", "ADD COLUMN IF NOT EXISTS single_id bigint"),
        _index("song_album", "shop_song (album_id)"),
        _index("song_single", "shop_song (single_id)"),
        *_reference("song_album_fk", "shop_song", "album_id", "shop_album (id)"),
        *_reference("song_single_fk", "shop_song", "single_id", "shop_album (id)"),
    ),
    back=(
        Briefly(
            (
                "LOCK TABLE shop_album, shop_song",
                "ALTER TABLE shop_song DROP CONSTRAINT song_album_fk, DROP CONSTRAINT song_single_fk",
            )
        ),
        _no_index("song_album"),
        _no_index("song_single"),
    ),
)

_CHECKS = Script(
    forth=(
        *_late("shop_song", "song_seconds", "CHECK (seconds >= 0)"),
        _index("song_isrc", "shop_song (isrc)", unique=True),
        _alter("shop_song", "ADD CONSTRAINT song_isrc UNIQUE USING INDEX song_isrc"),
    ),
    back=(_alter("shop_song", "DROP CONSTRAINT song_seconds", "DROP CONSTRAINT song_isrc"),),
)

_UUID = Script(
    forth=(
        Briefly(
            (
                "ALTER TABLE shop_song ADD COLUMN token uuid NOT NULL DEFAULT 'bf0b5e46-9d0c-4b9e-8f8a-3f1d0c6d1c5e'",
                "ALTER TABLE shop_song ALTER token SET DEFAULT gen_random_uuid()",
            ),
            unless=_column("shop_song", "token"),
        ),
    ),
    contract=(_alter("shop_song", "ALTER token DROP DEFAULT"),),
)

_UNIQUE_UUID = Script(
    forth=(
        Briefly(
            (
                "ALTER TABLE shop_song ADD COLUMN token uuid",
                "ALTER TABLE shop_song ALTER token SET DEFAULT gen_random_uuid()",
            ),
            unless=_column("shop_song", "token"),
        ),
        Fill("shop_song", "token = gen_random_uuid()", "token IS NULL"),
        *_late("shop_song", "song_token_is_there", "NOT NULL token"),
        _index("song_token", "shop_song (token)", unique=True),
        _alter(
            "shop_song", "ADD CONSTRAINT song_token UNIQUE USING INDEX song_token", unless=_constraint("song_token")
        ),
    ),
    contract=(_alter("shop_song", "ALTER token DROP DEFAULT"),),
)

_RENAMED = Script(
    forth=(
        _alter("shop_song", "ADD COLUMN IF NOT EXISTS name varchar(200)"),
        Briefly(
            (
                _function(
                    "keep_title",
                    "IF TG_OP = 'INSERT' THEN"
                    " NEW.name := coalesce(NEW.name, NEW.title); NEW.title := coalesce(NEW.title, NEW.name);"
                    " ELSIF NEW.title IS DISTINCT FROM OLD.title THEN NEW.name := NEW.title;"
                    " ELSIF NEW.name IS DISTINCT FROM OLD.name THEN NEW.title := NEW.name; END IF;",
                ),
                _trigger("shop_song", "keep_title"),
            )
        ),
        Fill("shop_song", "name = title", "name IS NULL"),
        *_late("shop_song", "song_name_is_there", "NOT NULL name"),
    ),
    contract=(
        Briefly(
            (
                "LOCK TABLE shop_song",
                "DROP TRIGGER keep_title ON shop_song",
                "DROP FUNCTION keep_title()",
                "ALTER TABLE shop_song DROP COLUMN title",
            )
        ),
    ),
)

_RENAMED_TABLE = Script(
    forth=(Online("CREATE OR REPLACE VIEW shop_record AS SELECT * FROM shop_album"),),
    contract=(Briefly(("DROP VIEW shop_record", "ALTER TABLE shop_album RENAME TO shop_record")),),
)

_REMOVED = Script(
    forth=(_alter("shop_song", "ALTER note SET DEFAULT ''"),),
    contract=(_alter("shop_song", "DROP COLUMN note"),),
)

_CHILDREN = ("shop_review", "shop_sale")
_IDS = {"shop_song": "id", **dict.fromkeys(_CHILDREN, "song_id")}


def _swap(away: str, here: str) -> Briefly:
    """Rename the columns of all three tables; the sequence stays with the old one until the contract."""
    locked = f"LOCK TABLE {', '.join(_IDS)}"
    away_renames = [f"ALTER TABLE {table} RENAME {column} TO {column}_{away}" for table, column in _IDS.items()]
    here_renames = [f"ALTER TABLE {table} RENAME {column}_{here} TO {column}" for table, column in _IDS.items()]
    song = (
        _function("keep_shop_song", "NEW.id := NEW.id_old;")
        if away == "old"
        else _function("keep_shop_song", "NEW.id_new := NEW.id;")
    )
    children = [_function(f"keep_{table}", f"NEW.song_id_{away} := NEW.song_id;") for table in _CHILDREN]
    return Briefly((locked, *away_renames, *here_renames, song, *children))


_WIDER_KEY = Script(
    forth=(
        *(_alter(table, f"ADD COLUMN IF NOT EXISTS {column}_new bigint") for table, column in _IDS.items()),
        *(
            Briefly(
                (_function(f"keep_{table}", f"NEW.{column}_new := NEW.{column};"), _trigger(table, f"keep_{table}"))
            )
            for table, column in _IDS.items()
        ),
        *(
            Fill(table, f"{column}_new = {column}", f"{column}_new IS DISTINCT FROM {column}")
            for table, column in _IDS.items()
        ),
        *(
            step
            for table, column in _IDS.items()
            for step in _late(table, f"{table}_{column}_new_is_there", f"NOT NULL {column}_new")
        ),
        _index("song_id_new", "shop_song (id_new)", unique=True),
        _alter(
            "shop_song", "ADD CONSTRAINT song_id_new UNIQUE USING INDEX song_id_new", unless=_constraint("song_id_new")
        ),
        *(_index(f"{table}_song_new", f"{table} (song_id_new)") for table in _CHILDREN),
        *(
            step
            for table in _CHILDREN
            for step in _reference(f"{table}_song_new_fk", table, "song_id_new", "shop_song (id_new)")
        ),
        _swap(away="old", here="new"),
    ),
    back=(_swap(away="new", here="old"),),
    contract=(
        _index("song_pk_new", "shop_song (id)", unique=True),
        Briefly(
            (
                f"LOCK TABLE {', '.join(_IDS)}",
                *(f"DROP TRIGGER keep_{table} ON {table}" for table in _IDS),
                *(f"ALTER TABLE {table} DROP COLUMN song_id_old" for table in _CHILDREN),
                "CREATE SEQUENCE song_numbers OWNED BY shop_song.id",
                "SELECT setval('song_numbers', (SELECT max(id) FROM shop_song))",
                "ALTER TABLE shop_song DROP COLUMN id_old",
                "ALTER TABLE shop_song ALTER id SET DEFAULT nextval('song_numbers')",
                "ALTER TABLE shop_song ADD CONSTRAINT song_pk_new PRIMARY KEY USING INDEX song_pk_new",
            )
        ),
    ),
)

SCRIPTS: Mapping[str, Script] = {
    "columns-and-index": _COLUMNS,
    "index": _INDEX,
    "int-to-bigint": _WIDER,
    "not-null": _NOT_NULL,
    "foreign-key": _REFERENCES,
    "check-and-unique": _CHECKS,
    "uuid-default": _UUID,
    "uuid-unique": _UNIQUE_UUID,
    "rename-field": _RENAMED,
    "rename-model": _RENAMED_TABLE,
    "remove-field": _REMOVED,
    "pk-to-bigint": _WIDER_KEY,
}
