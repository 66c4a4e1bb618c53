"""The names that models have here and not in the database, and the tokens that stand for them.

A token is unlike any name, so it can be found in a statement and replaced wherever it stands, by what this or that
database calls the thing now. Models keep it when the alias is closed: it then stands for their own name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock

from django.apps import apps

from segue.core.change import Alias

_TOKEN = "segue_alias_"
_DOT = '"."'
# https://www.postgresql.org/docs/current/sql-select.html#SQL-FOR-UPDATE-SHARE
_LOCKED = re.compile(r'\bFOR (?:NO KEY )?UPDATE OF "[^"]*"(?:, "[^"]*")*')

Words = Mapping[str, str]


class Names:
    """The tokens of this process, and what each database calls the things behind them.

    Threads share it: what it holds is replaced, never changed.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._tokens: Mapping[tuple[str, str], str] = {}
        self._open: Mapping[str, Words] = {}
        self._words: Mapping[str, Words] = {}
        self._written: Sequence[_Written] = ()
        self.own: Words = {}

    @property
    def exist(self) -> bool:
        """Whether any model has ever had an alias in this process."""
        return bool(self._tokens)

    def words(self, database: str) -> Words:
        """Return what a database calls the thing behind each token, as far as it is known."""
        return self._words.get(database, self.own)

    def learn(self, database: str, aliases: Sequence[Alias]) -> None:
        """Take note of all that is open in a database; what was open before and is not among it has its own name.

        Threads may bring what they read in another order than they read it: the next statement that fails mends it.
        """
        with self._lock:
            for alias in aliases:
                self._name(alias)
            places = {(alias.table, alias.column): alias.place for alias in aliases}
            words = {token: places[key] for key, token in self._tokens.items() if key in places}
            self._open = {**self._open, database: words}
            self.own = {token: column or table for (table, column), token in self._tokens.items()}
            self._words = {name: {**self.own, **words} for name, words in self._open.items()}

    def tokens(self, sql: str) -> set[str]:
        """Return the tokens that a statement says."""
        return {token for token in self._tokens.values() if token in sql} if _TOKEN in sql else set()

    def with_tokens(self, sql: str) -> str:
        """Return the statement with tokens for names that it was given before the tokens were."""
        for name in self._written:
            if name.text in sql:
                sql = name.pattern.sub(name.replacement, sql)
        return sql

    def _name(self, alias: Alias) -> None:
        """Give the models that have the name a token in its place, unless they have it or there are none."""
        key = (alias.table, alias.column)
        # The digits end where the underscore begins, so no token is the beginning of another.
        token = f"{_TOKEN}{len(self._tokens) + 1}_" + re.sub(r"\W", "_", alias.column or alias.table, flags=re.ASCII)
        tables = {alias.table, self._tokens.get((alias.table, ""), alias.table)}
        if key not in self._tokens and _give(alias, tables, token):
            self._tokens = {**self._tokens, key: token}
            self._written = (*self._written, _written(alias, token))


NAMES = Names()


def say(sql: str, words: Words) -> str:
    """Return the statement with words for its tokens."""
    if _TOKEN in sql:
        if " UPDATE OF " in sql:
            sql = _LOCKED.sub(lambda found: _say_alone(found[0], words), sql)
        for token, word in words.items():
            if token in sql:
                sql = sql.replace(f'"{token}"', _quoted(word)).replace(token, word)
    return sql


def _say_alone(locked: str, words: Words) -> str:
    """Say which tables' rows are locked: there a table that lies in a schema of its own is named without it."""
    for token, word in words.items():
        if _DOT in word:
            locked = locked.replace(f'"{token}"', f'"{word.split(_DOT)[1]}')
    return locked


def _give(alias: Alias, tables: set[str], token: str) -> bool:
    """Put the token in the place of the name in all models of the tables; return whether any has the name."""
    given = False
    for model in apps.get_models(include_auto_created=True, include_swapped=True):
        if model._meta.db_table not in tables:
            continue
        for field in model._meta.local_concrete_fields:
            if alias.column and field.column == alias.column:
                field.column, given = token, True
            if not alias.column:
                field.__dict__.pop("cached_col", None)  # it has been made for the table's former name
        if not alias.column:
            model._meta.db_table, given = token, True
    return given


@dataclass(frozen=True, kw_only=True)
class _Written:
    """How a name looks in a statement that was begun before its token was given.

    A queryset that was made before the first connection keeps the table's name, and on Django 4.2 the columns that
    it joins by. `text` is there wherever the pattern matches, and sooner found.
    """

    text: str
    pattern: re.Pattern[str]
    token: str

    def replacement(self, found: re.Match[str]) -> str:
        """Return the token with what comes before it."""
        return f'{found[1] or ""}"{self.token}"'


def _written(alias: Alias, token: str) -> _Written:
    table = re.escape(_quoted(alias.table))
    if alias.column:
        text = f"{_quoted(alias.table)}.{_quoted(alias.column)}"
        return _Written(text=text, pattern=re.compile(f"({table}\\.){re.escape(_quoted(alias.column))}"), token=token)
    pattern = re.compile(f"(\\b(?:FROM|JOIN|INTO|UPDATE|ONLY|OF)\\s+){table}|{table}(?=\\.)")
    return _Written(text=_quoted(alias.table), pattern=pattern, token=token)


def _quoted(name: str) -> str:
    """Quote as Django does: a name that has quotes already is left as it is."""
    return name if name.startswith('"') and name.endswith('"') else f'"{name}"'
