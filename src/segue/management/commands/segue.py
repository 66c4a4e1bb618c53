"""manage.py segue …: the same command line as `segue …`."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from segue import cli


class Command(BaseCommand):
    """Hands its arguments to `segue.cli` as they are."""

    help = "Change the live database without anyone noticing, and take it back without losing anything."
    requires_system_checks = ()

    def run_from_argv(self, argv: list[str]) -> None:
        """Let the command line parse its own arguments and set the exit status."""
        sys.exit(cli.main(argv[2:], prog=f"{argv[0]} segue"))

    def add_arguments(self, parser: CommandParser) -> None:
        """Take everything, for call_command("segue", "apply", …)."""
        parser.add_argument("arguments", nargs=argparse.REMAINDER)

    def handle(self, *_: Any, **options: Any) -> None:
        """Run the command line; a failure is a SystemExit with its status."""
        status = cli.main(options["arguments"])
        if status:
            sys.exit(status)
