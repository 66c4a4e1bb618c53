"""Django's own tests of migrations and schemas hold with Segue; the exceptions are listed and still are some."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.django_suites.__main__ import SUITES
from tests.django_suites.exceptions import EXCEPTIONS, REASONS

ROOT = Path(__file__).parents[2]
DOCUMENTED = (ROOT / "docs/testing.md").read_text(encoding="utf-8")
RUNS = [(suite, database) for suite in SUITES for database in ("postgresql", "sqlite")]
RUNS.remove(("postgres_tests", "sqlite"))


@pytest.mark.slow
@pytest.mark.parametrize(("suite", "database"), RUNS)
def test_djangos_own_suite_holds(suite: str, database: str) -> None:
    argv = [sys.executable, "-m", "tests.django_suites", suite, "--database", database]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}

    done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def test_every_reason_for_an_exception_is_documented_and_no_other() -> None:
    listed = {
        reason: " and ".join(name for name in ("PostgreSQL", "SQLite") if reason in EXCEPTIONS[name.lower()].values())
        for reason in REASONS
    }

    documented = dict(re.findall(r"^\| (.+) \| (PostgreSQL|SQLite|PostgreSQL and SQLite) \|$", DOCUMENTED, flags=re.M))

    assert documented == listed
