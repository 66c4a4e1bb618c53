"""Several databases: each has its own releases and journal, and takes what the routers allow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connections, migrations, models
from django.test.utils import override_settings

from segue import cli, pipeline
from segue.session import open_session
from tests.project import Project

ID = ("id", models.BigAutoField(primary_key=True))


class Router:
    """Songs live on "default" and logs on the other database."""

    def allow_migrate(self, db: str, app_label: str, model_name: str | None = None, **_: Any) -> bool | None:
        """Allow each model of the shop where it lives, and hints of code only on "default"."""
        if app_label != "shop":
            return None
        return (db == "default") != (model_name == "log")


@pytest.fixture(params=["postgresql", "sqlite"])
def other(request: pytest.FixtureRequest, project: Project, tmp_path: Path) -> Iterator[str]:
    """The alias of a second database, of either kind, beside "default"; routers tell them apart."""
    with override_settings(DATABASE_ROUTERS=[Router()]):
        if request.param == "postgresql":
            yield "stock"
            return
        database = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "other.sqlite3")}
        connections.settings["other"] = connections.configure_settings({"default": {}, "other": database})["other"]
        try:
            yield "other"
        finally:
            connections["other"].close()
            del connections["other"], connections.settings["other"]


def _tables(alias: str) -> set[str]:
    names = connections[alias].introspection.table_names()
    return {name for name in names if name.startswith("shop_")}


def _columns(alias: str, table: str) -> set[str]:
    with connections[alias].cursor() as cursor:
        return {column.name for column in connections[alias].introspection.get_table_description(cursor, table)}


def test_each_database_has_its_own_tables_releases_and_journal(project: Project, other: str) -> None:
    project.migration(migrations.CreateModel("Song", [ID]), migrations.CreateModel("Log", [ID]))
    for alias in ("default", other):
        pipeline.apply(open_session(alias), "shop")
    project.migration(
        migrations.AddField("song", "title", models.CharField(max_length=9, default="t")),
        migrations.AddField("log", "line", models.CharField(max_length=9, default="l")),
    )

    assert cli.main(["apply", "shop", "--database", other]) == 0

    assert (_tables("default"), _tables(other)) == ({"shop_song"}, {"shop_log"})
    assert _columns(other, "shop_log") >= {"id", "line"}
    assert _columns("default", "shop_song") == {"id"}
    assert [len(open_session(alias).journal.runs()) for alias in ("default", other)] == [1, 2]
    assert cli.main(["apply", "shop"]) == 0
    assert _columns("default", "shop_song") == {"id", "title"}
    assert cli.main(["rollback", "--database", other]) == 0
    assert [run.migrations for run in open_session("default").journal.open_runs()] == [(("shop", "0002_step"),)]
    assert cli.main(["apply", "shop", "--database", other]) == 0
    for alias in ("default", other):
        assert cli.main(["finalize", "--old-code-gone", "--database", alias]) == 0
    assert _columns(other, "shop_log") == {"id", "line"}


def test_what_a_router_keeps_from_a_database_is_not_run_there(project: Project, other: str) -> None:
    project.write(
        "0001_step",
        "from django.db import migrations\n\n\n"
        "def write(apps, editor):\n"
        "    raise RuntimeError(editor.connection.alias)\n\n\n"
        "class Migration(migrations.Migration):\n"
        "    operations = [\n"
        "        migrations.RunPython(write, hints={'model_name': 'song'}),\n"
        "        migrations.RunSQL('SELECT 1 / 0', hints={'model_name': 'song'}),\n"
        "    ]\n",
    )

    run = pipeline.apply(open_session(other), "shop")

    assert run is not None
    assert run.migrations == (("shop", "0001_step"),)
