"""manage.py migrate: the stock command with all its flags, run by Segue's engine."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError
from django.core.management.commands import migrate as stock
from django.db.migrations.state import ProjectState

from segue import pipeline, render
from segue.core.errors import SegueError
from segue.core.evidence import Timing
from segue.history import Migrator
from segue.session import direct, open_session


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
        session = open_session(self.connection.alias, say=self.command.say, told=self.command.told)
        if plan is None:
            plan = self.migration_plan(targets)
        if fake or (not plan and not session.journal.has_unfinished()):
            return super().migrate(targets, plan=plan, state=state, fake=fake, fake_initial=fake_initial)
        session.migrator = Migrator(self.connection, self.progress_callback)
        reached = pipeline.migrate(session, plan, state, fake_initial=fake_initial)
        self.command.report(session)
        return reached or Migrator(self.connection)._create_project_state(with_applied_migrations=True)


class Command(stock.Command):
    """Stock's own `handle`, with the executor that it builds replaced for as long as it runs."""

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the stock command; Segue's errors keep their exit status."""
        module: Any = stock
        stock_executor = module.MigrationExecutor
        module.MigrationExecutor = type("OnlineExecutor", (_OnlineExecutor,), {"command": self})
        try:
            with direct(options["database"]):
                super().handle(*args, **options)
        except SegueError as error:
            raise CommandError(str(error), returncode=error.exit_status) from error
        finally:
            module.MigrationExecutor = stock_executor

    def say(self, text: str) -> None:
        """Tell of waiting, on stderr."""
        if self.verbosity >= 1:
            self.stderr.write(f"    {text}", self.style.NOTICE)

    def told(self, timing: Timing) -> None:
        """Tell of each step, at verbosity 2."""
        if self.verbosity >= 2:
            self.stdout.write(f"\n    {timing.title} ({timing.seconds:.3f}s)", ending="")

    def report(self, session: Any) -> None:
        """Say what was measured, and what comes next, after a release that others could have felt."""
        runs = session.journal.runs()
        if self.verbosity >= 1 and runs and runs[-1].blocked:
            for line in render.release_lines(runs[-1]):
                self.stdout.write(f"  {line}")
