"""Content types go with the models that they are named after, as under stock Django."""

from __future__ import annotations

import pytest
from django.core.management import call_command
from django.db import migrations, models

from segue import pipeline
from segue.core.errors import FailedAndUndone
from segue.core.run import State
from tests.operations import own_code
from tests.project import Project

RENAME = migrations.RenameModel("Book", "Volume")


def open_library(project: Project, *after: migrations.RunPython) -> str:
    """Make a live database where contenttypes is as it is today, and rename a model; return the first migration."""
    model = migrations.CreateModel("Book", [("id", models.BigAutoField(primary_key=True))])
    first = project.migration(model)
    pipeline.apply(project.session())
    project.migration(RENAME, *after)
    pipeline.apply(project.session())
    return first


def content_types(project: Project) -> list[str]:
    return [name for (name,) in project.sql("SELECT model FROM django_content_type WHERE app_label = 'shop'")]


def test_a_rollback_renames_content_types_back(project: Project) -> None:
    open_library(project)
    applied = content_types(project)
    run = project.rollback()

    assert (applied, content_types(project)) == (["volume"], ["book"])
    assert run.state is State.ROLLED_BACK


def test_going_back_with_migrate_renames_content_types_back(project: Project) -> None:
    first = open_library(project)
    call_command("migrate", "shop", first, verbosity=0)

    assert content_types(project) == ["book"]


def test_a_rollback_that_failed_half_way_goes_on_and_renames_content_types_back(project: Project) -> None:
    open_library(project, migrations.RunPython(own_code.fail_if_told, own_code.fail_if_told))
    own_code.failing.add("fail_if_told")
    session = project.session()
    session.reverse_code = True
    with pytest.raises(FailedAndUndone):
        pipeline.rollback(session)
    own_code.failing.clear()
    run = project.rollback()

    assert run.state is State.ROLLED_BACK
    assert content_types(project) == ["book"]
