"""Squashed migrations at every place where a database may be, merges, run_before, and two ends that nobody merged."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.management import call_command

from segue.core.errors import UsageError
from tests.project import Project

AUTHOR = 'migrations.CreateModel("Author", [("id", models.BigAutoField(primary_key=True))])'


def _field(name: str) -> str:
    return f'migrations.AddField("author", "{name}", models.IntegerField(default=1))'


def _write(project: Project, name: str, *operations: str, **attributes: list[str]) -> None:
    """Write a migration; its attributes name other migrations of the shop."""
    lines = [f"    {key} = {[('shop', other) for other in names]}\n" for key, names in attributes.items()]
    head = "from django.db import migrations, models\n\n\nclass Migration(migrations.Migration):\n"
    project.write(name, f"{head}{''.join(lines)}    operations = [{', '.join(operations)}]\n")


def _records(project: Project, alias: str = "default") -> list[Any]:
    rows = project.sql("SELECT name FROM django_migrations WHERE app = 'shop' ORDER BY name", alias=alias)
    return [name for (name,) in rows]


def _three(project: Project) -> None:
    _write(project, "0001_author", AUTHOR)
    _write(project, "0002_fame", _field("fame"), dependencies=["0001_author"])
    _write(project, "0003_age", _field("age"), dependencies=["0002_fame"])


def _squash(project: Project) -> None:
    replaced = ["0001_author", "0002_fame", "0003_age"]
    _write(project, "0001_squashed_0003", AUTHOR, _field("fame"), _field("age"), replaces=replaced)
    _write(project, "0004_rank", _field("rank"), dependencies=["0001_squashed_0003"])


@pytest.mark.parametrize("at", ["0001_author", "0002_fame", "0003_age", ""], ids=lambda at: at or "fresh")
def test_a_database_at_any_replaced_migration_ends_as_stocks(project: Project, at: str) -> None:
    _three(project)
    if at:
        project.live(at)
        project.finalize()
    _squash(project)

    project.apply()
    project.stock()

    assert _records(project) == _records(project, "stock")
    project.finalize()
    assert project.differences() == []


@pytest.mark.parametrize("finalizing", [False, True], ids=["open", "finalized"])
def test_replaced_migrations_are_taken_back_by_the_code_that_has_them_one_by_one(
    project: Project, finalizing: bool
) -> None:
    _three(project)
    project.live("0001_author")
    _squash(project)
    project.apply()
    if finalizing:
        project.finalize()

    with pytest.raises(UsageError) as refused:
        project.rollback()

    assert str(refused.value) == (
        "Migration shop.0003_age is part of shop.0001_squashed_0003 now and cannot be unapplied by itself.\n"
        "Next: run the rollback from the code before the squash"
    )
    assert "0004_rank" in _records(project)


def test_a_squashed_migration_goes_back_whole_and_forth_again(project: Project) -> None:
    _write(project, "0000_first", 'migrations.CreateModel("Fan", [("id", models.BigAutoField(primary_key=True))])')
    project.live("0000_first")
    replaced = {"replaces": ["0001_author", "0002_fame"], "dependencies": ["0000_first"]}
    _write(project, "0001_squashed_0002", AUTHOR, _field("fame"), **replaced)
    project.apply()
    project.sql("INSERT INTO shop_author (fame) VALUES (7)")
    project.finalize()
    project.rollback()
    assert _records(project) == ["0000_first"]

    project.apply()

    project.stock()
    project.finalize()
    assert _records(project) == _records(project, "stock")
    assert project.differences() == []
    assert project.sql("SELECT fame FROM shop_author") == [(7,)]


def test_migrate_goes_back_into_a_squashed_migration(project: Project) -> None:
    replaced = {"replaces": ["0001_author", "0002_fame", "0003_age"]}
    _three(project)
    _write(project, "0001_squashed_0003", AUTHOR, _field("fame"), _field("age"), **replaced)
    project.live("0001_squashed_0003")

    call_command("migrate", "shop", "0002_fame", verbosity=0)

    project.finalize()
    project.stock("0002_fame")
    assert _records(project) == _records(project, "stock")
    assert project.differences() == []


def test_two_ends_are_refused_until_they_are_merged(project: Project) -> None:
    _write(project, "0001_author", AUTHOR)
    _write(project, "0002_fame", _field("fame"), dependencies=["0001_author"])
    project.live("0002_fame")
    _write(project, "0002_age", _field("age"), dependencies=["0001_author"])

    with pytest.raises(UsageError) as refused:
        project.apply()

    assert str(refused.value) == (
        "There is more than one last migration: 0002_age, 0002_fame in shop.\nNext: manage.py makemigrations --merge"
    )
    _write(project, "0003_merge", dependencies=["0002_fame", "0002_age"])
    _write(project, "0002_rank", _field("rank"), dependencies=["0001_author"], run_before=["0003_merge"])
    project.apply("0003_merge")
    project.rollback()
    assert _records(project) == ["0001_author", "0002_fame"]
    project.apply("0003_merge")
    project.finalize()
    project.stock("0003_merge")
    assert _records(project) == _records(project, "stock")
    assert project.differences() == []
