"""The demo's options, and what it says when it cannot begin."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from segue import demo
from segue.core.errors import UsageError
from segue.demo.project import find_project


def options(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    demo.add_arguments(parser)
    return parser.parse_args(arguments)


def test_the_project_is_found_from_a_folder_inside_the_clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "backend" / "music").mkdir(parents=True)
    (tmp_path / "backend" / "manage.py").touch()
    (tmp_path / "docs" / "how").mkdir(parents=True)

    monkeypatch.chdir(tmp_path / "docs" / "how")

    assert find_project(None) == tmp_path / "backend"


def test_a_missing_project_names_the_next_command(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as raised:
        demo.run(options("--project", str(tmp_path)))

    assert str(raised.value) == (
        f"The demo needs VILLEN Music, the reference project, and there is none in {tmp_path}.\n"
        "Next: segue demo --project FOLDER, where FOLDER is backend/ of a clone of Segue"
    )


def test_too_few_users_are_refused_before_anything_starts() -> None:
    with pytest.raises(UsageError, match="5 users are too few"):
        demo.run(options("--users", "5"))
