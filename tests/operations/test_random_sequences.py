"""For generated sequences of operations: nothing is lost on the way forth, back and forth, and the end is stock's."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.exceptions import FieldError
from django.db import connections
from hypothesis import HealthCheck, Phase, given, settings

from segue import pipeline
from segue.engines.postgresql.server import Server
from tests.operations.sequences import (
    BASE,
    Example,
    Generated,
    Rows,
    Writer,
    base_state,
    evolutions,
    lost,
    only_steady,
    rows,
    sequences,
    told,
)
from tests.operations.traffic import Traffic
from tests.project import Project

_EVERY_RUN = settings(
    max_examples=3,
    deadline=None,
    derandomize=True,
    database=None,
    print_blob=True,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[*HealthCheck],
)
_SLOW = settings(
    max_examples=100,
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


@pytest.mark.slow
@_SLOW
@given(generated=evolutions())
def test_whatever_the_autodetector_finds_goes_there_and_back_and_there_again_without_a_loss(
    templates: Project, folder: Path, numbers: itertools.count[int], generated: Generated
) -> None:
    with Example.copy(templates, folder, next(numbers)) as project:
        _there_and_back_and_there_again(project, generated)


def _there_and_back_and_there_again(project: Example, generated: Generated) -> None:
    old_apps, new_apps = generated.old_state().apps, generated.state().apps
    _bring_old_code(project, generated)
    for operations in generated.migrations:
        project.migration(*operations)
    from_the_start, own_names = rows(old_apps), project.named_by_segue()
    steady = generated.in_new_code(from_the_start)
    old = Traffic(generated.old_state().apps, 10_000, from_the_start)
    new = Traffic(generated.state().apps, 20_000, steady)

    with old.running():
        project.apply()
        _nothing_lost(from_the_start, rows(old_apps), "old code still reads what was there")
        with told(new.apps), new.running():
            old.go_on()
            new.go_on()
            new.is_on_its_way_out()
            project.rollback()
        old.go_on()

    _nothing_lost(from_the_start, rows(old_apps), "old code still reads what was there before the release")
    _all_there(old, old_apps, "old code has every value that it wrote beside the release and its rollback")

    with old.running():
        project.apply()
        old.go_on()
        with told(new_apps):
            _all_there(new, new_apps, "new code has every value that it wrote before and during the rollback")
        again = Traffic(generated.state().apps, 30_000, steady)
        with told(again.apps), again.running():
            old.go_on()
            again.go_on()
    _all_there(old, old_apps, "and old code those that it wrote since")
    by_old_code = rows(old_apps)
    with told(new_apps):
        _all_there(again, new_apps, "and new code those that it wrote since")
        by_new_code = rows(new_apps)

    last = Traffic(generated.state().apps, 5_000, steady)
    with last.looking_again(), last.running():
        last.go_on()
        project.finalize()
        last.go_on()

    _nothing_lost(by_new_code, rows(new_apps), "finalize loses nothing")
    _all_there(last, new_apps, "new code has every value that it wrote beside finalize")
    project.stock()
    assert project.differences() == [], "\n".join(project.differences())
    _assert_rows_from_the_start_are_equal(new_apps, from_the_start)

    with last.running():
        assert pipeline.purge(project.session(), timedelta(0)).postponed == ()
        last.go_on()

    assert project.differences() == [], "\n".join(project.differences())
    left = project.named_by_segue() - own_names
    assert not left, sorted(left)
    _nothing_lost(by_new_code, rows(new_apps), "purge loses nothing")
    _all_there(last, new_apps, "new code has every value that it wrote beside finalize and purge")

    if _goes_back(project, generated):
        with told(old_apps):
            _nothing_lost(by_old_code, rows(old_apps), "the archives bring back what purge had dropped")


def _goes_back(project: Example, generated: Generated) -> bool:
    """Roll the finalized release back; False where Django's own operations cannot go back, as stock shows."""
    try:
        project.rollback()
    except (LookupError, FieldError):
        with pytest.raises((LookupError, FieldError)):
            project.stock("0002_step" if generated.before else "0001_step")
        return False
    return True


def _bring_old_code(project: Example, generated: Generated) -> None:
    """Bring both databases, with rows in every table, to the state that old code has."""
    if not generated.before:
        return
    project.migration(*generated.before)
    project.apply()
    project.finalize()
    project.stock()
    for alias in ("default", "stock"):
        Writer(generated.old_state().apps, alias, number=1_000).insert()


def _all_there(traffic: Traffic, apps: object, promise: str) -> None:
    missing = traffic.lost(rows(apps))
    assert not missing, "\n".join([f"{promise}; yet:", *missing])


def _nothing_lost(before: Rows, after: Rows, promise: str) -> None:
    missing = lost(before, after)
    assert not missing, "\n".join([f"{promise}; yet:", *missing])


def _assert_rows_from_the_start_are_equal(new_apps: object, from_the_start: dict) -> None:
    """Nobody has updated these rows since, so they must be as stock's."""
    stock = only_steady(new_apps, rows(new_apps, "stock"), {*from_the_start})
    ours = only_steady(new_apps, rows(new_apps), {*from_the_start})
    _nothing_lost(stock, ours, "the rows from the start are as stock Django leaves them")
