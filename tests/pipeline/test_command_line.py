"""The command line as a person meets it, on VILLEN Music: results, errors and exit statuses."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from segue.engines import process
from segue.engines.postgresql.server import Server

BACKEND = Path(__file__).parents[2] / "backend"
_numbers = count(1)


class Villen:
    """VILLEN Music on a database of its own; each command is a process, as in a terminal."""

    def __init__(self, url: str) -> None:
        source = str(Path(__file__).parents[2] / "src")
        self._env = {
            **{key: value for key, value in os.environ.items() if key != "DJANGO_SETTINGS_MODULE"},
            "PYTHONPATH": os.pathsep.join([source, str(BACKEND)]),
            "DATABASE_URL": url,
            "STAGING_DATABASE_URL": url,
            "SECRET_KEY": "tests",
            "ALLOWED_HOSTS": "localhost",
        }

    def __call__(self, *arguments: str, settings: str = "production", cwd: Path = BACKEND) -> process.Completed:
        """Run `python …` in the backend folder; return what it said and its status."""
        env = {**self._env, "DJANGO_SETTINGS_MODULE": f"core.settings.{settings}"} if settings else self._env
        return process.run([sys.executable, *arguments], env=env, cwd=cwd, timeout=120, check=False)


@pytest.fixture
def villen(server: Server) -> Iterator[Villen]:
    """VILLEN Music with nothing applied yet."""
    name = f"villen_{next(_numbers)}"
    server.create_database(name)
    yield Villen(server.url(name))
    server.drop_database(name)


def test_the_three_ways_to_call_segue_are_one_command(villen: Villen) -> None:
    by_module = villen("-m", "segue", "status", "--format", "json")
    by_manage = villen("manage.py", "segue", "status", "--format", "json")

    assert by_module.status == by_manage.status == 0
    assert json.loads(by_module.stdout) == json.loads(by_manage.stdout)


def test_plan_check_tells_by_its_status_whether_there_is_something_to_do(villen: Villen) -> None:
    before = villen("-m", "segue", "plan", "--check")
    villen("manage.py", "migrate", "--verbosity", "0")
    after = villen("-m", "segue", "plan", "--check")

    assert (before.status, after.status) == (3, 0)
    assert after.stdout.splitlines()[-1] == "Nothing to do: every migration is applied."


def test_a_release_is_applied_and_taken_back_from_the_command_line(villen: Villen) -> None:
    villen("manage.py", "migrate", "music", "0001", "--verbosity", "0")

    applied = villen("-m", "segue", "apply", "music", "--no-input", "--format", "json")
    taken_back = villen("-m", "segue", "rollback", "--no-input", "--format", "json")

    assert json.loads(applied.stdout)["state"] == "open"
    assert json.loads(applied.stdout)["migrations"] == [
        "music.0002_user_preferences",
        "music.0003_playlists",
        "music.0004_analytics",
    ]
    assert json.loads(taken_back.stdout)["state"] == "rolled back"
    assert (applied.status, taken_back.status) == (0, 0)


def test_a_server_that_does_not_answer_is_said_in_two_lines(villen: Villen) -> None:
    dead = Villen("postgresql://postgres:secret@127.0.0.1:1/villen")

    failed = dead("-m", "segue", "plan")

    first, second = failed.stderr.strip().splitlines()
    assert failed.status == 1
    assert first.startswith('segue plan: Database "default" does not answer: connection failed: ')
    assert second == ("Next: check that the server runs and that DATABASES is right, then run the same command again")
    assert "secret" not in failed.stderr


@pytest.mark.parametrize(
    ("program", "status", "said"),
    [
        ("from segue import cli; sys.exit(cli.main(['plan']))", 2, "segue plan: "),
        ("from manage import main; sys.argv[1:] = ['migrate']; main()", 2, "CommandError: "),
        (
            "import django; django.setup(); from music.models import Song; Song.objects.count()",
            1,
            "segue.core.errors.UsageError: ",
        ),
    ],
    ids=["segue", "migrate", "the application"],
)
def test_psycopg2_alone_is_refused_by_name(villen: Villen, program: str, status: int, said: str) -> None:
    pytest.importorskip("psycopg2")

    refused = villen("-c", f"import sys; sys.modules['psycopg'] = None; {program}")

    assert refused.status == status
    assert refused.stderr.endswith(
        f'{said}Database "default" is reached through psycopg2, because psycopg 3 cannot be imported; '
        'Segue works with psycopg 3 only.\nNext: pip install "psycopg[binary]>=3.2"\n'
    )


def test_outside_a_project_the_error_says_where_to_go(villen: Villen, tmp_path: Path) -> None:
    failed = villen("-m", "segue", "status", settings="", cwd=tmp_path)

    assert failed.status == 2
    assert failed.stderr == (
        "segue status: No Django project here: there is no manage.py in this folder, and DJANGO_SETTINGS_MODULE "
        "is not set.\nNext: change to the project's folder, or give --settings MODULE\n"
    )


def test_the_suite_runs_on_the_staging_server(villen: Villen) -> None:
    ran = villen(
        "manage.py", "test", "music.tests.test_health", "--database=staging", "--no-input", settings="development"
    )

    assert ran.status == 0, ran.stderr
    assert "Ran 5 tests" in ran.stderr
