"""Verbs, options and exit statuses: `segue …`, `python -m segue …` and `manage.py segue …` are this.

Results go to stdout, progress to stderr. Parses, asks, calls the pipeline, renders; decides nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from segue import __version__, demo, render
from segue.core.errors import ChangesPending, Interrupted, SegueError, UsageError
from segue.core.evidence import Timing
from segue.core.purge import spoken

if TYPE_CHECKING:
    from segue.session import Session


def build_parser(prog: str) -> argparse.ArgumentParser:
    """Return the parser of every verb."""
    parser = argparse.ArgumentParser(
        prog=prog, description="Change a live Django database without anyone noticing, and take it back."
    )
    parser.add_argument("--version", action="version", version=f"segue {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    plan = _verb(verbs, "plan", _plan, "show what apply would do, step by step, with the locks that it takes")
    _migration_arguments(plan)
    plan.add_argument("--sql", action="store_true", help="show the statements of each step")
    plan.add_argument("--check", action="store_true", help="exit with 3 when there is something to do")
    apply = _verb(verbs, "apply", _apply, "bring the database to the wanted migrations; the release stays open")
    _migration_arguments(apply)
    _writing_arguments(apply)
    _blocking_argument(apply)
    rollback = _verb(verbs, "rollback", _rollback, "take the newest release back to where it began")
    rollback.add_argument("release", nargs="?", help="the release that is meant; done already is no error")
    rollback.add_argument(
        "--reverse-code",
        action="store_true",
        help="run the reverse that migrations' own code has, in place of putting back what it changed",
    )
    _writing_arguments(rollback)
    _blocking_argument(rollback)
    finalize = _verb(verbs, "finalize", _finalize, "end the open releases, once old code is gone")
    _writing_arguments(finalize)
    _blocking_argument(finalize)
    finalize.add_argument(
        "--old-code-gone",
        action="store_true",
        help="your word that no old code is connected, nor new code of a release that is rolled back",
    )
    purge = _verb(verbs, "purge", _purge, "archive in the store what was retired long enough ago, and drop it")
    purge.add_argument("--older-than", metavar="DURATION", help="such as 7d or 0s (default: SEGUE['RETAIN'], 7 days)")
    purge.add_argument("--forget", metavar="ARCHIVE", help="give up the values in an archive that is lost")
    _writing_arguments(purge)
    quarantine = _verb(verbs, "quarantine", _quarantine, "list what the way back could not keep, or settle it")
    quarantine.add_argument("action", nargs="?", choices=("settle",), help="settle lines; without it they are listed")
    quarantine.add_argument("ids", nargs="*", type=int, metavar="ID", help="the lines to settle")
    quarantine.add_argument("--release", default="", help="settle what this release put there")
    quarantine.add_argument("--table", default="", help="settle what is of this table")
    how = quarantine.add_mutually_exclusive_group()
    how.add_argument("--restore", action="store_true", help="put back what fits by now, or try the constraint again")
    how.add_argument("--keep", action="store_true", help="leave everything as it is")
    _writing_arguments(quarantine)
    _verb(verbs, "status", _status, "show where the database stands and what waits")
    story = verbs.add_parser("demo", help="the whole story on a database of its own, from a clone of Segue")
    demo.add_arguments(story)
    story.set_defaults(run=None)
    return parser


def _verb(verbs: Any, name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
    verb: argparse.ArgumentParser = verbs.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    verb.set_defaults(run=run)
    verb.add_argument("--database", default="default", metavar="ALIAS", help="alias in DATABASES (default: default)")
    verb.add_argument("--settings", metavar="MODULE", help="Django settings module")
    verb.add_argument("--format", choices=("text", "json"), default="text")
    verb.add_argument("--traceback", action="store_true", help="show where an error came from")
    return verb


def _migration_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("app", nargs="?", help="app label; every app when left out")
    verb.add_argument("migration", nargs="?", help="name or prefix of the migration to go to, or zero")


def _writing_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--no-input", "--noinput", action="store_true", help="ask nothing")
    verb.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")


def _blocking_argument(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--allow-blocking",
        metavar="DURATION",
        help="for how long others may wait for what has no online form, such as 2s "
        "(default: SEGUE['ALLOW_BLOCKING'], 50ms)",
    )


def main(arguments: Sequence[str], prog: str = "segue") -> int:
    """Run one command; return its exit status."""
    options = build_parser(prog).parse_args(arguments)
    options.typed = _typed(prog, arguments)
    try:
        if options.verb == "demo":
            return demo.run(options)
        _set_up_django(options.settings)
        return int(options.run(options))
    except SegueError as error:
        if getattr(options, "traceback", False):
            traceback.print_exc()
        print(f"segue {options.verb}: {error}", file=sys.stderr)
        return error.exit_status
    except BrokenPipeError:
        # Whoever read the output has gone, so there is nobody to tell; Python would complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print(
            f"segue {options.verb}: interrupted. Next: segue status, which says where the database stands.",
            file=sys.stderr,
        )
        return Interrupted.exit_status


def _set_up_django(settings: str | None) -> None:
    """Find the project as manage.py would; raise UsageError when its settings cannot be found or loaded."""
    import django
    from django.apps import apps
    from django.core.exceptions import ImproperlyConfigured

    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    if settings:
        os.environ["DJANGO_SETTINGS_MODULE"] = settings
    elif found := _settings_of_manage_py():
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", found)
    if "DJANGO_SETTINGS_MODULE" not in os.environ:
        raise UsageError(
            "No Django project here: there is no manage.py in this folder, and DJANGO_SETTINGS_MODULE is not set.",
            next_command="change to the project's folder, or give --settings MODULE",
        )
    if apps.ready:
        return
    try:
        django.setup()
    except (ImportError, ImproperlyConfigured) as error:
        raise UsageError(
            f"The settings {os.environ['DJANGO_SETTINGS_MODULE']} cannot be loaded: {error}",
            next_command="manage.py check, with the same settings",
        ) from error
    if not apps.is_installed("segue"):
        raise UsageError("segue is not installed in this project.", next_command='add "segue" to INSTALLED_APPS')


def _settings_of_manage_py() -> str:
    manage = Path("manage.py")
    if not manage.exists():
        return ""
    found = re.search(r"""DJANGO_SETTINGS_MODULE["'],\s*["']([\w.]+)["']""", manage.read_text(encoding="utf-8"))
    return found[1] if found else ""


# Verbs


def _plan(options: argparse.Namespace) -> int:
    from segue import pipeline

    with _session(options) as session:
        plan = pipeline.plan(session, options.app, options.migration)
    _print(options, render.plan_lines(plan, sql=options.sql, allowed=session.allow_blocking), render.plan_json(plan))
    return ChangesPending.exit_status if options.check and plan.migrations else 0


def _apply(options: argparse.Namespace) -> int:
    from segue import pipeline

    with _session(options) as session:
        if options.dry_run or not _agreed(options):
            plan = pipeline.plan(session, options.app, options.migration)
            _print(options, render.plan_lines(plan, allowed=session.allow_blocking), render.plan_json(plan))
            if options.dry_run or not plan.migrations or not _confirmed(options, "Apply it?"):
                return 0
        began = time.monotonic()
        run = pipeline.apply(session, options.app, options.migration)
        if run is None:
            _print(options, ["Nothing to do: every migration is applied."], render.nothing_json())
        else:
            seconds = time.monotonic() - began
            _print(options, render.release_lines(run), render.release_json(run, session.timings, seconds))
    return 0


def _rollback(options: argparse.Namespace) -> int:
    from segue import pipeline

    with _session(options) as session:
        if options.dry_run or not _agreed(options):
            plan = pipeline.rollback_plan(session, options.release)
            _print(options, render.plan_lines(plan, allowed=session.allow_blocking), render.plan_json(plan))
            if options.dry_run or not _confirmed(options, "Roll it back?"):
                return 0
        began = time.monotonic()
        run = pipeline.rollback(session, options.release)
        seconds = time.monotonic() - began
        _print(options, render.release_lines(run), render.release_json(run, session.timings, seconds))
    return 0


def _finalize(options: argparse.Namespace) -> int:
    from segue import pipeline

    with _session(options) as session:
        status = pipeline.status(session)
        waiting = [*status.behind, *(one.run for one in status.open)]
        if options.dry_run or (waiting and not _agreed(options)):
            steps = [step for run in waiting for step in (*run.background, *run.steps_left)]
            lines = [f"{len(steps)} steps would be carried out:", *(f"  {step.title}" for step in steps)]
            _print(options, lines, {"schema_version": render.SCHEMA_VERSION, "steps": [s.title for s in steps]})
            if options.dry_run or not _confirmed(options, "Finalize?"):
                return 0
        began = time.monotonic()
        runs = pipeline.finalize(session, old_code_gone=options.old_code_gone)
        seconds = time.monotonic() - began
        if not runs:
            _print(options, ["Nothing to do: no release is open."], render.nothing_json())
        else:
            lines = [line for run in runs for line in render.release_lines(run)]
            _print(options, lines, render.releases_json(runs, session.timings, seconds))
    return 0


def _purge(options: argparse.Namespace) -> int:
    from segue import conf, pipeline

    retain = conf.read().RETAIN
    older_than = conf.parse_duration("--older-than", options.older_than) if options.older_than else retain
    with _session(options) as session:
        if options.forget:
            return _forget(options, session)
        if options.dry_run or not _agreed(options):
            survey = pipeline.purge_survey(session, older_than)
            _print(options, render.survey_lines(survey), render.survey_json(survey))
            if options.dry_run or not survey.due or not _confirmed(options, "Purge them?"):
                return 0
        began = time.monotonic()
        purge = pipeline.purge(session, older_than)
        _print(options, render.purge_lines(purge), render.purge_json(purge, session.timings, time.monotonic() - began))
    purge.require_whole()
    return 0


def _forget(options: argparse.Namespace, session: Session) -> int:
    from segue import pipeline

    question = f"Give up the values in {options.forget}? Nothing can bring them back into the database."
    if options.dry_run or not _confirmed(options, question):
        return 0
    forgotten = pipeline.forget_archive(session, options.forget)
    line = f"Forgotten: {spoken(forgotten)} will be made anew, without the values in {forgotten.archive}."
    _print(options, [line], {"schema_version": render.SCHEMA_VERSION, "forgotten": forgotten.archive})
    return 0


def _quarantine(options: argparse.Namespace) -> int:
    from segue import pipeline

    with _session(options) as session:
        if options.action is None:
            groups = pipeline.quarantine(session)
            _print(options, render.quarantine_lines(groups), render.quarantine_json(groups))
            return 0
        _require_choice(options)
        chosen = pipeline.quarantine_chosen(session, options.ids, options.release, options.table)
        if options.dry_run or not _agreed(options):
            how = "restore" if options.restore else "keep"
            _print(options, render.chosen_lines(chosen, how), {"schema_version": render.SCHEMA_VERSION,
                                                               "ids": [line.id for line in chosen]})  # fmt: skip
            if options.dry_run or not _confirmed(options, "Settle them?"):
                return 0
        settled = pipeline.settle(session, chosen, restoring=options.restore)
        _print(options, render.settled_lines(settled), render.settled_json(settled))
    settled.require_whole()
    return 0


def _require_choice(options: argparse.Namespace) -> None:
    if not (options.ids or options.release or options.table):
        raise UsageError(
            "Which lines? Nothing says which of the quarantine's lines are to be settled.",
            next_command="segue quarantine, which gives the command for each group",
        )
    if not (options.restore or options.keep):
        raise UsageError(
            "How? --restore puts back what fits by now, --keep leaves everything as it is.",
            next_command="the same command with --restore or --keep",
        )


def _status(options: argparse.Namespace) -> int:
    from segue import pipeline

    with _session(options) as session:
        status = pipeline.status(session)
    _print(options, render.status_lines(status), render.status_json(status))
    return 0


# Talking


@contextmanager
def _session(options: argparse.Namespace) -> Iterator[Session]:
    """Yield a session on the direct connection, whose progress goes to stderr."""
    from segue.session import direct, open_session

    console = Console(stderr=True, highlight=False, soft_wrap=True)

    def say(text: str) -> None:
        console.print("[yellow]…[/]", escape(text))

    def told(timing: Timing) -> None:
        console.print("[green]✓[/]", escape(render.timing_line(timing)))

    def progress(action: str, migration: Any = None, fake: bool = False) -> None:  # noqa: ARG001  Django's words
        if action in {"apply_start", "unapply_start"}:
            console.print(f"{'unapply' if action.startswith('un') else 'apply'} {migration}", style="bold")

    with direct(options.database):
        yield open_session(
            options.database,
            say=say,
            told=told,
            progress=progress,
            allow_blocking=_allowed(options),
            command=options.typed,
            reverse_code=getattr(options, "reverse_code", False),
        )


def _allowed(options: argparse.Namespace) -> timedelta | None:
    """How long others may wait, when it was said."""
    from segue import conf

    given = getattr(options, "allow_blocking", None)
    return conf.parse_duration("--allow-blocking", given) if given else None


def _typed(prog: str, arguments: Sequence[str]) -> str:
    """What was typed, without what it allows, for an error that says what to allow."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--allow-blocking")
    return shlex.join([prog, *parser.parse_known_args(arguments)[1]])


def _agreed(options: argparse.Namespace) -> bool:
    """Whether nobody need be asked: it was said so, or nobody sits there."""
    return bool(options.no_input) or not sys.stdin.isatty()


def _confirmed(options: argparse.Namespace, question: str) -> bool:
    return _agreed(options) or input(f"{question} [y/N] ").strip().lower() in {"y", "yes"}


def _print(options: argparse.Namespace, lines: list[str], value: dict[str, Any]) -> None:
    print(json.dumps(value, ensure_ascii=False) if options.format == "json" else render.joined(lines))


def console() -> None:
    """The `segue` script."""
    sys.exit(main(sys.argv[1:]))
