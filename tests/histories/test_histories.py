"""The migrations of public projects end as stock Django's, and lose nothing on the way back."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import django
import pytest

from tests.histories.projects import HISTORIES

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.skipif(django.VERSION[:2] != (5, 2), reason="the versions of the projects are those for Django 5.2")
@pytest.mark.parametrize("name", HISTORIES)
def test_every_migration_ends_as_stocks_and_can_be_taken_back(name: str) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "DJANGO_SETTINGS_MODULE"}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-m", "tests.histories", name],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
