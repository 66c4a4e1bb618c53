"""What has no online form: predicted by the plan, refused above the limit, stopped where the prediction was wrong."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import django
import pytest
from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.operations import BtreeGistExtension
from django.core.management import CommandError, call_command
from django.db import migrations, models
from django.db.models import Q
from django.db.models.functions import Upper
from django.test.utils import override_settings

from segue import cli, conf, pipeline, render
from segue.core.change import Act, Work
from segue.core.errors import BlocksTooLong, FailedAndUndone, StepFailed, UsageError
from segue.core.evidence import Prediction
from segue.core.plan import Phase, Step
from segue.core.run import Run, State
from segue.engines.postgresql import prediction
from segue.engines.postgresql.acts import retire
from segue.session import open_session
from segue.stages import blocking
from tests.operations.bookshop import assert_ends_as_stock, open_shop, plan
from tests.project import Project

ALONE = ExclusionConstraint(expressions=[("title", "=")], name="alone", index_type="gist")
ADD_ALONE = migrations.AddConstraint("book", ALONE)


def _fill(project: Project, rows: int, alias: str = "default") -> None:
    project.sql(
        "INSERT INTO shop_book (title, author_id, pages, language) "
        "SELECT 'title ' || n, 1, n, 'en' FROM generate_series(1, %s) n",
        [rows],
        alias=alias,
    )


def _with_extension(project: Project) -> None:
    """Have what exclusion constraints need, in a release that is over."""
    project.migration(BtreeGistExtension())
    project.apply()
    project.finalize()
    project.stock()


@pytest.fixture
def long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Predict 2.3 s for whatever has no online form."""
    monkeypatch.setattr(
        prediction, "_predict_for", lambda _, table, __: Prediction(table=table, rows=12_000, seconds=2.3)
    )


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Predict next to nothing, wrongly."""
    monkeypatch.setattr(prediction, "_predict_for", lambda _, table, __: Prediction(table=table, rows=1, seconds=0.001))


def _apply(project: Project, allowed: str) -> Run | None:
    session = open_session("default", allow_blocking=conf.parse_duration("--allow-blocking", allowed))
    return pipeline.apply(session, "shop")


# Prediction


def test_hardly_anybody_waits_for_a_table_of_a_few_rows(project: Project) -> None:
    open_shop(project)
    project.migration(BtreeGistExtension(), ADD_ALONE)

    _, step = plan(project).steps

    assert step.blocks is not None
    assert (step.blocks.table, step.blocks.rows) == ("shop_book", 1)
    assert step.blocks.seconds < 0.05


def test_a_change_of_the_catalog_makes_nobody_wait(project: Project) -> None:
    open_shop(project)
    project.migration(
        migrations.AddConstraint("book", models.CheckConstraint(condition=Q(pages__gt=0), name="positive")),
        migrations.AddConstraint("book", models.UniqueConstraint(fields=["title"], name="one_title")),
        migrations.RemoveField("book", "language"),
    )

    assert {step.blocks_seconds for step in plan(project).steps} == {None}


@pytest.mark.parametrize("work", [Work.SCAN, Work.BUILD, Work.REWRITE])
def test_the_prediction_grows_with_the_table(project: Project, work: Work) -> None:
    open_shop(project)
    act = Act(statements=("SELECT 1",), locks=retire.exclusive("shop_book"), work=work)
    engine = project.session().engine
    _fill(project, 2_000)
    few = engine.predict(act)
    _fill(project, 98_000)

    many = engine.predict(act)

    assert few is not None
    assert many is not None
    assert few.rows == 2_001
    assert many.rows == pytest.approx(100_001, rel=0.3)
    assert many.seconds > 5 * few.seconds


def test_an_index_that_is_built_under_the_lock_is_tried_on_a_copy_of_some_rows(project: Project) -> None:
    open_shop(project)
    _with_extension(project)
    _fill(project, 20_000)
    builds = 'CONSTRAINT "alone" EXCLUDE USING gist ("title" WITH =)'
    act = Act(statements=("SELECT 1",), locks=retire.exclusive("shop_book"), work=Work.BUILD, builds=builds)

    predicted = project.session().engine.predict(act)

    assert predicted is not None
    assert predicted.rows == pytest.approx(20_001, rel=0.3)
    assert predicted.seconds > 0.05
    assert project.sql("SELECT relname FROM pg_class WHERE relname = 'segue_trial'") == []


def test_a_table_that_somebody_holds_is_predicted_from_its_rows_alone(project: Project) -> None:
    open_shop(project)
    _fill(project, 9_999)
    project.sql("ANALYZE shop_book")
    act = Act(statements=("SELECT 1",), locks=retire.exclusive("shop_book"), work=Work.SCAN)

    with project.connect("nightly import") as holder:
        holder.execute("LOCK TABLE shop_book IN ACCESS EXCLUSIVE MODE")
        predicted = project.session().engine.predict(act)

    assert predicted == Prediction(table="shop_book", rows=10_000, seconds=1.0)


def test_nothing_is_predicted_for_a_table_that_is_not_there_yet(project: Project) -> None:
    act = Act(statements=("SELECT 1",), locks=retire.exclusive("nowhere"), work=Work.REWRITE)

    assert project.session().engine.predict(act) == Prediction(table="nowhere", rows=0, seconds=0.0)


@pytest.mark.usefixtures("long")
def test_the_plan_shows_for_how_long_others_would_wait(project: Project) -> None:
    open_shop(project)
    _with_extension(project)
    project.migration(ADD_ALONE)

    lines = render.plan_lines(plan(project), allowed=project.session().allow_blocking)

    assert lines[3:] == [
        "shop.0003_step",
        "  expand    add exclusion constraint alone to shop_book  ACCESS EXCLUSIVE on shop_book, as stock Django: "
        "readers and writers wait until it is done, predicted 2.3 s for 12000 rows",
        "            PostgreSQL can only build it under this lock",
        "",
        "Not online yet, and run as stock Django runs it: 1 step.",
        "Others would wait for 2.3 s, and 50 ms are allowed: it is refused without --allow-blocking 3s.",
        "segue rollback takes all of it back until then, and nothing is lost.",
    ]


# The limit


@pytest.mark.usefixtures("long")
def test_apply_refuses_what_takes_longer_than_is_allowed_before_it_does_anything(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    open_shop(project)
    _with_extension(project)
    project.migration(migrations.AddField("book", "isbn", models.CharField(max_length=13, null=True)), ADD_ALONE)
    runs = len(project.session().journal.runs())

    status = cli.main(["apply", "shop", "0003", "--no-input"])

    assert status == 5
    assert capsys.readouterr().err == (
        "segue apply: Others would have to wait for longer than the 50 ms that are allowed:\n"
        "  add exclusion constraint alone to shop_book: 12,000 rows of shop_book, predicted 2.3 s\n"
        "Nothing was done.\n"
        "Next: segue apply shop 0003 --no-input --allow-blocking 3s, when that may be\n"
    )
    assert len(project.session().journal.runs()) == runs
    assert project.sql("SELECT count(*) FROM pg_attribute WHERE attname = 'isbn'") == [(0,)]


@pytest.mark.usefixtures("long")
def test_less_than_is_needed_is_refused_and_what_was_typed_is_corrected(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    open_shop(project)
    _with_extension(project)
    project.migration(ADD_ALONE)

    status = cli.main(["apply", "--allow-blocking", "1s", "shop"])

    assert status == 5
    assert capsys.readouterr().err.splitlines()[-1] == "Next: segue apply shop --allow-blocking 3s, when that may be"


@pytest.mark.usefixtures("long")
def test_what_is_allowed_is_carried_out_and_taken_back(project: Project) -> None:
    open_shop(project)
    _with_extension(project)
    project.migration(ADD_ALONE)

    assert cli.main(["apply", "shop", "--allow-blocking", "3s"]) == 0
    assert cli.main(["rollback"]) == 0
    assert cli.main(["apply", "shop", "--allow-blocking=3s"]) == 0

    assert_ends_as_stock(project)


@pytest.mark.usefixtures("long")
def test_migrate_has_the_limit_too(project: Project) -> None:
    open_shop(project)
    _with_extension(project)
    project.migration(ADD_ALONE)

    with pytest.raises(CommandError) as caught:
        call_command("migrate", "shop", "0003_step", verbosity=0)
    call_command("migrate", "shop", "0003_step", "--allow-blocking", "3s", verbosity=0)

    assert caught.value.returncode == 5
    assert str(caught.value).splitlines()[-1] == (
        "Next: manage.py migrate shop 0003_step --allow-blocking 3s, when that may be"
    )
    assert_ends_as_stock(project)


@pytest.mark.usefixtures("long")
def test_the_settings_may_allow_more(project: Project) -> None:
    open_shop(project)
    _with_extension(project)
    project.migration(ADD_ALONE)

    with override_settings(SEGUE={"ALLOW_BLOCKING": "3s"}):
        project.apply()

    assert_ends_as_stock(project)


def test_what_is_no_duration_is_refused(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["apply", "--allow-blocking", "long"]) == UsageError.exit_status
    assert capsys.readouterr().err.splitlines()[0] == "segue apply: --allow-blocking is 'long', which is no duration."


@pytest.mark.usefixtures("long")
def test_a_rollback_that_has_to_build_it_again_is_refused_before_it_does_anything(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    open_shop(project)
    _with_extension(project)
    project.migration(ADD_ALONE)
    _apply(project, "3s")
    project.finalize()
    project.migration(migrations.RemoveConstraint("book", "alone"))
    project.apply()

    status = cli.main(["rollback"])
    state = project.session().journal.runs()[-1].state
    allowed = cli.main(["rollback", "--allow-blocking", "3s"])

    assert (status, state, allowed) == (5, State.OPEN, 0)
    assert capsys.readouterr().err.splitlines()[:4] == [
        "segue rollback: Others would have to wait for longer than the 50 ms that are allowed:",
        "  take back: drop constraint alone of shop_book: 12,000 rows of shop_book, predicted 2.3 s",
        "Nothing was done.",
        "Next: segue rollback --allow-blocking 3s, when that may be",
    ]
    assert project.sql("SELECT count(*) FROM pg_constraint WHERE conname = 'alone'") == [(1,)]


@pytest.mark.usefixtures("long")
def test_a_finalized_removal_is_refused_on_its_way_back_too(project: Project) -> None:
    open_shop(project)
    _with_extension(project)
    project.migration(ADD_ALONE)
    _apply(project, "3s")
    project.finalize()
    project.migration(migrations.RemoveConstraint("book", "alone"))
    project.apply()
    project.finalize()

    with pytest.raises(BlocksTooLong) as caught:
        project.rollback()

    assert caught.value.message.splitlines()[1] == (
        "  add exclusion constraint alone to shop_book: 12,000 rows of shop_book, predicted 2.3 s"
    )


@pytest.mark.usefixtures("long")
def test_finalize_is_judged_by_the_steps_that_wait(project: Project) -> None:
    open_shop(project)
    project.migration(migrations.AddField("book", "isbn", models.CharField(max_length=13, default="")))
    project.apply()
    session = project.session()
    (run,) = session.journal.open_runs()
    scanning = Act(statements=("SELECT 1",), locks=retire.exclusive("shop_book"), work=Work.SCAN)
    step = Step(id="scan", title="scan shop_book", phase=Phase.CONTRACT, forward=scanning, undo=())

    blocking.require_for_finalize(session, [run])
    with pytest.raises(BlocksTooLong) as caught:
        blocking.require_for_finalize(session, [_waiting(run, step)])

    assert str(caught.value) == (
        "Others would have to wait for longer than the 50 ms that are allowed:\n"
        "  scan shop_book: 12,000 rows of shop_book, predicted 2.3 s\n"
        "Nothing was done.\n"
        "Next: the same command with --allow-blocking 3s, when that may be"
    )


def _waiting(run: Run, step: Step) -> Run:
    return replace(run, deferred=(*run.deferred, (run.migrations[0], step)))


# The guard


@pytest.mark.usefixtures("short")
def test_work_that_takes_longer_than_predicted_is_stopped_and_undone(project: Project) -> None:
    open_shop(project)
    _with_extension(project)
    _fill(project, 20_000)
    project.migration(migrations.AddField("book", "isbn", models.CharField(max_length=13, null=True)), ADD_ALONE)

    with pytest.raises(FailedAndUndone) as caught:
        project.apply()

    assert str(caught.value) == (
        "shop.0003_step failed and was taken back: others would have waited for shop_book for longer than the 0.05 s "
        "that are allowed, in each of 5 attempts. More is allowed with --allow-blocking.\n"
        "Nothing of it remains.\n"
        "Next: mend the cause and run the same command again; --traceback shows where it failed"
    )
    assert project.sql("SELECT count(*) FROM pg_class WHERE relname = 'alone'") == [(0,)]
    project.model("Book", at="0001_step").objects.create(title="by old code", author_id=1, pages=1)


def test_the_limit_is_for_all_statements_under_the_lock_together(project: Project) -> None:
    open_shop(project)
    act = Act(
        statements=("SELECT pg_sleep(0.1)",) * 5,
        locks=retire.exclusive("shop_book"),
        work=Work.SCAN,
    )
    session = open_session("default", allow_blocking=timedelta(seconds=0.3))

    with session.engine.hold(session.say), pytest.raises(StepFailed) as caught:
        session.engine.carry_out(act, then=_nothing, say=session.say)

    assert str(caught.value) == (
        "others would have waited for shop_book for longer than the 0.3 s that are allowed, in each of 5 attempts. "
        "More is allowed with --allow-blocking."
    )


def test_the_limit_leaves_the_session_as_it_was(project: Project) -> None:
    open_shop(project)
    act = Act(statements=("SELECT 1",), locks=retire.exclusive("shop_book"), work=Work.SCAN)
    session = open_session("default", allow_blocking=timedelta(seconds=2))

    with session.engine.hold(session.say):
        session.engine.carry_out(act, then=_nothing, say=session.say)

    assert project.sql("SHOW statement_timeout") == [("0",)]


def _nothing(_: object) -> None:
    """What was carried out is not journaled."""


# What is left as stock Django has it


@pytest.mark.skipif(django.VERSION < (5, 0), reason="Django 4.2 has no generated columns")
@pytest.mark.usefixtures("long")
def test_what_runs_as_stock_is_predicted_as_a_rewrite(project: Project) -> None:
    open_shop(project)
    text = models.CharField(max_length=50)
    shout = models.GeneratedField(expression=Upper("title"), output_field=text, db_persist=True)
    project.migration(migrations.AddField("book", "shout", shout))

    with pytest.raises(BlocksTooLong) as caught:
        project.apply()

    assert caught.value.message.splitlines()[1] == (
        "  add column shop_book.shout: 12,000 rows of shop_book, predicted 2.3 s"
    )
    _apply(project, "3s")
    assert_ends_as_stock(project)


@pytest.mark.usefixtures("long")
def test_a_new_table_makes_nobody_wait(project: Project) -> None:
    open_shop(project)
    _with_extension(project)
    shelf = [("id", models.BigAutoField(primary_key=True)), ("title", models.CharField(max_length=9))]
    project.migration(migrations.CreateModel("Shelf", shelf), migrations.AddConstraint("shelf", ALONE))

    project.apply()

    assert_ends_as_stock(project)
