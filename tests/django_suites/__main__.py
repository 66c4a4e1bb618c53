"""`python -m tests.django_suites schema --database postgresql`: a suite of Django's own tests, with Segue.

Runs it with stock Django first, because not every test passes on every server. Fails for a test that fails with
Segue only and is not among the exceptions, and for an exception that passes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

SUITES = ("schema", "migrations", "migrate_signals", "migration_test_data_persistence", "postgres_tests")
Outcomes = dict[str, str]


def main() -> int:
    """Run what the command line names; return the exit status."""
    options = _options()
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="django-suites-"))
        if options.database == "postgresql" and not options.port:
            options.port = stack.enter_context(_server())
        if options.stock:
            _run(options, folder)
            return 0
        stock = _stock_outcomes(options, Path(folder))
        return _judge(options, _run(options, folder), stock)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.django_suites", description=__doc__)
    parser.add_argument("suite", help=f"one of {', '.join(SUITES)}, or the full name of a class or test in one")
    parser.add_argument("--database", choices=("postgresql", "sqlite"), default="postgresql")
    parser.add_argument("--port", help="of a PostgreSQL that runs on 127.0.0.1, in place of a throw-away one")
    parser.add_argument("-k", dest="patterns", action="append", default=[], help="only tests whose name matches")
    parser.add_argument("--stock", type=Path, metavar="FILE", help="run stock Django and write the outcomes to a file")
    return parser.parse_args()


@contextmanager
def _server() -> Iterator[str]:
    from segue.engines.postgresql.server import Server

    with Server.temporary(settings={"fsync": "off"}) as server:
        yield str(server.port)


def _stock_outcomes(options: argparse.Namespace, folder: Path) -> Outcomes:
    """Run the same tests with stock Django, in a process of its own: this one replaces parts of Django."""
    file = folder / "stock.json"
    argv = [sys.executable, "-m", "tests.django_suites", options.suite, "--database", options.database]
    argv += ["--port", options.port] if options.port else []
    argv += [word for pattern in options.patterns for word in ("-k", pattern)]
    done = subprocess.run([*argv, "--stock", str(file)], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"Stock Django could not be run: {' '.join(done.args)}\n{done.stdout}{done.stderr}")
    outcomes: Outcomes = json.loads(file.read_text(encoding="utf-8"))
    return outcomes


def _run(options: argparse.Namespace, folder: str) -> Outcomes:
    """Run Django's own runner of its tests in this process; `folder` is for what the tests write."""
    from tests.django_suites.source import tests_folder

    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.django_suites.settings"
    os.environ["TMPDIR"] = tempfile.tempdir = tempfile.mkdtemp(dir=folder)
    if options.database == "postgresql":
        os.environ["SEGUE_SUITES_PORT"] = options.port
    if options.stock:
        os.environ["SEGUE_SUITES_STOCK"] = "1"
    tests = tests_folder()
    sys.path.insert(0, str(tests))
    os.chdir(tests)
    import runtests

    if not options.stock:
        runtests.ALWAYS_INSTALLED_APPS.append("segue")
    runtests.django_tests(
        verbosity=1,
        interactive=False,
        failfast=False,
        keepdb=False,
        reverse=False,
        test_labels=[options.suite],
        debug_sql=False,
        parallel=1,
        tags=None,
        exclude_tags=None,
        test_name_patterns=options.patterns or None,
        start_at=None,
        start_after=None,
        pdb=False,
        buffer=True,
        timing=False,
        shuffle=False,
    )
    from tests.django_suites.runner import Recorder

    if options.stock:
        options.stock.write_text(json.dumps(Recorder.outcomes), encoding="utf-8")
    return Recorder.outcomes


def _judge(options: argparse.Namespace, outcomes: Outcomes, stock: Outcomes) -> int:
    """Compare with stock and with the list; say what differs and return the exit status."""
    from tests.django_suites.exceptions import EXCEPTIONS

    listed = EXCEPTIONS[options.database]
    ran = {test for test, outcome in outcomes.items() if outcome != "skipped"}
    failed = {test for test in ran if outcomes[test] == "failed"}
    different = {test for test in failed if stock.get(test) != "failed"}
    unlisted = sorted(different - set(listed))
    untrue = sorted((ran - failed) & set(listed))
    print(
        f"\n{options.suite} on {options.database}: {len(ran)} run, {len(ran - failed)} passed, "
        f"{len(different & set(listed))} exceptions, {len(failed - different)} fail with stock Django too, "
        f"{len(outcomes) - len(ran)} skipped"
    )
    for test in unlisted:
        print(f"FAILED with Segue only, and is no exception: {test}")
    for test in untrue:
        print(f"PASSED, but is an exception: {test}")
    return 1 if unlisted or untrue else 0


if __name__ == "__main__":
    sys.exit(main())
