"""For generated sequences of operations: nothing is lost on the way forth, back and forth, and the end is stock's."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connections
from hypothesis import HealthCheck, Phase, given, settings

from segue.engines.postgresql.server import Server
from tests.operations.sequences import (
    BASE,
    Example,
    Generated,
    Rows,
    Writer,
    base_state,
    lost,
    only_steady,
    rows,
    sequences,
    told,
)
from tests.project import Project

_EVERY_RUN = settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    database=None,
    print_blob=True,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[*HealthCheck],
)
_SLOW = settings(
    max_examples=200,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[*HealthCheck],
)


@pytest.fixture(scope="module")
def templates(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Two databases in use, to copy: the same base models with the same rows."""
    folder = tmp_path_factory.mktemp("base")
    with Project.on(server, folder) as project:
        project.live(project.migration(*BASE))
        for alias in ("default", "stock"):
            Writer(base_state().apps, alias).insert(each=3)
            connections[alias].close()
        yield project


@pytest.fixture
def numbers() -> Iterator[itertools.count[int]]:
    yield itertools.count(1)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    sys.path.insert(0, str(tmp_path))
    yield tmp_path
    sys.path.remove(str(tmp_path))


@_EVERY_RUN
@given(generated=sequences(reusing_names=False))
def test_there_and_back_and_there_again_loses_nothing(
    templates: Project, folder: Path, numbers: itertools.count[int], generated: Generated
) -> None:
    with Example.copy(templates, folder, next(numbers)) as project:
        _there_and_back_and_there_again(project, generated)


@pytest.mark.slow
@_SLOW
@given(generated=sequences(reusing_names=True))
def test_there_and_back_and_there_again_loses_nothing_in_many_sequences(
    templates: Project, folder: Path, numbers: itertools.count[int], generated: Generated
) -> None:
    with Example.copy(templates, folder, next(numbers)) as project:
        _there_and_back_and_there_again(project, generated)


def _there_and_back_and_there_again(project: Example, generated: Generated) -> None:
    for operations in generated.migrations:
        project.migration(*operations)
    old_apps, new_apps = base_state().apps, generated.state().apps
    from_the_start = rows(old_apps)

    project.apply()

    _nothing_lost(from_the_start, rows(old_apps), "old code still reads what was there")
    new = Writer(new_apps, number=1_000)
    with told(new_apps):
        new.insert()
        new.update()
    old = Writer(old_apps, number=2_000)
    old.insert()
    with told(new_apps):
        by_old_code, by_new_code = rows(old_apps), rows(new_apps)

    project.rollback()

    _nothing_lost(by_old_code, rows(old_apps), "old code has every value that it had before the rollback")
    old.insert()
    by_old_code = rows(old_apps)

    project.apply()

    with told(new_apps):
        _nothing_lost(by_new_code, rows(new_apps), "new code has every value that it wrote before the rollback")
    _nothing_lost(by_old_code, rows(old_apps), "and old code those that it wrote since")
    old.insert()
    old.update()
    with told(new_apps):
        by_new_code = rows(new_apps)

    project.finalize()

    _nothing_lost(by_new_code, rows(new_apps), "finalize loses nothing")
    Writer(new_apps, number=3_000).insert()
    project.stock()
    assert project.differences() == [], "\n".join(project.differences())
    _assert_rows_from_the_start_are_equal(new_apps, from_the_start)


def _nothing_lost(before: Rows, after: Rows, promise: str) -> None:
    missing = lost(before, after)
    assert not missing, "\n".join([f"{promise}; yet:", *missing])


def _assert_rows_from_the_start_are_equal(new_apps: object, from_the_start: dict) -> None:
    """Old code has updated one row of each model; those that it did not touch must be as stock's."""
    stock = only_steady(new_apps, rows(new_apps, "stock"), {*from_the_start})
    ours = only_steady(new_apps, rows(new_apps), {*from_the_start})
    _nothing_lost(stock, ours, "the rows from the start are as stock Django leaves them")
