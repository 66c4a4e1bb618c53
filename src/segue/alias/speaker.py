"""The execute wrapper of a connection: says tokens in the database's words, again when they have changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from django.db import DatabaseError

from segue.alias.names import NAMES, Words, say
from segue.alias.published import ask, concerning

_UNDEFINED = frozenset({"42703", "42P01"})  # column, table
_IDLE = 0  # libpq's PQTRANS_IDLE

Execute = Callable[[Any, Any, bool, Any], Any]


class Speaker:
    """The execute wrapper of one connection.

    In autocommit a statement that fails because a name has changed is said again. In a transaction such an error
    would doom what came before, so there a savepoint is taken. Only before the transaction's first statement with
    a name: once it has been understood the transaction holds a lock on the table, and finalize cannot change it.
    """

    def __init__(self) -> None:
        self.spares_written_names = False
        self._understood: Words = {}

    def __call__(self, execute: Execute, sql: Any, params: Any, many: bool, context: Any) -> Any:
        """Execute a statement, which may be text or a psycopg composition of it."""
        if not NAMES.exist or isinstance(sql, bytes):
            return execute(sql, params, many, context)
        connection = context["connection"]
        if self._understood and (_is_idle(connection) or str(sql).startswith("ROLLBACK TO")):
            self._understood = {}  # the locks have been given back
        text = sql if isinstance(sql, str) else sql.as_string(connection.connection)
        if not self.spares_written_names:
            text = NAMES.with_tokens(text)
        tokens = NAMES.tokens(text)
        if not tokens:
            return execute(sql, params, many, context)
        # The rows of one executemany are one transaction to psycopg, so they can be said again like one statement.
        return self._until_understood(execute, text, tokens, list(params) if many else params, many, context)

    def _until_understood(
        self, execute: Execute, text: str, tokens: set[str], params: Any, many: bool, context: Any
    ) -> Any:
        connection = context["connection"]
        in_transaction = not connection.get_autocommit()
        # It is not released: that would cost another message, and it ends with the transaction.
        savepoint = connection.savepoint() if in_transaction and not tokens <= self._understood.keys() else None
        first_error: DatabaseError | None = None
        for said, words in self._ways_to_say(connection, text):
            try:
                result = execute(said, params, many, context)
            except DatabaseError as error:
                first_error = first_error or error
                if not _is_undefined(error) or (in_transaction and savepoint is None):
                    raise
                if savepoint is not None:
                    connection.savepoint_rollback(savepoint)
            else:
                if in_transaction:
                    self._understood = {**self._understood, **{token: words[token] for token in tokens}}
                return result
        assert first_error is not None
        raise first_error

    def _ways_to_say(self, connection: Any, text: str) -> Iterator[tuple[str, Words]]:
        """Yield the statement in the words that the database is known to use, and after each failure as it is by then.

        What this transaction has said with success it goes on saying, whatever another thread has learned meanwhile.
        A transaction that keeps its snapshot (REPEATABLE READ) sees the new name of a thing, and not that the alias
        is closed: there the names of new code itself come last.
        """
        tried: list[str] = []
        words: Words = {**NAMES.words(connection.alias), **self._understood}
        said = say(text, words)
        while said not in tried:
            yield said, words
            tried.append(said)
            published, is_old = ask(connection)
            NAMES.learn(connection.alias, concerning(published))
            words = NAMES.words(connection.alias)
            if is_old and say(text, words) in tried:
                words = NAMES.own
            said = say(text, words)


def _is_undefined(error: DatabaseError) -> bool:
    return getattr(error.__cause__, "sqlstate", None) in _UNDEFINED


def _is_idle(connection: Any) -> bool:
    return bool(connection.connection.info.transaction_status == _IDLE)
