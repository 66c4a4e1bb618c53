"""manage.py test, with `--database ALIAS`: the suite runs on that alias's server, in a test database there."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.core.management.commands import test as stock
from django.db import DEFAULT_DB_ALIAS, connections


class Command(stock.Command):
    """The stock command; with `--database` the tests' default database is made on another alias's server."""

    def add_arguments(self, parser: CommandParser) -> None:
        """Add `--database` to the stock arguments."""
        super().add_arguments(parser)
        parser.add_argument(
            "--database",
            choices=tuple(connections),
            help="Alias of the server to make the test database on, e.g. staging; its own data is not touched.",
        )

    def handle(self, *test_labels: Any, **options: Any) -> None:
        """Run the suite, with the named alias in place of the default one."""
        alias = options.pop("database", None)
        if alias and alias != DEFAULT_DB_ALIAS:
            _put_in_place_of_default(alias)
        super().handle(*test_labels, **options)


def _put_in_place_of_default(alias: str) -> None:
    """Point "default" at the alias's server: tests that name no alias then run there.

    Nothing may have connected yet, or the wrong server would be in use already.
    """
    default: Any = connections[DEFAULT_DB_ALIAS]
    if default.connection is not None:
        raise CommandError("The default database is connected already, so it cannot be replaced by --database.")
    databases: Any = connections.settings
    databases[DEFAULT_DB_ALIAS] = databases[alias]
    del connections[DEFAULT_DB_ALIAS]
