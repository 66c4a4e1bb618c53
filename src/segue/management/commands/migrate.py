"""manage.py migrate: the stock command with all its flags, run by Segue's engine.

Imports the engine only when there is something to carry out: a migrate without work costs what stock's costs.
"""

from __future__ import annotations

import shlex
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.core.management.commands import migrate as stock
from django.db import DEFAULT_DB_ALIAS
from django.db.migrations.state import ProjectState

from segue import conf
from segue.core.errors import SegueError
from segue.history import Migrator
from segue.models import Event


class _OnlineExecutor(Migrator):
    """The executor that the stock command builds; what it cannot leave to Django goes through the pipeline."""

    command: Command

    def migrate(
        self,
        targets: Any,
        plan: Any = None,
        state: ProjectState | None = None,
        fake: bool = False,
        fake_initial: bool = False,
    ) -> Any:
        """Carry the plan out as a release; an empty or a faked one is Django's own business."""
        if plan is None:
            plan = self.migration_plan(targets)
        if fake or (not plan and not Event.unfinished(self.connection)):
            return super().migrate(targets, plan=plan, state=state, fake=fake, fake_initial=fake_initial)
        return self.command.carry_out(self, plan, state, fake_initial)


class Command(stock.Command):
    """Stock's own `handle`, with the executor that it builds replaced for as long as it runs."""

    allow_blocking: timedelta | None = None
    command = "manage.py migrate"

    def add_arguments(self, parser: CommandParser) -> None:
        """Add `--allow-blocking` to the stock arguments."""
        super().add_arguments(parser)
        parser.add_argument(
            "--allow-blocking",
            metavar="DURATION",
            help="For how long others may wait for what has no online form, such as 2s "
            "(default: SEGUE['ALLOW_BLOCKING'], 50ms).",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the stock command; Segue's errors keep their exit status."""
        given = options.pop("allow_blocking", None)
        named = [options.get("app_label"), options.get("migration_name")]
        if options["database"] != DEFAULT_DB_ALIAS:
            named += ["--database", options["database"]]
        self.command = shlex.join(["manage.py", "migrate", *(name for name in named if name)])
        module: Any = stock
        stock_executor = module.MigrationExecutor
        module.MigrationExecutor = type("OnlineExecutor", (_OnlineExecutor,), {"command": self})
        try:
            self.allow_blocking = conf.parse_duration("--allow-blocking", given) if given else None
            with _past_the_pooler(options["database"]):
                super().handle(*args, **options)
        except SegueError as error:
            raise CommandError(str(error), returncode=error.exit_status) from error
        finally:
            module.MigrationExecutor = stock_executor

    def carry_out(self, executor: Migrator, plan: Any, state: ProjectState | None, fake_initial: bool) -> ProjectState:
        """Run the plan through the pipeline; return the state that it reached."""
        from segue import pipeline, render
        from segue.session import open_session

        session = open_session(
            executor.connection.alias,
            say=self._say,
            told=self._told,
            progress=executor.progress_callback,
            allow_blocking=self.allow_blocking,
            command=self.command,
        )
        reached = pipeline.migrate(session, plan, state, fake_initial=fake_initial)
        runs = session.journal.runs()
        if self.verbosity >= 1 and runs[-1].blocked:
            for line in render.release_lines(runs[-1]):
                self.stdout.write(f"  {line}")
        return reached or Migrator(executor.connection)._create_project_state(with_applied_migrations=True)

    def _say(self, text: str) -> None:
        if self.verbosity >= 1:
            self.stderr.write(f"    {text}", self.style.NOTICE)

    def _told(self, timing: Any) -> None:
        if self.verbosity >= 2:
            self.stdout.write(f"\n    {timing.title} ({timing.seconds:.3f}s)", ending="")


def _past_the_pooler(alias: str) -> AbstractContextManager[None]:
    if not conf.read().DIRECT.get(alias):
        return nullcontext()
    from segue.session import direct

    return direct(alias)
