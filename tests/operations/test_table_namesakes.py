"""A table that gives way to another of its name: each version has its own under the name until finalize."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import migrations, models
from django.db.migrations.loader import MigrationLoader
from django.test import override_settings

from segue import carrier, pipeline
from segue.core.errors import FailedAndUndone, GateNotMet, StepFailed
from segue.core.run import State
from segue.stages import finalize
from tests.operations.bookshop import edit, plan
from tests.operations.sequences import Rows, Writer, lost, rows, told
from tests.operations.steps import fail_again, fill_books
from tests.project import Project

ID = ("id", models.BigAutoField(primary_key=True))
TAG = migrations.CreateModel("Tag", [ID, ("name", models.CharField(max_length=20, unique=True))])
BOOK = migrations.CreateModel(
    "Book",
    [
        ID,
        ("code", models.CharField(max_length=20, unique=True)),
        ("pages", models.PositiveIntegerField(db_index=True)),
        ("tag", models.ForeignKey("shop.tag", models.CASCADE)),
        ("tags", models.ManyToManyField("shop.tag", related_name="+")),
    ],
    {"indexes": [models.Index(fields=["code", "pages"], name="by_code")]},
)
OTHER_BOOK = migrations.CreateModel(
    "Book",
    [
        ID,
        ("code", models.SlugField(max_length=30, unique=True)),
        ("pages", models.PositiveIntegerField(db_index=True, null=True)),
        ("tag", models.ForeignKey("shop.tag", models.CASCADE)),
        ("sequel", models.ForeignKey("self", models.SET_NULL, null=True)),
        ("tags", models.ManyToManyField("shop.tag", related_name="+")),
    ],
    {
        "indexes": [models.Index(fields=["pages", "code"], name="by_code")],
        "constraints": [models.UniqueConstraint(fields=["code", "tag"], name="once")],
    },
)
SLIM_BOOK = migrations.CreateModel("Book", [("code", models.CharField(max_length=20, primary_key=True))])
BOOK_OF_NUMBERS = migrations.CreateModel(
    "Book", [ID, ("isbn", models.PositiveIntegerField(unique=True)), ("pages", models.PositiveIntegerField())]
)
VOLUME = migrations.CreateModel(
    "Volume",
    [
        ID,
        ("code", models.SlugField(max_length=30, unique=True)),
        ("tag", models.ForeignKey("shop.tag", models.CASCADE)),
        ("tags", models.ManyToManyField("shop.tag", related_name="+")),
    ],
)
REVIEW = migrations.CreateModel(
    "Review",
    [
        ID,
        ("text", models.CharField(max_length=20)),
        ("book", models.ForeignKey("shop.book", models.CASCADE, null=True, related_name="+")),
    ],
)
DELETE = migrations.DeleteModel("Book")


def _long(*columns: str, **options: Any) -> Any:
    """A model whose names PostgreSQL has to cut."""
    fields = [ID, *((name * 12, models.PositiveIntegerField(**options)) for name in ("weight", *columns))]
    return migrations.CreateModel("B" * 60, fields)


INDEX = migrations.AddIndex("book", models.Index(fields=["pages"], name="by_pages"))
CHANGES = (
    INDEX,
    migrations.AddField("book", "isbn", models.CharField(max_length=20, unique=True, null=True)),
    migrations.AddField("book", "kept_by", models.ForeignKey("shop.tag", models.CASCADE, null=True, related_name="+")),
    migrations.AddConstraint("book", models.UniqueConstraint(fields=["pages", "isbn"], name="both")),
    migrations.AlterField("book", "code", models.CharField(max_length=60, db_index=True)),
    migrations.RenameField("book", "pages", "leaves"),
)
KEY = models.ForeignKey("shop.book", models.CASCADE, null=True, related_name="+")

Exchange = tuple[tuple[Any, ...], tuple[tuple[Any, ...], ...]]
EXCHANGES: dict[str, Exchange] = {
    "another shape": ((TAG, BOOK), ((DELETE, OTHER_BOOK),)),
    "another shape in two migrations": ((TAG, BOOK), ((DELETE,), (OTHER_BOOK,))),
    "a renamed model": ((TAG, BOOK, VOLUME), ((DELETE, migrations.RenameModel("Volume", "Book")),)),
    "a table of another name": (
        (TAG, BOOK, VOLUME),
        ((DELETE, migrations.AlterModelTable("Volume", "shop_book")),),
    ),
    "a new model gets the table's name": (
        (TAG, BOOK),
        ((DELETE, VOLUME, migrations.AlterModelTable("Volume", "shop_book")),),
    ),
    "renamed, and another of its name": ((TAG, BOOK), ((migrations.RenameModel("Book", "Tome"), BOOK_OF_NUMBERS),)),
    "renamed, and another of its long name": (
        (TAG, _long("code")),
        ((migrations.RenameModel("B" * 60, "Tome"), _long("isbn", unique=True, default=1)),),
    ),
    "deleted again": ((TAG, BOOK), ((DELETE, OTHER_BOOK, DELETE),)),
    "deleted again and made again": ((TAG, BOOK), ((DELETE, OTHER_BOOK, DELETE, SLIM_BOOK),)),
    "made as it was": ((TAG, BOOK), ((DELETE, OTHER_BOOK), (DELETE, BOOK))),
    "changed at once": ((TAG, BOOK, INDEX), ((DELETE, OTHER_BOOK, *CHANGES),)),
    "changed later": ((TAG, BOOK, INDEX), ((DELETE, OTHER_BOOK), CHANGES)),
    "with another name": (
        (TAG, BOOK),
        ((DELETE, OTHER_BOOK, migrations.RenameModel("Book", "Tome")), (migrations.RenameModel("Tome", "Opus"),)),
    ),
    "with another name, and a third one": (
        (TAG, BOOK),
        ((DELETE, OTHER_BOOK, migrations.RenameModel("Book", "Tome"), SLIM_BOOK),),
    ),
    "a key onto either": (
        (TAG, BOOK, REVIEW),
        ((migrations.RemoveField("review", "book"), DELETE, OTHER_BOOK, migrations.AddField("review", "book", KEY)),),
    ),
    "a key onto either, with its model": (
        (TAG, BOOK, REVIEW),
        ((migrations.DeleteModel("Review"), DELETE, OTHER_BOOK, REVIEW),),
    ),
    "a new model's key": ((TAG, BOOK), ((DELETE, OTHER_BOOK, REVIEW),)),
}


class Versions:
    """The models of both versions, and what each has written."""

    def __init__(self, project: Project, exchange: Exchange) -> None:
        first, then = exchange
        project.live(project.migration(*first))
        for operations in then:
            self.last = project.migration(*operations)
        self.project = project
        self.old, self.new = (
            MigrationLoader(None).project_state([("shop", name)]).apps for name in ("0001_step", self.last)
        )
        Writer(self.old, number=1).insert()

    def write(self, number: int = 100) -> tuple[Rows, Rows]:
        """Let each version write its own rows, and return what each sees."""
        Writer(self.old, number=number).insert()
        with told(self.new):
            Writer(self.new, number=number + 500).insert()
        Writer(self.old, number=number + 50).update()
        with told(self.new):
            Writer(self.new, number=number + 550).update()
            return rows(self.old), rows(self.new)

    def seen(self, apps: Any) -> Rows:
        with told(apps):
            return rows(apps)

    def ends_as_stock(self, at: str) -> list[str]:
        """Finalize, migrate the other database, and return how they differ, or what of Segue's is left there."""
        self.project.finalize()
        self.project.stock(at)
        told_of = self.project.sql("SELECT table_name FROM segue_alias")
        return [*self.project.differences(), *(f"an alias of {table} is open" for (table,) in told_of)]


@pytest.fixture(params=[*EXCHANGES])
def versions(request: pytest.FixtureRequest, project: Project) -> Versions:
    """A shop in use, and the migrations that exchange its book."""
    return Versions(project, EXCHANGES[request.param])


def test_each_version_writes_its_own_and_the_schema_ends_as_stocks(versions: Versions) -> None:
    planned = plan(versions.project)
    versions.project.apply()
    _, new = versions.write()

    assert all(step.online for step in planned.steps)
    assert versions.ends_as_stock(versions.last) == []
    assert lost(new, rows(versions.new)) == []


def test_each_has_its_rows_again_forth_and_back_and_forth(versions: Versions) -> None:
    versions.project.apply()
    old, new = versions.write()

    versions.project.rollback()

    assert rows(versions.old)["shop.Tag"].items() >= old["shop.Tag"].items()
    assert lost(old, rows(versions.old)) == []
    # A table that the release had made stays, retired.
    assert [line for line in versions.project.differences() if "missing on the right" not in line] == []
    versions.project.apply()
    assert lost(old, rows(versions.old)) == []
    assert lost(new, versions.seen(versions.new)) == []
    old, new = versions.write(2000)
    assert versions.ends_as_stock(versions.last) == []
    assert lost(new, rows(versions.new)) == []


def test_each_has_its_rows_again_after_finalize(versions: Versions) -> None:
    project = versions.project
    project.apply()
    old, new = versions.write()
    project.finalize()

    project.rollback()
    assert lost(old, versions.seen(versions.old)) == []
    assert lost(new, rows(versions.new)) == []
    with told(versions.old):
        Writer(versions.old, number=1000).insert()
        old = rows(versions.old)
    Writer(versions.new, number=1500).insert()
    new = rows(versions.new)

    assert versions.ends_as_stock("0001_step") == []
    assert lost(old, rows(versions.old)) == []
    project.apply()
    assert lost(old, rows(versions.old)) == []
    assert lost(new, versions.seen(versions.new)) == []
    old, new = versions.write(2000)
    assert versions.ends_as_stock(versions.last) == []
    assert lost(new, rows(versions.new)) == []


# Purge


PURGED = ["another shape", "a renamed model", "renamed, and another of its name", "deleted again and made again"]


@pytest.mark.parametrize("name", PURGED)
def test_each_has_its_rows_again_from_the_archive(project: Project, name: str, tmp_path: Path) -> None:
    with override_settings(SEGUE={"STORE": f"file://{tmp_path}/store"}):
        versions = Versions(project, EXCHANGES[name])
        project.apply()
        old, new = versions.write()
        project.finalize()
        pipeline.purge(project.session(), timedelta(0)).require_whole()

        project.rollback()
        assert lost(old, versions.seen(versions.old)) == []
        assert versions.ends_as_stock("0001_step") == []
        pipeline.purge(project.session(), timedelta(0)).require_whole()
        assert _schemas(project) == []
        project.apply()

        assert lost(old, rows(versions.old)) == []
        assert lost(new, versions.seen(versions.new)) == []
        assert versions.ends_as_stock(versions.last) == []


def test_a_rolled_back_table_beside_old_codes_is_purged_with_its_schema(project: Project, tmp_path: Path) -> None:
    with override_settings(SEGUE={"STORE": f"file://{tmp_path}/store"}):
        versions = Versions(project, EXCHANGES["another shape"])
        project.apply()
        _, new = versions.write()
        project.rollback()
        lay_in = _schemas(project)

        pipeline.purge(project.session(), timedelta(0)).require_whole()
        assert (lay_in, _schemas(project)) == (["segue_new_shop_book", "segue_new_shop_book_tags"], [])
        project.apply()

        assert lost(new, versions.seen(versions.new)) == []
        assert versions.ends_as_stock(versions.last) == []


def _schemas(project: Project) -> list[str]:
    found = project.sql("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'segue%' ORDER BY 1")
    return [name for (name,) in found]


# Two releases, and what is around the tables


def test_the_second_release_leaves_the_first_ones_old_code_its_table(project: Project) -> None:
    versions = Versions(project, EXCHANGES["another shape in two migrations"])

    project.apply("0002_step")
    project.apply()
    old, new = versions.write()

    assert [run.state for run in project.session().journal.open_runs()] == [State.OPEN, State.OPEN]
    project.rollback()
    project.apply()
    assert lost(old, rows(versions.old)) == []
    assert lost(new, versions.seen(versions.new)) == []
    assert versions.ends_as_stock(versions.last) == []


def test_another_release_waits_until_the_table_has_its_name(project: Project) -> None:
    versions = Versions(project, EXCHANGES["another shape"])
    run = project.apply()
    assert run is not None
    last = project.migration(migrations.AddField("book", "shelf", models.IntegerField(null=True)))

    with pytest.raises(GateNotMet) as refused:
        project.apply()

    assert str(refused.value) == (
        f"Release {run.release} is open and has steps that wait on shop_book, which this one changes too.\n"
        "Next: segue finalize, when its old code is gone; then the same command again"
    )
    project.finalize()
    project.apply()
    assert versions.ends_as_stock(last) == []


def test_purge_leaves_the_table_of_new_code_that_is_still_connected(project: Project, tmp_path: Path) -> None:
    with override_settings(SEGUE={"STORE": f"file://{tmp_path}/store"}):
        versions = Versions(project, EXCHANGES["another shape"])
        project.apply()
        with project.connect(f"gunicorn segue:{project.session().tag}"):
            project.rollback()
            purged = pipeline.purge(project.session(), timedelta(0))
            _, new = versions.write()
        project.finalize()
        project.apply()

        reason = "new code of a release that is rolled back still uses it"
        kept = {kept.retired.table for kept in purged.kept if kept.reason == reason}
        assert kept >= {"shop_book", "shop_book_tags"}
        assert purged.purged == ()
        assert lost(new, versions.seen(versions.new)) == []


def test_whoever_may_use_the_tables_of_the_schema_may_use_the_new_one(project: Project) -> None:
    versions = Versions(project, EXCHANGES["another shape"])
    project.sql("DROP ROLE IF EXISTS reader")
    project.sql("CREATE ROLE reader")
    project.sql("REVOKE ALL ON SCHEMA public FROM PUBLIC")
    project.sql("GRANT USAGE ON SCHEMA public TO reader")
    project.sql("ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT ON TABLES TO reader")
    project.sql("ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE ON SEQUENCES TO reader")
    place = '"segue_new_shop_book"."shop_book"'

    project.apply()
    versions.write()
    project.sql("SET ROLE reader")
    project.sql(f"INSERT INTO {place} (code, tag_id) VALUES ('by reader', 1)")
    found = project.sql(f"SELECT pages FROM {place} WHERE code = 'by reader'")
    project.sql("RESET ROLE")

    assert found == [(None,)]
    assert versions.ends_as_stock(versions.last) == []
    privileges = "SELECT privilege_type FROM information_schema.role_table_grants WHERE grantee = 'reader' AND "
    assert project.sql(f"{privileges} table_name = 'shop_book' ORDER BY 1") == [("INSERT",), ("SELECT",)]
    project.sql("DROP OWNED BY reader")
    project.sql("DROP ROLE reader")


def test_code_of_the_migration_writes_into_the_new_table(project: Project) -> None:
    versions = Versions(
        project, ((TAG, BOOK), ((DELETE, OTHER_BOOK, migrations.RunPython(fill_books, migrations.RunPython.noop)),))
    )
    before = rows(versions.old)

    project.apply()

    assert rows(versions.old) == before
    with told(versions.new):
        made = versions.new.get_model("shop", "Book").objects.get(code="by-code")
        assert (made.pages, [tag.name for tag in made.tags.all()]) == (8, [made.tag.name])
    project.rollback()
    project.apply()
    assert versions.ends_as_stock(versions.last) == []


# Names of indexes, which live in the schema and not in their table


ONCE = migrations.CreateModel(
    "Tome",
    [ID, ("code", models.IntegerField()), ("pages", models.IntegerField(default=1))],
    {
        "indexes": [models.Index(fields=["code"], name="by_code")],
        "constraints": [models.UniqueConstraint(fields=["code", "pages"], name="once")],
    },
)
MOVED: dict[str, Exchange] = {
    "of a table that goes, to a new one": ((TAG, OTHER_BOOK), ((DELETE, ONCE),)),
    "of a table that goes, to one in use": (
        (TAG, OTHER_BOOK),
        (
            (
                DELETE,
                migrations.AddIndex("tag", models.Index(fields=["name"], name="by_code")),
                migrations.AddConstraint("tag", models.UniqueConstraint(fields=["name", "id"], name="once")),
            ),
        ),
    ),
    "of an index that goes, to a table in use": (
        (TAG, BOOK),
        (
            (migrations.RemoveIndex("book", "by_code"),),
            (migrations.AddIndex("tag", models.Index(fields=["name"], name="by_code")),),
        ),
    ),
}


@pytest.mark.parametrize("name", [*MOVED])
def test_a_name_goes_from_one_index_to_another(project: Project, name: str) -> None:
    versions = Versions(project, MOVED[name])

    project.apply()
    old, new = versions.write()
    project.rollback()
    assert lost(old, rows(versions.old)) == []
    project.apply()

    assert lost(new, versions.seen(versions.new)) == []
    assert versions.ends_as_stock(versions.last) == []
    project.rollback()
    assert versions.ends_as_stock("0001_step") == []
    project.apply()
    assert lost(new, versions.seen(versions.new)) == []
    assert versions.ends_as_stock(versions.last) == []


def test_what_a_rollback_has_left_gives_its_names_up(project: Project) -> None:
    versions = Versions(project, ((TAG,), ((ONCE,),)))
    project.apply()
    _, new = versions.write()
    project.rollback()
    index = migrations.AddIndex("tag", models.Index(fields=["name"], name="by_code"))
    edit(project, versions.last, migrations.CreateModel("Roll", ONCE.fields, ONCE.options))

    project.apply()
    project.rollback()
    edit(project, versions.last, index)
    project.apply()
    project.rollback()
    edit(project, versions.last, ONCE)
    project.apply()

    assert lost(new, versions.seen(versions.new)) == []
    assert versions.ends_as_stock(versions.last) == []


def test_an_index_that_has_no_name_of_its_own_yet_is_not_changed_before_finalize(project: Project) -> None:
    versions = Versions(project, MOVED["of a table that goes, to one in use"])
    project.apply()
    last = project.migration(migrations.RemoveIndex("tag", "by_code"))

    with pytest.raises(StepFailed) as refused:
        project.apply()

    assert str(refused.value) == (
        "Index by_code of shop_tag has the name of one that old code still uses: it cannot be changed yet.\n"
        "Next: segue finalize, when old code is gone; then the same command again"
    )
    project.finalize()
    project.apply()
    assert versions.ends_as_stock(last) == []


def test_an_index_that_stock_could_not_make_either_is_refused_before_anything_changes(project: Project) -> None:
    _, (operations,) = EXCHANGES["renamed, and another of its name"]
    Versions(project, ((TAG, BOOK), ((operations[0], SLIM_BOOK),)))

    with pytest.raises(StepFailed) as refused:
        project.apply()

    assert str(refused.value) == (
        "Index shop_book_code_6d2c2ad5_like of shop_book cannot be made: shop_book has one of that name.\n"
        "Next: rename one of the two with RenameIndex in an earlier operation; then the same command again"
    )
    assert len(project.session().journal.runs()) == 1


# What stops on the way


CRASHED = ["another shape in two migrations", "a renamed model"]
CRASHED_TOO = [pytest.param(name, marks=pytest.mark.slow) for name in ("changed later", "a key onto either")]


@pytest.mark.parametrize("name", [*CRASHED, *CRASHED_TOO])
def test_whoever_comes_after_a_crash_goes_on(project: Project, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = Versions(project, EXCHANGES[name])
    old = rows(versions.old)

    _crashing_after_each_step(monkeypatch, carrier, project.apply)
    assert lost(old, rows(versions.old)) == []
    old, new = versions.write()
    _crashing_after_each_step(monkeypatch, finalize, project.finalize)

    assert versions.ends_as_stock(versions.last) == []
    assert lost(new, rows(versions.new)) == []
    _crashing_after_each_step(monkeypatch, carrier, project.rollback)
    assert lost(old, versions.seen(versions.old)) == []
    assert versions.ends_as_stock("0001_step") == []


def _crashing_after_each_step(monkeypatch: pytest.MonkeyPatch, module: Any, command: Any) -> None:
    """Repeat a command until it succeeds: the first time it dies after one step, then after one more, and so on."""
    carry_out, crashes = module.carry_out, 0

    def dying(*args: Any, **options: Any) -> None:
        nonlocal crashes
        carry_out(*args, **options)
        crashes += 1
        raise SystemExit

    with monkeypatch.context() as patched:
        patched.setattr(module, "carry_out", dying)
        for _ in range(200):
            before = crashes
            try:
                command()
            except SystemExit:
                # A new process reads the migrations anew; Django leaves a RenameModel turned round when it is stopped.
                for module_name in [
                    name for name in sys.modules if name.startswith(settings.MIGRATION_MODULES["shop"])
                ]:
                    del sys.modules[module_name]
                continue
            break
        assert before == crashes
    assert crashes


@pytest.mark.parametrize("name", ["another shape", "a renamed model"])
def test_what_fails_after_it_is_taken_back_with_old_codes_rows(project: Project, name: str) -> None:
    first, (operations,) = EXCHANGES[name]
    versions = Versions(project, (first, ((*operations, migrations.RunPython(fail_again)),)))
    old = rows(versions.old)

    with pytest.raises(FailedAndUndone):
        project.apply()

    assert rows(versions.old) == old
    assert project.differences() == [] or name == "another shape"
    assert project.sql('SELECT * FROM "segue_alias"') == []
    edit(project, versions.last, *operations)
    project.apply()
    old, new = versions.write()
    assert versions.ends_as_stock(versions.last) == []
    assert lost(new, rows(versions.new)) == []


@pytest.mark.parametrize("name", ["another shape", "a renamed model"])
def test_new_code_goes_on_after_a_rollback_until_it_is_gone(project: Project, name: str) -> None:
    versions = Versions(project, EXCHANGES[name])
    project.apply()
    old, new = versions.write()

    with project.connect(f"gunicorn segue:{project.session().tag}"):
        project.rollback()
        versions.write(2000)
        project.apply()
        old, new = versions.write(4000)
        project.rollback()
        old, new = versions.write(6000)
    project.finalize()

    assert lost(old, rows(versions.old)) == []
    assert project.sql('SELECT * FROM "segue_alias"') == []
    project.apply()
    assert lost(new, versions.seen(versions.new)) == []
    assert versions.ends_as_stock(versions.last) == []
