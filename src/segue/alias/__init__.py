"""The application's side of aliases: new code runs while the database calls some things by other names.

A model that has such a name gets a token in its place, once and for the life of the process (`names`). An execute
wrapper on each PostgreSQL connection says in the token's place what that database calls the thing at the moment, and
looks again when a statement fails because finalize has given the thing its own name meanwhile (`speaker`).
"""

from __future__ import annotations

from typing import Any

from segue.alias import compiling
from segue.alias.names import NAMES
from segue.alias.published import PUBLISHED, ask, concerning
from segue.alias.speaker import Speaker

__all__ = ["PUBLISHED", "attach", "listen_before_compiling", "look_again", "spare_written_names"]


def attach(connection: Any, published: str | None) -> None:
    """Let a new connection say names as its database does; `published` is what it answered for PUBLISHED."""
    if _speaker(connection) is None:
        # First means outermost, and the place where `with connection.execute_wrapper()` takes nothing away.
        connection.execute_wrappers.insert(0, Speaker())
        compiling.group_by_all_columns_of_views(connection)
        compiling.recognize_columns(connection)
    NAMES.learn(connection.alias, concerning(published))


def look_again(connection: Any) -> None:
    """Take note of what the work of this very connection has opened or closed; PostgreSQL only."""
    if connection.vendor == "postgresql":
        NAMES.learn(connection.alias, concerning(ask(connection)[0]))


def spare_written_names(connection: Any) -> None:
    """Leave the names in Segue's own statements as they are on this connection: there they are the database's."""
    if speaker := _speaker(connection):
        speaker.spares_written_names = True


def listen_before_compiling() -> None:
    """Have every connection attached before Django compiles a statement for it."""

    def make_ready(connection: Any) -> None:
        if _speaker(connection) is None:  # it was open before anybody listened
            attach(connection, ask(connection)[0])

    compiling.connect_first(make_ready)


def _speaker(connection: Any) -> Speaker | None:
    return next((w for w in connection.execute_wrappers if isinstance(w, Speaker)), None)
